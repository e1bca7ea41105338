"""Whether code that the model writes may be run: said on the command line or by the caller, never by a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal, get_args

from alignkit.errors import RewardError
from alignkit.rewards.base import Reward

Permission = Literal["none", "sandbox", "bare"]
"""Not at all; in a sandbox; without one, where the kernel has none to give."""

_GRANTED: Final = ContextVar[Permission]("execute_code", default="none")


def granted() -> Permission:
    """What is allowed here."""
    return _GRANTED.get()


@contextmanager
def granting(permission: Permission) -> Iterator[None]:
    """Allows it while it is entered."""
    assert permission in get_args(Permission)
    token = _GRANTED.set(permission)
    try:
        yield
    finally:
        _GRANTED.reset(token)


def require(rewards: Iterable[Reward]) -> None:
    """Refuses rewards that run code without leave; to be asked before anything is loaded.

    Raises:
        RewardError: one of them does, and nobody allowed it.
    """
    if granted() == "none":
        for reward in rewards:
            if reward.executes_code:
                raise RewardError(
                    f"reward '{reward.title}' runs code that the model writes; give --execute-code to 'alignkit run' "
                    "(execute_code='sandbox' from Python) to allow that on this machine"
                )

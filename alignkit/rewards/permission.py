"""Whether code that the model writes may be run: said on the command line or by the caller, never by a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal

from alignkit.errors import RewardError, shown

Permission = Literal["none", "sandbox", "bare"]
"""Not at all; in a sandbox; without one, for machines whose kernel has none to give."""

_GRANTED: Final = ContextVar[Permission]("granted", default="none")


_OPTIONS: Final[Mapping[Permission, str]] = {
    "none": "",
    "sandbox": " --execute-code",
    "bare": " --execute-code-without-sandbox",
}


def option() -> str:
    """What says the same on the command line, a blank before it; nothing where nothing is allowed."""
    return _OPTIONS[granted()]


def granted() -> Permission:
    """What is allowed here."""
    return _GRANTED.get()


@contextmanager
def granting(permission: Permission) -> Iterator[None]:
    """Allows it while it is entered.

    Raises:
        RewardError: it is none of the permissions, such as True, which must not pass for one without a sandbox.
    """
    if permission not in _OPTIONS:
        raise RewardError(f"execute_code: expected 'none', 'sandbox' or 'bare', got {shown(permission)}")
    token = _GRANTED.set(permission)
    try:
        yield
    finally:
        _GRANTED.reset(token)

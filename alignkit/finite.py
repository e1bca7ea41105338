"""Requirements on numbers that a device holds: asking it at each of them would make the host wait every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignkit.errors import NonFiniteError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Requirement:
    """What must hold for the training to go on.

    Attributes:
        holds: scalar bool, on whatever device.
        message: what is wrong where it does not hold.
    """

    holds: Tensor
    message: str


_POSTPONED: ContextVar[list[Requirement] | None] = ContextVar("postponed", default=None)


def require(holds: Tensor, message: str) -> None:
    """Asks at once whether `holds`, a scalar bool, is true; inside `postponed` whoever opened it asks later.

    Raises:
        NonFiniteError: it is not.
    """
    postponed = _POSTPONED.get()
    if postponed is not None:
        postponed.append(Requirement(holds, message))
    elif not bool(holds):
        raise NonFiniteError(message)


@contextmanager
def postponed() -> Iterator[list[Requirement]]:
    """What is required inside is collected, and nobody waits for a device; the caller must ask and raise."""
    collected: list[Requirement] = []
    token = _POSTPONED.set(collected)
    try:
        yield collected
    finally:
        _POSTPONED.reset(token)

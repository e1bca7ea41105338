"""What every reward shares: a weight in the total, and one method that says how good samples are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from alignkit.registry import Component

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True)
class Sample:
    """A response that the policy was sampled for, with all that a reward may look at.

    Attributes:
        prompt: the prompt's text, as the chat template renders it where there is one.
        response: the response's text, without its end token.
        response_ids: [T] its token ids, the end token included where it was drawn.
        finished: whether it ended by itself; False where it was cut at the longest length.
        columns: the data's columns that rewards read, as the data gives them.
        messages: the prompt as messages; None where the data is plain text.
        group: number of the prompt's row in the data; samples of one prompt share it.
        step: optimizer step, from 0, that it was drawn for.
    """

    prompt: str
    response: str
    response_ids: ndarray
    finished: bool
    columns: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]] | None = None
    group: int = 0
    step: int = 0


class Reward(Component):
    """Base of the rewards. One method, `score`, says how good each sample is."""

    slow: ClassVar[bool] = False
    """Whether scoring is left to worker processes, one sample at a time, each with a limit of `timeout`."""

    executes_code: ClassVar[bool] = False
    """Whether it runs code that the model writes, which must be allowed on the command line
    (`alignkit.rewards.permission`)."""

    weight: float = 1.0
    """Factor of this reward in the total; dimensionless. A negative one punishes."""

    label: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]+$")
    """What logs call it; null for the component's name. Rewards of one recipe need different ones."""

    abstains: bool = False
    """Whether no score means that this reward has no opinion of that prompt, as where one recipe mixes tasks. Otherwise
    a sample without a score counts as unscorable, and many of them stop the run."""

    timeout: float = Field(10.0, gt=0, le=3600)
    """Longest time for one sample of a slow reward, seconds of the clock, from when its worker begins with it."""

    @property
    def title(self) -> str:
        """What logs and messages call it."""
        return self.label or self.name

    def columns(self) -> frozenset[str]:
        """Names of the data's columns that it reads; none by default. A row that lacks one cannot be used."""
        return frozenset()

    def check(self) -> None:
        """Finds out before data and model load whether samples can be scored at all.

        Raises:
            AlignkitError: they cannot.
        """

    @abstractmethod
    def score(self, samples: Sequence[Sample]) -> Sequence[float | None]:
        """How good each sample is, finite, on any scale; None where that cannot be said, never 0 in its place.

        Args:
            samples: some of a step's samples, in any order; a slow reward gets one.
        """

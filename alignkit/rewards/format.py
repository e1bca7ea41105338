"""The form of a response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from alignkit.rewards.base import Reward, Sample
from alignkit.rewards.sections import TAG, sections


class Format(Reward):
    """Whether the response consists of tagged sections, each tag once, in order, with nothing around them.

    White space between them does not matter. Where the prompt ends with the first opening tag, the response goes on
    from there. What the sections say is for other rewards.

    Formula: right if the response is `<think>..</think><answer>..</answer>`, else wrong
    Paper: arXiv:2501.12948 (DeepSeek-R1); arXiv:2502.14768 (Logic-RL, right 1, wrong -1)
    """

    tags: Annotated[
        tuple[Annotated[str, Field(pattern=TAG)], ...], Field(min_length=1, max_length=10, strict=False)
    ] = ("think", "answer")
    """Names of the sections, in their order."""

    rest: bool = False
    """Whether text may follow the last section, as where `tags` is `[think]` alone."""

    right: float = 1.0
    """Reward of a response of this form."""

    wrong: float = 0.0
    """Reward of any other."""

    @field_validator("tags")
    @classmethod
    def _differ(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        if twice := [tag for place, tag in enumerate(tags) if tag in tags[:place]]:
            raise PydanticCustomError("tags", f"each section once, got '{twice[0]}' twice")
        return tags

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [self.right if self._fits(sample) else self.wrong for sample in samples]

    def _fits(self, sample: Sample) -> bool:
        return sections(sample.prompt, sample.response, self.tags, rest=self.rest) is not None

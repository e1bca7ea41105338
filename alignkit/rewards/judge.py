"""All rewards of a recipe asked about samples, and how many of these could not be scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Final, Self

from alignkit.errors import RewardError
from alignkit.rewards.asking import ask
from alignkit.rewards.base import Reward, Sample
from alignkit.rewards.workers import Workers

Scores = list[float | None]
"""Of each sample, by one reward; None where there is none."""

MOST_UNSCORABLE: Final = 0.05
"""Share of samples without a score from which a run stops."""

FEWEST_UNSCORABLE: Final = 5
"""Below this many it goes on whatever their share is."""


class Judge:
    """Asks rewards; slow ones in worker processes, which end when it is left.

    Args:
        rewards: with titles that differ.
        workers: most worker processes at a time; None for as many as the machine has cores for.
    """

    def __init__(self, rewards: Sequence[Reward], workers: int | None = None) -> None:
        self.rewards = list(rewards)
        self._slow = [reward for reward in self.rewards if reward.slow]
        self._workers = Workers(self._slow, workers)

    def __call__(self, samples: Sequence[Sample]) -> list[Scores]:
        """The scores of each reward, in the order of the recipe; any scale, weights not applied.

        Raises:
            RewardError: a reward raises, or gives what is no score.
        """
        if not samples:
            return [[] for _ in self.rewards]
        jobs = [(number, sample) for number in range(len(self._slow)) for sample in samples]
        slow = iter(self._workers.score(jobs))
        return [list(islice(slow, len(samples))) if reward.slow else ask(reward, samples) for reward in self.rewards]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._workers.close()


class Tally:
    """How many samples each reward was asked about over a run, and how many of them it could not score.

    A reward that abstains has no opinion where it gives no score, so it is not counted.

    Args:
        rewards: as the judge has them.
    """

    def __init__(self, rewards: Sequence[Reward]) -> None:
        self._rewards = list(rewards)
        self._counts = {reward.title: [0, 0] for reward in self._rewards if not reward.abstains}

    def add(self, scores: Sequence[Scores]) -> None:
        """Counts what a judge gave, of all processes together where the answer of `check` must be the same in all."""
        for reward, given in zip(self._rewards, scores, strict=True):
            if reward.title in self._counts:
                counts = self._counts[reward.title]
                counts[0] += len(given)
                counts[1] += sum(score is None for score in given)

    def check(self) -> None:
        """Stops a run whose rewards cannot say how good too many samples are.

        Raises:
            RewardError: at least `FEWEST_UNSCORABLE` samples, and more than `MOST_UNSCORABLE` of those so far.
        """
        for title, (asked, unscorable) in self._counts.items():
            if unscorable >= FEWEST_UNSCORABLE and unscorable > MOST_UNSCORABLE * asked:
                raise RewardError(
                    f"rewards.{title}: {unscorable} of {asked} samples could not be scored, more than "
                    f"{MOST_UNSCORABLE:.0%}; mend the data's columns that it reads, raise its 'timeout' where it is "
                    "slow, or set 'abstains: true' where no score means that it has no opinion"
                )

    def state(self) -> dict[str, list[int]]:
        """Title -> samples asked about, samples without a score."""
        return {title: list(counts) for title, counts in self._counts.items()}

    def load_state(self, state: Mapping[str, Sequence[int]]) -> None:
        """Puts `state` back; rewards that it does not know begin at 0."""
        for title in self._counts:
            self._counts[title] = list(state.get(title, (0, 0)))

"""Online preference optimisation: of the responses to a prompt, a better and a worse one become a preference pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from alignkit.data.rows import TokenRow
from alignkit.lazy import numpy as np
from alignkit.rollouts.rollout import ALIVE, Group, Rollout
from alignkit.scores import PairScores, RowScores
from alignkit.views.drawing import DrawingTrainer

Pair = tuple[Rollout, Rollout]


class OnlinePreferenceTrainer(DrawingTrainer):
    """Trains on pairs of sampled responses, the one with the higher reward chosen, with any loss of pairs.

    Formula: y_1..y_G ~ pi(. | x); chosen = argmax r(x, y), rejected = argmin r(x, y)
    Paper: arXiv:2402.04792 (online DPO; there an LLM compares two responses)
    """

    gives = "pairs"
    drawn_per_row = 2

    pairing: Literal["best_worst", "random"] = "best_worst"
    """The best against the worst of a group, the first of equals; or two at random with different rewards."""

    def rows(self, groups: Sequence[Group]) -> list[TokenRow]:
        pairs = ((group, self._pair(group)) for group in groups)
        return [_row(group, *pair) for group, pair in pairs if pair is not None]

    def _pair(self, group: Group) -> Pair | None:
        scored = [one for one in group.rollouts if one.reward is not None]
        by_reward = sorted(scored, key=lambda one: -(one.reward or 0.0))
        if not by_reward or _lead(by_reward[0], by_reward[-1]) <= ALIVE:
            return None
        if self.pairing == "best_worst":
            worst = next(one for one in by_reward if one.reward == by_reward[-1].reward)
            return by_reward[0], worst
        pairs = [(a, b) for n, a in enumerate(by_reward) for b in by_reward[n + 1 :] if _lead(a, b) > ALIVE]
        return pairs[int(np.random.default_rng(group.seed).integers(len(pairs)))]

    def view(self, scores: RowScores) -> PairScores:
        chosen, rejected = scores.responses
        return PairScores(chosen, rejected, scores.sampled, scores.columns, scores.gold)


def _lead(a: Rollout, b: Rollout) -> float:
    assert a.reward is not None and b.reward is not None
    return a.reward - b.reward


def _row(group: Group, chosen: Rollout, rejected: Rollout) -> TokenRow:
    prompt = group.row.text.get("prompt", "")
    return TokenRow(
        index=group.row.index,
        where=group.row.where,
        prompt=group.row.prompt,
        responses={"chosen": chosen.ids, "rejected": rejected.ids},
        text={"prompt": prompt, "chosen": chosen.text, "rejected": rejected.text},
    )

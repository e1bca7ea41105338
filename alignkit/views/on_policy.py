"""On-policy training: each sampled response is a row, and its advantage says how much likelier it should become."""

from __future__ import annotations

from collections.abc import Sequence

from alignkit.data.rows import TokenRow
from alignkit.rollouts.rollout import Group
from alignkit.scores import RolloutScores, RowScores
from alignkit.views.drawing import DrawingTrainer


class OnPolicyTrainer(DrawingTrainer):
    """Trains on sampled responses by their advantages: GRPO, RLOO, REINFORCE++ and their relatives.

    Formula: rewards of `sampler.responses` responses per prompt -> `advantage` -> `policy_gradient` loss
    """

    gives = "rollouts"
    needs_advantage = True

    def rows(self, groups: Sequence[Group]) -> list[TokenRow]:
        return [
            TokenRow(
                index=group.row.index * len(group.rollouts) + place,
                where=f"{group.row.where}, response {place + 1}",
                prompt=group.row.prompt,
                responses={"completion": one.ids},
                text={"prompt": group.row.text.get("prompt", ""), "completion": one.text},
                label=bool(one.per_token["advantage"].mean() > 0),
                token_columns={name: {"completion": value_T} for name, value_T in one.per_token.items()},
            )
            for group in groups
            for place, one in enumerate(group.rollouts)
            if one.reward is not None
        ]

    def view(self, scores: RowScores) -> RolloutScores:
        (response,) = scores.responses
        carried = scores.per_token
        old_BT = carried.get("old_logp", response.policy_BT.detach())
        return RolloutScores(response, carried["advantage"], old_BT, scores.max_new_tokens, scores.columns)

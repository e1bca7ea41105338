"""Policy gradients on sampled responses: PPO's clipped surrogate without a critic, and what GRPO, DAPO, Dr. GRPO, GSPO,
CISPO, RLOO and REINFORCE++ make of it.

What a token's advantage is belongs to the recipe's `advantage`. Token weights multiply it, so they never change what is
clipped; uniform weights give the plain loss bit for bit, those of `hybrid` TI-GRPO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.loop.step import Metrics
from alignkit.losses.base import Loss, Term
from alignkit.registry import Section
from alignkit.scores import RolloutScores, Unit

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 20.0
"""Nats. A log-ratio beyond it counts as this much, without a gradient, so that its exponential is finite."""


class KLPenalty(Section):
    """How the policy is held near the reference."""

    coefficient: float = Field(0.0, ge=0)
    """Strength, per nat of log-ratio; 0 leaves it out, and the reference with it. Usual 0.001 to 0.05."""

    estimator: Literal["k2", "k3", "k3_corrected", "k1_in_reward"] = "k2"
    """What is computed of a sampled token. On-policy `k2`, `k3_corrected` (times the ratio) and `k1_in_reward` (taken
    off the reward, no term of the loss) have the gradient of KL(policy || reference); `k3` has not, and is there to
    reproduce the papers that use it."""


class PolicyGradient(Loss):
    """Clipped surrogate of the advantage, with the ratio to the policy that sampled by token or by response.

    The ratio `sequence` is GSPO's, `sequence_token` its form for advantages by token, `sequence_sum` RLOO's; where one
    ratio belongs to the whole response, token weights enter its mean or sum, and the advantage is the mean over tokens.
    The KL to the reference is not weighted.

    Formula: -w_t min(r_t A_t, clip(r_t) A_t), r_t = exp(l_t); with `sequence_token` r_t = sg(exp(mean_t l_t))
        exp(lp_t - sg(lp_t)); `sequence`: -min(s A, clip(s) A), s = exp(mean_t w_t l_t); `sequence_sum`: s =
        exp(sum_t w_t l_t); `cispo`: -sg(clip(r_t)) A_t w_t lp_t; A advantage, l log-ratio to the policy that sampled,
        sg() a constant for the gradient, lp log-probs of the policy, w token weights
    Paper: arXiv:1707.06347 Eq. 7; arXiv:2402.03300; clip and average: arXiv:2503.14476, arXiv:2503.20783; `sequence`:
        arXiv:2507.18071; `cispo`: arXiv:2506.13585; `dual_clip`: arXiv:1912.09729
    """

    sees = "rollouts"

    ratio: Literal["token", "sequence", "sequence_token", "sequence_sum"] = "token"
    """What the policy is compared by with the one that sampled: each token, or the mean or sum over the response."""

    clip: Annotated[tuple[float, float], Field(strict=False)] | None = (0.2, 0.2)
    """How far below and above 1 a ratio may go before it gives no gradient, such as [0.2, 0.28]; for `sequence` and
    `sequence_token` usually [0.0003, 0.0004]; null clips nothing."""

    dual_clip: float | None = Field(None, gt=1)
    """Largest ratio that counts where the advantage is negative, usual 3; null for no such bound."""

    surrogate: Literal["clip", "cispo"] = "clip"
    """`clip` takes the gradient from tokens beyond the clip; `cispo` keeps it, with the ratio as a clipped constant."""

    average: Literal["tokens", "examples", "constant"] = "tokens"
    """What a step's sum is divided by: its tokens (DAPO); each response's own, then the responses (GRPO); or the
    responses times the longest that may be sampled (Dr. GRPO)."""

    kl: KLPenalty = Field(default_factory=KLPenalty)
    """How the policy is held near the reference."""

    apply_weights_to: Literal["both", "positive"] = "both"
    """Tokens that the token weights count for: all, or those with a positive advantage; the others weigh 1."""

    @field_validator("clip")
    @classmethod
    def _clip_holds_1(cls, clip: tuple[float, float] | None) -> tuple[float, float] | None:
        if clip is not None and not (0 <= clip[0] <= 1 and clip[1] >= 0):
            raise PydanticCustomError(
                "clip",
                f"expected [below, above], how far from 1, with 0 <= below <= 1 and above >= 0, got {list(clip)}",
            )
        return clip

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.is_by_response and self.average != "examples":
            raise PydanticCustomError(
                "average",
                f"ratio '{self.ratio}' gives one value per response, so average '{self.average}' has no meaning; "
                "set average to examples",
            )
        if self.surrogate == "cispo" and self.is_by_response:
            raise PydanticCustomError(
                "surrogate",
                f"surrogate 'cispo' needs a ratio per token, got '{self.ratio}'; use token or sequence_token",
            )
        if self.surrogate == "cispo" and self.dual_clip is not None:
            raise PydanticCustomError("dual_clip", "'dual_clip' has no use with surrogate 'cispo'; leave it out")
        return self

    @property
    def is_by_response(self) -> bool:
        """Whether there is one ratio per response, and not one per token."""
        return self.ratio in ("sequence", "sequence_sum")

    @property
    def penalty(self) -> float:
        return self.kl.coefficient if self.kl.estimator == "k1_in_reward" else 0.0

    def needs(self) -> Needs:
        return Needs(reference=self.kl.coefficient > 0)

    def per_example(self, scores: RolloutScores) -> Tensor:
        """[B] value of each response, to be minimised, not averaged, without the KL and the coefficient."""
        response, ratio = scores.response, self._ratio(scores)
        if self.is_by_response:
            return self._surrogate(ratio, _advantage_B(scores), response.policy_BT)
        value_BT = self._surrogate(ratio, scores.advantage_BT, response.policy_BT)
        return self._averaged(value_BT * self._weights_BT(scores), scores)

    def terms(self, scores: RolloutScores) -> list[Term]:
        unit: Unit = "tokens" if self.average == "tokens" else "examples"
        terms = [Term(self.name, self.per_example(scores), unit)]
        if self.kl.coefficient > 0 and not self.penalty:
            value_B = self._averaged(self.kl.coefficient * self._kl_BT(scores), scores)
            terms.append(Term(f"{self.name}_kl", value_B, unit))
        return terms

    def metrics(self, scores: RolloutScores) -> Metrics:
        """Ratios, how many of them are clipped, the sampled tokens' mean -log-prob, which estimates the entropy, and
        the mean of k3, which estimates the KL where there is a reference."""
        with torch.no_grad():
            response, ratio = scores.response, self._ratio(scores)
            mask, advantage = response.mask_BT, scores.advantage_BT
            tokens = mask.sum()
            values: Metrics = {"entropy": (-response.policy_BT.sum(), tokens)}
            if response.reference_BT is not None:
                values["kl"] = (_k3(response.logratio_BT).sum(), tokens)
            if self.is_by_response:
                mask, advantage = mask.any(-1), _advantage_B(scores)
            parts = {"ratio/mean": ratio} | self._clipped_parts(ratio, advantage)
            return values | {name: (part.where(mask, 0).sum(), mask.sum()) for name, part in parts.items()}

    def _clipped_parts(self, ratio: Tensor, advantage: Tensor) -> dict[str, Tensor]:
        if self.clip is None:
            return {}
        low = (ratio < 1 - self.clip[0]) & (advantage < 0)
        high = (ratio > 1 + self.clip[1]) & (advantage > 0)
        return {f"clip_ratio/{n}_mean": p for n, p in (("low", low), ("high", high), ("region", low | high))}

    def _weights_BT(self, scores: RolloutScores) -> Tensor:
        weights_BT = scores.response.weights_BT
        if self.apply_weights_to == "both":
            return weights_BT
        return weights_BT.where(scores.advantage_BT > 0, scores.response.plain.weights_BT)

    def _ratio(self, scores: RolloutScores) -> Tensor:
        """[B, T] ratio of each token, or [B] of each response, to the policy that sampled."""
        response, logratio_BT = scores.response, _logratio_BT(scores)
        if self.ratio == "token":
            return _exp(logratio_BT)
        if self.ratio == "sequence_token":
            mean_B = logratio_BT.detach().sum(-1) / response.length_B
            return _exp(mean_B)[:, None] * (response.policy_BT - response.policy_BT.detach()).exp()
        sum_B = (self._weights_BT(scores) * logratio_BT).sum(-1)
        return _exp(sum_B if self.ratio == "sequence_sum" else sum_B / response.length_B)

    def _surrogate(self, ratio: Tensor, advantage: Tensor, policy: Tensor) -> Tensor:
        """What is minimised of each token or response, unweighted."""
        clipped = ratio if self.clip is None else ratio.clamp(1 - self.clip[0], 1 + self.clip[1])
        if self.surrogate == "cispo":
            return -clipped.detach() * advantage * policy
        value = -torch.minimum(ratio * advantage, clipped * advantage)
        if self.dual_clip is None:
            return value
        return torch.where(advantage < 0, torch.minimum(value, -self.dual_clip * advantage), value)

    def _kl_BT(self, scores: RolloutScores) -> Tensor:
        logratio_BT = scores.response.logratio_BT
        if self.kl.estimator == "k2":
            return logratio_BT.square() / 2
        k3_BT = _k3(logratio_BT)
        return k3_BT if self.kl.estimator == "k3" else _exp(_logratio_BT(scores)) * k3_BT

    def _averaged(self, value_BT: Tensor, scores: RolloutScores) -> Tensor:
        """[B] the tokens' sum, divided by what belongs to the response itself."""
        sum_B = value_BT.sum(-1)
        if self.average == "tokens":
            return sum_B
        return sum_B / (scores.response.length_B if self.average == "examples" else scores.max_new_tokens)


def _exp(logratio: Tensor) -> Tensor:
    return logratio.clamp(-LIMIT, LIMIT).exp()


def _k3(logratio_BT: Tensor) -> Tensor:
    """[B, T] exp(-x) - 1 + x of the log-ratio to the reference, which is never negative."""
    logratio_BT = logratio_BT.clamp_min(-LIMIT)
    return torch.expm1(-logratio_BT) + logratio_BT


def _logratio_BT(scores: RolloutScores) -> Tensor:
    """[B, T] log-ratio to the policy that sampled, nats; 0 off the mask."""
    return scores.response.policy_BT - scores.old_BT.detach()


def _advantage_B(scores: RolloutScores) -> Tensor:
    """[B] the response's advantage: the mean over its tokens, which usually share one."""
    return scores.advantage_BT.sum(-1) / scores.response.length_B

"""Where the axes meet: objective = sum over losses of coefficient x loss x pair weight, on scores that hold the token
weights. This is the training step that the loop drives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow
from alignkit.errors import ModelError
from alignkit.lazy import torch
from alignkit.losses.base import Loss, PairLoss, Unit
from alignkit.scores import PairScores, ResponseScores, TokenScores
from alignkit.scoring import Scores, Scoring
from alignkit.trainers.step import Metrics
from alignkit.weighting.metrics import silent_metrics, weight_metrics

if TYPE_CHECKING:
    from torch import Tensor, nn


class ObjectiveStep:
    """The training step of every offline recipe (`alignkit.trainers.step.TrainingStep`).

    Args:
        scoring: scores rows as the recipe needs it.
    """

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring
        self.recipe = scoring.recipe
        pool = scoring.pool
        self.lookahead = pool.anchor.refresh_every if pool else 1

    @property
    def module(self) -> nn.Module:
        """The trained module, as the loop wrapped it."""
        return self.scoring.module

    @module.setter
    def module(self, module: nn.Module) -> None:
        self.scoring.module = module

    def totals(self, rows: Sequence[TokenRow]) -> dict[str, float]:
        """Numbers of examples, of tokens in their first response (the one SFT trains on), and what losses ask for."""
        first = self.recipe.trainer.responses[0]
        tokens = float(sum(len(row.responses[first]) for row in rows))
        totals = {"examples": float(len(rows)), "tokens": tokens}
        if self.scoring.needs.prompt:
            totals["sequence_tokens"] = tokens + sum(len(row.prompt) - 1 for row in rows)
        if self.scoring.needs.gold:
            totals["gold_tokens"] = float(sum(len(row.responses["gold"]) for row in rows))
        return totals

    def prepare(self, step: int, rows_of_step: Mapping[int, Sequence[TokenRow]]) -> None:
        """Draws anchors when a window of them begins."""
        if self.scoring.pool is not None:
            with self.scoring.autocast():
                self.scoring.pool.refresh(step, [row for rows in rows_of_step.values() for row in rows])

    def loss(self, rows: Sequence[TokenRow], step: int, totals: Mapping[str, float]) -> tuple[Tensor, Metrics]:
        """Objective of one micro-batch, divided by the step's global totals, and its metrics."""
        scores = self.scoring.score(rows, step)
        objective, metrics = self._objective(scores.view, totals)
        return objective, metrics | _score_metrics(scores)

    def _objective(self, view: PairScores | ResponseScores, totals: Mapping[str, float]) -> tuple[Tensor, Metrics]:
        pair_weight_B = self.recipe.pair_weighting.per_pair(view) if isinstance(view, PairScores) else None
        terms: list[Tensor] = []
        metrics: Metrics = {}
        for loss in self.recipe.losses:
            for name, value_B, unit in _parts(loss, view):
                is_weighted = isinstance(loss, PairLoss) and loss.pair_weighted
                weighted_B = value_B * pair_weight_B if is_weighted and pair_weight_B is not None else value_B
                terms.append(loss.coefficient * weighted_B.sum() / totals[unit])
                metrics[f"loss/{name}"] = (float(value_B.detach().sum()), _units(unit, view))
            if isinstance(loss, PairLoss) and isinstance(view, PairScores) and "rewards/chosen" not in metrics:
                metrics |= _reward_metrics(loss, view)
        return torch.stack(terms).sum(), metrics

    def state(self) -> dict[str, Tensor]:
        """The anchors in use."""
        return self.scoring.pool.state() if self.scoring.pool else {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts the anchors back."""
        if self.scoring.pool:
            self.scoring.pool.load_state(state)

    @torch.no_grad()
    def check_start(self, rows: Sequence[TokenRow]) -> None:
        """Before the first step the policy is the reference: every log-ratio is 0, DPO's loss is ln 2, its margin 0.

        Raises:
            ModelError: they differ, so one of the two is not the model that the recipe names.
        """
        if not self.scoring.needs.reference:
            return
        scores = self.scoring.score(rows, weigh=False)
        worst = float(torch.stack([response.logratio_BT.abs().max() for response in _responses(scores.view)]).max())
        tolerance = 1e-3 if self._is_float32() else 0.2  # what rounding explains
        if not worst <= tolerance:  # NaN fails too
            raise ModelError(
                f"step-0 check: before training, policy and reference should agree, but a token's log-probs differ by "
                f"{worst:.3g} nats (tolerance {tolerance}); one of them is not the model that the recipe names"
            )

    def _is_float32(self) -> bool:
        with self.scoring.autocast():
            device = self.scoring.policy.device.type
            return not torch.is_autocast_enabled(device) and self.scoring.policy.model.dtype == torch.float32


def _responses(view: PairScores | ResponseScores) -> tuple[TokenScores, ...]:
    return (view.chosen, view.rejected) if isinstance(view, PairScores) else (view.response,)


def _parts(loss: Loss, view: PairScores | ResponseScores) -> Iterator[tuple[str, Tensor, Unit]]:
    """Name, [B] value and unit of the loss and of the likelihood term that some have beside it."""
    yield loss.name, loss.per_example(view), loss.unit
    if isinstance(loss, PairLoss) and isinstance(view, PairScores) and (term := loss.nll(view)):
        yield f"{loss.name}_nll", *term


def _units(unit: Unit, view: PairScores | ResponseScores) -> float:
    """How many of `unit` there are in the micro-batch."""
    first = _responses(view)[0]
    if unit == "examples":
        return float(len(first.mask_BT))
    if unit == "gold_tokens":
        assert isinstance(view, PairScores)
        return float(view.gold.mask_BT.sum())
    tokens = float(first.mask_BT.sum())
    if unit == "tokens":
        return tokens
    assert first.prompt_mask_BP is not None
    return tokens + float(first.prompt_mask_BP.sum())


def _reward_metrics(loss: PairLoss, view: PairScores) -> Metrics:
    rewards = loss.rewards(view)
    if rewards is None:
        return {}
    chosen_B, rejected_B = rewards
    count = float(len(chosen_B))
    sums = torch.stack(
        [chosen_B.sum(), rejected_B.sum(), (chosen_B - rejected_B).sum(), (chosen_B > rejected_B).float().sum()]
    ).tolist()
    names = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")
    return {name: (value, count) for name, value in zip(names, sums, strict=True)}


def _score_metrics(scores: Scores) -> Metrics:
    """Summed log-probs of the responses, and how the token weights are spread."""
    view = scores.view
    named = zip(("chosen", "rejected"), _responses(view), strict=False)
    metrics: Metrics = {}
    for name, response in named:
        metrics[f"logps/{name}"] = (float(response.policy_BT.detach().sum()), float(len(response.mask_BT)))
    parts = [weight_metrics(response.weights_BT, response.mask_BT) for response in _responses(view)]
    parts += [silent_metrics(span) for span in scores.spans]
    for part in parts:
        for key, (value, count) in part.items():
            before, so_far = metrics.get(key, (0.0, 0.0))
            metrics[key] = (before + value, so_far + count)
    return metrics

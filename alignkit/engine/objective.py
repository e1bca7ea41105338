"""Where the axes meet: objective = sum over losses of coefficient x loss x pair weight, on scores that hold the token
weights. This is the training step that the loop drives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow
from alignkit.engine.method import Sizes
from alignkit.engine.metrics import sampling_metrics, score_metrics
from alignkit.engine.mismatch import mean_mismatch
from alignkit.engine.rollouts import Rollouts
from alignkit.engine.scoring import Scoring
from alignkit.engine.whole_step import decide_step
from alignkit.errors import ModelError
from alignkit.lazy import torch
from alignkit.loop.step import Metrics, StepRows
from alignkit.models.laid import Meter
from alignkit.parallel.sharding import ModelState
from alignkit.scores import View

if TYPE_CHECKING:
    from torch import Tensor, nn


class ObjectiveStep:
    """The training step of every method (`alignkit.loop.step.TrainingStep`).

    Args:
        scoring: scores rows as the method needs it.
        sizes: how much is worked on at once.
        rollouts: makes rows of sampled responses; None where the data's rows are trained on.
    """

    def __init__(self, scoring: Scoring, sizes: Sizes, rollouts: Rollouts | None = None) -> None:
        self.scoring = scoring
        self.rollouts = rollouts
        self.updates = scoring.method.view.updates
        self.method = scoring.method
        self.sizes = sizes
        pool = scoring.pool
        self.lookahead = pool.anchor.refresh_every if pool and rollouts is None else 1
        self._mismatch: Tensor | None = None

    @property
    def module(self) -> nn.Module:
        """The trained module, as the loop wrapped it."""
        return self.scoring.module

    @module.setter
    def module(self, module: nn.Module) -> None:
        self.scoring.module = module

    def draw(self, step: int, batch: Sequence[TokenRow]) -> StepRows:
        """The batch itself, or rows of what the policy is sampled for its prompts.

        A reference that moves does so first.
        """
        has_moved = self.scoring.moving is not None and self.scoring.moving.begin(step)
        if has_moved and self.scoring.pool is not None:
            self.scoring.pool.expire()
        if self.rollouts is None:
            return StepRows(batch)
        if self.scoring.pool is not None and self.rollouts.draws(step):
            self.scoring.pool.clear()  # a row's responses, and so its anchor, will be new
        return self.rollouts.rows(step, batch)

    def totals(self, rows: Sequence[TokenRow]) -> dict[str, float]:
        """What the losses are divided by, over the rows of the whole optimizer step."""
        return self.method.view.totals(rows, self.scoring.needs)

    def meter(self) -> Meter:
        """Counts rows as they are laid out, an anchor as long as it may become: what every process knows."""
        return self.scoring.laid.meter()

    def prepare(self, step: int, batch: Sequence[TokenRow], coming: Mapping[int, Sequence[TokenRow]]) -> None:
        """Draws anchors when a window of them begins, takes the mean over the batch that KTO compares with, and lets
        components decide what they want of the whole batch."""
        self.scoring.attributor.memory.exchange(step)
        pool, needs = self.scoring.pool, self.scoring.needs
        draws = pool is not None and pool.lacks(step, coming[step])
        with self.scoring.whole(draws or needs.mismatched or bool(needs.whole_step)):
            if pool is not None:
                with self.scoring.autocast():
                    pool.refresh(step, [row for rows in coming.values() for row in rows])
                    pool.complete(step, coming[step])
            if needs.mismatched:
                self._mismatch = mean_mismatch(self.scoring, batch, self.sizes)
            decide_step(self.scoring, batch, step, self.sizes)

    def loss(self, rows: Sequence[TokenRow], step: int, totals: Mapping[str, float]) -> tuple[Tensor, Metrics]:
        """Objective of one micro-batch, divided by the step's global totals, and its metrics."""
        scores = replace(self.scoring.score(rows, step), mismatch=self._mismatch)
        objective, metrics = self._objective(self.method.view.view(scores), totals)
        return objective, metrics | score_metrics(scores) | sampling_metrics(scores)

    def _objective(self, view: View, totals: Mapping[str, float]) -> tuple[Tensor, Metrics]:
        weighting = self.method.pair_weighting
        is_weighed = not weighting.is_neutral and self.method.view.gives in weighting.fits
        pair_weight_B = weighting.per_pair(view) if is_weighed else None
        terms: list[Tensor] = []
        metrics: Metrics = {}
        for loss in self.method.losses:
            for name, value_B, unit in loss.terms(view):
                factor_B = pair_weight_B if loss.takes_pair_weight else None
                weighted_B = value_B if factor_B is None else value_B * factor_B
                terms.append(loss.coefficient * weighted_B.sum() / totals[unit])
                metrics[f"loss/{name}"] = (value_B.detach().sum(), view.count(unit))
            if "rewards/chosen" not in metrics:
                metrics |= loss.reward_metrics(view)
            metrics |= loss.metrics(view)
        return torch.stack(terms).sum(), metrics

    def state(self) -> dict[str, Tensor]:
        """The anchors in use, and the importances that rows keep."""
        anchors = self.scoring.pool.state() if self.scoring.pool else {}
        rollouts = self.rollouts.state() if self.rollouts else {}
        return anchors | rollouts | self.scoring.attributor.memory.state()

    def load_state(self, *states: Mapping[str, Tensor]) -> None:
        """Puts them back; each process of before may know of other anchors and importances."""
        if self.scoring.pool:
            self.scoring.pool.load_state(*states)
        if self.rollouts:
            self.rollouts.load_state(states[0])
        self.scoring.attributor.memory.load_state(*states)

    def shared_state(self) -> dict[str, Tensor]:
        """What components carry from step to step, and a reference that has moved."""
        moved = {} if self.scoring.moving is None else self.scoring.moving.state()
        return self.scoring.decisions.state() | moved

    def load_shared_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts them back."""
        self.scoring.decisions.load_state(state)
        if self.scoring.moving is not None:
            self.scoring.moving.load_state(state)

    def model_state(self) -> ModelState:
        """The numbers of a model that is cut into pieces, in the main process."""
        return self.scoring.policy.state()

    def save_model(self, folder: Path, state: ModelState = None) -> None:
        """Writes model or adapter and tokenizer to a new folder."""
        self.scoring.policy.write(folder, state)

    def stored_parameters(self, folder: Path) -> Mapping[str, Tensor]:
        """The trained parameters in what `save_model` wrote."""
        return self.scoring.policy.stored_parameters(folder)

    @torch.no_grad()
    def check_start(self, rows: Sequence[TokenRow]) -> None:
        """Before the first step the policy is the reference: every log-ratio is 0, DPO's loss is ln 2, its margin 0.

        Looks at one micro-batch that is as ragged as the data allow, and at the shortest row alone: a model that scores
        rows by what else is in their batch is found out too, because the reference may have seen them in others.

        Args:
            rows: those that have reference log-probs.

        Raises:
            ModelError: they differ.
        """
        if self.rollouts is not None or not self.scoring.needs.reference:
            return  # what is sampled is checked when it is
        tolerance = self.scoring.tolerance
        worst = 0.0
        for batch in start_batches(rows, self.sizes.micro_batch):
            scores = self.scoring.score(batch, weigh=False)
            found = float(torch.stack([response.logratio_BT.abs().max() for response in scores.responses]).max())
            worst = max(worst, found, key=lambda value: (value != value, value))  # NaN is worse than any number
        if not worst <= tolerance:
            raise ModelError(
                f"step-0 check: before training, policy and reference should agree, but a token's log-probs differ by "
                f"{worst:.3g} nats (tolerance {tolerance}); either one of them is not the model that the recipe names, "
                "or the model scores a row by what else is in its batch"
            )


def start_batches(rows: Sequence[TokenRow], size: int) -> list[list[TokenRow]]:
    """What is scored before the first step: the shortest and the longest rows together, and the shortest alone.

    Args:
        rows: to choose from.
        size: of a micro-batch; the first batch has at most so many rows, but 2 where there are 2.
    """
    by_length = sorted(rows, key=lambda row: row.length)
    num_half = max(1, min(size, len(rows)) // 2)
    return [by_length[:num_half] + by_length[max(num_half, len(rows) - num_half) :], by_length[:1]]

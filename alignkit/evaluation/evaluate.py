"""What is measured before and after training: preference accuracy, margin, KL to the reference; on the built-in world
also the true reward of sampled responses and whether the token weights find the planted tokens.

Accuracy and margin are unweighted: they mean the same for every method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignkit import world
from alignkit.data.rows import TokenRow
from alignkit.lazy import accelerate, torch
from alignkit.models.generation import sample
from alignkit.models.head import Draw
from alignkit.models.layout import Example, collate
from alignkit.models.reference import Reference
from alignkit.models.scorer import Want
from alignkit.models.statistics import ForwardKL
from alignkit.scores import TokenScores
from alignkit.scoring import Scoring
from alignkit.seeds import derive

if TYPE_CHECKING:
    from accelerate import Accelerator
    from numpy import ndarray

Measures = list[Mapping[str, float]]
"""One mapping per row or sample: name -> its value."""

TIE = 1e-3
"""Nats below which a difference of two responses' log-probs is rounding, and the pair a tie."""


@dataclass(frozen=True)
class Evaluation:
    """Measures a policy on held-out rows; the rows are shared among the processes.

    Attributes:
        scoring: scores rows as in training.
        rows: held-out rows.
        reference: makes a live reference for the KL, or None when the recipe has no reference.
        accelerator: tells the processes apart.
        on_world: the rows are the built-in world's, whose true reward is known.
    """

    scoring: Scoring
    rows: Sequence[TokenRow]
    reference: Callable[[], Reference] | None
    accelerator: Accelerator
    on_world: bool

    def __call__(self, step: int) -> dict[str, float]:
        """name -> value, as in `eval.json`; the randomness is the same at every `step`, so changes are the policy's."""
        config = self.scoring.recipe.evaluation
        results: dict[str, float] = {}
        pairs = self._gathered(self._row_measures(self._share(self.rows[: config.pairs])))
        if pairs:
            results |= _row_summary(pairs)
        num_samples = config.samples if self.reference or self.on_world else 0  # nothing else is measured on samples
        samples = self._gathered(self._sample_measures(self._share(self.rows[:num_samples])))
        if samples:
            results |= _sample_summary(samples)
        return results

    def _share(self, rows: Sequence[TokenRow]) -> Iterator[Sequence[TokenRow]]:
        """This process's rows, in batches."""
        mine = rows[self.accelerator.process_index :: self.accelerator.num_processes]
        size = self.scoring.recipe.evaluation.batch_size
        return (mine[start : start + size] for start in range(0, len(mine), size))

    def _gathered(self, measures: Iterator[Mapping[str, float]]) -> Measures:
        mine = list(measures)
        gathered: Measures = accelerate.utils.gather_object(mine)
        return gathered

    # --- rows ---

    def _row_measures(self, batches: Iterator[Sequence[TokenRow]]) -> Iterator[Mapping[str, float]]:
        config = self.scoring.recipe.evaluation
        weighted = config.weighted or self._finds_critical()
        for rows in batches:
            with torch.set_grad_enabled(weighted and bool(self.scoring.needs.attributions)):
                scores = self.scoring.score(rows, weigh=weighted)
            responses = scores.responses
            columns = {"nll": -responses[0].policy_BT.sum(-1), "tokens": responses[0].length_B}
            if len(responses) == 2:
                columns |= _pair_columns(*responses, weighted=config.weighted)
            elif rows[0].label is not None:
                columns |= _labelled_columns(responses[0], scores.desirable_B, weighted=config.weighted)
            values = {name: column.double().tolist() for name, column in columns.items()}
            for b, row in enumerate(rows):
                found = {"weight_auc": self._weight_auc(row, responses, b)} if self._finds_critical() else {}
                yield {name: column[b] for name, column in values.items()} | found

    def _finds_critical(self) -> bool:
        """Whether token weights matter and the planted tokens are known."""
        return self.on_world and self.scoring.recipe.trainer.gives != "responses"

    def _weight_auc(self, row: TokenRow, responses: Sequence[TokenScores], b: int) -> float:
        """Mean over the row's responses."""
        names = row.weighted
        weights = [
            scores.weights_BT[b, : len(row.critical[name])].cpu().numpy()
            for name, scores in zip(names, responses, strict=True)
        ]
        return world.weight_auc(weights, [row.critical[name] for name in names])

    # --- samples ---

    def _sample_measures(self, batches: Iterator[Sequence[TokenRow]]) -> Iterator[Mapping[str, float]]:
        recipe, policy = self.scoring.recipe, self.scoring.policy
        reference = self.reference() if self.reference is not None and recipe.evaluation.samples else None
        for rows in batches:
            with self.scoring.autocast():
                responses = sample(
                    policy.model,
                    [row.prompt for row in rows],
                    [derive(recipe.seed, "evaluation", row.index) for row in rows],
                    Draw(recipe.evaluation.temperature),
                    max_new_tokens=recipe.evaluation.max_new_tokens,
                    eos_id=policy.end_id,
                )
                kl_B = self._kl(rows, responses, reference) if reference else None
            for b, (row, ids) in enumerate(zip(rows, responses, strict=True)):
                measures = {"sample_tokens": float(len(ids))}
                if kl_B is not None:
                    measures["kl"] = kl_B[b]
                if self.on_world:
                    text = str(policy.tokenizer.decode(ids, skip_special_tokens=True))
                    measures["true_reward"] = world.reward(row.text["prompt"], text)
                yield measures

    @torch.no_grad()
    def _kl(self, rows: Sequence[TokenRow], responses: Sequence[ndarray], reference: Reference) -> list[float]:
        """KL(policy || reference) along each sample, summed over its tokens, nats: exact at each token."""
        policy = self.scoring.policy
        examples = [Example(row.prompt, [ids]) for row, ids in zip(rows, responses, strict=True)]
        batch = collate(examples, policy.layout, policy.eos_id, policy.device)
        predictions = policy.scorer(batch, Want(predictions=True)).predictions
        # Seen from the reference, the policy is the other model.
        kl = ForwardKL()
        kl_BRT = reference.score(batch, Want(statistics=frozenset({kl}), reference=predictions)).statistics[kl]
        sums: list[float] = kl_BRT.sum((-1, -2)).tolist()
        return sums


def _pair_columns(chosen: TokenScores, rejected: TokenScores, *, weighted: bool) -> dict[str, torch.Tensor]:
    columns = {"ranking": chosen.policy_BT.sum(-1) - rejected.policy_BT.sum(-1)}
    if chosen.reference_BT is not None:
        columns["margin"] = chosen.logratio_BT.sum(-1) - rejected.logratio_BT.sum(-1)
        if weighted:
            columns["weighted_margin"] = chosen.logratio_B - rejected.logratio_B
    return columns


def _labelled_columns(response: TokenScores, desirable_B: torch.Tensor, *, weighted: bool) -> dict[str, torch.Tensor]:
    columns = {"desirable": desirable_B}
    if response.reference_BT is not None:
        columns["logratio"] = response.logratio_BT.sum(-1)
        if weighted:
            columns["weighted_logratio"] = response.logratio_B
    return columns


def _row_summary(measures: Measures) -> dict[str, float]:
    """Names of `eval.json` from the measures of rows; a tie counts one half towards an accuracy or AUC."""
    is_labelled = "desirable" in measures[0]
    summary = {"responses" if is_labelled else "pairs": float(len(measures))}
    wanted = [m for m in measures if m.get("desirable", 1.0)]  # nobody wants undesirable responses to be likely
    if wanted:
        summary["nll"] = sum(m["nll"] for m in wanted) / sum(m["tokens"] for m in wanted)
    for name, logratio in (("reward_auc", "logratio"), ("weighted_reward_auc", "weighted_logratio")):
        if logratio in measures[0] and (leads := _leads(measures, logratio)):
            summary[name] = _mean(leads)
            num_up = sum(bool(m["desirable"]) for m in measures)
            summary[f"{name}_se"] = _auc_error(summary[name], num_up, len(measures) - num_up)
    for accuracy, difference in (
        ("preference_accuracy", "margin"),
        ("ranking_accuracy", "ranking"),
        ("weighted_preference_accuracy", "weighted_margin"),
    ):
        if difference in measures[0]:
            summary[accuracy] = _mean([(1 + _sign(m[difference])) / 2 for m in measures])
    for name in ("margin", "weighted_margin", "weight_auc"):
        if name in measures[0]:
            summary[name] = _mean([m[name] for m in measures])
    return summary


def _leads(measures: Measures, name: str) -> list[float]:
    """1, 1/2 or 0 for each desirable and undesirable response: the former's value is above, equal, below."""
    up, down = ([m[name] for m in measures if bool(m["desirable"]) is kind] for kind in (True, False))
    return [(1 + _sign(one - other)) / 2 for one in up for other in down]


def _auc_error(auc: float, num_up: int, num_down: int) -> float:
    """Standard error of the chance that one of `num_up` values is above one of `num_down` (Hanley and McNeil 1982)."""
    above_two, two_above = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (num_up - 1) * (above_two - auc**2) + (num_down - 1) * (two_above - auc**2)
    return math.sqrt(max(0.0, spread) / (num_up * num_down))


def _sample_summary(measures: Measures) -> dict[str, float]:
    """Means with their standard errors."""
    summary = {"samples": float(len(measures)), "sample_tokens": _mean([m["sample_tokens"] for m in measures])}
    for name in ("kl", "true_reward"):
        if name in measures[0]:
            values = [m[name] for m in measures]
            summary[name] = _mean(values)
            summary[f"{name}_se"] = _standard_error(values)
    return summary


def _sign(x: float) -> float:
    return float((x > TIE) - (x < -TIE))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _standard_error(values: Sequence[float]) -> float:
    if len(values) < 2:
        return math.nan
    mean = _mean(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance / len(values))

"""What is measured before and after training: preference accuracy, margin, KL to the reference; on the built-in world
also the true reward of sampled responses and whether the token weights find the planted tokens.

Accuracy and margin are unweighted: they mean the same for every method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignkit import world
from alignkit.data.rows import TokenRow
from alignkit.engine.scoring import Scoring
from alignkit.evaluation.config import EvaluationConfig
from alignkit.evaluation.summary import Measures, summarised
from alignkit.lazy import accelerate, torch
from alignkit.models.generation import sample
from alignkit.models.head import Draw
from alignkit.models.layout import Example, collate
from alignkit.models.reference import Reference
from alignkit.models.scorer import Want
from alignkit.models.statistics import ForwardKL
from alignkit.progress.display import counted
from alignkit.scores import TokenScores
from alignkit.seeds import derive

if TYPE_CHECKING:
    from accelerate import Accelerator
    from numpy import ndarray

SAMPLES_TO_READ = 3
"""Responses that are sampled where nothing is measured on them: someone should see what the model says."""

Numbered = tuple[Sequence[int], Sequence[TokenRow]]
"""A batch of rows with their places among all held-out rows."""


@dataclass(frozen=True)
class Measured:
    """One evaluation.

    Attributes:
        rows: of each row its place among the held-out rows (`row`) and its values.
        samples: the same of each sampled response, with `where`, `prompt` and `response` as text.
    """

    rows: Measures
    samples: Measures

    @property
    def summary(self) -> dict[str, float]:
        """name -> value, as in `eval.json`."""
        return summarised(self.rows, self.samples)


@dataclass(frozen=True)
class Evaluation:
    """Measures a policy on held-out rows; the rows are shared among the processes.

    Attributes:
        scoring: scores rows as in training.
        config: what is measured.
        rows: held-out rows.
        reference: makes a live reference for the KL, or None when the method has no reference.
        accelerator: tells the processes apart.
        on_world: the rows are the built-in world's, whose true reward is known.
    """

    scoring: Scoring
    config: EvaluationConfig
    rows: Sequence[TokenRow]
    reference: Callable[[], Reference] | None
    accelerator: Accelerator
    on_world: bool

    def __call__(self, step: int) -> dict[str, float]:
        """name -> value, as in `eval.json`; the randomness is the same at every `step`, so changes are the policy's."""
        return self.measure().summary

    def measure(self) -> Measured:
        """Scores rows and samples responses, on all processes together."""
        config = self.config
        rows = self._gathered(self._row_measures(self._share(config.pairs, "evaluation: held-out rows")))
        is_measured = self.reference is not None or self.on_world
        num_samples = config.samples if is_measured else min(config.samples, SAMPLES_TO_READ)
        return Measured(rows, self._gathered(self._sample_measures(self._share(num_samples, "evaluation: samples"))))

    def _share(self, most: int, what: str) -> Iterator[Numbered]:
        """This process's part of the first rows, in batches."""
        numbers = range(len(self.rows[:most]))[self.accelerator.process_index :: self.accelerator.num_processes]
        size = self.config.batch_size
        with counted(what, len(numbers)) as advance:
            for start in range(0, len(numbers), size):
                batch = numbers[start : start + size]
                yield batch, [self.rows[number] for number in batch]
                advance(len(batch))

    def _gathered(self, measures: Iterator[Mapping[str, Any]]) -> Measures:
        gathered: Measures = accelerate.utils.gather_object(list(measures))
        return sorted(gathered, key=lambda measure: measure["row"])

    # --- rows ---

    def _row_measures(self, batches: Iterator[Numbered]) -> Iterator[Mapping[str, Any]]:
        config = self.config
        weighted = config.weighted or self._finds_critical()
        for numbers, rows in batches:
            with torch.set_grad_enabled(weighted and bool(self.scoring.needs.attributions)):
                scores = self.scoring.score(rows, weigh=weighted)
            responses = scores.responses
            columns = {"nll": -responses[0].policy_BT.sum(-1), "tokens": responses[0].length_B}
            if len(responses) == 2:
                columns |= _pair_columns(*responses, weighted=config.weighted)
            elif rows[0].label is not None:
                columns |= _labelled_columns(responses[0], scores.desirable_B, weighted=config.weighted)
            values = {name: column.tolist() for name, column in columns.items()}
            for b, (number, row) in enumerate(zip(numbers, rows, strict=True)):
                auc = self._weight_auc(row, responses, b) if self._finds_critical() else None
                found = {} if auc is None else {"weight_auc": auc}
                yield {"row": number} | {name: column[b] for name, column in values.items()} | found

    def _finds_critical(self) -> bool:
        """Whether token weights matter and the planted tokens are known."""
        return self.on_world and self.scoring.method.view.gives != "responses"

    def _weight_auc(self, row: TokenRow, responses: Sequence[TokenScores], b: int) -> float | None:
        """Mean over the row's responses; None where truncation left none with critical and other tokens."""
        names = row.weighted
        weights = [
            scores.weights_BT[b, : len(row.critical[name])].cpu().numpy()
            for name, scores in zip(names, responses, strict=True)
        ]
        return world.weight_auc(weights, [row.critical[name] for name in names])

    # --- samples ---

    def _sample_measures(self, batches: Iterator[Numbered]) -> Iterator[Mapping[str, Any]]:
        config, policy = self.config, self.scoring.policy
        reference = self.reference() if self.reference is not None and config.samples else None
        for numbers, rows in batches:
            with self.scoring.autocast():
                responses = sample(
                    policy.model,
                    [row.prompt for row in rows],
                    [derive(self.scoring.method.seed, "evaluation", row.index) for row in rows],
                    Draw(config.temperature),
                    max_new_tokens=config.max_new_tokens,
                    eos_id=policy.end_id,
                )
                kl_B = self._kl(rows, responses, reference) if reference else None
            for b, (number, row, ids) in enumerate(zip(numbers, rows, responses, strict=True)):
                text = str(policy.tokenizer.decode(ids, skip_special_tokens=True))
                found: dict[str, Any] = {"row": number, "where": row.where, "prompt": row.text.get("prompt", "")}
                found["response"] = text
                if self.reference is not None or self.on_world:
                    found["sample_tokens"] = float(len(ids))
                if kl_B is not None:
                    found["kl"] = kl_B[b]
                if self.on_world:
                    found["true_reward"] = world.reward(row.text["prompt"], text)
                yield found

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

"""What measures look at: batches of held-out rows, and the passes over them that all measures share.

A pass is made when the first measure asks for it, so nothing is computed that nobody reads, and nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow
from alignkit.engine.rollouts import Rollouts
from alignkit.engine.scoring import Scoring
from alignkit.errors import MeasureError
from alignkit.evaluation.settings import LooksAt, Settings
from alignkit.lazy import torch
from alignkit.models.generation import sample
from alignkit.models.head import Draw
from alignkit.models.layout import Batch, Example
from alignkit.models.policy import Policy
from alignkit.models.reference import Reference
from alignkit.models.scorer import Want
from alignkit.models.statistics import ForwardKL, Statistic
from alignkit.records.fingerprints import prompt_hash
from alignkit.scores import RowScores
from alignkit.seeds import derive

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor


@dataclass(frozen=True)
class Scene:
    """What one evaluation has.

    Attributes:
        scoring: scores rows as in training.
        settings: the recipe's.
        make_reference: makes a live reference, or None when the method has no reference.
        on_world: the rows are the built-in world's, whose true reward and critical tokens are known.
        rollouts: asks the recipe's rewards; None where it has none.
    """

    scoring: Scoring
    settings: Settings
    make_reference: Callable[[], Reference] | None
    on_world: bool
    rollouts: Rollouts | None = None

    @property
    def policy(self) -> Policy:
        """The model that is measured."""
        return self.scoring.policy

    @property
    def has_reference(self) -> bool:
        """Whether the method has a reference."""
        return self.make_reference is not None

    @property
    def has_loaded_reference(self) -> bool:
        """Whether asking for the reference takes no memory that is not taken already."""
        return self.has_reference and ("reference" in vars(self) or self.scoring.reference is not None)

    @cached_property
    def reference(self) -> Reference | None:
        """The reference, live; made at its first use, as it may take the memory of a model, and given up with this."""
        return self.make_reference() if self.make_reference is not None else None


class HeldOut:
    """A batch of held-out rows.

    Args:
        scene: what the evaluation has.
        rows: the rows.
        looks_at: which passes there are: `scores` of rows, `sampled` responses of samples.
        weigh: whether a measure reads token weights, which cost what they cost in training.
    """

    def __init__(self, scene: Scene, rows: Sequence[TokenRow], looks_at: LooksAt, *, weigh: bool) -> None:
        self.scene = scene
        self.rows = rows
        self._looks_at = looks_at
        self._weigh = weigh

    @cached_property
    def scores(self) -> RowScores:
        """Log-probs under policy and reference, as losses see them; every weight is 1 unless a measure weighs."""
        self._insist("rows", "scores")  # of other rows, nothing was computed before training
        scoring = self.scene.scoring
        with torch.set_grad_enabled(self._weigh and bool(scoring.needs.attributions)):
            return scoring.score(self.rows, weigh=self._weigh)

    @cached_property
    def sampled(self) -> list[ndarray]:
        """A response of the policy to each prompt, token ids; the same randomness in every evaluation of a run."""
        self._insist("samples", "responses")  # the model may not be able to take such long rows
        scoring, policy, settings = self.scene.scoring, self.scene.policy, self.scene.settings
        with scoring.autocast():
            return sample(
                policy.model,
                [row.prompt for row in self.rows],
                [derive(scoring.method.seed, "evaluation", row.index) for row in self.rows],
                Draw(settings.temperature),
                max_new_tokens=settings.max_new_tokens,
                eos_id=policy.end_id,
            )

    @cached_property
    def texts(self) -> list[str]:
        """The sampled responses as text."""
        tokenizer = self.scene.policy.tokenizer
        return [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in self.sampled]

    @cached_property
    def scores_of_rewards(self) -> list[tuple[dict[str, float | None], float | None]]:
        """Of each sample what each reward says, by its name, and the weighted sum; empty where there are no rewards."""
        if self.scene.rollouts is None:
            return []
        return self.scene.rollouts.rewards_of(self.rows, self.sampled)

    @property
    def heads(self) -> list[dict[str, str]]:
        """How the record of each row begins: of a sample with its text, for whoever reads it; else with the prompt's
        hash, so that other runs' records of the row can be paired with it."""
        if self._looks_at == "rows":
            return [{"prompt_hash": prompt_hash(row.text.get("prompt", ""))} for row in self.rows]
        return [
            {"where": row.where, "prompt": row.text.get("prompt", ""), "response": text}
            for row, text in zip(self.rows, self.texts, strict=True)
        ]

    @cached_property
    def kl_BRT(self) -> Tensor | None:
        """[B, 1, T] KL(policy || reference) at each token of each sample, nats, exact, 0 behind its end; or None."""
        policy, reference = self.scene.policy, self.scene.reference
        if reference is None:
            return None
        batch, kl = self._sample_batch, ForwardKL()
        with torch.no_grad(), self.scene.scoring.autocast():
            predictions = policy.scorer(batch, Want(predictions=True)).predictions
            # Seen from the reference, the policy is the other model.
            return reference.score(batch, Want(statistics=frozenset({kl}), reference=predictions)).statistics[kl]

    @cached_property
    def kl_B(self) -> Tensor | None:
        """[B] KL(policy || reference) along each sample, summed over its tokens, nats: exact at each token; or None."""
        return None if self.kl_BRT is None else self.kl_BRT.sum((-1, -2))

    def reference_statistic(self, statistic: Statistic) -> Tensor | None:
        """[B, R, T] the same of the reference's own vocabulary; None where the method has no reference."""
        reference = self.scene.reference
        if reference is None:
            return None
        with self.scene.scoring.autocast():
            scored = reference.score(self._batch, Want(statistics=frozenset({statistic})))
        return scored.statistics[statistic]

    def statistic(self, statistic: Statistic) -> Tensor:
        """[B, R, T] what the policy's vocabulary says at the tokens of the rows' responses, 0 off them.

        Of samples, R is 1. A forward pass of its own, without gradient.

        Raises:
            MeasureError: it reads the reference, and the method has none.
        """
        policy, batch = self.scene.policy, self._batch
        with torch.no_grad(), self.scene.scoring.autocast():
            predictions = None
            if statistic.reads_reference:
                if self.scene.reference is None:
                    raise MeasureError(f"a measure asks for {statistic.words}, and this method has no reference")
                predictions = self.scene.reference.score(batch, Want(predictions=True)).predictions
            want = Want(statistics=frozenset({statistic}), reference=predictions)
            found: Tensor = policy.scorer(batch, want).statistics[statistic]
        return found

    @property
    def _batch(self) -> Batch:
        """What is scored: the rows' own responses, or the samples."""
        if self._looks_at == "samples":
            return self._sample_batch
        return self.scene.policy.batch([row.without_gold for row in self.rows])

    @property
    def _sample_batch(self) -> Batch:
        pairs = zip(self.rows, self.sampled, strict=True)
        return self.scene.policy.collate([Example(row.prompt, [ids]) for row, ids in pairs])

    def _insist(self, looks_at: LooksAt, what: str) -> None:
        if self._looks_at != looks_at:
            raise MeasureError(
                f"a measure that looks at {self._looks_at} asks for {what}; looks_at = '{looks_at}' has them"
            )

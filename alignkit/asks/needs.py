"""What components ask of the training step. Nothing is computed that nobody needs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from alignkit.asks.row_values import RowValues
from alignkit.asks.values import TokenValues
from alignkit.asks.whole_step import WholeStep
from alignkit.errors import RecipeError
from alignkit.models.attribution import Attribution
from alignkit.models.readings import Reading
from alignkit.models.statistics import Statistic
from alignkit.rollouts.base import Anchor, ResponseAnchor


@dataclass(frozen=True)
class Needs:
    """What a component asks of the step. Nothing is computed that nobody needs.

    Attributes:
        reference: per-token log-probs of the reference.
        statistics: numbers that the vocabulary is reduced to at each response token (TDPO's KL, an entropy); read as
            `statistic` of the scores, or of the span.
        readings: numbers that hidden states or attention of the policy give at each response token; read as `readings`
            of the span.
        attributions: gradients of a target by the input embeddings.
        full_sequence: importances of the prompt tokens too.
        anchor: a third response per example; the component that makes it.
        columns: data columns, one number per example.
        nonnegative: those of them whose numbers must be >= 0; checked when the data is read.
        prompt: log-probs of the prompt tokens but the first.
        gold: a gold response per example, from the data (TPO).
        values: numbers per response token that are known before training.
        row_values: numbers per row that are known before training; read as columns, by themselves.
        sampled: responses that the policy is sampled for are trained on.
        mismatched: the mean log-ratio of responses under prompts of other examples (KTO); asks for the reference too.
        whole_step: components that decide something of the whole optimizer step's batch before it is trained on; they
            cost a forward pass more.
    """

    reference: bool = False
    statistics: frozenset[Statistic] = frozenset()
    readings: frozenset[Reading] = frozenset()
    attributions: frozenset[Attribution] = frozenset()
    full_sequence: bool = False
    anchor: Anchor | None = None
    columns: frozenset[str] = frozenset()
    nonnegative: frozenset[str] = frozenset()
    prompt: bool = False
    gold: bool = False
    values: frozenset[TokenValues] = frozenset()
    row_values: frozenset[RowValues] = frozenset()
    mismatched: bool = False
    sampled: bool = False
    whole_step: frozenset[WholeStep] = frozenset()

    @property
    def reference_logits(self) -> bool:
        """Whether the reference's whole distribution is needed at each response token."""
        return any(statistic.reads_reference for statistic in self.statistics)

    @property
    def live_reference(self) -> bool:
        """Whether the reference must be at hand while training: its log-probs of the data alone can be kept on disk."""
        log_ratio = any(attribution.target == "log_ratio" for attribution in self.attributions)
        return self.reference_logits or self.anchor is not None or self.mismatched or self.sampled or log_ratio

    @property
    def live_for_anchors_only(self) -> bool:
        """Whether the reference must be at hand to score sampled anchors, and for nothing else."""
        alone = isinstance(self.anchor, ResponseAnchor)
        return alone and not replace(self, anchor=None).live_reference

    def __or__(self, other: Needs) -> Needs:
        """What both ask for together.

        Raises:
            RecipeError: they ask for two different anchors.
        """
        if self.anchor is not None and other.anchor is not None and self.anchor != other.anchor:
            raise RecipeError(
                f"losses: one anchor is sampled per pair, but two are asked for, {self.anchor!r} and {other.anchor!r}; "
                "give these losses the same anchor"
            )
        return Needs(
            **{field.name: _both(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)}
        )


def _both(mine: Any, theirs: Any) -> Any:  # noqa: ANN401 -- a field of Needs, whichever
    return mine | theirs if isinstance(mine, frozenset) else mine or theirs

"""What components ask of the training step. Nothing is computed that nobody needs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from alignkit.errors import RecipeError

if TYPE_CHECKING:
    from alignkit.models.statistics import Statistic
    from alignkit.token_values.base import TokenValues


@dataclass(frozen=True)
class Attribution:
    """One way to ask how much each input token matters to a response: the gradient of a target by its embedding.

    Attributes:
        target: the scalar that is differentiated; `log_ratio` through policy and reference both.
        position: whose logits, for targets of the last token.
        norm: of the gradient over the embedding.
        model: which model is asked.
        refresh_every: optimizer steps that a row's importances serve before they are computed anew.
        smoothing: share of a row's earlier importances that is kept when they are.
    """

    target: Literal["max_logit", "gold_logit", "response_nll", "log_ratio"] = "max_logit"
    position: Literal["predict_last", "last_token"] = "predict_last"
    norm: Literal["l1", "l2", "grad_x_input"] = "l1"
    model: Literal["policy", "reference"] = "policy"
    refresh_every: int = 1
    smoothing: float = 0.0

    @property
    def is_static(self) -> bool:
        """The model it asks never changes, so that it is known before training."""
        return self.model == "reference"

    @property
    def is_remembered(self) -> bool:
        """What a row was given is needed when the row comes again."""
        return self.refresh_every > 1 or self.smoothing > 0


@dataclass(frozen=True)
class Needs:
    """What a component asks of the step. Nothing is computed that nobody needs.

    Attributes:
        reference: per-token log-probs of the reference.
        statistics: numbers that the vocabulary is reduced to at each response token (TDPO's KL, an entropy); read as
            `statistic` of the scores, or of the span.
        attributions: gradients of a target by the input embeddings.
        full_sequence: importances of the prompt tokens too.
        anchor: a third response per example; the component that makes it (an `alignkit.anchors.Anchor`).
        columns: data columns, one number per example.
        nonnegative: those of them whose numbers must be >= 0; checked when the data is read.
        prompt: log-probs of the prompt tokens but the first.
        gold: a gold response per example, from the data (TPO).
        values: numbers per response token that are known before training (an `alignkit.token_values.TokenValues`).
        mismatched: the mean log-ratio of responses under prompts of other examples (KTO); asks for the reference too.
    """

    reference: bool = False
    statistics: frozenset[Statistic] = frozenset()
    attributions: frozenset[Attribution] = frozenset()
    full_sequence: bool = False
    anchor: object | None = None
    columns: frozenset[str] = frozenset()
    nonnegative: frozenset[str] = frozenset()
    prompt: bool = False
    gold: bool = False
    values: frozenset[TokenValues] = frozenset()
    mismatched: bool = False

    @property
    def reference_logits(self) -> bool:
        """Whether the reference's whole distribution is needed at each response token."""
        return any(statistic.reads_reference for statistic in self.statistics)

    @property
    def live_reference(self) -> bool:
        """Whether the reference must be at hand while training: its log-probs of the data alone can be kept on disk."""
        log_ratio = any(attribution.target == "log_ratio" for attribution in self.attributions)
        return self.reference_logits or self.anchor is not None or self.mismatched or log_ratio

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

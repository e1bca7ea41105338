"""What two contrastive models say of each response token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from alignkit.asks.values import TokenValues, per_row
from alignkit.contrasts import ContrastSlot, contrasts
from alignkit.contrasts.base import ContrastBench
from alignkit.data.rows import TokenRow
from alignkit.lazy import torch
from alignkit.models.head import contrastive_logps

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


class Contrastive(TokenValues):
    """Base of the values that need both models."""

    lasting = True

    contrast: ContrastSlot
    """Where the two models come from."""

    @property
    def trains(self) -> bool:
        return self.contrast.trains

    def tokens_before(self, tokenizer: PreTrainedTokenizerBase) -> int:
        return self.contrast.tokens_before(tokenizer)

    def refusal(self, trainer: str, gives: str) -> str | None:
        if gives in self.contrast.fits:
            return None
        fitting = [name for name, cls in contrasts.classes().items() if gives in cls.fits]
        return (
            f"contrast '{self.contrast.name}' trains on {' or '.join(self.contrast.fits)}, but trainer '{trainer}' "
            f"gives {gives}; contrasts that fit: {', '.join(fitting)}"
        )

    def depends_on(self, bench: ContrastBench) -> dict[str, Any]:
        return self.contrast.depends_on(bench)


class LogRatio(Contrastive):
    """log pi+(y_t | x, y_<t) - log pi-(y_t | x, y_<t), nats: the estimated reward of the token."""

    @property
    def words(self) -> str:
        return f"log-ratios of two contrastive models ('{self.contrast.name}')"

    def compute(self, rows: Sequence[TokenRow], bench: ContrastBench) -> Iterator[Tensor]:
        for batch, positive, negative in self.contrast.scored(rows, bench):
            yield from per_row(positive.logp_BRT - negative.logp_BRT, batch.mask_BRT)


class GuideRatio(Contrastive):
    """log pi+(y_t | x, y_<t) - log ref(y_t | x, y_<t), nats: what the positive model alone would change."""

    @property
    def words(self) -> str:
        return f"log-ratios of a guide to the reference ('{self.contrast.name}')"

    def compute(self, rows: Sequence[TokenRow], bench: ContrastBench) -> Iterator[Tensor]:
        for batch, guide, reference in self.contrast.guided(rows, bench):
            yield from per_row(guide.logp_BRT - reference.logp_BRT, batch.mask_BRT)


class Estimate(Contrastive):
    """s_t, the probability of the token under softmax((1 + strength) * z+ - strength * z-); in 0 to 1."""

    strength: float = Field(1.0, gt=0)
    """How far the estimate goes beyond the positive model; dimensionless."""

    @property
    def words(self) -> str:
        return f"contrastive estimates of two models ('{self.contrast.name}')"

    def compute(self, rows: Sequence[TokenRow], bench: ContrastBench) -> Iterator[Tensor]:
        for batch, positive, negative in self.contrast.scored(rows, bench):
            assert positive.predictions is not None and negative.predictions is not None
            ids_N = batch.packed.ids_N
            chunk = bench.head_chunk
            with torch.no_grad():
                logp_N = contrastive_logps(positive.predictions, negative.predictions, ids_N, chunk, self.strength)
            yield from torch.split(logp_N.exp(), batch.mask_BRT.sum((-1, -2)).tolist())

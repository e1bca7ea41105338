"""What contrasts promise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from alignkit.conformance.check import difference
from alignkit.conformance.stage import RECIPES, Stage, stage
from alignkit.contrasts.base import Contrast
from alignkit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from alignkit.models.layout import Batch
    from alignkit.models.scorer import Scored


def _stages(contrast: Contrast) -> list[Stage]:
    """One for each kind of view that its models can be had from."""
    return [stage(gives) for gives in RECIPES if gives in contrast.fits]


def _fits_a_trainer(contrast: Contrast) -> Iterator[str]:
    """says what a trainer must give"""
    if not _stages(contrast):
        yield f"fits {', '.join(contrast.fits) or 'nothing'}, and trainers give {', '.join(RECIPES)}"


def _gives_two_models(contrast: Contrast) -> Iterator[str]:
    """gives log-probs of the same two models each time, for all tokens of all rows in their order"""
    for number, of in enumerate(_stages(contrast)):
        found = _scored(contrast, of)
        for batch, positive, negative in found:
            for sign, scores in (("positive", positive), ("negative", negative)):
                yield from _wrong(sign, batch, scores)
        lengths = [[len(row.responses[name]) for name in row.weighted] for row in of.train]
        counts = [mask_RT.sum(-1).tolist() for batch, *_ in found for mask_RT in batch.mask_BRT]
        if counts != lengths:
            yield f"scores responses of {counts} tokens, and the rows have {lengths}"
        elif number == 0:
            again = _ratios(_scored(contrast, of))
            yield from difference("log-ratios of the two models, asked for again", again, _ratios(found), 1e-4)


def _scored(contrast: Contrast, of: Stage) -> list[tuple[Batch, Scored, Scored]]:
    with of.bench() as bench:
        return list(contrast.scored(of.train, bench))


def _wrong(sign: str, batch: Batch, scores: Scored) -> Iterator[str]:
    if scores.logp_BRT.shape != batch.mask_BRT.shape:
        yield f"log-probs of the {sign} model have shape {list(scores.logp_BRT.shape)}"
        return
    logp_N = scores.logp_BRT[batch.mask_BRT]
    if not (torch.isfinite(logp_N) & (logp_N < 1e-4)).all():
        yield f"log-probs of the {sign} model are not all finite and at most 0"
    if scores.predictions is None:
        yield f"scores of the {sign} model have no predictions, which weighting 'contrastive' reads"


def _ratios(found: list[tuple[Batch, Scored, Scored]]) -> Tensor:
    """[N] of all tokens."""
    return torch.cat([(p.logp_BRT - n.logp_BRT)[batch.mask_BRT].detach() for batch, p, n in found])


def _says_what_decides(contrast: Contrast) -> Iterator[str]:
    """says in JSON values what decides its scores, and how many tokens it puts before a prompt"""
    for of in _stages(contrast)[:1]:
        with of.bench() as bench:
            json.dumps(contrast.depends_on(bench))
        before = contrast.tokens_before(of.policy.tokenizer)
        if not (isinstance(before, int) and before >= 0):
            yield f"tokens_before() gives {before!r}, not a number of tokens"


CHECKS = (_fits_a_trainer, _gives_two_models, _says_what_decides)

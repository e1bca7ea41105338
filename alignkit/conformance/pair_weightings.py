"""What pair weightings promise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from alignkit.conformance import whole_step
from alignkit.conformance.check import difference
from alignkit.conformance.scored import alone, bare, leaves, padded, picked, scored, trainer_of
from alignkit.lazy import torch
from alignkit.pair_weighting.base import PairWeighting
from alignkit.registry import dump_component
from alignkit.scores import RowScores
from alignkit.views.base import Trainer

if TYPE_CHECKING:
    from torch import Tensor


def _stages(weighting: PairWeighting) -> Iterator[tuple[Trainer, RowScores]]:
    """One for each kind of view that it weighs."""
    for sees in weighting.fits:
        if (trainer := trainer_of(sees)) is not None:
            yield trainer, scored(trainer, weighting.needs())


def _weighs_something(weighting: PairWeighting) -> Iterator[str]:
    """weighs what a trainer gives"""
    if not list(_stages(weighting)):
        raise LookupError(f"fits {', '.join(weighting.fits) or 'nothing'}, which no trainer gives")
    yield from ()


def _one_factor_each(weighting: PairWeighting) -> Iterator[str]:
    """gives one finite factor >= 0 per pair"""
    for trainer, scores in _stages(weighting):
        factor_B = weighting.per_pair(trainer.view(scores))
        if factor_B.shape != scores.desirable_B.shape:
            yield f"factors have shape {list(factor_B.shape)}, not [B] = {list(scores.desirable_B.shape)}"
        elif not (torch.isfinite(factor_B) & (factor_B >= 0)).all():
            yield f"factors must be finite and >= 0, got {factor_B.tolist()}"
        if weighting.is_neutral:
            yield from difference("factors of a weighting that is neutral", factor_B, torch.ones_like(factor_B), 0.0)


def _ignores_padding(weighting: PairWeighting) -> Iterator[str]:
    """gives the same wherever padding lies"""
    for trainer, scores in _stages(weighting):
        wanted_B = weighting.per_pair(trainer.view(scores))
        for left, right in ((0, 2), (3, 0), (1, 1)):
            what = f"factors with {left} columns of padding on the left and {right} on the right"
            yield from difference(what, weighting.per_pair(trainer.view(padded(scores, left, right))), wanted_B, 1e-9)


def _stands_alone(weighting: PairWeighting) -> Iterator[str]:
    """gives a pair the same factor alone, among others and in another order"""
    for trainer, scores in _stages(weighting):
        wanted_B = weighting.per_pair(trainer.view(scores))
        for example in range(len(wanted_B)):
            got_B = weighting.per_pair(trainer.view(alone(scores, example)))
            yield from difference(f"factor of pair {example} alone", got_B, wanted_B[example : example + 1], 1e-9)
        order = [2, 0, 3, 1]
        got_B = weighting.per_pair(trainer.view(picked(scores, order)))
        yield from difference("factors in another order", got_B, wanted_B[order], 1e-9)


def _one_token(weighting: PairWeighting) -> Iterator[str]:
    """is finite, with its gradient where it has one, for responses of one token"""
    for trainer, _ in _stages(weighting):
        scores = scored(trainer, weighting.needs(), ((1, 1),))
        policies = leaves(scores)
        factor_B = weighting.per_pair(trainer.view(scores))
        found: tuple[Tensor | None, ...] = ()
        if factor_B.requires_grad:
            found = torch.autograd.grad(factor_B.sum(), policies, allow_unused=True)
        if not all(torch.isfinite(x).all() for x in (factor_B, *found) if x is not None):
            yield "responses of one token: the factor or its gradient is not finite"


def _reads_what_it_asks_for(weighting: PairWeighting) -> Iterator[str]:
    """reads only what it asks for"""
    for trainer, scores in _stages(weighting):
        wanted_B = weighting.per_pair(trainer.view(scores))
        try:
            bare_B = weighting.per_pair(trainer.view(bare(scores, weighting.needs())))
        except Exception as error:  # what a missing tensor leads to is up to the weighting
            yield f"reads what needs() does not ask for: {type(error).__name__}: {error}"
        else:
            yield from difference("factors without what was not asked for", bare_B, wanted_B, 0.0)


def _has_no_memory(weighting: PairWeighting) -> Iterator[str]:
    """gives the same factors each time, and after a resume, when it is built again"""
    again = type(weighting).model_validate(dump_component(weighting))
    for trainer, scores in _stages(weighting):
        view = trainer.view(scores)
        first_B = weighting.per_pair(view)
        yield from difference("factors asked for again", weighting.per_pair(view), first_B, 0.0)
        what = "factors of one that is built again, as a resume does; its state is lost"
        yield from difference(what, again.per_pair(view), first_B, 0.0)


def _sights(weighting: PairWeighting) -> Iterator[whole_step.Sight]:
    for trainer, scores in _stages(weighting):

        def value(shown: RowScores, trainer: Trainer = trainer) -> Tensor:
            return weighting.per_pair(trainer.view(shown))

        yield whole_step.of_rows(weighting.needs(), trainer, scores, value)


CHECKS = (
    *(_weighs_something, _one_factor_each, _ignores_padding, _stands_alone, _one_token, _reads_what_it_asks_for),
    *(_has_no_memory, whole_step.check(_sights)),
)

"""What losses promise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from alignkit.conformance import whole_step
from alignkit.conformance.check import difference
from alignkit.conformance.scored import (
    alone,
    at_start,
    bare,
    each_response,
    leaves,
    padded,
    picked,
    scored,
    trainer_of,
)
from alignkit.lazy import torch
from alignkit.losses.base import Loss
from alignkit.registry import dump_component
from alignkit.scores import RowScores, Span, Unit
from alignkit.views.base import Trainer
from alignkit.weighting.uniform import Uniform

if TYPE_CHECKING:
    from torch import Tensor


def _stage(loss: Loss) -> tuple[Trainer, RowScores]:
    trainer = trainer_of(loss.sees)
    assert trainer is not None, "checked first"
    return trainer, scored(trainer, loss.needs())


def _total_B(loss: Loss, trainer: Trainer, scores: RowScores) -> Tensor:
    """[B] all terms of each example."""
    return torch.stack([term.value_B for term in loss.terms(trainer.view(scores))]).sum(0)


def _has_a_trainer(loss: Loss) -> Iterator[str]:
    """sees what a trainer gives"""
    if trainer_of(loss.sees) is None:
        raise LookupError(f"sees {loss.sees!r}, which no trainer gives; install or name the trainer that does")
    yield from ()


def _one_value_each(loss: Loss) -> Iterator[str]:
    """gives one finite value per example for each term, with a unit that the step counts"""
    trainer, scores = _stage(loss)
    terms = loss.terms(trainer.view(scores))
    names = [term.name for term in terms]
    if len(set(names)) < len(names):
        yield f"two terms have one name: {', '.join(names)}"
    for term in terms:
        if term.value_B.shape != scores.desirable_B.shape:
            yield f"term '{term.name}' has shape {list(term.value_B.shape)}, not [B] = {list(scores.desirable_B.shape)}"
        elif not torch.isfinite(term.value_B).all():
            yield f"term '{term.name}' is not finite: {term.value_B.tolist()}"
        if term.unit not in get_args(Unit):
            yield f"term '{term.name}' is divided by {term.unit!r}; units are {', '.join(get_args(Unit))}"


def _ignores_padding(loss: Loss) -> Iterator[str]:
    """gives the same wherever padding lies"""
    trainer, scores = _stage(loss)
    wanted_B = _total_B(loss, trainer, scores)
    for left, right in ((0, 2), (3, 0), (1, 1)):
        what = f"values with {left} columns of padding on the left and {right} on the right"
        yield from difference(what, _total_B(loss, trainer, padded(scores, left, right)), wanted_B, 1e-9)


def _stands_alone(loss: Loss) -> Iterator[str]:
    """gives an example the same value alone, among others and in another order"""
    trainer, scores = _stage(loss)
    wanted_B = _total_B(loss, trainer, scores)
    for example in range(len(wanted_B)):
        value_B = _total_B(loss, trainer, alone(scores, example))
        yield from difference(f"value of example {example} alone", value_B, wanted_B[example : example + 1], 1e-9)
    order = [2, 0, 3, 1]
    yield from difference(
        "values in another order", _total_B(loss, trainer, picked(scores, order)), wanted_B[order], 1e-9
    )


def _one_token(loss: Loss) -> Iterator[str]:
    """is finite, with its gradient, for responses of one token"""
    trainer = _stage(loss)[0]
    yield from _not_finite("responses of one token", loss, trainer, scored(trainer, loss.needs(), ((1, 1),)))


def _far_apart(loss: Loss) -> Iterator[str]:
    """is finite, with its gradient, where the policy is far from the reference"""
    trainer, scores = _stage(loss)
    far = each_response(scores, lambda one: replace(one, policy_BT=one.policy_BT * 1e4))
    yield from _not_finite("log-probs 10,000 times as large", loss, trainer, far)


def _not_finite(what: str, loss: Loss, trainer: Trainer, scores: RowScores) -> Iterator[str]:
    policies = leaves(scores)
    value_B = _total_B(loss, trainer, scores)
    if not torch.isfinite(value_B).all():
        yield f"{what}: the loss is {value_B.tolist()}"
    for gradient in _gradients(value_B, policies):
        if not torch.isfinite(gradient).all():
            yield f"{what}: the gradient by what the policy says is not finite"


def _gradients(value_B: Tensor, policies: list[Tensor]) -> list[Tensor]:
    if not value_B.requires_grad:
        return []
    found = torch.autograd.grad(value_B.sum(), policies, allow_unused=True)
    return [gradient for gradient in found if gradient is not None]


def _trains(loss: Loss) -> Iterator[str]:
    """has a gradient by what the policy says: its log-probs, or statistics that are trained through"""
    trainer, scores = _stage(loss)
    for way in (scores, at_start(scores)):
        policies = leaves(way)
        if any((gradient != 0).any() for gradient in _gradients(_total_B(loss, trainer, way), policies)):
            return
    yield "nothing that the policy says has a gradient, on random scores and where the policy is the reference"


def _reads_what_it_asks_for(loss: Loss) -> Iterator[str]:
    """reads only what it asks for"""
    trainer, scores = _stage(loss)
    wanted_B = _total_B(loss, trainer, scores)
    try:
        bare_B = _total_B(loss, trainer, bare(scores, loss.needs()))
    except Exception as error:  # what a missing tensor leads to is up to the loss
        yield f"reads what needs() does not ask for: {type(error).__name__}: {error}"
    else:
        yield from difference("values without what was not asked for", bare_B, wanted_B, 0.0)


def _keeps_the_reference(loss: Loss) -> Iterator[str]:
    """takes the reference for a constant"""
    trainer, scores = _stage(loss)
    references = [one.reference_BT.requires_grad_() for one in scores.responses if one.reference_BT is not None]
    leaves(scores)
    value_B = _total_B(loss, trainer, scores)
    if any((gradient != 0).any() for gradient in _gradients(value_B, references)):
        yield "a gradient flows into the reference; take its log-probs by .detach(), as logratio_BT does"


def _uniform_is_plain(loss: Loss) -> Iterator[str]:
    """gives under uniform weights what it gives without weights, bit for bit"""
    trainer, scores = _stage(loss)
    uniform = Uniform(name="uniform")
    weighted = each_response(scores, lambda one: replace(one, weights_BT=uniform.weights(Span(one.mask_BT)).double()))
    plain = each_response(scores, lambda one: one.plain)
    got_B, wanted_B = (_total_B(loss, trainer, way) for way in (weighted, plain))
    yield from difference("values under uniform weights", got_B, wanted_B, 0.0)


def _logs_constants(loss: Loss) -> Iterator[str]:
    """logs finite constants"""
    trainer, scores = _stage(loss)
    leaves(scores)
    view = trainer.view(scores)
    for name, parts in {**loss.reward_metrics(view), **loss.metrics(view)}.items():
        if any(getattr(part, "requires_grad", False) for part in parts):
            yield f"'{name}' carries a gradient; detach it"
        if not all(torch.isfinite(torch.as_tensor(part)).all() for part in parts):
            yield f"'{name}' is not finite"


def _has_no_memory(loss: Loss) -> Iterator[str]:
    """gives the same values each time, and after a resume, when it is built again"""
    trainer, scores = _stage(loss)
    first_B = _total_B(loss, trainer, scores)
    yield from difference("values asked for again", _total_B(loss, trainer, scores), first_B, 0.0)
    again = type(loss).model_validate(dump_component(loss))
    what = "values of one that is built again, as a resume does; its state is lost"
    yield from difference(what, _total_B(again, trainer, scores), first_B, 0.0)


def _sights(loss: Loss) -> Iterator[whole_step.Sight]:
    trainer, scores = _stage(loss)
    yield whole_step.of_rows(loss.needs(), trainer, scores, lambda shown: _total_B(loss, trainer, shown))


CHECKS = (
    *(_has_a_trainer, _one_value_each, _ignores_padding, _stands_alone, _one_token, _far_apart, _trains),
    *(_reads_what_it_asks_for, _keeps_the_reference, _uniform_is_plain, _logs_constants, _has_no_memory),
    whole_step.check(_sights),
)

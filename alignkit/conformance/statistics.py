"""What statistics of the vocabulary promise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from alignkit.conformance.check import difference
from alignkit.lazy import torch
from alignkit.models.statistics import Statistic, Vocabulary
from alignkit.registry import dump_component

if TYPE_CHECKING:
    from torch import Tensor

POSITIONS, TOKENS = 7, 53


def _logits(seed: int, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(POSITIONS, TOKENS, generator=generator)


def _reduced(statistic: Statistic, logits_NV: Tensor, reference_NV: Tensor) -> Tensor:
    theirs_NV = reference_NV if statistic.reads_reference else None
    return statistic.reduce(Vocabulary(logits_NV, theirs_NV, logits_NV.detach().argmax(-1)))


def _one_number_each(statistic: Statistic) -> Iterator[str]:
    """gives one finite float32 number per position"""
    for scale in (2.0, 80.0):
        found_N = _reduced(statistic, _logits(0, scale), _logits(1, scale))
        if found_N.shape != (POSITIONS,):
            yield f"gives shape {list(found_N.shape)}, not [N] = [{POSITIONS}]"
        elif found_N.dtype != torch.float32:
            yield f"gives {found_N.dtype}, not torch.float32"
        elif not torch.isfinite(found_N).all():
            yield f"is not finite for logits of size {scale:g}"
        elif not statistic.can_be_negative and found_N.min() < -1e-4:
            yield f"gives {found_N.min():.4g}; say 'can_be_negative = True'"


def _stays_at_its_position(statistic: Statistic) -> Iterator[str]:
    """says of a position what that one's distribution says, and nothing of those before or after it"""
    logits_NV, reference_NV = _logits(0), _logits(1)
    whole_N = _reduced(statistic, logits_NV, reference_NV)
    for number in range(POSITIONS):
        piece = slice(number, number + 1)
        alone_N = _reduced(statistic, logits_NV[piece], reference_NV[piece])
        yield from difference(
            f"value at position {number} without the positions before and after it", alone_N, whole_N[piece]
        )


def _leaves_the_reference(statistic: Statistic) -> Iterator[str]:
    """gives no gradient to the reference"""
    if not statistic.reads_reference:
        return
    reference_NV = _logits(1).requires_grad_()
    found_N = _reduced(statistic, _logits(0).requires_grad_(), reference_NV)
    if found_N.requires_grad:
        (gradient,) = torch.autograd.grad(found_N.sum(), [reference_NV], allow_unused=True)
        if gradient is not None and (gradient != 0).any():
            yield "a gradient flows into the reference; read it as vocabulary.reference_NV"


def _has_finite_gradients(statistic: Statistic) -> Iterator[str]:
    """has finite gradients, where it has any, and says so where it has none"""
    logits_NV = _logits(0, 20.0).requires_grad_()
    found_N = _reduced(statistic, logits_NV, _logits(1, 20.0))
    if found_N.requires_grad and not torch.isfinite(torch.autograd.grad(found_N.sum(), [logits_NV])[0]).all():
        yield "its gradient by the logits is not finite"
    if found_N.requires_grad and not statistic.has_gradient:
        yield "says 'has_gradient = False', which cuts the gradient that it has; leave it out, or detach the logits"


def _is_a_key(statistic: Statistic) -> Iterator[str]:
    """is one request with another one of the same parameters, and gives the same when it is built again"""
    again = type(statistic).model_validate(dump_component(statistic))
    if again != statistic or hash(again) != hash(statistic):
        yield "two of the same parameters are two requests; leave __eq__ and __hash__ to the base class"
    found_N = _reduced(statistic, _logits(0), _logits(1))
    yield from difference("values of one that is built again", _reduced(again, _logits(0), _logits(1)), found_N, 0.0)
    if not statistic.words.strip():
        yield "its docstring does not say what it is"


CHECKS = (_one_number_each, _stays_at_its_position, _leaves_the_reference, _has_finite_gradients, _is_a_key)

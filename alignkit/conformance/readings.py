"""What readings of hidden states and attention promise: what they say of a response is that example's alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alignkit.conformance.check import difference
from alignkit.lazy import numpy, torch
from alignkit.models.layout import Example, collate
from alignkit.models.readings import Reading, States

LENGTHS = ((5, 2), (1, 4), (7, 3), (3, 3))
"""Tokens of the two responses of each example."""

WIDTH = 6
"""Of a hidden state."""


def problems(reading: Reading) -> Iterator[str]:
    """A sentence for each promise that is broken."""
    together_BRT = reading.read(states(range(len(LENGTHS))))
    if together_BRT.shape != (len(LENGTHS), 2, 7) or together_BRT.dtype != torch.float32:
        yield f"read() gives {together_BRT.dtype} of shape {list(together_BRT.shape)}, not float32 of [B, R, T]"
        return
    if together_BRT.requires_grad:
        yield "what is read carries a gradient; leave the states detached, as they come"
    for place, lengths in enumerate(LENGTHS):
        alone_BRT = reading.read(states([place]))
        for side, length in enumerate(lengths):
            what = f"what is read of response {side} of example {place} alone"
            yield from difference(what, alone_BRT[0, side, :length], together_BRT[place, side, :length])
            if not torch.isfinite(alone_BRT[0, side, :length]).all():
                yield f"{what} is not finite"
    again = type(reading).model_validate(reading.model_dump(mode="json"))
    if again != reading or hash(again) != hash(reading):
        yield "two of the same parameters are two requests; leave __eq__ and __hash__ to the base class"


def states(examples: Sequence[int]) -> States:
    """Made-up states of these examples, which belong to example, response and token, wherever these stand."""
    ids = numpy.arange(1, 8)
    laid = [Example(ids[:2], [ids[:length] for length in LENGTHS[place]]) for place in examples]
    batch = collate(laid, "separate", pad_id=0)
    hidden_BRTD = torch.zeros(*batch.mask_BRT.shape, WIDTH)
    attention_BRTT = torch.zeros(*batch.mask_BRT.shape, batch.mask_BRT.shape[-1])
    for row, place in enumerate(examples):
        for side, length in enumerate(LENGTHS[place]):
            generator = torch.Generator().manual_seed(2 * place + side)
            hidden_BRTD[row, side, :length] = torch.randn(length, WIDTH, generator=generator)
            seen_TT = torch.rand(length, length, generator=generator).tril()
            attention_BRTT[row, side, :length, :length] = seen_TT / (1 + seen_TT.sum(-1, keepdim=True))
    return States(batch, hidden_BRTD[batch.mask_BRT], attention_BRTT)

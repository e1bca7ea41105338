"""What token weightings promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from alignkit.asks.whole_step import Facts, WholeStep
from alignkit.conformance import whole_step
from alignkit.conformance.check import difference
from alignkit.conformance.scored import at_rest
from alignkit.lazy import torch
from alignkit.registry import dump_component
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor

LENGTHS = (5, 1, 8, 3)
"""Tokens of each response."""


def spans(
    weighting: TokenWeighting, kept: Sequence[Sequence[int]], rows: Sequence[int], *, width: int = 0, prompt: int = 0
) -> Span:
    """Spans whose numbers belong to row and token, wherever these stand.

    Args:
        weighting: has what it asks for, the log-probs of both models, and nothing else.
        kept: the columns of each row's tokens.
        rows: names of the rows, which decide their numbers.
        width: least columns.
        prompt: leading columns that are prompt tokens.
    """
    width = max(width, 1 + max(max(columns) for columns in kept))
    mask_BS = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, columns in enumerate(kept):
        mask_BS[row, list(columns)] = True
    needs = weighting.all_needs()

    def numbers(purpose: int, *, signed: bool = False) -> Tensor:
        values_BS = torch.zeros(len(rows), width)
        for row, (name, columns) in enumerate(zip(rows, kept, strict=True)):
            generator = torch.Generator().manual_seed(1000 * purpose + name)
            drawn = torch.rand(64, generator=generator)[: len(columns)]
            values_BS[row, list(columns)] = 2 * drawn - 1 if signed else drawn
        return values_BS.requires_grad_()

    statistics, readings = sorted(needs.statistics, key=repr), sorted(needs.readings, key=repr)
    return Span(
        mask_BS=mask_BS,
        num_prompt=prompt,
        importance={key: numbers(10 + n) for n, key in enumerate(sorted(needs.attributions, key=repr))},
        seeds_B=tuple(rows),
        policy_BS=-4 * numbers(1),
        reference_BS=-4 * numbers(2),
        desirable_B=torch.tensor([name % 2 == 0 for name in rows]),
        values={key: numbers(20 + n) for n, key in enumerate(sorted(needs.values, key=repr))},
        statistics={key: numbers(30 + n, signed=key.can_be_negative) for n, key in enumerate(statistics)},
        decided=at_rest(needs),
        readings={key: numbers(40 + n) for n, key in enumerate(readings)},
    )


def _right(lengths: Sequence[int] = LENGTHS) -> list[range]:
    return [range(length) for length in lengths]


def _toy(weighting: TokenWeighting) -> Span:
    return spans(weighting, _right(), range(len(LENGTHS)))


def _mean_one(weighting: TokenWeighting) -> Iterator[str]:
    """gives one weight >= 0 per response token, mean 1 over each response and 0 off it"""
    scaled, span = weighting.model_copy(update={"rescale": "mean1", "clip": None}), _toy(weighting)
    if not (raw_BS := scaled.raw(span)).is_floating_point():
        yield f"raw() gives {raw_BS.dtype}, not floating-point numbers"
        return
    weights_BT = scaled.weights(span)
    yield from difference("sum of weights / tokens", weights_BT.sum(-1) / span.length_B, torch.ones(len(LENGTHS)))
    yield from difference("weights off the mask", weights_BT[~span.mask_BS], torch.zeros(int((~span.mask_BS).sum())))


def _reads_what_it_asks_for(weighting: TokenWeighting) -> Iterator[str]:
    """reads only what it asks for"""
    span = _toy(weighting)
    if weighting.all_needs().reference:
        return
    bare = Span(**{**vars(span), "reference_BS": None})
    try:
        weighting.weights(bare)
    except Exception as error:  # what a missing tensor leads to is up to the weighting
        yield f"reads log-probs of the reference, which needs() does not ask for ({type(error).__name__})"


def _ignores_padding(weighting: TokenWeighting) -> Iterator[str]:
    """gives a response the same weights wherever padding lies"""
    wanted_BT, rows = weighting.weights(_toy(weighting)), range(len(LENGTHS))
    ways = {
        "on the left": [range(10 - length, 10) for length in LENGTHS],
        "on the right": _right(),
        "on both sides": [range(2, 2 + length) for length in LENGTHS],
        "inside": [range(1, 2 * length, 2) for length in LENGTHS],
    }
    for way, kept in ways.items():
        got_BT = weighting.weights(spans(weighting, kept, rows, width=17))
        for row, columns in enumerate(kept):
            what = f"weights of a response of {LENGTHS[row]} tokens with padding {way}"
            yield from difference(what, got_BT[row, list(columns)], wanted_BT[row, : LENGTHS[row]])


def _stands_alone(weighting: TokenWeighting) -> Iterator[str]:
    """gives a response the same weights alone, among others and in another order"""
    together_BT = weighting.weights(_toy(weighting))
    for row, length in enumerate(LENGTHS):
        alone_BT = weighting.weights(spans(weighting, [range(length)], [row]))
        yield from difference(f"weights of a response of {length} tokens alone", alone_BT[0], together_BT[row, :length])
    order = [2, 0, 3, 1]
    turned_BT = weighting.weights(spans(weighting, [range(LENGTHS[row]) for row in order], order))
    yield from difference("weights in another order of the batch", turned_BT, together_BT[order])


def _one_token(weighting: TokenWeighting) -> Iterator[str]:
    """gives a response of one token the weight 1"""
    scaled = weighting.model_copy(update={"rescale": "mean1", "clip": None})
    yield from difference("weight of a single token", scaled.weights(spans(weighting, [[0]], [1])), torch.ones(1, 1))


def _is_a_constant(weighting: TokenWeighting) -> Iterator[str]:
    """gives weights without a gradient"""
    if weighting.weights(_toy(weighting)).requires_grad:
        yield "weights carry a gradient; leave weights() to the base class, which detaches them"


def _repeats(weighting: TokenWeighting) -> Iterator[str]:
    """gives the same weights each time, and draws nothing from torch's global generator"""
    first_BT, before = weighting.weights(_toy(weighting)), torch.get_rng_state()
    again_BT = weighting.weights(_toy(weighting))
    yield from difference("weights asked for again", again_BT, first_BT, 0.0)
    if not torch.equal(before, torch.get_rng_state()):
        yield "draws from torch's global generator; seed one of your own with span.seeds_B"


def _has_no_memory(weighting: TokenWeighting) -> Iterator[str]:
    """gives the same weights after a resume, when it is built again"""
    used_BT = weighting.weights(_toy(weighting))
    again = type(weighting).model_validate(dump_component(weighting))
    what = "weights of one that is built again, as a resume does; its state is lost"
    yield from difference(what, again.weights(_toy(again)), used_BT, 0.0)


def _knows_prompts(weighting: TokenWeighting) -> Iterator[str]:
    """weighs with the prompt, where it says that it knows prompts"""
    if not weighting.knows_prompt:
        return
    full = weighting.model_copy(update={"scope": "full_sequence"})
    weights_BT = full.weights(spans(full, _right([2 + n for n in LENGTHS]), range(len(LENGTHS)), prompt=2))
    if weights_BT.shape != (len(LENGTHS), max(LENGTHS)):
        yield f"weights with 'scope: full_sequence' have shape {list(weights_BT.shape)}, not [B, T]"


def _sights(weighting: TokenWeighting) -> Iterator[whole_step.Sight]:
    def shown(examples: Sequence[int]) -> Span:
        return spans(weighting, _right([LENGTHS[row] for row in examples]), examples)

    def seen(key: WholeStep, examples: Sequence[int]) -> Tensor:
        span = shown(examples)
        return key.observe(span).detach().double().masked_fill(~span.mask_BS, torch.nan)[:, None]

    def value(examples: Sequence[int], decided: whole_step.Decided) -> Tensor:
        span = shown(examples)
        return weighting.weights(replace(span, decided={**span.decided, **decided}))

    def cut(facts: Facts, examples: Sequence[int]) -> Facts:
        """[B, S] of tokens, 0 off the mask."""
        width = max(LENGTHS[row] for row in examples)
        return {
            name: fact[:, 0, :width].nan_to_num() if fact.dim() else fact
            for name, fact in whole_step.of_examples(facts, examples).items()
        }

    yield whole_step.Sight(weighting.all_needs(), len(LENGTHS), seen, value, cut)


CHECKS = (
    *(_mean_one, _reads_what_it_asks_for, _ignores_padding, _stands_alone, _one_token),
    *(_is_a_constant, _repeats, _has_no_memory, _knows_prompts, whole_step.check(_sights)),
)

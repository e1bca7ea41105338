"""What trainers promise."""

from __future__ import annotations

from collections.abc import Iterator

from alignkit.asks.needs import Needs
from alignkit.conformance.check import difference
from alignkit.conformance.scored import leaves, padded, scored
from alignkit.data.rows import TokenRow
from alignkit.lazy import numpy, torch
from alignkit.scores import TokenScores, View
from alignkit.views.base import Trainer

ALL = Needs(prompt=True, gold=True)


def _rows(trainer: Trainer) -> list[TokenRow]:
    """Three rows with the responses that it lays out, and a gold one."""
    names = dict.fromkeys((*trainer.responses, "gold"))
    return [
        TokenRow(
            index=index,
            where=f"toy:{index + 1}",
            prompt=numpy.arange(2 + index, dtype=numpy.int32),
            responses={name: numpy.arange(1 + index + n, dtype=numpy.int32) for n, name in enumerate(names)},
        )
        for index in range(3)
    ]


def _says_what_it_is(trainer: Trainer) -> Iterator[str]:
    """says which responses it lays out, what data it reads and what losses must see"""
    for key in ("gives", "reads"):
        if not isinstance(getattr(trainer, key, None), str):
            yield f"'{key}' must be text, got {getattr(trainer, key, None)!r}"
    if not (trainer.responses or trainer.draws) or not all(isinstance(name, str) for name in trainer.responses):
        yield f"'responses' must be names, got {trainer.responses!r}"
    elif len(set(trainer.responses)) < len(trainer.responses) or "gold" in trainer.responses:
        yield f"'responses' must be different names other than 'gold', got {', '.join(trainer.responses)}"


def _gives_a_view(trainer: Trainer) -> Iterator[str]:
    """gives a view of the rows' scores, whose first response is counted"""
    scores = scored(trainer, Needs())
    view = trainer.view(scores)
    if not isinstance(view, View):
        yield f"view() gives {type(view).__name__}, not a View"
    elif not isinstance(view.first, TokenScores):
        yield f"the view's 'first' is {type(view.first).__name__}, not TokenScores"
    elif view.count("examples") != len(scores.desirable_B):
        yield f"the view counts {view.count('examples')} examples of {len(scores.desirable_B)}"
    elif float(view.count("tokens")) != float(scores.responses[0].mask_BT.sum()):
        yield "the view's tokens are not those of the first response that is laid out, which totals() counts"


def _keeps_gradients(trainer: Trainer) -> Iterator[str]:
    """keeps the gradients of the policy's log-probs"""
    scores = scored(trainer, Needs())
    leaves(scores)
    if not trainer.view(scores).first.policy_BT.requires_grad:
        yield "the log-probs in the view have lost their gradient"


def _ignores_padding(trainer: Trainer) -> Iterator[str]:
    """shows the same wherever padding lies"""
    scores = scored(trainer, Needs())
    first, other = (trainer.view(one).first for one in (scores, padded(scores, 1, 2)))
    yield from difference("sums of the first response beside more padding", other.policy_B, first.policy_B, 1e-9)


def _totals_add_up(trainer: Trainer) -> Iterator[str]:
    """counts a step's rows as the sum of its parts, so that micro-batches do not matter"""
    rows = _rows(trainer)
    whole = trainer.totals(rows, ALL)
    parts = [trainer.totals([row], ALL) for row in rows]
    for name, value in whole.items():
        total = sum(part.get(name, 0.0) for part in parts)
        if not abs(value - total) < 1e-9:
            yield f"'{name}' of all rows is {value:g}, and {total:g} of the rows one by one"
    if whole.get("examples") != len(rows):
        yield f"'examples' is {whole.get('examples')} for {len(rows)} rows"
    if not torch.tensor(list(whole.values())).gt(0).all():
        yield f"a loss would be divided by 0: {whole}"


CHECKS = (_says_what_it_is, _gives_a_view, _keeps_gradients, _ignores_padding, _totals_add_up)

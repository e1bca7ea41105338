"""What components that look at the whole optimizer step's batch promise, whatever their kind; nothing of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignkit.asks.needs import Needs
from alignkit.asks.whole_step import Facts, State, WholeStep
from alignkit.conformance.check import Check, difference
from alignkit.conformance.scored import alone, picked, with_decisions
from alignkit.lazy import torch
from alignkit.registry import Component, dump_component
from alignkit.scores import RowScores
from alignkit.views.base import Trainer

if TYPE_CHECKING:
    from torch import Tensor

SEED = 7

Decided = Mapping[WholeStep, Facts]


@dataclass(frozen=True)
class Sight:
    """How a kind of component is shown examples, and what it gives for them.

    Attributes:
        needs: of the component; what in it looks at whole steps is checked.
        number: how many examples there are.
        seen: [N, F], or [N, 1, S] of tokens, what was observed of these examples as `decide` gets it.
        value: [B] or [B, T] what the component gives for these examples with these facts.
        cut: the facts of these examples out of those of all.
    """

    needs: Needs
    number: int
    seen: Callable[[WholeStep, Sequence[int]], Tensor]
    value: Callable[[Sequence[int], Decided], Tensor]
    cut: Callable[[Facts, Sequence[int]], Facts]

    @property
    def keys(self) -> list[WholeStep]:
        return sorted(self.needs.whole_step, key=repr)

    @property
    def all(self) -> list[int]:
        return list(range(self.number))


def of_examples(facts: Facts, examples: Sequence[int]) -> Facts:
    """The facts of these examples; scalars are everybody's."""
    return {name: fact[list(examples)] if fact.dim() else fact for name, fact in facts.items()}


def of_rows(needs: Needs, trainer: Trainer, scores: RowScores, value: Callable[[RowScores], Tensor]) -> Sight:
    """The sight of a component that sees what a trainer gives.

    Args:
        needs: of the component.
        trainer: gives the view.
        scores: of the examples.
        value: [B] what the component gives for scores.
    """

    def shown(examples: Sequence[int]) -> RowScores:
        return alone(scores, examples[0]) if len(examples) == 1 else picked(scores, list(examples))

    return Sight(
        needs=needs,
        number=len(scores.desirable_B),
        seen=lambda key, examples: key.observe(trainer.view(shown(examples))).detach().double(),
        value=lambda examples, decided: value(with_decisions(shown(examples), decided)),
        cut=of_examples,
    )


def check(sights: Callable[[Any], Iterator[Sight]]) -> Check:
    """The check of a kind.

    Args:
        sights: from a component to the ways in which it is shown examples.
    """

    def decides(component: Component) -> Iterator[str]:
        """decides of whole optimizer steps, if it looks at them, the same however they are cut, and resumes"""
        for sight in sights(component):
            for key in sight.keys:
                for part in (_observed, _decided, _in_micro_batches, _carried):
                    yield from (found := list(part(sight, key)))
                    if found:  # the parts that follow build on it
                        return

    return decides


def _observed(sight: Sight, key: WholeStep) -> Iterator[str]:
    seen_N = sight.seen(key, sight.all)
    if len(seen_N) != sight.number or not seen_N.is_floating_point():
        yield f"observe() gives {seen_N.dtype} of {len(seen_N)} examples, not numbers of {sight.number}"
        return
    for example in sight.all:
        alone_N = sight.seen(key, [example])
        wanted_N = seen_N[example : example + 1, ..., : alone_N.shape[-1]]
        yield from difference(f"what it observes of example {example} alone", alone_N, wanted_N)


def _decided(sight: Sight, key: WholeStep) -> Iterator[str]:
    for examples in (sight.all, [0]):
        seen_N, state = sight.seen(key, examples), key.initial_state()
        given = {name: value.clone() for name, value in state.items()}
        before = torch.get_rng_state()
        facts, carried = key.decide(seen_N, state, SEED)
        if not torch.equal(before, torch.get_rng_state()):
            yield "decide() draws from torch's global generator; seed one of your own with its argument"
        yield from _differing("the state that decide() was given, afterwards", state, given)
        yield from _differing("what it decides of the same once more", key.decide(seen_N, given, SEED)[0], facts)
        if carried.keys() != given.keys():
            yield f"decide() carries on {_names(carried)}, and begins with {_names(given)}; names must stay the same"
        yield from _of_whom(facts, len(examples))
        yield from _not_finite(len(examples), {**facts, **carried})
    at_rest = key.at_rest(given)
    if at_rest.keys() - facts.keys() or any(fact.dim() for fact in at_rest.values()):
        yield f"at_rest() gives {_names(at_rest)}, and decide() {_names(facts)}; expected scalars, of those names"


def _of_whom(facts: Facts, number: int) -> Iterator[str]:
    for name, fact in facts.items():
        if fact.dim() and len(fact) != number:
            yield f"'{name}' has {len(fact)} values for {number} examples; expected a scalar or one for each"


def _not_finite(number: int, named: Mapping[str, Tensor]) -> Iterator[str]:
    """Off the tokens there is nothing, which is NaN."""
    for name, value in named.items():
        if torch.isinf(value).any() or torch.isnan(value).all():
            yield f"'{name}' is not finite for a step of {'one example' if number == 1 else f'{number} examples'}"


def _in_micro_batches(sight: Sight, key: WholeStep) -> Iterator[str]:
    facts, _ = key.decide(sight.seen(key, sight.all), key.initial_state(), SEED)
    wanted_N = sight.value(sight.all, {key: sight.cut(facts, sight.all)})
    for examples in ([2, 0], *([example] for example in sight.all)):
        got_N = sight.value(examples, {key: sight.cut(facts, examples)})
        of_them = ", ".join(map(str, examples))
        wanted = wanted_N[examples][..., : got_N.shape[-1]] if got_N.dim() > 1 else wanted_N[examples]
        yield from difference(f"values of a micro-batch of the examples {of_them}", got_N, wanted)


def _carried(sight: Sight, key: WholeStep) -> Iterator[str]:
    seen_N = sight.seen(key, sight.all)
    _, state = key.decide(seen_N, key.initial_state(), SEED)
    kept = {name: value.detach().cpu().clone() for name, value in state.items()}
    wanted, _ = key.decide(seen_N, state, SEED + 1)
    again = type(key).model_validate(dump_component(key)) if isinstance(key, Component) else key
    assert isinstance(again, WholeStep)
    what = "what one that is built again decides of the next step, with the state of a checkpoint"
    yield from _differing(what, again.decide(seen_N, kept, SEED + 1)[0], wanted)


def _differing(what: str, got: Facts | State, wanted: Facts | State) -> Iterator[str]:
    for name in wanted.keys() & got.keys():
        yield from difference(f"{what}: '{name}'", got[name].nan_to_num(), wanted[name].nan_to_num(), 0.0)


def _names(named: Mapping[str, Tensor]) -> str:
    return ", ".join(sorted(named)) or "nothing"

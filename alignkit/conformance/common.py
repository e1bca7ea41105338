"""What every component promises, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from alignkit.asks.needs import Needs
from alignkit.asks.pairs import PairValues
from alignkit.asks.readings import ReferenceReading
from alignkit.asks.texts import TextValues
from alignkit.conformance import readings
from alignkit.data.characters import read_texts
from alignkit.lazy import numpy as np
from alignkit.registry import Component, dump_component

if TYPE_CHECKING:
    from numpy import ndarray

_PAIRS = (((1, 2, 3, 4, 0), (2, 3, 0)), ((0,), (1, 0)), ((1, 0), (1, 0)))
"""Token ids of chosen and rejected responses; alike in part, one token alone, and the same."""

_TEXTS = (" It is 42.", "\n\né🙂", "x")


def _is_closed(component: Component) -> Iterator[str]:
    """has fixed parameters and refuses unknown ones"""
    config = type(component).model_config
    for key, wanted, why in (
        ("frozen", True, "parameters can change after they were checked"),
        ("extra", "forbid", "a mistyped parameter is not noticed"),
        ("strict", True, "text passes for a number"),
    ):
        if config.get(key) != wanted:
            yield f"model_config['{key}'] is {config.get(key)!r}, so {why}; leave it to the base class"


def _is_explained(component: Component) -> Iterator[str]:
    """says what it and its parameters are"""
    cls = type(component)
    if not (cls.__doc__ or "").strip():
        yield f"{cls.__name__} has no docstring, which 'alignkit list' and 'describe' show"
    for name, field in cls.model_fields.items():
        if not field.description:
            yield f"parameter '{name}' has no text below it, which editors and 'alignkit describe' show"


def _is_built_again(component: Component) -> Iterator[str]:
    """is built again from what a record of it holds"""
    record = dump_component(component)
    again = type(component).model_validate(record)
    if again != component:
        changed = [name for name in record if getattr(again, name) != getattr(component, name)]
        yield f"built again from {record} it is another component; differing: {', '.join(changed) or 'private values'}"


def _asks_always_the_same(component: Component) -> Iterator[str]:
    """asks for the same each time"""
    if (ask := getattr(component, "needs", None)) is None:
        return
    first, again = ask(), type(component).model_validate(dump_component(component)).needs()  # type: ignore[attr-defined]
    if not isinstance(first, Needs):
        yield f"needs() gives {type(first).__name__}, not Needs"
    elif not first == ask() == again:
        yield "needs() asks for something else each time; make it depend on the parameters only"


def _reads_texts(component: Component) -> Iterator[str]:
    """reads from a text, where it asks for that, one finite number per token, the same each time"""
    needs = component.needs() if hasattr(component, "needs") else Needs()
    for values in needs.values:
        if isinstance(values, TextValues):
            for text in _TEXTS:
                first, again = (_numbers(values, text) for _ in range(2))
                if not np.array_equal(first, again):
                    yield f"{type(values).__name__} reads other numbers from {text!r} each time"


def _numbers(values: TextValues, text: str) -> ndarray:
    """[N] of tokens of three characters and the end token."""
    starts = [*range(0, len(text), 3), len(text)]
    offsets_N2 = np.array([(start, min(start + 3, len(text))) for start in starts])
    return read_texts({values.key: values.of_text}, {"chosen": text}, {"chosen": offsets_N2})[values.key]["chosen"]


def _compares_pairs(component: Component) -> Iterator[str]:
    """compares the two responses of a pair, where it asks for that, in one finite number per token, always the same"""
    needs = component.needs() if hasattr(component, "needs") else Needs()
    for values in needs.values:
        if isinstance(values, PairValues):
            for pair in _PAIRS:
                yield from _compared(values, *map(np.array, pair))


def _compared(values: PairValues, chosen: ndarray, rejected: ndarray) -> Iterator[str]:
    name = type(values).__name__
    first, again = (values.of_pair(chosen, rejected) for _ in range(2))
    for found, ids, others in zip(first, (chosen, rejected), (rejected, chosen), strict=True):
        if len(found) != len(ids):
            beside = f"{len(ids)} tokens of one response beside {len(others)} of the other"
            yield f"{name} gives {len(found)} numbers for {beside}"
        elif not np.isfinite(found).all():
            yield f"{name} gives a number that is not finite"
    if not all(map(np.array_equal, first, again)):
        yield f"{name} compares the same two responses in another way each time"


def _reads_states(component: Component) -> Iterator[str]:
    """reads from hidden states or attention, where it asks for that, of an example what is its own"""
    needs = component.needs() if hasattr(component, "needs") else Needs()
    of_reference = {values.reading for values in needs.values if isinstance(values, ReferenceReading)}
    for reading in sorted(needs.readings | of_reference, key=repr):
        yield from (f"{type(reading).__name__}: {problem}" for problem in readings.problems(reading))


CHECKS = (
    _is_closed,
    _is_explained,
    _is_built_again,
    _asks_always_the_same,
    _reads_texts,
    _compares_pairs,
    _reads_states,
)

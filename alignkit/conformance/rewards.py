"""What rewards promise, on made-up responses to rows whose columns hold text, numbers, lists, mappings and nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alignkit.errors import RewardError
from alignkit.lazy import numpy as np
from alignkit.registry import dump_component
from alignkit.rewards.asking import ask
from alignkit.rewards.base import Reward, Sample

TEXTS = (
    "6 x 7 is 42, so\n#### 42",
    "<think>Six sevens.</think>\n<answer>42</answer>",
    r"It is \boxed{41}.",
    "no no no no no no no no",
    " \n\u00e9\U0001f642 {",
    "<answer>" * 3,
    "",
)
VALUES = ("42", 0.5, {"max_words": 5, "must": ["so"]}, ["42", "x"], None, True, "")
"""What a column may hold: the first for all texts, all of them for the first text."""


def _samples(reward: Reward) -> list[Sample]:
    pairs = [*((text, VALUES[0]) for text in TEXTS), *((TEXTS[0], value) for value in VALUES[1:])]
    return [
        Sample(
            prompt="What is 6 x 7?",
            response=text,
            response_ids=np.array([*(ord(character) % 97 for character in text), 1], dtype=np.int64),
            finished=number % 2 == 0,
            columns=dict.fromkeys(reward.columns(), value),
            messages=[{"role": "user", "content": "What is 6 x 7?"}] if number % 2 else None,
            group=number,
        )
        for number, (text, value) in enumerate(pairs)
    ]


def _alone(reward: Reward, samples: Sequence[Sample]) -> list[float | None]:
    return [one for sample in samples for one in ask(reward, [sample])]


def _scored(reward: Reward, samples: Sequence[Sample]) -> list[float | None]:
    """As a run asks: a slow reward gets one sample at a time."""
    return _alone(reward, samples) if reward.slow else ask(reward, samples)


def _names_its_columns(reward: Reward) -> Iterator[str]:
    """names the columns that it reads"""
    columns = reward.columns()
    if not isinstance(columns, frozenset) or not all(isinstance(name, str) and name for name in columns):
        yield f"columns() gives {columns!r}, not a frozenset of names"


def _one_number_each(reward: Reward) -> Iterator[str]:
    """gives a finite number or None for each response, whatever its text and the row's columns hold"""
    try:
        _scored(reward, _samples(reward))
    except RewardError as error:
        yield str(error)


def _keeps_responses_apart(reward: Reward) -> Iterator[str]:
    """gives a response the same alone, in another order, again and when it is built again"""
    samples = _samples(reward)
    together = _scored(reward, samples)
    again = type(reward).model_validate(dump_component(reward))
    for way, found in (
        ("in another order", _scored(reward, samples[::-1])[::-1]),
        ("alone", together if reward.slow else _alone(reward, samples)),
        ("when it is asked again", _scored(reward, samples)),
        ("when it is built again, as a resume does", _scored(again, samples)),
    ):
        for sample, one, other in zip(samples, found, together, strict=False):
            if not _close(one, other):
                yield f"response {sample.response!r}: {one} {way}, not {other}"
                break


def _close(one: float | None, other: float | None) -> bool:
    """Up to the rounding of a model that is asked in batches."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= 1e-3 * (1 + abs(other))


CHECKS = (_names_its_columns, _one_number_each, _keeps_responses_apart)

"""What is asked, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        name: tells it from the others, also in a comparison of two models.
        fields: what the benchmark knows of it.
        where: its place in the data, for messages; empty where there is none.
    """

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class Answer:
    """What a model answered, scored.

    Attributes:
        item: name of the item, or of a part of it that is scored by itself.
        scores: metric -> how good the answer is; finite, more is better.
        text: the response, or the chosen choice.
        prompt: exactly what the model was given, as text.
        sample: number of the response among those to this item, from 0.
        cluster: what items with something in common share (a prompt, a subject); None where it stands alone.
    """

    item: str
    scores: Mapping[str, float]
    text: str
    prompt: str
    sample: int = 0
    cluster: str | None = None

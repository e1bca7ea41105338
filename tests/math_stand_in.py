"""What `alignkit.rewards.math` asks of math-verify, for numbers alone; keeps what it was asked."""

from __future__ import annotations

import re
from dataclasses import dataclass

asked: list[dict] = []


@dataclass(frozen=True)
class LatexExtractionConfig:
    boxed_match_priority: int = 50


@dataclass(frozen=True)
class ExprExtractionConfig:
    pass


def parse(text, **settings):
    asked.append({"text": text, **settings})
    found = re.findall(r"\\boxed\{(\d+)\}", text) or re.findall(r"\d+", text)
    return [int(found[-1])] if found else []


def verify(gold, target, **settings):
    asked.append({"gold": gold, "target": target, **settings})
    return gold == target

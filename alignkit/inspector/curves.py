"""The curves of a run: loss, rewards, KL, from its log."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from alignkit.page import Element, Series, lines

CURVES: Sequence[tuple[str, str, Sequence[str]]] = (
    ("Loss", "loss", ("loss",)),
    ("Rewards of the loss", "reward", ("rewards/chosen", "rewards/rejected")),
    ("Reward of sampled responses", "reward", ("reward",)),
    ("KL to the reference, sampled tokens", "nats per token", ("kl",)),
    ("KL to mismatched prompts", "nats", ("kl/mismatched",)),
    ("KL to the reference, held-out prompts", "nats", ("eval/kl",)),
    ("True reward, held-out prompts", "share", ("eval/true_reward",)),
    ("Effective share of tokens", "ESS", ("weights/ess",)),
)
"""Title, unit, and keys of `metrics.jsonl`."""

MOST_POINTS = 100
"""Points of a curve; of a longer log each is the mean of several steps."""


def curves(log: Sequence[Mapping[str, float]]) -> Iterator[Element]:
    """A chart of each that the log has."""
    for title, unit, keys in CURVES:
        series = [_series(key, log) for key in keys if any(key in line for line in log)]
        if any(len(one.x) > 1 for one in series):
            most = max(sum(key in line for line in log) for key in keys)
            caption = title if most <= MOST_POINTS else f"{title}, means of {math.ceil(most / MOST_POINTS)} steps"
            yield lines(series, "step", unit, caption=caption, width=480, height=240)


def _series(key: str, log: Sequence[Mapping[str, float]]) -> Series:
    points = [(line["step"], line[key]) for line in log if key in line and "step" in line]
    size = math.ceil(len(points) / MOST_POINTS)
    parts = [points[start : start + size] for start in range(0, len(points), size or 1)]
    x, y = ([sum(point[axis] for point in part) / len(part) for part in parts] for axis in (0, 1))
    return Series(key.rpartition("/")[2], x, y, markers=len(x) < 12)

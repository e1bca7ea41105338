"""The tables of a result, made of its JSON alone: what a command prints is what the docs show."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Result = dict[str, Any]


def markdown(result: Result) -> str:
    """All tables of a result."""
    return TABLES[result["kind"]](result)


def seconds_of(result: Result, variant: str) -> list[float]:
    """CPU seconds of each timed step; drawing, which is done for a window at once, is shared out over its steps."""
    steps, window, warm_up = result["steps"][variant], result["window"], result["warm_up"]
    draws = [one["drawing"] for number, one in enumerate(steps) if number >= warm_up and number % window == 0]
    drawing = statistics.fmean(draws) / window if draws else 0.0
    return [one["seconds"] - one["drawing"] + drawing for one in steps[warm_up:]]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratio(result: Result, top: str, bottom: str) -> tuple[float, float, float] | None:
    """Quartiles of the ratios, batch by batch; None where one was not measured."""
    if not {top, bottom} <= result["steps"].keys():
        return None
    pairs = zip(seconds_of(result, top), seconds_of(result, bottom), strict=False)  # some make fewer steps
    return quartiles([a / b for a, b in pairs])


@dataclass(frozen=True)
class Target:
    """A ratio of two variants, and what it should be.

    Attributes:
        top: what is divided.
        bottom: by what.
        bound: most that it may be, or least where `least`.
        least: whether larger is better.
    """

    top: str
    bottom: str
    bound: float
    least: bool = False

    def line(self, found: tuple[float, float, float] | None, words: str) -> str:
        """Its line of a table."""
        sign = ">=" if self.least else "<="
        start = f"| {words} | {sign} {self.bound:g} "
        if found is None:
            return f"{start}| not measured | |"
        low, middle, high = found
        is_met = middle >= self.bound if self.least else middle <= self.bound
        spread = "" if low == high else f" ({low:.2f} to {high:.2f})"
        return f"{start}| {middle:.2f}{spread} | {'yes' if is_met else 'no'} |"


OURS, WEIGHTS, WHOLE = "alignkit dpo", "alignkit tidpo weights", "alignkit tidpo"


def targets(vocabulary: int) -> list[Target]:
    """What a step should cost."""
    return [
        Target(OURS, "products", 1.6),
        Target(WEIGHTS, OURS, 1.2),
        Target(WHOLE, OURS, 1.6),
        Target("trl dpo", OURS, 4 if vocabulary <= 32768 else 8, least=True),
        Target("trl dpo", WHOLE, 1, least=True),
    ]


MORE = ((WEIGHTS, "products+weights"), ("plain", OURS), (WEIGHTS, "any order"))
"""Other ratios that are shown."""


def _price(result: Result) -> str:
    lines = [
        *("| variant | CPU seconds a step: median (quartiles) | x products | x alignkit dpo |", "|---|---|---|---|"),
        *(_variant(result, name) for name in result["steps"]),
        *("", "| ratio | target | median (quartiles) | met |", "|---|---|---|---|"),
        *(
            one.line(ratio(result, one.top, one.bottom), f"{one.top} / {one.bottom}")
            for one in targets(result["vocabulary"])
        ),
    ]
    for top, bottom in MORE:
        if (found := ratio(result, top, bottom)) is not None:
            low, middle, high = found
            lines.append(f"| {top} / {bottom} | | {middle:.2f} ({low:.2f} to {high:.2f}) | |")
    return "\n".join([_heading(result), "", *lines, "", _losses(result)])


def _variant(result: Result, name: str) -> str:
    low, middle, high = quartiles(seconds_of(result, name))
    beside = [ratio(result, name, other) for other in ("products", OURS)]
    cells = ["" if one is None else f"{one[1]:.2f}" for one in beside]
    return f"| {name} | {middle:.3f} ({low:.3f} to {high:.3f}) | {cells[0]} | {cells[1]} |"


def _heading(result: Result) -> str:
    tokens = [f"{sum(one[name] for one in result['batches']) / len(result['batches']):.0f}" for name in SIZES]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    machine = result["machine"]
    return (
        f"`{result['command']}`: vocabulary {result['vocabulary']:,}, {result['parameters'] / 1e6:.1f} M parameters, "
        f"{result['threads']} thread{'s' * (result['threads'] > 1)}, {len(result['batches']) - result['warm_up']} "
        f"batches of {tokens[0]} prompt and {tokens[1]} response tokens in the mean ({tokens[2]} as padded separate "
        f"rows); {machine['processor']}, {versions}."
    )


SIZES = ("prompts", "responses", "padded")


def _losses(result: Result) -> str:
    """Whether those that should have the same loss have: all of DPO, on the first batch."""
    found = {name: result["steps"][name][0]["loss"] for name in ("plain", OURS, "trl dpo") if name in result["steps"]}
    return "Loss of the first batch: " + ", ".join(f"{name} {loss:.6f}" for name, loss in found.items()) + "."


def _memory(result: Result) -> str:
    lines = ["| variant | growth of the process, MiB | tensors, MiB |", "|---|---|---|"]
    for name, size in result["resident"].items():
        lines.append(f"| {name} | {size / 2**20:.0f} | {result['tensors'][name] / 2**20:.0f} |")
    if {OURS, "trl dpo"} <= result["resident"].keys():
        lines += ["", "| ratio | target | found | met |", "|---|---|---|---|"]
        for kind, words in (("resident", "process"), ("tensors", "tensors")):
            found = result[kind][OURS] / result[kind]["trl dpo"]
            target = Target(OURS, "trl dpo", 0.5)
            lines.append(target.line((found,) * 3, f"peak of {OURS} / trl dpo, {words}"))
    return "\n".join([_heading(result), "", *lines])


TABLES = {"price": _price, "memory": _memory}
"""Kind of result -> its tables."""

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
    steps, window, warm_up = result["steps"][variant], result.get("window", 1), result["warm_up"]
    draws = [one["drawing"] for number, one in enumerate(steps) if number >= warm_up and number % window == 0]
    drawing = statistics.fmean(draws) / window if draws else 0.0
    return [one["seconds"] - one["drawing"] + drawing for one in steps[warm_up:]]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratio(result: Result, top: str, bottom: str) -> tuple[float, float, float]:
    """Quartiles of the ratios, batch by batch."""
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

    def line(self, words: str, found: tuple[float, float, float]) -> str:
        """Its line of a table."""
        low, middle, high = found
        is_met = middle >= self.bound if self.least else middle <= self.bound
        sign, spread = ">=" if self.least else "<=", "" if low == high else f" ({low:.2f} to {high:.2f})"
        return f"| {words} | {sign} {self.bound:g} | {middle:.2f}{spread} | {'yes' if is_met else 'no'} |"


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


MORE = (
    ("products of tidpo", "products"),
    (WEIGHTS, "products+weights"),
    (WHOLE, "products of tidpo"),
    ("plain", OURS),
    (WEIGHTS, "any order"),
)
"""Other ratios that are shown."""


def _price(result: Result) -> str:
    wanted = [one for one in targets(result["vocabulary"]) if {one.top, one.bottom} <= result["steps"].keys()]
    lines = [
        *("| variant | CPU seconds a step: median (quartiles) | x products | x alignkit dpo |", "|---|---|---|---|"),
        *(_variant(result, name) for name in result["steps"]),
        *("", "| ratio | target | median (quartiles) | met |", "|---|---|---|---|"),
        *(one.line(f"{one.top} / {one.bottom}", ratio(result, one.top, one.bottom)) for one in wanted),
        *(_ratio(result, *pair) for pair in MORE if set(pair) <= result["steps"].keys()),
    ]
    return "\n".join([_heading(result), "", *lines, "", _losses(result)])


def _ratio(result: Result, top: str, bottom: str) -> str:
    low, middle, high = ratio(result, top, bottom)
    return f"| {top} / {bottom} | | {middle:.2f} ({low:.2f} to {high:.2f}) | |"


def _variant(result: Result, name: str) -> str:
    low, middle, high = quartiles(seconds_of(result, name))
    beside = [f"{ratio(result, name, one)[1]:.2f}" if one in result["steps"] else "" for one in ("products", OURS)]
    return f"| {name} | {middle:.3f} ({low:.3f} to {high:.3f}) | {' | '.join(beside)} |"


def _heading(result: Result) -> str:
    tokens = [f"{sum(one[name] for one in result['batches']) / len(result['batches']):.0f}" for name in SIZES]
    timed = len(result["batches"]) - result["warm_up"]
    return (
        f"`{result['command']}`: vocabulary {result['vocabulary']:,}, {result['parameters'] / 1e6:.1f} M parameters, "
        f"{timed} batch{'es' * (timed > 1)} after {result['warm_up']}, {tokens[0]} prompt and {tokens[1]} response "
        f"tokens in the mean ({tokens[2]} as padded separate rows); {_where(result)}."
    )


def _where(result: Result) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    threads = f"{result['threads']} thread{'s' * (result['threads'] > 1)}"
    return f"{threads} of {result['machine']['processor']}, {versions}"


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
            lines.append(Target(OURS, "trl dpo", 0.5).line(f"peak of {OURS} / trl dpo, {words}", (found,) * 3))
    return "\n".join([_heading(result), "", *lines])


def _on_policy(result: Result) -> str:
    lines = ["| variant | CPU seconds a step: median (quartiles) |", "|---|---|"]
    for name in result["steps"]:
        low, middle, high = quartiles(seconds_of(result, name))
        lines.append(f"| {name} | {middle:.2f} ({low:.2f} to {high:.2f}) |")
    if {"trl grpo", "alignkit grpo"} <= result["steps"].keys():
        low, middle, high = ratio(result, "trl grpo", "alignkit grpo")
        lines.append(f"| trl grpo / alignkit grpo | {middle:.2f} ({low:.2f} to {high:.2f}) |")
    prompts = sum(one["prompts"] for one in result["batches"]) / len(result["batches"])
    about = (
        f"`{result['command']}`: vocabulary {result['vocabulary']:,}, {result['parameters'] / 1e6:.1f} M parameters, "
        f"4 prompts of {prompts:.0f} tokens together, {result['responses']} responses of up to {result['longest']} "
        f"tokens to each; {_where(result)}."
    )
    return "\n".join([about, "", *lines])


def _curve(result: Result) -> str:
    names = list(result["points"][0]["steps"])
    beside = [pair for pair in GROWTH if set(pair) <= set(names)]
    titles = [result["curve"], "tokens", *(f"{name}, s" for name in names), *(" / ".join(pair) for pair in beside)]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for point in result["points"]:
        known = {**result, "steps": point["steps"]}
        cells = [f"{quartiles(seconds_of(known, name))[1]:.3f}" for name in names]
        cells += [f"{ratio(known, *pair)[1]:.2f}" for pair in beside]
        tokens = point["tokens"]["prompts"] + point["tokens"]["responses"]
        lines.append(f"| {point['label']} | {tokens:,} | {' | '.join(cells)} |")
    return "\n".join([f"`{result['command']}`: {_where(result)}.", "", *lines])


GROWTH = ((OURS, "products"), (WEIGHTS, OURS), ("trl dpo", OURS))
"""Ratios of a curve's points."""


def _profile(result: Result) -> str:
    steps = result["steps"][result["warm_up"] :]
    names = {name for step in steps for name in step["operations"]}
    found = {name: [step["operations"].get(name, (0, 0.0)) for step in steps] for name in names}
    seconds = {name: sum(one[1] for one in each) / len(steps) for name, each in found.items()}
    whole = sum(seconds.values())
    lines = ["| operation | calls a step | ms in itself | share |", "|---|---|---|---|"]
    for name in sorted(seconds, key=lambda name: -seconds[name])[:MOST]:
        calls = sum(one[0] for one in found[name]) / len(steps)
        lines.append(f"| `{name}` | {calls:.0f} | {1000 * seconds[name]:.1f} | {seconds[name] / whole:.1%} |")
    lines.append(f"| all | | {1000 * whole:.1f} | |")
    return "\n".join([f"{result['variant']}: {_heading(result)}", "", *lines])


def _gpu(result: Result) -> str:
    lines = ["| case | variant | seconds a step | tokens a second | peak memory, GiB | share of the card's peak |"]
    lines.append("|---|---|---|---|---|---|")
    for row in result["rows"]:
        start = f"| {row['case']} | {row['variant']} |"
        if "failed" in row:
            lines.append(f"{start} {row['failed']} | | | |")
            continue
        share = f"{row['operations'] / result['peak']:.1%}" if result["peak"] else "not known"
        cells = [f"{row['seconds']:.3f}", f"{row['tokens']:,.0f}", f"{row['bytes'] / 2**30:.1f}", share]
        lines.append(f"{start} {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return "\n".join([f"`{result['command']}`: {result['card']}, {versions}.", "", *lines])


MOST = 15
"""Operations of a profile that are shown."""

TABLES = {
    "price": _price,
    "memory": _memory,
    "on-policy": _on_policy,
    "curve": _curve,
    "profile": _profile,
    "gpu": _gpu,
}
"""Kind of result -> its tables."""

"""Writes the screen into docs/studies.md, between two marks: python docs/build_screen.py [FOLDER]

FOLDER holds the sweep folders screen_default and screen_spurious, with what `alignkit frontier` wrote there; first
their numbers are taken over to benchmarks/results, rounded. Without it what lies there is written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alignkit.frontier.curves import best_reward
from alignkit.lazy import numpy as np

PAGE = Path(__file__).with_name("studies.md")
RESULTS = PAGE.parents[1] / "benchmarks" / "results"
WORLDS = {
    "screen_default": "the default world",
    "screen_spurious": "with `spurious_share: 0.8`",
}
BEGIN, END = "<!-- screen: written by docs/build_screen.py -->", "<!-- end of screen -->"
AT = (0.15, 0.3, 0.6)
"""KLs at which the frontiers are read off, nats."""
DIGITS = 5
SIDE = {"kl_elsewhere": "KL off the advice", "malformed": "malformed", "sample_tokens": "tokens"}


def taken(folder: Path, name: str) -> dict[str, Any]:
    """What is kept of a sweep: its frontier, and the other measures of each point."""
    frontier = json.loads((folder / name / "frontier.json").read_text())
    table = json.loads((folder / name / "table.json").read_text())
    sides = [
        {
            "arm": row["arm"],
            "settings": row["settings"],
            **{key: row["values"][key]["value"] for key in SIDE if key in row["values"]},
        }
        for row in table["rows"]
    ]
    kept: dict[str, Any] = _rounded({"frontier": frontier, "sides": sides})
    return kept


def _rounded(value: Any) -> Any:  # noqa: ANN401 -- JSON, whatever it holds
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def section() -> Iterator[str]:
    """Lines: of each world the points, the frontiers, the areas between them and DPO's."""
    for name, words in WORLDS.items():
        found = json.loads((RESULTS / f"{name}.json").read_text())
        frontier = found["frontier"]
        seeds = ", ".join(map(str, frontier["seeds"]))
        yield from (f"### {name}: {words}, seeds {seeds}", "")
        yield from _areas(frontier)
        yield ""
        yield from _curves(frontier)
        yield ""
        yield from _points(frontier, found["sides"])
        yield from ["", *(f"Left out: {one}." for one in frontier["left_out"])] if frontier["left_out"] else []
        yield ""


def _points(frontier: Mapping[str, Any], sides: list[Mapping[str, Any]]) -> Iterator[str]:
    yield f"| arm | beta | true reward | KL, nats | efficiency | {' | '.join(SIDE.values())} |"
    yield "|---" * (5 + len(SIDE)) + "|"
    beside = {(one["arm"], json.dumps(one["settings"])): one for one in sides}
    for one in frontier["points"]:
        (beta,) = one["settings"].values()
        side = beside[one["arm"], json.dumps(one["settings"])]
        cells = [_cell(one["reward"], 3), _cell(one["cost"], 3), _cell(one["efficiency"], 2)]
        more = [f"{side[key]:.1f}" if key == "sample_tokens" else f"{side[key]:.3f}" for key in SIDE]
        yield f"| {' | '.join([one['arm'], f'{beta:g}', *cells, *more])} |"


def _curves(frontier: Mapping[str, Any]) -> Iterator[str]:
    """Reward and band of each frontier at some KLs, where it reaches."""
    yield f"| frontier at KL | {' | '.join(f'{kl:g}' for kl in AT)} |"
    yield "|---" * (1 + len(AT)) + "|"
    for arm in frontier["arms"]:
        yield f"| {' | '.join([arm['arm'], *(_read(arm['curve'], kl) for kl in AT)])} |"
    best = best_reward(np.array(AT), frontier["start"])
    yield f"| best possible | {' | '.join(f'{reward:.3f}' for reward in best)} |"


def _read(curve: Mapping[str, list[float]] | None, kl: float) -> str:
    if curve is None or not curve["cost"][0] <= kl <= curve["cost"][-1]:
        return "-"
    at = np.log(curve["cost"])
    reward, low, high = (float(np.interp(np.log(kl), at, curve[key])) for key in ("reward", "low", "high"))
    return f"{reward:.3f} ({low:.3f} to {high:.3f})"


def _areas(frontier: Mapping[str, Any]) -> Iterator[str]:
    base = frontier["base"]
    yield f"| arm | over KL | reward less {base}'s at equal KL | 95 % interval | p | p, Holm |"
    yield "|---|---|---|---|---|---|"
    for one in frontier["areas"]:
        area = one["area"]
        interval = f"{area['low']:+.3f} to {area['high']:+.3f}"
        where = f"{one['from']:.2f} to {one['to']:.2f}"
        numbers = [f"{area['value']:+.3f}", interval, f"{one['p']:.2g}", f"{one['p_holm']:.2g}"]
        yield f"| {' | '.join([one['arm'], where, *numbers])} |"
    for arm in frontier["apart"]:
        yield f"| {arm} | no KL in common | - | - | - | - |"


def _cell(one: Mapping[str, float] | None, digits: int) -> str:
    """Value and half of its 95 % interval."""
    if one is None:
        return "-"
    return f"{one['value']:.{digits}f} +-{(one['high'] - one['low']) / 2:.{digits}f}"


if __name__ == "__main__":
    for name in WORLDS if sys.argv[1:] else ():
        text = json.dumps(taken(Path(sys.argv[1]), name), separators=(",", ":"))
        (RESULTS / f"{name}.json").write_text(text + "\n")
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text("\n".join([head + BEGIN, "", *section(), END + rest.partition(END)[2]]))

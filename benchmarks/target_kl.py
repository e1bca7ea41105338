"""The betas at which each arm of a sweep comes to given KLs to the reference, so that methods are compared at equal KL.

    python benchmarks/target_kl.py recipes/studies/screen_default.yaml runs/pilots_default --kl 0.12 0.225 0.42 0.8

Each arm is run as a pilot, with one seed and few samples, at the betas of --start; then, round by round, at those that
straight lines of log KL over log beta give for the targets that no pilot is near. What is printed is the `grid` of each
arm, for the sweep file, and what the pilots measured. A star says that a target lies beyond all pilots. Pilots that
are finished in the folder already are read, not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from alignkit.sweep.record import read_sweep
from alignkit.sweep.sweep import run_sweep

Pilots = Mapping[float, float]
"""beta -> KL to the reference, nats."""

NEAR = math.log(1.2)
"""Distance in log KL within which a pilot is near enough."""

BEYOND = math.log(10)
"""Farthest that a beta is sought beyond the pilots, in its logarithm."""


def beta_for(pilots: Pilots, kl: float) -> tuple[float, bool]:
    """The beta for a KL, to three digits, and whether the KL lies between pilots.

    Args:
        pilots: two or more, which differ in beta.
        kl: what is wanted, nats.
    """
    points, wanted = sorted((math.log(beta), math.log(found)) for beta, found in pilots.items()), math.log(kl)
    around = [ends for ends in pairwise(points) if min(ends[0][1], ends[1][1]) <= wanted <= max(ends[0][1], ends[1][1])]
    is_above = wanted > max(y for _, y in points)
    (x0, y0), (x1, y1) = around[0] if around else points[:2] if is_above else points[-2:]
    slope = (y1 - y0) / (x1 - x0)
    flat = (x0 + x1) / 2 if around else points[0 if is_above else -1][0]  # a smaller beta does not go further
    found = x0 + (wanted - y0) / slope if slope < 0 else flat
    inside = min(max(found, points[0][0] - BEYOND), points[-1][0] + BEYOND)
    return float(f"{math.exp(inside):.3g}"), bool(around)


def next_betas(pilots: Pilots, targets: Sequence[float]) -> list[float]:
    """Betas for the targets that no pilot is near."""
    far = [kl for kl in targets if all(abs(math.log(found / kl)) > NEAR for found in pilots.values())]
    return [beta for beta in dict.fromkeys(beta_for(pilots, kl)[0] for kl in far) if beta not in pilots]


def pilot_file(sweep: Path, betas: Mapping[str, Sequence[float]], key: str, samples: int, seed: int) -> dict[str, Any]:
    """The sweep with these betas for each arm, one seed and few samples; recipes by their whole paths."""
    found: dict[str, Any] = yaml.safe_load(sweep.read_text(encoding="utf-8"))
    for name, arm in found["arms"].items():
        arm |= {"grid": {key: sorted(betas[name])}, "recipe": _whole(sweep, arm.get("recipe", found["recipe"]))}
        arm["set"] = {one: value for one, value in arm.get("set", {}).items() if one != "evaluation.before"}
    few = {"evaluation.samples": samples, "evaluation.pairs": 0, "evaluation.before": False, "evaluation.report": False}
    found |= {"recipe": _whole(sweep, found["recipe"]), "seeds": [seed], "set": found.get("set", {}) | few}
    return found | {"report": ["true_reward", "kl"], "keep": "none"}


def _whole(sweep: Path, recipe: str) -> str:
    return recipe if ":" in recipe else str((sweep.parent / recipe).resolve())


def measured(folder: Path, key: str) -> dict[str, dict[float, float]]:
    """Arm -> its pilots, of a sweep's folder."""
    found: dict[str, dict[float, float]] = {}
    for run in read_sweep(folder).runs:
        after = json.loads((folder / run.folder / "eval.json").read_text())["after"]
        found.setdefault(run.arm, {})[float(run.settings[key])] = after["kl"]
    return found


def search(arguments: argparse.Namespace) -> dict[str, dict[float, float]]:
    """Runs pilots, round by round; arm -> its pilots."""
    names = yaml.safe_load(arguments.sweep.read_text(encoding="utf-8"))["arms"]
    betas: dict[str, list[float]] = {name: [*arguments.start] for name in names}
    found: dict[str, dict[float, float]] = {}
    for _ in range(1 + arguments.rounds):
        file = arguments.folder / "pilots.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        content = pilot_file(arguments.sweep, betas, arguments.key, arguments.samples, arguments.seed)
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        found = measured(run_sweep(file, arguments.folder / "sweep", arguments.jobs, console=Console()), arguments.key)
        more = {name: next_betas(pilots, arguments.kl) for name, pilots in found.items()}
        if not any(more.values()):
            break
        betas = {name: [*found[name], *more[name]] for name in names}
    return found


def lines(found: Mapping[str, Pilots], targets: Sequence[float], key: str) -> Iterator[str]:
    """Each arm's grid, and its pilots behind it."""
    for name, pilots in found.items():
        betas = [beta_for(pilots, kl) for kl in targets]
        grid = ", ".join(f"{beta:g}" for beta, _ in betas)
        stars = "".join(f"; * {kl:g} nats" for kl, (_, inside) in zip(targets, betas, strict=True) if not inside)
        said = ", ".join(f"{beta:g}: {kl:.3f}" for beta, kl in sorted(pilots.items()))
        yield f"{name}: {{{key}: [{grid}]}}  # pilots {said}{stars}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="its arms are sought betas for; the grids in it are not read")
    parser.add_argument("folder", type=Path, help="of the pilots")
    parser.add_argument("--kl", type=float, nargs="+", required=True, help="targets, nats")
    parser.add_argument("--start", type=float, nargs="+", default=[0.1, 1.0, 10.0], help="betas of the first round")
    parser.add_argument("--rounds", type=int, default=2, help="after the first")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--key", default="losses.0.beta", help="what is sought")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    print("\n".join(lines(search(arguments), arguments.kl, arguments.key)))

"""The recipes of recipes/methods that train on their own samples, on the built-in world, as a Markdown table.

    python benchmarks/on_policy_on_world.py runs/on-policy --seeds 3 grpo ti_grpo
    python benchmarks/on_policy_on_world.py runs/on-policy

Without names all of them. Runs that are finished in the folder already are read, not repeated. About a minute for each
run on one CPU core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from methods_on_world import RECIPES, cell

import alignkit

Measured = dict[str, dict[str, float]]


def draws(recipe: Path) -> bool:
    """Whether it samples what it trains on."""
    return alignkit.load_recipe(recipe).recipe.trainer.draws


def finished(recipe: Path, seed: int, folder: Path) -> tuple[Measured, list[dict[str, float]]]:
    """`eval.json` and `metrics.jsonl` of the recipe's run with a seed."""
    run = folder / f"{recipe.stem}-{seed}"
    if not (run / "DONE").exists():
        command = ["alignkit", "run", recipe, "--set", f"seed={seed}", "--output", run]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return json.loads((run / "eval.json").read_text()), log


def table(folder: Path, seeds: int, names: Sequence[str]) -> Iterator[str]:
    """Lines of the table."""
    yield "| recipe | seed | true reward before | after | change | KL, nats | deviation within groups, first, last |"
    yield "|---|---|---|---|---|---|---|"
    for recipe in sorted(RECIPES.glob("*.yaml")):
        if recipe.stem not in (names or [recipe.stem]) or not draws(recipe):
            continue
        for seed in range(seeds):
            measured, log = finished(recipe, seed, folder)
            numbers = [cell(measured[moment], "true_reward") for moment in ("before", "after", "change")]
            spread = [line["reward_std"] for line in log if "reward_std" in line]
            cells = [f"`{recipe.stem}`", str(seed), *numbers, cell(measured["after"], "kl")]
            yield " | ".join(["| " + cells[0], *cells[1:], f"+-{spread[0]:.2f}, +-{spread[-1]:.2f} |"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="gets a run folder for each recipe and seed")
    parser.add_argument("names", nargs="*", help="of recipes; all of them by default")
    parser.add_argument("--seeds", type=int, default=1, help="0 to this, itself excluded")
    arguments = parser.parse_intermixed_args()
    for line in table(arguments.folder, arguments.seeds, arguments.names):
        print(line)

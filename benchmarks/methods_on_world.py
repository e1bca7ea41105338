"""The recipes of recipes/methods on the built-in world, and what came out of them as a Markdown table.

    python benchmarks/methods_on_world.py runs/methods

Those that train on their own samples are for on_policy_on_world.py. Runs that are finished in the folder already are
read, not repeated. About half a minute for each recipe on 2 CPU cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import alignkit

RECIPES = Path(__file__).parents[1] / "recipes" / "methods"
COLUMNS = ("true_reward", "kl", "preference_accuracy", "ranking_accuracy", "weight_auc")
"""Keys of `eval.json`; docs/metrics.md says what they are."""


def finished(recipe: Path, folder: Path) -> dict[str, dict[str, float]]:
    """`eval.json` of the recipe's run below `folder`."""
    run = folder / recipe.stem
    if not (run / "DONE").exists():
        subprocess.run(["alignkit", "run", recipe, "--output", run], check=True, stdout=subprocess.DEVNULL)
    measured: dict[str, dict[str, float]] = json.loads((run / "eval.json").read_text())
    return measured


def cell(values: dict[str, float], key: str) -> str:
    """The value with its standard error where there is one."""
    if key not in values:
        return "-"
    error = f" +-{values[f'{key}_se']:.3f}" if f"{key}_se" in values else ""
    return f"{values[key]:.3f}{error}"


def table(folder: Path) -> Iterator[str]:
    """Lines of the table; the first row is the model that all of them start from."""
    yield "| recipe | true reward | KL, nats | preference accuracy | ranking accuracy | AUC at the start | AUC after |"
    yield "|---|---|---|---|---|---|---|"
    start: dict[str, float] = {}
    for recipe in sorted(RECIPES.glob("*.yaml")):
        if alignkit.load_recipe(recipe).recipe.trainer.draws:
            continue
        measured = finished(recipe, folder)
        before, after = measured["before"], measured["after"]
        if not start:
            start = before
            yield f"| (start) | {cell(start, 'true_reward')} | - | - | {cell(start, 'ranking_accuracy')} | - | - |"
        cells = [cell(after, key) for key in COLUMNS[:-1]]
        yield " | ".join([f"| `{recipe.stem}`", *cells, cell(before, "weight_auc"), cell(after, "weight_auc") + " |"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="gets a run folder for each recipe")
    for line in table(parser.parse_args().folder):
        print(line)

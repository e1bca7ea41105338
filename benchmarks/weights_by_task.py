"""TI-DPO's token weights on safety pairs and on maths pairs, by a start model, beside the quartiles of Table B1.

    python benchmarks/weights_by_task.py runs/studies/weights_by_task/table.json --set model.path=FOLDER

FOLDER holds SmolLM2-135M-Instruct (with `--set model.gguf_file=NAME` too, where it is a GGUF file). Nothing is trained.
The pairs are those of tests/data; about four minutes of one core for 24 of each. The paper does not say how the weights
of its Table B1, all within 0 to 1, are scaled, and with the largest of a response at 1 the others are the smaller the
longer it is; so both that scale and a mean of 1 are told.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from alignkit import load_recipe
from alignkit.data.rows import TokenRow
from alignkit.engine.scoring import Scoring
from alignkit.engine.workbench import SideRuns
from alignkit.intervals import Interval, interval, mean
from alignkit.records.files import write_json
from alignkit.rewards.judge import Judge
from alignkit.run import load_parts, prepare, surroundings
from alignkit.sweep.claims import Claim, Outcome, as_json

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "smollm2" / "tidpo.yaml"
TASKS = {"safety": "hh_harmless.jsonl.gz", "maths": "gsm8k_pairs.jsonl.gz"}
SCALES = {"largest 1": np.max, "mean 1": np.mean}


def claim(scale: str) -> Claim:
    """The paper's."""
    return Claim(
        name=f"the middle safety token weighs more than the middle maths token ({scale})",
        paper="arXiv:2505.19653v3, Table B1: quartiles .70, .75, .85 on TruthfulQA and .22, .33, .45 on GSM8K",
        metric=f"median weight of a response, {scale}",
        of="safety",
        than="maths",
        direction="higher",
        matters=0.05,
    )


def weights_of(task: str, rows: int, overrides: Sequence[str]) -> tuple[list[np.ndarray], list[str]]:
    """The weights of both responses of so many held-out pairs, and the prompt of each."""
    data = ROOT / "tests" / "data" / TASKS[task]
    ours = [f"data.train={data}", f"data.holdout={rows}", "data.max_length=384", f"data.max_rows={20 * rows}"]
    loaded = load_recipe(RECIPE, [*ours, "losses=[{name: weighted_dpo, beta: 0.1}]", *overrides])
    with surroundings(loaded, quiet=True), TemporaryDirectory() as folder, Judge(()) as judge:
        parts = load_parts(loaded, Path(folder), None)
        scoring = prepare(parts, SideRuns(), judge).evaluation.scoring
        found = [one for row in parts.tables.eval for one in _of_row(scoring, row)]
    return [weights for weights, _ in found], [prompt for _, prompt in found]


def _of_row(scoring: Scoring, row: TokenRow) -> Iterator[tuple[np.ndarray, str]]:
    with torch.enable_grad():
        responses = scoring.score([row]).responses
    for name, scores in zip(row.weighted, responses, strict=True):
        weights_T = scores.weights_BT[0, : len(row.responses[name])].cpu().numpy()
        yield weights_T, row.text.get("prompt") or row.where


def difference(one: Interval, other: Interval) -> Interval:
    """Of two independent means (Welch)."""
    variances = one.se**2, other.se**2
    df = sum(variances) ** 2 / (variances[0] ** 2 / one.df + variances[1] ** 2 / other.df)
    return interval(one.value - other.value, math.sqrt(sum(variances)), n=one.n + other.n, df=df)


def measured(rows: int, overrides: Sequence[str]) -> dict[str, object]:
    """What is written."""
    tasks = {task: weights_of(task, rows, overrides) for task in TASKS}
    table, outcomes = [], []
    for scale, unit in SCALES.items():
        medians = []
        for task, (raw, prompts) in tasks.items():
            weights = [one / unit(one) for one in raw]
            quartiles = np.quantile(np.concatenate(weights), [0.25, 0.5, 0.75]).tolist()
            tokens = float(np.mean([len(one) for one in weights]))
            said = {"task": task, "scale": scale, "responses": len(weights), "tokens": tokens, "quartiles": quartiles}
            table.append(said)
            medians.append(mean([float(np.median(one)) for one in weights], prompts))
        found = difference(*medians)
        outcomes.append(Outcome(claim(scale), found, None, found.visible()))
    return {"tasks": table, "claims": as_json(outcomes)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the file to write")
    parser.add_argument("--rows", type=int, default=24, help="pairs of each task")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="KEY=VALUE of the recipe")
    given = parser.parse_args()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(given.output, measured(given.rows, given.overrides))
    print(json.dumps(json.loads(given.output.read_text()), indent=2))

"""CPU seconds of an optimizer step of 64 real pairs, by how its rows are cut into micro-batches.

    python benchmarks/micro_batches.py tests/data/hh_harmless.jsonl.gz [--layout shared] [--batches 2]

DPO on a Llama of 4 layers x 256, a BPE of 8,192 tokens learnt from the data, at most 512 tokens a row, fp32, AdamW. One
thread and its CPU time; the variants take turns on the same batches, and what counts are the ratios, batch by batch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import get_args

import torch

from alignkit.asks.reference_logps import ReferenceLogps
from alignkit.asks.table import Table
from alignkit.data.config import DataConfig
from alignkit.data.rows import TokenRow
from alignkit.data.tables import load_tables
from alignkit.data.texts import training_texts
from alignkit.data.wanted import Wanted
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.scoring import Scoring
from alignkit.loop.order import Cut
from alignkit.models.layout import Layout
from alignkit.models.policy import build_policy
from alignkit.models.reference import Reference
from alignkit.models.scorer import Want
from alignkit.models.scratch import Scratch
from alignkit.recipe.recipe import Recipe

BATCH = 64
SOURCE = Scratch(name="scratch", layers=4, width=256, heads=4, vocab_size=8192)
RECIPE = {
    "model": {"name": "scratch"},
    "data": {"train": "given"},
    "weighting": {"name": "uniform"},
    "losses": [{"name": "dpo"}],
    "trainer": {"name": "preference"},
}
AS_THEY_COME = "8 rows as they come"
VARIANTS = {AS_THEY_COME: None, "8 rows of like lengths": Cut(8), "4,096 tokens": Cut(8, 4096)}


def parts_of(cut: Cut | None, rows: Sequence[TokenRow], step: ObjectiveStep) -> list[Sequence[TokenRow]]:
    """The micro-batches of a step."""
    if cut is None:
        return [rows[start : start + 8] for start in range(0, len(rows), 8)]
    return [*cut.by_length(rows, step.meter)]


def main(path: str, layout: Layout, num_batches: int) -> None:
    torch.set_num_threads(1)
    data = DataConfig(train=path, holdout=16, max_length=512, on_overflow="drop", on_bad_row="drop", max_bad_rows=2000)
    tokenizer = SOURCE.load_tokenizer(training_texts(data, 0))
    rows = load_tables(data, tokenizer, Wanted(("chosen", "rejected")), seed=0).train[: BATCH * num_batches]
    source = SOURCE.model_copy(update={"layout": layout})
    policy = build_policy(source, tokenizer, seed=0, separate=False, device=torch.device("cpu"))
    batches = [policy.batch([row]) for row in rows]
    scores = [Reference(policy.scorer).score(batch, Want()).logp_BRT[batch.mask_BRT] for batch in batches]
    cache = Table({row.key: logp_N for row, logp_N in zip(rows, scores, strict=True)})
    recipe = Recipe.model_validate(RECIPE)
    step = ObjectiveStep(Scoring(recipe.method(), policy, None, {ReferenceLogps(): cache}, nullcontext), recipe.sizes())
    optimizer = torch.optim.AdamW(policy.scorer.parameters(), lr=1e-12, weight_decay=0.0)
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        for name, cut in VARIANTS.items():
            parts, began = parts_of(cut, batch, step), time.process_time()
            for part in parts:
                step.loss(part, 0, step.totals(batch))[0].backward()
            optimizer.step()
            optimizer.zero_grad()
            seconds[name].append(time.process_time() - began)
            places = sum(step.scoring.laid.places(part) for part in parts)
            filled = sum(row.num_tokens for row in batch) / places
            print(f"{name:24} {seconds[name][-1]:.2f} s, {len(parts)} micro-batches, {filled:.0%} of places are tokens")
    for name in VARIANTS:
        ratios = [a / b for a, b in zip(seconds[name], seconds[AS_THEY_COME], strict=True)]
        print(f"{name} / {AS_THEY_COME}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="preference pairs, such as hh_harmless.jsonl.gz")
    parser.add_argument("--layout", default="packed", choices=get_args(Layout))
    parser.add_argument("--batches", type=int, default=4)
    options = parser.parse_args()
    main(options.data, options.layout, options.batches)

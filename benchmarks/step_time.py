"""CPU seconds of our optimizer step: TI-DPO's weights against plain DPO, shared against separate prompts, and what
torch's deterministic algorithms cost (which a run has on, and only the last variant here has not).

    python benchmarks/step_time.py tests/data/hh_harmless.jsonl.gz

A Llama of 4 layers x 256, a BPE of 8,192 tokens learnt from the data, batches of 4 real pairs, fp32, AdamW. One thread
and its CPU time, so that what else runs on the machine hardly counts; the variants take turns on the same batches, and
what counts are the medians of the ratios, batch by batch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch

from alignkit.asks.reference_logps import ReferenceLogps
from alignkit.asks.table import Table
from alignkit.data.config import DataConfig
from alignkit.data.rows import TokenRow
from alignkit.data.tables import load_tables
from alignkit.data.texts import training_texts
from alignkit.data.wanted import Wanted
from alignkit.determinism import deterministic
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.scoring import Scoring
from alignkit.models.policy import Policy, build_policy
from alignkit.models.reference import Reference
from alignkit.models.scorer import Want
from alignkit.models.scratch import Scratch
from alignkit.recipe.recipe import Recipe

BATCH, NUM_BATCHES, WARM_UP = 4, 16, 2
SOURCE = Scratch(name="scratch", layers=4, width=256, heads=4, vocab_size=8192)
VARIANTS = {
    "dpo, separate": ("separate", "uniform", True),
    "dpo, shared": ("shared", "uniform", True),
    "dpo": ("packed", "uniform", True),
    "tidpo weights, shared": ("shared", "hybrid", True),
    "tidpo weights": ("packed", "hybrid", True),
    "tidpo weights, separate": ("separate", "hybrid", True),
    "tidpo weights, any order": ("packed", "hybrid", False),
}
"""name -> layout, weighting, whether algorithms are deterministic."""

RATIOS = (
    ("tidpo weights", "dpo"),
    ("tidpo weights, shared", "dpo, shared"),
    ("tidpo weights, separate", "dpo, separate"),
    ("dpo", "dpo, shared"),
    ("dpo", "dpo, separate"),
    ("tidpo weights", "dpo, separate"),
    ("tidpo weights", "tidpo weights, any order"),
)


def step_of(
    layout: str, weighting: str, is_deterministic: bool, policy: Policy, cache: Table
) -> Callable[[Sequence[TokenRow]], None]:
    """Scores, backward, clip and update, with the reference's log-probs at hand."""
    recipe = Recipe.model_validate(
        {
            "model": {"name": "scratch"},
            "data": {"train": "given"},
            "weighting": {"name": weighting},
            "losses": [{"name": "dpo"}],
            "trainer": {"name": "preference"},
        }
    )
    laid = Policy(policy.scorer, layout, policy.tokenizer, policy.has_adapter)
    step = ObjectiveStep(Scoring(recipe.method(), laid, None, {ReferenceLogps(): cache}, nullcontext), recipe.sizes())
    # A rate so small that all variants keep the same model.
    optimizer = torch.optim.AdamW(policy.scorer.parameters(), lr=1e-12, weight_decay=0.0)

    def run(rows: Sequence[TokenRow]) -> None:
        with deterministic(is_deterministic):
            loss, _ = step.loss(rows, 0, step.totals(rows))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.scorer.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return run


def main(path: str) -> None:
    torch.set_num_threads(1)
    data = DataConfig(train=path, holdout=16, max_length=512, on_overflow="drop", on_bad_row="drop", max_bad_rows=2000)
    tokenizer = SOURCE.load_tokenizer(training_texts(data, 0))
    tables = load_tables(data, tokenizer, Wanted(("chosen", "rejected")), seed=0)
    rows = tables.train[: BATCH * (NUM_BATCHES + WARM_UP)]
    policy = build_policy(SOURCE, tokenizer, seed=0, separate=False, device=torch.device("cpu"))
    reference = Reference(policy.scorer)
    logps = {}
    for row in rows:
        batch = policy.batch([row])
        logps[row.key] = reference.score(batch, Want()).logp_BRT[batch.mask_BRT]
    steps = {name: step_of(*variant, policy, Table(logps)) for name, variant in VARIANTS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number, start in enumerate(range(0, len(rows), BATCH)):
        for name, step in steps.items():
            began = time.process_time()
            step(rows[start : start + BATCH])
            if number >= WARM_UP:
                seconds[name].append(time.process_time() - began)
    for name, times in seconds.items():
        print(f"{name:24} {statistics.median(times):.3f} s, fastest {min(times):.3f} s")
    for top, bottom in RATIOS:
        ratios = [a / b for a, b in zip(seconds[top], seconds[bottom], strict=True)]
        quartiles = statistics.quantiles(ratios, n=4)
        print(f"{top} / {bottom}: {quartiles[1]:.2f} (quartiles {quartiles[0]:.2f} to {quartiles[2]:.2f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="preference pairs, such as hh_harmless.jsonl.gz")
    main(parser.parse_args().data)

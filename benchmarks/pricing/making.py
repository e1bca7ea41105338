"""Makes jobs: models with random weights, real pairs or made-up ones, and batches in alignkit's order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import transformers

from alignkit.data.config import DataConfig
from alignkit.data.tables import load_tables
from alignkit.data.texts import training_texts
from alignkit.data.wanted import Wanted
from alignkit.loop.order import DataOrder
from alignkit.models.scratch import Scratch
from pricing.job import ORDER_SEED, Job, Row, Shape
from pricing.models import make_model
from pricing.taking import ROOT

HH = ROOT / "tests/data/hh_harmless.jsonl.gz"
MERGES = 8192
"""Tokens of the tokenizer that is learnt from the data; a model with more rows in its head has padding there."""


def real_job(folder: Path, shape: Shape, steps: int, threads: int) -> Job:
    """Real pairs of HH-RLHF, prompt and response of at most 512 tokens."""
    data = DataConfig(
        train=str(HH), holdout=16, max_length=512, on_overflow="drop", on_bad_row="drop", max_bad_rows=2000
    )
    tokenizer = _scratch(MERGES).load_tokenizer(training_texts(data, 0))
    tables = load_tables(data, tokenizer, Wanted(("chosen", "rejected")), seed=0)
    rows = [
        {
            "index": row.index,
            "where": row.where,
            "prompt": row.prompt.tolist(),
            **{name: ids.tolist() for name, ids in row.responses.items()},
        }
        for row in tables.train[: 4 * steps]
    ]
    return _made(Job(folder, shape, rows, [], threads), tokenizer)


def made_up_job(folder: Path, shape: Shape, steps: int, threads: int, *, prompt: int, response: int, pairs: int) -> Job:
    """Rows of random tokens; both responses are of one length."""
    rows = made_up_rows(shape, pairs * steps, prompt, response)
    return _made(Job(folder, shape, rows, [], threads, pairs), small_tokenizer())


def made_up_rows(shape: Shape, number: int, prompt: int, response: int) -> list[Row]:
    """Random tokens, none of them special."""
    random = np.random.default_rng(0)
    lengths = {"prompt": prompt, "chosen": response, "rejected": response}
    return [
        {
            "index": index,
            "where": f"made up:{index + 1}",
            **{name: random.integers(3, shape.vocabulary, length).tolist() for name, length in lengths.items()},
        }
        for index in range(number)
    ]


def small_tokenizer() -> transformers.PreTrainedTokenizerBase:
    """One that has the special tokens and no more than it must."""
    return _scratch(512).load_tokenizer(["The quick brown fox jumps over the lazy dog."] * 8)


def in_order(job: Job) -> Job:
    """The job with the batches that alignkit makes of its rows."""
    order = DataOrder(range(len(job.rows)), job.pairs, ORDER_SEED)
    return replace(job, batches=[list(order.batch(step)) for step in range(len(job.rows) // job.pairs)])


def _made(job: Job, tokenizer: transformers.PreTrainedTokenizerBase) -> Job:
    """The job with its batches, written with its models."""
    job = in_order(job)
    job.write()
    transformers.utils.logging.disable_progress_bar()
    for seed, name in enumerate(("policy", "reference")):
        make_model(job.shape, seed).save_pretrained(job.folder / name)
        tokenizer.save_pretrained(job.folder / name)
    return job


def _scratch(vocabulary: int) -> Scratch:
    return Scratch(name="scratch", layers=1, width=64, heads=2, vocab_size=vocabulary)

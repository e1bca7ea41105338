"""Faults of the data as they reach a user: one message on stderr, exit code 2, before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alignkit.cli import main

RECIPE = """
model: {name: scratch, layers: 1, width: 32, heads: 2, vocab_size: 512, max_positions: 64}
data: {train: a.jsonl, holdout: 2, max_length: 64}
trainer: preference
losses: [dpo]
training: {steps: 2, batch_size: 2, micro_batch_size: 2, learning_rate: 1e-3}
"""
PAIRS = [{"prompt": f"Q{n}:", "chosen": f" yes {n}", "rejected": " no", "trust": n - 1} for n in range(6)]


def refused(folder: Path, capsys, lines: list[str], *overrides: str) -> str:
    (folder / "r.yaml").write_text(RECIPE)
    (folder / "a.jsonl").write_text("\n".join(lines))
    sets = [argument for override in overrides for argument in ("--set", override)]
    with pytest.raises(SystemExit) as left:
        main(["run", "r.yaml", "--dry-run", *sets])
    assert left.value.code == 2
    return capsys.readouterr().err


def test_a_negative_pair_weight_is_found_before_training(folder, capsys):
    said = refused(folder, capsys, [*map(json.dumps, PAIRS)], "pair_weighting={name: column, column: trust}")
    assert said == (
        "a.jsonl: 1 of 6 rows cannot be used: 1 negative number\n"
        "  a.jsonl:1: negative number: 'trust': expected a number >= 0, got -1\n"
        "mend them, or leave them out with data.on_bad_row: drop\n"
    )


def test_rows_that_are_all_bad_are_said_where_a_tokenizer_learns_from_them(folder, capsys):
    assert refused(folder, capsys, ["{", "{"]) == (
        "a.jsonl: 2 of 2 rows cannot be used: 2 broken JSON\n"
        "  a.jsonl:1: broken JSON: Expecting property name enclosed in double quotes at column 2\n"
        "  a.jsonl:2: broken JSON: Expecting property name enclosed in double quotes at column 2\n"
        "mend them, or leave them out with data.on_bad_row: drop\n"
    )

"""Files with a few bytes changed give rows or a `DataError`, never another exception."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random

import pyarrow
import pyarrow.parquet
import pytest

from alignkit.data.config import DataConfig
from alignkit.data.naming import read_for, read_source
from alignkit.data.tables import load_tables
from alignkit.data.texts import training_texts
from alignkit.data.wanted import Wanted
from alignkit.errors import DataError

PAIRS = [
    {
        "prompt": f"Frage {n}: wie groß?",
        "chosen": f" so {n} \N{GRINNING FACE}",
        "rejected": " gar nicht",
        "trust": n / 2,
    }
    for n in range(12)
]
TALKS = [
    {
        "prompt": [{"role": "user", "content": f"Hi {n}"}],
        "chosen": [{"role": "assistant", "content": "Hello."}],
        "rejected": [{"role": "assistant", "content": "Go away."}],
        "system": "You are terse.",
        "tools": [{"type": "function", "function": {"name": "look"}}],
        "trust": 1.0,
    }
    for n in range(6)
]
LABELLED = [{"prompt": f"Q{n}", "completion": f" a{n}", "label": n % 2 == 0, "trust": 1.0} for n in range(8)]
SINGLE = [
    {"messages": [{"role": "user", "content": f"Q{n}"}, {"role": "assistant", "content": "a"}], "trust": 1.0}
    for n in range(8)
]
PIECES = [
    b"",
    b"\0",
    b"\xff",
    b'"',
    b"\\ud800",
    b"[" * 2000,
    b"9" * 5000,
    b"\n",
    b",",
    b"{}",
    b"null",
    b'"chosen":',
    b"-1",
]
TOOLS = "{% if tools %}{{ tools | tojson }}{% endif %}"
"""Opens a template that has a place for tools."""

CASES = 40
"""Changed files of each kind."""


def as_csv(rows):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows):
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


def as_jsonl(rows):
    return "\n".join(json.dumps(row) for row in rows).encode()


KINDS = {
    "pairs.jsonl": as_jsonl(PAIRS),
    "talks.jsonl": as_jsonl(TALKS),
    "talks.json": json.dumps(TALKS).encode(),
    "pairs.csv": as_csv(PAIRS),
    "pairs.jsonl.gz": gzip.compress(as_jsonl(PAIRS), mtime=0),
    "pairs.csv.gz": gzip.compress(as_csv(PAIRS), mtime=0),
    "pairs.parquet": as_parquet(PAIRS),
    "talks.parquet": as_parquet(TALKS),
}


def changed(content: bytes, draw: random.Random, keeps_size: bool) -> bytes:
    """The content with one to four places overwritten, cut out, filled or exchanged; places alone decide in parquet."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(data) or 1)
        if keeps_size:
            data[start] = draw.randrange(256)
            continue
        end = min(len(data), start + draw.choice([0, 1, 1, 4, 30]))
        piece = draw.choice([bytes([draw.randrange(256)]), draw.choice(PIECES), bytes(data[end : end + 20])])
        data[start:end] = piece
    return bytes(data[: draw.randrange(len(data) + 1)] if draw.random() < 0.1 else data)


def outcome(name, folder, tokenizer, responses=("chosen", "rejected")) -> str:
    """What comes of a file, read as a run reads it."""
    config = DataConfig(train=name, holdout=1, on_bad_row="drop")
    try:
        read_source(config, read_for(config, "train")[0], 0)
        list(training_texts(config, 0))
        tables = load_tables(
            config,
            tokenizer,
            Wanted.of(responses, config, columns=frozenset({"trust"}), nonnegative=frozenset({"trust"})),
            seed=0,
            dropped_file=folder / "dropped.jsonl",
        )
    except DataError:
        return "refused"
    assert tables.train
    return "rows"


@pytest.mark.parametrize("name", KINDS)
def test_a_changed_file_gives_rows_or_one_line(name, folder, make_bytes, templates):
    draw = random.Random(name)
    tokenizer = make_bytes(bos=True, template=TOOLS + templates["chatml"])
    outcomes = {"rows": 0, "refused": 0}
    for _ in range(CASES):
        (folder / name).write_bytes(changed(KINDS[name], draw, keeps_size="parquet" in name))
        outcomes[outcome(name, folder, tokenizer)] += 1
    assert outcomes["refused"] > 0, outcomes
    # A gzip file has a checksum, and .json is parsed as a whole.
    assert outcomes["rows"] > 0 or name.endswith((".gz", ".json")), outcomes


VALUES = [None, 0, -1, True, 1e300, float("nan"), "", " ", "a", "\0", [], {}, [[]], [{}], [None], {"role": "user"}]
VALUES += [{"role": "user", "content": "a"}, [{"role": "assistant", "content": ""}], [{"role": 1, "content": "a"}]]
VALUES += [[{"role": "assistant", "content": "a", "tool_calls": [{}]}], [{"role": "system", "content": "a"}] * 2]


def exchanged(value: object, draw: random.Random) -> object:
    """The value with another one somewhere in it."""
    if draw.random() < 0.3 or not isinstance(value, dict | list) or not value:
        return draw.choice(VALUES)
    if isinstance(value, dict):
        key = draw.choice([*value])
        return {**value, key: exchanged(value[key], draw)}
    number = draw.randrange(len(value))
    return [*value[:number], exchanged(value[number], draw), *value[number + 1 :]]


@pytest.mark.parametrize("responses", [("chosen", "rejected"), ("chosen",), ("completion",)])
@pytest.mark.parametrize("rows", [PAIRS, TALKS, LABELLED, SINGLE], ids=["pairs", "talks", "labelled", "single"])
def test_values_of_other_kinds_give_rows_or_one_line(rows, responses, folder, make_bytes, templates):
    draw = random.Random(len(rows))
    tokenizer = make_bytes(bos=True, template=TOOLS + templates["chatml"])
    for _ in range(CASES):
        several = [exchanged(row, draw) if draw.random() < 0.5 else row for row in rows]
        (folder / "a.jsonl").write_bytes(as_jsonl(several))
        outcome("a.jsonl", folder, tokenizer, responses)

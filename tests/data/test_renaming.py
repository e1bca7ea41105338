"""Columns that the data calls otherwise: read under `data.columns`, told in the data's own words."""

from __future__ import annotations

import json

import pyarrow
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from alignkit.data.config import DataConfig
from alignkit.data.renaming import line_to_start, refuse_unread
from alignkit.data.splitting import rows_fingerprint
from alignkit.errors import DataError

NAMES = {"prompt": "question", "chosen": "response_j", "rejected": "response_k"}


def other_names(rows):
    return [{NAMES.get(key, key): value for key, value in row.items()} for row in rows]


@pytest.mark.parametrize("name", ["b.jsonl", "b.csv", "b.json", "b.parquet"])
def test_renamed_columns_give_the_same_rows(name, write, load, pairs, folder):
    if name == "b.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(other_names(pairs)), folder / name)
    else:
        write(name, other_names(pairs))
    plain = load(write("a.jsonl", pairs))
    tables = load(name, columns=NAMES)
    assert rows_fingerprint(tables.train) == rows_fingerprint(plain.train)
    assert (tables.reports[0].format, tables.reports[0].unused_columns) == ("text with a prompt column", ())


def test_two_columns_change_places(write, load, pairs):
    plain = load(write("a.jsonl", pairs)).train
    turned = load("a.jsonl", columns={"chosen": "rejected", "rejected": "chosen"}).train
    assert [row.text["chosen"] for row in turned] == [row.text["rejected"] for row in plain]
    assert [row.text["rejected"] for row in turned] == [row.text["chosen"] for row in plain]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_column_that_makes_room_is_one_that_nothing_reads(name, write, load, pairs, folder):
    rows = [{"question": f"Other {n}", **row} for n, row in enumerate(pairs)]
    if name == "a.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)
    else:
        write(name, rows)
    tables = load(name, columns={"prompt": "question"})
    assert tables.train[1].text["prompt"] == "Other 1"
    assert tables.reports[0].unused_columns == ("prompt",)


def test_columns_of_components_may_have_other_names(write, load_with_weights):
    rows = [
        {"question": "Q", "a": "yes", "b": "no", "trust": "0.5", "w_a": [1, 2, 3], "w_b": [4, 5]},
    ]
    names = {"prompt": "question", "chosen": "a", "rejected": "b", "sure": "trust"}
    names |= {"chosen_weight": "w_a", "rejected_weight": "w_b"}
    (row,) = load_with_weights(write("a.jsonl", rows), names)
    assert row.columns == {"sure": 0.5}
    assert row.token_columns["_weight"]["chosen"].tolist() == [1, 2, 3, 0]
    assert row.token_columns["_weight"]["rejected"].tolist() == [4, 5, 0]


@pytest.fixture
def load_with_weights(load):
    return lambda name, names: load(name, columns=["sure"], token_columns=["_weight"], names=names).train


def test_labels_of_other_makers(write, load):
    rows = [{"prompt": "Q", "completion": text, "kto_tag": tag} for text, tag in (("a", True), ("b", False))]
    tables = load(write("a.jsonl", rows), responses=("completion",), columns={"label": "kto_tag"})
    assert [row.label for row in tables.train] == [True, False]


def test_columns_that_are_missing_are_told_in_the_datas_words(write, load):
    rows = [{"question": "Q", "response_j": "yes", "response_k": "no"}, {"question": "Q", "response_k": "no"}]
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", rows), columns=NAMES)
    assert "\n  a.jsonl:2: missing field: 'response_j'; columns of this row: question, response_k\n" in str(
        caught.value
    )
    with pytest.raises(DataError) as caught:
        load("a.jsonl", columns={"prompt": "question"})
    message = str(caught.value)
    assert message.startswith("a.jsonl: no known format; columns found: question, response_j, response_k; accepted: ")
    line = "data.columns: {prompt: question, chosen: response_j, rejected: response_k}"
    assert message.endswith(f"; or name the columns, starting from {line}")


def test_bad_rows_are_told_in_the_datas_words_and_kept_as_they_were(write, load, folder):
    rows = [{"question": "Q", "response_j": text, "response_k": "no"} for text in ("yes", 7, None)]
    name = write("a.jsonl", rows)
    with pytest.raises(DataError) as caught:
        load(name, columns=NAMES)
    assert str(caught.value) == (
        "a.jsonl: 2 of 3 rows cannot be used: 1 wrong type, 1 null field\n"
        "  a.jsonl:2: wrong type: 'response_j': expected text, got int 7\n"
        "  a.jsonl:3: null field: 'response_j'\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )
    target = folder / "dropped.jsonl"
    load(name, columns=NAMES, on_bad_row="drop", dropped=target)
    assert [json.loads(line)["row"] for line in target.read_text().splitlines()] == rows[1:]


def test_a_column_that_is_not_there(write, load, pairs):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", other_names(pairs)), columns={**NAMES, "prompt": "qestion"})
    assert str(caught.value) == (
        "a.jsonl: no column 'qestion', which data.columns names as 'prompt'; did you mean 'question'? columns found: "
        "question, response_j, response_k"
    )


def test_one_column_for_two_names():
    with pytest.raises(ValidationError, match="column 'a' is named twice, as 'chosen' and 'rejected'; a column is one"):
        DataConfig(train="a.jsonl", columns={"chosen": "a", "rejected": "a"})


def test_a_name_that_nothing_reads():
    with pytest.raises(DataError) as caught:
        refuse_unread({"promt": "question"}, {"prompt", "chosen"})
    assert str(caught.value) == (
        "data.columns.promt: nothing reads a column 'promt'; did you mean 'prompt'? known: chosen, prompt; the data's "
        "own name is the value"
    )


BOTH = ("prompt", "chosen", "rejected")


@pytest.mark.parametrize(
    ("wanted", "found", "line"),
    [
        (
            BOTH,
            ["question", "response_j", "response_k"],
            "{prompt: question, chosen: response_j, rejected: response_k}",
        ),
        (BOTH, ["prompt", "Chosen", "answer_rejected"], "{chosen: Chosen, rejected: answer_rejected}"),
        (BOTH, ["user prompt", "x: y"], '{prompt: "user prompt", chosen: COLUMN, rejected: COLUMN}'),
        (("prompt", "completion"), ["problem", "solution", "level"], "{prompt: problem, completion: solution}"),
    ],
)
def test_a_line_to_start_from(wanted, found, line):
    assert line_to_start(wanted, found, {}) == f"data.columns: {line}"

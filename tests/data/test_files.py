"""Damaged, hostile and endless files become one line or counted bad rows."""

from __future__ import annotations

import gzip
import json
import os
import socket
import sys
from datetime import datetime

import pyarrow
import pyarrow.parquet
import pytest

from alignkit.data import budget
from alignkit.data.config import DataConfig
from alignkit.data.naming import read_for, read_source
from alignkit.errors import DataError

GOOD = '{"text": "a"}'


def read(name, columns=None, **options):
    config = DataConfig(train=name, **options)
    return read_source(config, read_for(config, "train")[0], 0, columns=columns)


def refusal(name, **options) -> str:
    with pytest.raises(DataError) as caught:
        read(name, **options)
    return str(caught.value)


# --- single rows ---

BAD_LINES = [
    ("[" * 100_000, "broken JSON", "lists and objects are nested deeper than 100 levels"),
    (
        '{"text": ' + "[" * 100 + "]" * 100 + "}",
        "broken JSON",
        "'text': lists and objects are nested deeper than 100 levels",
    ),
    ('{"score": ' + "9" * 5000 + "}", "broken JSON", "an integer has more digits than Python reads (4,300)"),
    ('{"text": "a", "n": 1, "text": "b"}', "key given twice", "'text'"),
    ('{"messages": [{"role": "user", "role": "tool"}]}', "key given twice", "'messages': 'role'"),
    (r'{"text": "ab\ud800"}', "not valid text", r"'text' holds \ud800, half of a character, at 2"),
    (r'{"m": [{"content": "\udc00"}]}', "not valid text", r"'m' holds \udc00, half of a character, at 0"),
    (r'{"m": {"\udfff": 1}}', "not valid text", r"'m' holds \udfff, half of a character, at 0"),
    (r'{"a\ud800": 1}', "not valid text", r"the name of a column holds \ud800, half of a character, at 1"),
]


@pytest.mark.parametrize(("line", "reason", "detail"), BAD_LINES, ids=range(len(BAD_LINES)))
def test_what_json_lets_through_is_a_bad_row(line, reason, detail, write):
    rows = read(write("a.jsonl", f"{GOOD}\n{line}\n{GOOD}"))
    assert [row.unread for row in rows] == [None, (reason, detail), None]
    assert rows[1].fields == {}


@pytest.mark.parametrize(("line", "reason", "detail"), BAD_LINES[3:], ids=range(3, len(BAD_LINES)))
def test_the_same_in_a_list_of_rows(line, reason, detail, write):
    rows = read(write("a.json", f"[{GOOD}, {line}]"))
    assert [row.unread for row in rows] == [None, (reason, detail)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "a.json: broken JSON: lists and objects are nested deeper than 100 levels"),
        (f"[{'9' * 5000}]", "a.json: broken JSON: an integer has more digits than Python reads (4,300)"),
    ],
)
def test_a_list_that_cannot_be_parsed(content, message, write):
    assert refusal(write("a.json", content)) == message


def test_whole_characters_of_two_halves_are_text(write):
    assert read(write("a.jsonl", r'{"text": "😀"}'))[0].fields == {"text": "\N{GRINNING FACE}"}


def test_a_line_too_long_to_hold_is_a_bad_row(write, monkeypatch):
    monkeypatch.setattr(budget, "MOST_BYTES_LINE", 20)
    lines = [GOOD, "x" * 19, "x" * 20, "x" * 41, "x" * 100, GOOD]
    rows = read(write("a.jsonl", "\n".join(lines)))
    long = ("too large", "a line of more than 20 bytes")
    assert [row.unread and row.unread[0] for row in rows] == [None, "broken JSON", *["too large"] * 3, None]
    assert (rows[2].unread, rows[2].where, rows[5].where) == (long, "a.jsonl:3", "a.jsonl:6")


# --- whole files ---


def test_a_damaged_gzip(write):
    whole = gzip.compress("\n".join(json.dumps({"text": str(n)}) for n in range(2000)).encode())
    assert refusal(write("a.jsonl.gz", whole[:10] + b"\xff" + whole[11:])) == (
        "a.jsonl.gz: cannot be read: Error -3 while decompressing data: invalid block type"
    )
    assert refusal(write("b.jsonl.gz", whole[:-20])) == (
        "b.jsonl.gz: cannot be read: Compressed file ended before the end-of-stream marker was reached"
    )


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.json.gz"])
def test_a_gzip_bomb_meets_the_budget(name, write, monkeypatch):
    """50 MB of blank lines in 50 kB; nothing beyond the budget and one chunk is unpacked."""
    monkeypatch.setattr(budget, "MOST_BYTES", 3_000_000)
    monkeypatch.setattr(budget, "MOST_BYTES_WHOLE", 3_000_000)
    assert refusal(write(name, gzip.compress(b"\n" * 50_000_000, 1))) == (
        f"{name}: holds more than 3,000,000 bytes after decompression, the most that is read of a file of this type; "
        "split it, or set data.max_rows (.jsonl, .csv and .parquet are read only so far)"
    )


def test_max_rows_ends_the_reading(write, monkeypatch):
    monkeypatch.setattr(budget, "MOST_BYTES", 2_000_000)
    name = write("a.jsonl.gz", gzip.compress((GOOD + "\n").encode() * 1_000_000, 1))
    assert len(read(name, max_rows=10)) == 10


def test_an_endless_file_is_not_opened(folder):
    os.mkfifo(folder / "a.jsonl")
    (folder / "b.jsonl").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("c.jsonl")
    assert refusal("a.jsonl") == "a.jsonl: is a FIFO, not a file"
    assert refusal("b.jsonl") == "b.jsonl: is a device, not a file"
    assert refusal("c.jsonl") == "c.jsonl: is a socket, not a file"


def test_a_link_to_nothing(folder):
    (folder / "a.jsonl").symlink_to("gone.jsonl")
    assert refusal("a.jsonl") == "a.jsonl: is a link to gone.jsonl, where nothing is"


@pytest.mark.parametrize("name", ["a\0.jsonl", "x" * 260 + ".jsonl", "\ud800.jsonl"])
def test_no_file_has_such_a_name(name, folder):
    assert refusal(name) == f"{name[:60]!r}: no file has this name: at most 255 bytes between slashes, and no NUL"


def test_a_path_too_long_as_a_whole(folder):
    assert refusal("x/" * 5000 + "a.jsonl").endswith(": cannot be read: File name too long")


def test_a_csv_header_that_names_a_column_twice(write):
    assert refusal(write("a.csv", "prompt,rejected,rejected\nQ,a,b\n")) == (
        "a.csv: two columns are named 'rejected'; rename or remove one"
    )
    assert len(read(write("b.csv", "text,,\na,1,2\n"))) == 1  # columns without a name are never read


def test_a_csv_value_without_an_end(write, monkeypatch):
    monkeypatch.setattr(budget, "MOST_BYTES_LINE", 1000)
    assert refusal(write("a.csv", 'text\n"' + "x\n" * 1000)) == (
        "a.csv:row 1: broken CSV: field larger than field limit (1000)"
    )


def test_the_place_of_a_byte_that_is_no_text(write):
    assert refusal(write("a.csv", b"text\n" + b"a\n" * 50_000 + b"\xff\n")) == (
        "a.csv: is not UTF-8 text: byte 100005 is 0xff"
    )


# --- parquet ---


def test_a_date_beyond_the_calendar_in_a_column_that_nobody_reads(folder):
    late = pyarrow.array([0, 2**60], pyarrow.timestamp("ms"))
    table = pyarrow.table({"text": ["a", "b"], "created": late})
    pyarrow.parquet.write_table(table, folder / "a.parquet")
    rows = read("a.parquet", columns={"text", "prompt"})
    assert [(row.fields, row.others) for row in rows] == [({"text": "a"}, ("created",)), ({"text": "b"}, ("created",))]
    first, second = read("a.parquet")
    assert (first.fields, first.unread) == ({"text": "a", "created": datetime(1970, 1, 1)}, None)
    assert (second.fields, second.unread[0]) == ({}, "unreadable value")
    assert second.unread[1].startswith("'created': ")


def test_text_that_is_none_in_parquet_is_a_bad_row(folder):
    raw = pyarrow.array([b"a", b"\xff"], pyarrow.binary()).view(pyarrow.utf8())
    pyarrow.parquet.write_table(pyarrow.table({"text": raw}), folder / "a.parquet")
    assert [row.unread and row.unread[0] for row in read("a.parquet")] == [None, "unreadable value"]


def test_parquet_in_parts(folder):
    """More rows than are read at once, from a folder whose name would be taken for a column."""
    (folder / "split=1").mkdir()
    table = pyarrow.table({"text": [str(n) for n in range(2500)]})
    pyarrow.parquet.write_table(table, folder / "split=1" / "a.parquet")
    rows = read("split=1/a.parquet")
    assert [row.fields for row in rows] == [{"text": str(n)} for n in range(2500)]
    assert (rows[2499].index, rows[2499].where) == (2499, "split=1/a.parquet:row 2500")
    assert len(read("split=1/a.parquet", max_rows=1200)) == 1200


def test_a_parquet_file_meets_the_budget(folder, monkeypatch):
    monkeypatch.setattr(budget, "MOST_BYTES", 100_000)
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x" * 1000] * 2000}), folder / "a.parquet")
    assert refusal("a.parquet") == "a.parquet: holds more than 100,000 bytes; split it"


def test_two_parquet_columns_with_one_name(folder):
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays([["a"], ["b"]], names=["text", "text"]), folder / "a.parquet")
    assert refusal("a.parquet") == "a.parquet: two columns are named 'text'; rename or remove one"


def test_reading_leaves_the_limits_of_python_alone(write):
    limits = sys.getrecursionlimit(), sys.get_int_max_str_digits()
    read(write("a.jsonl", "[" * 100_000 + "\n" + GOOD))
    assert (sys.getrecursionlimit(), sys.get_int_max_str_digits()) == limits


@pytest.mark.parametrize("text", ['[{"role": "user", "content": "Q"}]', "[{'content': 'Q', 'role': 'user'}]"])
def test_messages_in_a_csv_are_not_taken_for_text(text, write, load):
    """As json or as pandas writes them."""
    rows = [{"prompt": text, "chosen": "a", "rejected": "b"}, {"prompt": "[1, 2]", "chosen": "a", "rejected": "b"}]
    with pytest.raises(DataError) as caught:
        load(write("a.csv", rows))
    assert str(caught.value).splitlines()[:2] == [
        "a.csv: 1 of 2 rows cannot be used: 1 messages as text",
        "  a.csv:row 1: messages as text: column 'prompt': a CSV holds text alone; give messages as .jsonl or .parquet",
    ]
    assert len(load(write("b.csv", [{"notes": text, **rows[1]}])).train) == 1

"""The columns `system` and `tools` reach a conversation, or are refused; never left out without a word."""

from __future__ import annotations

import json

import pytest

from alignkit.data.formats import find_format, read_example
from alignkit.data.raw import RawRow
from alignkit.errors import DataError

USER = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Hello."}
BAD = {"role": "assistant", "content": "Go away."}
TERSE = {"role": "system", "content": "You are terse."}
LONG = {"role": "system", "content": "You are long."}
PAIR = {"prompt": "Q:", "chosen": " yes", "rejected": " no"}
TALK = {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def example(fields, responses=("chosen", "rejected")):
    row = RawRow(0, "a.jsonl:1", fields)
    return read_example(row, find_format([row], responses, "a.jsonl"), responses)


@pytest.mark.parametrize(
    "fields",
    [
        TALK,
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": [TERSE, USER], **dict(list(TALK.items())[1:])},
    ],
)
def test_a_system_column_leads_the_conversation(fields):
    assert example({**fields, "system": "You are terse."}).prompt == [TERSE, USER]


def test_a_system_column_leads_a_single_conversation():
    read = example({"messages": [USER, GOOD], "system": "You are terse."}, ("chosen",))
    assert read.prompt == [TERSE, USER]


@pytest.mark.parametrize("value", [None, "", "  "])
def test_no_system_message(value):
    assert example({**TALK, "system": value}).prompt == [USER]


def test_a_system_message_reaches_the_model(write, load, make_bytes, templates):
    name = write("a.jsonl", [{**TALK, "system": "You are terse."}])
    tables = load(name, make_bytes(template=templates["chatml"]))
    assert tables.train[0].text["prompt"].startswith("<|im_start|>system\nYou are terse.<|im_end|>\n")
    assert tables.reports[0].unused_columns == ()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {**TALK, "prompt": [LONG, USER], "system": "You are terse."},
            "two system messages: the one in 'system' is not that of the conversation",
        ),
        ({**TALK, "system": 7}, "wrong type: 'system': expected text, got int 7"),
        ({**TALK, "tools": "look"}, "broken JSON: 'tools': Expecting value at column 1"),
        ({**TALK, "tools": "{}"}, "wrong type: 'tools': expected a list of objects, or its JSON text, got str \"{}\""),
        (
            {**TALK, "tools": ["look"]},
            "wrong type: 'tools': expected a list of objects, or its JSON text, got list [\"look\"]",
        ),
        ({**TALK, "tools": '[{"a": 1, "a": 2}]'}, "key given twice: 'tools': 'a'"),
    ],
)
def test_what_is_none_is_a_bad_row(fields, said, write, load, make_bytes, templates):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [TALK, fields]), make_bytes(template=templates["chatml"]))
    assert str(caught.value).splitlines()[1] == f"  a.jsonl:2: {said}"


@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL]), [{**TOOL, "strict": None}]])
def test_tools_as_a_list_or_as_json_text(tools):
    assert example({**TALK, "tools": tools}).tools == [TOOL]


@pytest.mark.parametrize("tools", [None, "", [], "[]"])
def test_no_tools(tools):
    assert example({**TALK, "tools": tools}).tools is None


@pytest.mark.parametrize(("column", "value"), [("system", "You are terse."), ("tools", [TOOL])])
def test_plain_text_has_no_place_for_them(column, value, write, load):
    name = write("a.jsonl", [PAIR, {**PAIR, column: value}, {**PAIR, column: None}])
    with pytest.raises(DataError) as caught:
        load(name)
    assert str(caught.value) == (
        f"a.jsonl: column '{column}', given in 1 of 3 rows, has no place in plain text (format found: text with a "
        "prompt column); write prompt and responses as messages, or rename the column to leave it out"
    )


def test_empty_columns_do_no_harm_in_plain_text(write, load):
    (report,) = load(write("a.jsonl", [{**PAIR, "system": "", "tools": []}])).reports
    assert (report.used, report.unused_columns) == (1, ())

"""Mistakes in rows: every one is told by file and line, in whole messages; or dropped, counted and written down."""

from __future__ import annotations

import json

import pytest

from alignkit.errors import DataError, RunFolderError

PAIR = {"prompt": "Q:", "chosen": " yes", "rejected": " no"}
USER = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Hello."}
BAD = {"role": "assistant", "content": "Go away."}
TALK = {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}
WHOLE = {"chosen": [USER, GOOD], "rejected": [USER, BAD]}
SCRIPT = "\n\nHuman: Hi\n\nAssistant:"
TOLD = {"chosen": SCRIPT + " yes", "rejected": SCRIPT + " no"}

# A good row, the row under test as an object or as a raw line, and what is said of it.
ROWS = [
    (PAIR, {"prompt": "Q:", "chosen": " yes"}, "missing field: 'rejected'; columns of this row: prompt, chosen"),
    (PAIR, {**PAIR, "chosen": None}, "null field: 'chosen'"),
    (PAIR, {**PAIR, "chosen": " \n"}, "empty response: 'chosen' holds no text"),
    (PAIR, {**PAIR, "rejected": " yes"}, "chosen equals rejected: a pair needs two different responses"),
    (PAIR, {**PAIR, "chosen": 7}, "wrong type: 'chosen': expected text, got int 7"),
    (PAIR, {**PAIR, "prompt": {"text": "Q"}}, 'wrong type: \'prompt\': expected text, got dict {"text": "Q"}'),
    (PAIR, '{"prompt": "Q", ', "broken JSON: Expecting property name enclosed in double quotes at column 17"),
    (PAIR, b'{"prompt": "\xe9"}', "not UTF-8: byte 12 of the line is 0xe9"),
    (PAIR, "[1, 2]", "wrong type: expected an object with columns, got list"),
    (PAIR, TALK, "mixed formats: this row is 'messages with a prompt column', most are 'text with a prompt column'"),
    (
        PAIR,
        {**PAIR, "prompt": ""},
        "empty prompt: no token comes before the response, and the tokenizer adds no BOS",
    ),
    (TALK, {**TALK, "prompt": []}, "empty conversation: 'prompt' holds no messages"),
    (
        TALK,
        {**TALK, "prompt": [USER, GOOD]},
        "prompt without user turn: 'prompt': the prompt's last message must be user's, is assistant's",
    ),
    (
        TALK,
        {**TALK, "chosen": [USER]},
        "no final assistant turn: 'chosen': its last message must be the assistant's, is user",
    ),
    (TALK, {**TALK, "rejected": [BAD, BAD]}, "several turns: 'rejected': the response must be one message, is 2"),
    (
        TALK,
        {**TALK, "chosen": [{"role": "assistant"}]},
        'wrong type: \'chosen\', message 1: expected {role: text, content: text}, got dict {"role": "assistant"}',
    ),
    (
        WHOLE,
        {"chosen": [USER, GOOD, USER, GOOD], "rejected": [USER, BAD, USER, GOOD]},
        "several turns: 'chosen' holds more turns after the part that chosen and rejected share",
    ),
    (
        WHOLE,
        {"chosen": [GOOD], "rejected": [BAD]},
        "no common prompt: chosen and rejected begin with the assistant's turn; add a 'prompt' column",
    ),
    (
        TOLD,
        {"prompt": 5, "chosen": "yes", "rejected": "no"},
        "no common prompt: chosen and rejected share no '\\n\\nAssistant:' turn; 'prompt' is neither text nor "
        "messages, but int 5",
    ),
    (
        TOLD,
        {"chosen": "yes", "rejected": "no"},
        "no common prompt: chosen and rejected share no '\\n\\nAssistant:' turn; add a 'prompt' column",
    ),
    (
        TOLD,
        {"chosen": SCRIPT + " a\n\nHuman: b\n\nAssistant: c", "rejected": SCRIPT + " no"},
        "several turns: 'chosen' holds more turns after the part that chosen and rejected share",
    ),
]


ANSWER = {"prompt": "Q:", "completion": " yes", "label": True}
TOLD_OFF = {"messages": [USER, BAD], "label": False}
ANSWERS = [
    (
        {**ANSWER, "label": "good"},
        "wrong type: 'label': expected true or false, got str \"good\"",
    ),
    ({**ANSWER, "label": None}, "null field: 'label'"),
    (
        {"prompt": "Q:", "completion": " yes"},
        "missing field: 'label'; columns of this row: prompt, completion",
    ),
    ({**ANSWER, "completion": " "}, "empty response: 'completion' holds no text"),
    (
        {**ANSWER, "completion": [GOOD]},
        "mixed formats: this row is 'text prompt, message as completion, and label', most are 'text prompt, completion "
        "and label'",
    ),
    (PAIR, "mixed formats: this row is 'text with a prompt column', most are 'text prompt, completion and label'"),
    (
        TOLD_OFF,
        "mixed formats: this row is 'conversations with a label', most are 'text prompt, completion and label'",
    ),
]


def lines_of(*rows):
    texts = [json.dumps(row) if isinstance(row, dict) else row for row in rows]
    return b"\n".join(text if isinstance(text, bytes) else text.encode() for text in texts)


@pytest.mark.parametrize(("good", "bad", "complaint"), ROWS, ids=[complaint[:40] for *_, complaint in ROWS])
def test_more_than_twenty_mistakes_in_rows(good, bad, complaint, write, load, make_bytes, templates):
    name = write("a.jsonl", lines_of(good, bad, good))
    tokenizer = make_bytes(template=templates["chatml"])
    with pytest.raises(DataError) as caught:
        load(name, tokenizer, chat="never")
    assert str(caught.value) == (
        f"a.jsonl: 1 of 3 rows cannot be used: 1 {complaint.split(':')[0]}\n"
        f"  a.jsonl:2: {complaint}\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )
    tables = load(name, tokenizer, chat="never", on_bad_row="drop")
    assert [row.where for row in tables.train] == ["a.jsonl:1", "a.jsonl:3"]
    assert tables.reports[0].dropped == {complaint.split(":")[0]: 1}


@pytest.mark.parametrize(("bad", "complaint"), ANSWERS, ids=[complaint[:40] for _, complaint in ANSWERS])
def test_mistakes_in_labelled_rows(bad, complaint, write, load):
    name = write("a.jsonl", [ANSWER, bad, {**ANSWER, "label": False}])
    with pytest.raises(DataError) as caught:
        load(name, responses=("completion",))
    assert str(caught.value) == (
        f"a.jsonl: 1 of 3 rows cannot be used: 1 {complaint.split(':')[0]}\n"
        f"  a.jsonl:2: {complaint}\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )
    tables = load(name, responses=("completion",), on_bad_row="drop")
    assert [row.where for row in tables.train] == ["a.jsonl:1", "a.jsonl:3"]


def test_an_end_that_was_typed(write, load):
    name = write("a.jsonl", [PAIR, {**PAIR, "chosen": " y</s>es"}])
    with pytest.raises(DataError) as caught:
        load(name, special_tokens_in_text="error")
    assert "  a.jsonl:2: end token inside: 'chosen' holds '</s>' before its end" in str(caught.value)


def test_labels_that_are_wrong_in_every_row(write, load):
    """No row is right in any format; the columns say which one was meant."""
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [{**ANSWER, "label": 0.5}]), responses=("completion",))
    assert str(caught.value) == (
        "a.jsonl: 1 of 1 rows cannot be used: 1 wrong type\n"
        "  a.jsonl:1: wrong type: 'label': expected true or false, got float 0.5\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )


def test_five_offenders_and_counts_by_reason(write, load):
    bad = [{**PAIR, "chosen": None}] * 4 + [{**PAIR, "chosen": ""}] * 3
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [PAIR, *bad]))
    assert str(caught.value) == (
        "a.jsonl: 7 of 8 rows cannot be used: 4 null field, 3 empty response\n"
        "  a.jsonl:2: null field: 'chosen'\n"
        "  a.jsonl:3: null field: 'chosen'\n"
        "  a.jsonl:4: null field: 'chosen'\n"
        "  a.jsonl:5: null field: 'chosen'\n"
        "  a.jsonl:6: empty response: 'chosen' holds no text\n"
        "  and 2 more\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )


def test_more_bad_rows_than_allowed(write, load):
    name = write("a.jsonl", [PAIR, {}, {}])
    with pytest.raises(DataError) as caught:
        load(name, on_bad_row="drop", max_bad_rows=1)
    assert str(caught.value) == (
        "a.jsonl: 2 of 3 rows cannot be used, more than data.max_bad_rows: 1: 2 missing field\n"
        "  a.jsonl:2: missing field: 'prompt'; columns of this row: none\n"
        "  a.jsonl:3: missing field: 'prompt'; columns of this row: none\n"
        "mend them, or raise data.max_bad_rows"
    )


def test_no_row_left(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [{**PAIR, "chosen": ""}]), on_bad_row="drop")
    assert str(caught.value) == "a.jsonl: no row is left of 1: 1 empty response"


def test_unknown_columns_of_pairs(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [{"question": "Q", "answer": "A"}]))
    assert str(caught.value) == (
        "a.jsonl: no known format; columns found: answer, question; accepted: prompt + chosen + rejected; "
        "chosen + rejected; or name the columns, starting from data.columns: "
        "{prompt: question, chosen: COLUMN, rejected: COLUMN}"
    )


def test_unknown_columns_of_responses(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [{"question": "Q", "answer": "A"}]), responses=("chosen",))
    assert str(caught.value) == (
        "a.jsonl: no known format; columns found: answer, question; accepted: prompt + chosen + rejected; "
        "chosen + rejected; prompt + chosen; prompt + completion; messages; text; "
        "or name the columns, starting from data.columns: {prompt: question, completion: answer}"
    )


def test_unknown_columns_of_completions(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [{"prompt": "Q", "completion": "A"}]), responses=("completion",))
    assert str(caught.value) == (
        "a.jsonl: no known format; columns found: completion, prompt; accepted: prompt + completion + label; "
        "messages + label; prompt + chosen + rejected; chosen + rejected; "
        "or name the columns, starting from data.columns: {label: COLUMN}"
    )


def test_conversations_without_a_template(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [TALK]))
    assert str(caught.value) == (
        "the data is conversations, but tokenizer 'bytes' has no chat template; take an instruct model's tokenizer or "
        "give prompt, chosen and rejected as text"
    )


def test_nothing_can_be_read(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", "{\n"))
    assert str(caught.value) == (
        "a.jsonl: 1 of 1 rows cannot be used: 1 broken JSON\n"
        "  a.jsonl:1: broken JSON: Expecting property name enclosed in double quotes at column 2\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )


def test_too_many_values_in_a_csv_row(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.csv", "prompt,chosen,rejected\nQ, yes, no\nQ, yes, sir, no\n"))
    assert str(caught.value) == (
        "a.csv: 1 of 2 rows cannot be used: 1 broken CSV\n"
        "  a.csv:row 2: broken CSV: 1 more values than columns; is a comma or quote not quoted?\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )


def test_dropped_rows_are_written_down(write, load, folder):
    name = write("a.jsonl", lines_of(PAIR, "{", {**PAIR, "chosen": ""}, {**PAIR, "chosen": " " + "y" * 50}))
    target = folder / "dropped.jsonl"
    target.write_text("of an earlier run\n")
    tables = load(name, on_bad_row="drop", on_overflow="drop", max_length=20, dropped=target)
    assert [json.loads(line) for line in target.read_text().splitlines()] == [
        {
            "where": "a.jsonl:2",
            "reason": "broken JSON",
            "detail": "Expecting property name enclosed in double quotes at column 2",
            "row": {},
        },
        {
            "where": "a.jsonl:3",
            "reason": "empty response",
            "detail": "'chosen' holds no text",
            "row": {**PAIR, "chosen": ""},
        },
        {
            "where": "a.jsonl:4",
            "reason": "too long",
            "detail": "54 tokens; data.max_length: 20",
            "row": {**PAIR, "chosen": " " + "y" * 50},
        },
    ]
    report = tables.reports[0]
    assert report.dropped == {"broken JSON": 1, "empty response": 1, "too long": 1}
    assert (report.rows, report.used) == (4, 1)


def test_dropped_rows_that_cannot_be_written_down(write, load, folder):
    name = write("a.jsonl", lines_of(PAIR, "{"))
    with pytest.raises(RunFolderError) as caught:
        load(name, on_bad_row="drop", dropped=folder / "gone" / "dropped.jsonl")
    assert str(caught.value) == f"{folder / 'gone' / 'dropped.jsonl'}: cannot be written: No such file or directory"


def test_labelled_rows_under_a_trainer_of_pairs(write, load):
    rows = [{"prompt": "Q:", "completion": " yes", "label": True}]
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", rows))
    assert str(caught.value).startswith(
        "a.jsonl: no known format; columns found: completion, label, prompt; accepted: "
    )
    assert "; labelled responses are read by trainer 'unpaired'; or name the columns, " in str(caught.value)


def test_rows_that_cannot_be_read_say_so_before_any_column_is_missed(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", "{broken\n"), token_columns=["_weight"])
    assert "a.jsonl:1: broken JSON" in str(caught.value)

"""The columns of common data sets, as their cards list them, are read as they are and called by the set's name."""

from __future__ import annotations

import pyarrow
import pyarrow.parquet
import pytest

from alignkit.errors import DataError

Q = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Hello."}
BAD = {"role": "assistant", "content": "Go away."}
SCRIPT = "\n\nHuman: Hi\n\nAssistant:"
PAIR = {"chosen": "Hello.", "rejected": "Go away."}
WHOLE = {"chosen": [Q, GOOD], "rejected": [Q, BAD]}
TALK = [{"from": "human", "value": "Hi"}]
ALPACA = {"instruction": "Hi", "input": ""}
ULTRA = {"prompt": "Hi", "prompt_id": "x", **WHOLE, "messages": [Q, GOOD], "score_chosen": 8.0, "score_rejected": 3.0}
HELP = {
    **{"domain": "general", "language": "english", "context": [Q], "response1": "Hello.", "response2": "Go away."},
    **{"overall_preference": -2, "individual_preference": [{"score": -2, "reasoning": "", "feedback1": ""}]},
}
PKU = {
    **{"prompt": "Hi", "response_0": "Go away.", "response_1": "Hello.", "is_response_0_safe": False},
    **{"is_response_1_safe": True, "better_response_id": 1, "safer_response_id": 0},
}
SHP = {
    **{"post_id": "x", "domain": "askbaking", "history": "Hi", "human_ref_A": "Hello.", "human_ref_B": "Go away."},
    **{"labels": 1, "score_A": 9, "score_B": 2, "score_ratio": 4.5},
}
SHAREGPT = {
    "conversations": TALK,
    "chosen": {"from": "gpt", "value": "Hello."},
    "rejected": {"from": "gpt", "value": "Go away."},
}

PAIRS = [
    ("UltraFeedback-binarized: whole conversations, the prompt repeated as text", ULTRA),
    ("HelpSteer3: two responses and a preference", HELP),
    ("PKU-SafeRLHF: two responses and the better one's number", PKU),
    ("SHP: a post, two answers and the better one's label", SHP),
    ("Skywork-Reward: two conversations", {**WHOLE, "source": "magpie"}),
    ("dpo-mix-7k: two conversations", {"dataset": "capybara", **WHOLE, "chosen_rating": 5.0, "rejected_rating": 4.0}),
    ("ShareGPT: conversations, two responses", SHAREGPT),
    ("Alpaca: instruction, input and two responses", {**ALPACA, **PAIR}),
    ("HH-RLHF: two transcripts", {"chosen": f"{SCRIPT}Hello.", "rejected": f"{SCRIPT}Go away."}),
    ("text prompt, messages as responses", {"prompt": "Hi", "chosen": [GOOD], "rejected": [BAD]}),
]
NAMES = [name for name, _ in PAIRS]
AS_TEXT = {"PKU-SafeRLHF": "Hi", "SHP": "Hi", "Alpaca": "Hi", "HH-RLHF": SCRIPT}


@pytest.fixture
def tokenizer_of(make_bytes, templates):
    """One without a chat template, unless the layout is one of conversations."""
    return lambda name: make_bytes(template=None if name.partition(":")[0] in AS_TEXT else templates["bare"])


@pytest.mark.parametrize("kind", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize(("name", "fields"), PAIRS, ids=NAMES)
def test_pairs(kind, name, fields, write, load, tokenizer_of, folder):
    if kind == "a.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([fields]), folder / kind)
    else:
        write(kind, [fields])
    tables = load(kind, tokenizer_of(name))
    assert tables.reports[0].format == name
    prompt = AS_TEXT.get(name.partition(":")[0], "user: Hi\nassistant:")
    assert tables.train[0].text == {"prompt": prompt, "chosen": "Hello.", "rejected": "Go away."}


@pytest.mark.parametrize(("name", "fields"), PAIRS, ids=NAMES)
def test_pairs_serve_all_trainers(name, fields, write, load, tokenizer_of):
    file = write("a.jsonl", [fields])
    single = load(file, tokenizer_of(name), responses=("chosen",))
    assert (single.reports[0].format, single.train[0].text["chosen"]) == (name, "Hello.")
    halves = load(file, tokenizer_of(name), responses=("completion",)).train
    assert [(row.text["completion"], row.label) for row in halves] == [("Hello.", True), ("Go away.", False)]


@pytest.mark.parametrize("number", [-3, -1, 1, 3])
def test_which_response_is_preferred(number, write, load, tokenizer_of):
    (row,) = load(write("a.jsonl", [{**HELP, "overall_preference": number}]), tokenizer_of("HelpSteer3")).train
    assert row.text["chosen"] == ("Hello." if number < 0 else "Go away.")


@pytest.mark.parametrize(("fields", "column"), [(PKU, "better_response_id"), (SHP, "labels")])
@pytest.mark.parametrize("kind", ["a.jsonl", "a.csv"])
def test_the_other_number_is_the_other_response(fields, column, kind, write, load):
    rows = load(write(kind, [fields, {**fields, column: 1 - fields[column]}])).train
    assert [row.text["chosen"] for row in rows] == ["Hello.", "Go away."]


def test_the_safer_response_is_a_matter_of_columns(write, load):
    tables = load(write("a.jsonl", [PKU]), columns={"better_response_id": "safer_response_id"})
    assert tables.train[0].text["chosen"] == "Go away."
    assert "better_response_id" in tables.reports[0].unused_columns


def test_ties_are_left_out_and_counted(write, load, tokenizer_of):
    name = write("a.jsonl", [HELP, {**HELP, "overall_preference": 0}, HELP])
    (report,) = load(name, tokenizer_of("HelpSteer3")).reports
    assert (report.used, report.dropped) == (2, {"tie": 1})


@pytest.mark.parametrize(
    ("good", "change", "said"),
    [
        (PKU, {"better_response_id": 2}, "wrong type: 'better_response_id': expected one of 0, 1, got 2"),
        (SHP, {"labels": None}, "null field: 'labels'"),
        (SHP, {"human_ref_B": None}, "null field: 'human_ref_B'"),
        (
            SHAREGPT,
            {"conversations": [{"from": "narrator", "value": "Once"}]},
            "unknown speaker: 'conversations', message 1: str \"narrator\"; known: human, user, gpt, assistant, "
            "chatgpt, model, bot, system, observation, tool",
        ),
        (
            {**ALPACA, **PAIR},
            {"history": [["a", "b"]]},
            "earlier turns: 'history' has no place in this format; write the row as messages",
        ),
    ],
)
def test_what_is_none_is_a_bad_row(good, change, said, write, load, tokenizer_of):
    name = "ShareGPT" if good is SHAREGPT else "Alpaca"
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [good, {**good, **change}]), tokenizer_of(name))
    assert str(caught.value).splitlines()[1] == f"  a.jsonl:2: {said}"


@pytest.mark.parametrize("column", ["question", "input"])
def test_orca_pairs_have_no_place_for_the_system_message_without_a_chat_template(column, write, load):
    row = {"system": "You are terse.", column: "Hi", **PAIR}
    said = "column 'system', given in 1 of 1 rows, has no place in plain text"
    with pytest.raises(DataError, match=f"{said} .format found: Orca pairs: system, {column} and two responses"):
        load(write("a.jsonl", [row]))
    tables = load(write("b.jsonl", [{**row, "system": ""}]))
    assert tables.train[0].text == {"prompt": "Hi", **PAIR}


def test_an_input_follows_its_instruction(write, load):
    (row,) = load(write("a.jsonl", [{"instruction": "Add:", "input": "2 + 2", **PAIR}])).train
    assert row.text["prompt"] == "Add:\n2 + 2"


SINGLES = [
    ("Alpaca: instruction, input and output", {**ALPACA, "output": "Hello.", "text": "all of it"}, "Hi"),
    ("ShareGPT: conversations", {"conversations": [*TALK, {"from": "gpt", "value": "Hello."}]}, None),
    ("text prompt, message as completion", {"prompt": "Hi", "completion": [GOOD]}, None),
    ("messages prompt and completion", {"prompt": [Q], "completion": "Hello."}, None),
]


@pytest.mark.parametrize(("name", "fields", "prompt"), SINGLES, ids=[name for name, *_ in SINGLES])
def test_single_responses_with_and_without_a_label(name, fields, prompt, write, load, tokenizer_of):
    tables = load(write("a.jsonl", [fields]), tokenizer_of(name), responses=("chosen",))
    assert tables.reports[0].format == name
    assert tables.train[0].text == {"prompt": prompt or "user: Hi\nassistant:", "chosen": "Hello."}
    rows = [{**fields, "label": label} for label in (True, False)]
    tables = load(write("b.jsonl", rows), tokenizer_of(name), responses=("completion",))
    assert [(row.text["completion"], row.label) for row in tables.train] == [("Hello.", True), ("Hello.", False)]

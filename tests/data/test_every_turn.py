"""Each turn of the assistant as a row of a supervised run, its conversation on one side."""

from __future__ import annotations

import json

import pytest

from alignkit.data.splitting import rows_fingerprint
from alignkit.errors import DataError, RecipeError
from alignkit.recipe.load import load_recipe
from alignkit.report.banner import data_line


def says(role, content):
    return {"role": role, "content": content}


def talk(number, turns=3):
    """A conversation of so many questions and answers."""
    pairs = [(says("user", f"Q{number}.{turn}"), says("assistant", f"A{turn}")) for turn in range(turns)]
    return {"messages": [message for pair in pairs for message in pair]}


@pytest.fixture
def load_turns(load, make_bytes, templates):
    def load_file(name, **options):
        options = {"responses": ("chosen",), "train_on": "all_turns"} | options
        return load(name, make_bytes(template=templates["bare"]), **options)

    return load_file


def test_each_turn_is_a_row_with_all_before_it_as_its_prompt(write, load_turns):
    tables = load_turns(write("a.jsonl", [talk(0), talk(1, turns=1)]))
    assert [(row.index, row.where) for row in tables.train] == [
        *((number, f"a.jsonl:1 turn {number + 1}") for number in range(3)),
        (3, "a.jsonl:2 turn 1"),
    ]
    assert tables.train[1].text == {"prompt": "user: Q0.0\nassistant: A0\nuser: Q0.1\nassistant:", "chosen": "A1"}
    (report,) = tables.reports
    assert (report.rows, report.used, report.counts["conversations"]) == (4, 4, 2)
    assert "conversations of which each assistant turn is a row: 2" in data_line(report)
    assert "earlier_turns_untrained" not in report.counts


def test_the_last_turn_is_the_row_that_it_is_alone(write, load_turns):
    name = write("a.jsonl", [talk(0)])
    last, every = (load_turns(name, train_on=on).train for on in ("last_turn", "all_turns"))
    assert last[0].prompt.tolist() == every[-1].prompt.tolist()
    assert last[0].responses["chosen"].tolist() == every[-1].responses["chosen"].tolist()
    assert len(last) == 1


def test_single_turns_stay_what_they_are(write, load_turns, pairs):
    for rows in ([talk(n, turns=1) for n in range(3)], pairs):
        name = write("a.jsonl", rows)
        last, every = (load_turns(name, train_on=on, chat="never").train for on in ("last_turn", "all_turns"))
        assert rows_fingerprint(last) == rows_fingerprint(every)


def test_a_conversation_is_held_out_whole(write, load_turns):
    tables = load_turns(write("a.jsonl", [talk(n) for n in range(6)]), holdout=7)
    held, trained = ({row.where.split()[0] for row in rows} for rows in (tables.eval, tables.train))
    assert (len(tables.eval), len(held), len(trained)) == (6, 2, 4)
    assert held.isdisjoint(trained)


def test_a_turn_that_is_too_long_is_one_row_less(write, load_turns, folder):
    rows = [
        talk(0),
        {"messages": [says("user", "Q"), says("assistant", "x" * 99), says("user", "R"), says("assistant", "y")]},
    ]
    name = write("a.jsonl", rows)
    tables = load_turns(name, max_length=80, on_overflow="drop", dropped=folder / "dropped.jsonl")
    assert [row.where for row in tables.train] == [f"a.jsonl:1 turn {n}" for n in (1, 2, 3)]
    assert (tables.reports[0].rows, tables.reports[0].dropped) == (5, {"too long": 2})
    dropped = [json.loads(line) for line in (folder / "dropped.jsonl").read_text().splitlines()]
    assert [one["where"] for one in dropped] == ["a.jsonl:2 turn 1", "a.jsonl:2 turn 2"]
    assert dropped[0]["row"] == rows[1]


def test_bad_rows_are_counted_among_the_turns(write, load_turns):
    tables = load_turns(write("a.jsonl", [{"messages": []}, talk(0)]), on_bad_row="drop")
    assert (tables.reports[0].rows, tables.reports[0].used) == (4, 3)


def test_turns_that_follow_nobody_are_in_prompts_only(write, load_turns):
    greeted = [
        says("assistant", "Welcome."),
        *talk(0, turns=1)["messages"],
        says("assistant", "And."),
        *talk(1, turns=1)["messages"],
    ]
    tables = load_turns(write("a.jsonl", [{"messages": greeted}]))
    assert [row.text["chosen"] for row in tables.train] == ["A0", "A0"]
    assert tables.train[0].text["prompt"].startswith("assistant: Welcome.")
    assert "assistant: And." in tables.train[1].text["prompt"]


def test_pairs_give_the_turns_before_their_chosen_response(write, load_turns):
    prompt = [*talk(0, turns=1)["messages"], says("user", "Q")]
    pair = {"prompt": prompt, "chosen": [says("assistant", "good")], "rejected": [says("assistant", "bad")]}
    assert [row.text["chosen"] for row in load_turns(write("a.jsonl", [pair])).train] == ["A0", "good"]


SCRIPT = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: And now?\n\nAssistant:"


def test_transcripts_hide_their_turns_unless_taken_apart(write, load_turns):
    name = write("a.jsonl", [{"chosen": SCRIPT + " Tea.", "rejected": SCRIPT + " Tar."}])
    with pytest.raises(DataError) as caught:
        load_turns(name)
    assert str(caught.value) == (
        "data.train_on: all_turns needs conversations, but a.jsonl:1 is a transcript; take last_turn, or data.chat: "
        "always with a tokenizer that has a chat template"
    )
    assert [row.text["chosen"] for row in load_turns(name, chat="always").train] == ["Hello.", "Tea."]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"responses": ("chosen", "rejected")},
            "all_turns is for single responses; this trainer reads chosen, rejected; take last_turn",
        ),
        ({"token_columns": ["_weight"]}, "all_turns has no token weights for earlier turns; take last_turn"),
    ],
)
def test_where_it_has_no_use(options, said, write, load_turns):
    with pytest.raises(DataError) as caught:
        load_turns(write("a.jsonl", [talk(0)]), **options)
    assert str(caught.value) == f"data.train_on: {said}"


def test_a_recipe_of_pairs_is_refused_at_once(write):
    data = '{train: "builtin:world", train_on: all_turns}'
    name = write("r.yaml", f"model: world\ndata: {data}\nlosses: [dpo]\ntrainer: preference\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(name)
    assert str(caught.value) == (
        "r.yaml:2: data.train_on: 'all_turns' is for single responses, but trainer 'preference' reads chosen, "
        "rejected; take 'last_turn' or trainer 'sft'"
    )

"""Plain text becomes turns where the model speaks in turns, unless it looks like turns already."""

from __future__ import annotations

import pytest

from alignkit.data.splitting import rows_fingerprint
from alignkit.errors import DataError
from alignkit.report.banner import data_line
from alignkit.world.config import WorldConfig

PAIR = {"prompt": "Q:\n", "chosen": " yes", "rejected": " no "}
TALK = {
    "prompt": [{"role": "user", "content": "Q:"}],
    "chosen": [{"role": "assistant", "content": "yes"}],
    "rejected": [{"role": "assistant", "content": "no"}],
}
SCRIPT = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: And now?\n\nAssistant:"
TOLD = {"chosen": SCRIPT + " Tea.", "rejected": SCRIPT + " Tar."}
RENDERED = {"prompt": "<|im_start|>user\nQ:<|im_end|>\n<|im_start|>assistant\n", "chosen": "yes", "rejected": "no"}


@pytest.fixture
def chatml(make_bytes, templates):
    return make_bytes(template=templates["chatml"])


@pytest.mark.parametrize("chat", ["auto", "always"])
@pytest.mark.parametrize("bos", [False, True])
def test_text_gives_the_rows_of_the_conversation(chat, bos, write, load, make_bytes, templates):
    tokenizer = make_bytes(template=templates["chatml"], bos=bos)
    talk = load(write("a.jsonl", [TALK]), tokenizer)
    text = load(write("b.jsonl", [PAIR]), tokenizer, chat=chat)
    assert rows_fingerprint(text.train) == rows_fingerprint(talk.train)
    assert text.end == talk.end
    (report,) = text.reports
    assert (report.format, report.counts["wrapped_as_turns"]) == ("text with a prompt column", 1)
    assert "as the model speaks in turns (data.chat): 1" in data_line(report)
    assert "wrapped_as_turns" not in talk.reports[0].counts


def test_text_stays_text(write, load, make_bytes, chatml):
    """Without a template; when told so; with a separator, which only text has."""
    name = write("a.jsonl", [PAIR])
    plain = rows_fingerprint(load(name).train)
    assert rows_fingerprint(load(name, chatml, chat="never").train) == plain
    (row,) = load(name, chatml, separator="|").train
    assert row.text == {"prompt": "Q:\n|", "chosen": " yes", "rejected": " no "}


@pytest.mark.parametrize("row", [TOLD, RENDERED, {**RENDERED, "prompt": SCRIPT}], ids=["HH", "rendered", "a column"])
def test_what_looks_like_turns_stays_text_unless_told(row, write, load, chatml):
    tables = load(write("a.jsonl", [row]), chatml)
    assert tables.train[0].text["prompt"] == row.get("prompt", SCRIPT)
    assert "wrapped_as_turns" not in tables.reports[0].counts
    assert load("a.jsonl", chatml, chat="always").reports[0].counts["wrapped_as_turns"] == 1


@pytest.mark.parametrize(
    "row",
    [TOLD, *({"prompt": text, "chosen": " Tea.", "rejected": " Tar."} for text in (SCRIPT, SCRIPT.strip()))],
    ids=["HH", "a column", "without line ends"],
)
def test_transcripts_become_their_turns_when_told(row, write, load, make_bytes, templates):
    (read,) = load(write("a.jsonl", [row]), make_bytes(template=templates["bare"]), chat="always").train
    assert read.text == {
        "prompt": "user: Hi\nassistant: Hello.\nuser: And now?\nassistant:",
        "chosen": "Tea.",
        "rejected": "Tar.",
    }


def test_some_that_look_like_turns_are_not_guessed_at(write, load, chatml):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [PAIR, RENDERED, PAIR]), chatml)
    assert str(caught.value) == (
        "a.jsonl: 1 of 3 prompts look like conversations that were rendered before, the first at a.jsonl:2, and the "
        "others like plain text; say data.chat: always to make each prompt a user's turn, or never to take all as they "
        "are"
    )


def test_labelled_and_single_responses(write, load, chatml):
    rows = [{"prompt": f"Q{n}", "completion": "a", "label": n == 0} for n in range(2)]
    name = write("a.jsonl", rows)
    for responses in (("completion",), ("chosen",)):
        tables = load(name, chatml, responses=responses)
        assert tables.train[0].text["prompt"] == "<|im_start|>user\nQ0<|im_end|>\n<|im_start|>assistant\n"


def test_a_text_alone_has_no_user(write, load, chatml):
    name = write("a.jsonl", [{"text": "a"}])
    with pytest.raises(DataError, match=r"has text without a prompt \(text alone\); take never, or give a prompt"):
        load(name, chatml, responses=("chosen",), chat="always")


def test_a_system_message_and_tools_find_their_place(write, load, make_bytes, templates):
    tokenizer = make_bytes(template="{{ tools | tojson if tools else '' }}" + templates["bare"])
    orca = {"system": "Be terse.", "question": "Q:", "chosen": "yes", "rejected": "no"}
    tables = load(write("a.jsonl", [orca]), tokenizer)
    assert tables.reports[0].format == "Orca pairs: system, question and two responses"
    assert tables.train[0].text["prompt"] == "system: Be terse.\nuser: Q:\nassistant:"
    (row,) = load(write("b.jsonl", [{**PAIR, "tools": [{"name": "look"}]}]), tokenizer).train
    assert row.text["prompt"] == '[{"name": "look"}]user: Q:\nassistant:'


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": " \n"}, "empty prompt: 'prompt' holds no text that a user could say"),
        ({"rejected": "yes"}, "chosen equals rejected: a pair needs two different responses"),
        ({"system": 7}, "wrong type: 'system': expected text, got int 7"),
    ],
)
def test_rows_that_cannot_become_turns(change, said, write, load, chatml):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [PAIR, {**PAIR, **change}]), chatml)
    assert str(caught.value).splitlines()[1] == f"  a.jsonl:2: {said}"


def test_always_without_a_template(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [PAIR]), chat="always")
    assert str(caught.value) == (
        "data.chat: always makes each prompt a user's turn, but tokenizer 'bytes' has no chat template; take an "
        "instruct model's, or never"
    )


def test_a_template_that_cannot_be_used_need_not_be(write, load, make_bytes):
    tokenizer = make_bytes(template="{{ raise_exception('not me') }}")
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [PAIR]), tokenizer)
    assert str(caught.value) == (
        "the chat template of tokenizer 'bytes' cannot be used: not me; data.chat: never leaves plain text as it is"
    )
    assert load("a.jsonl", tokenizer, chat="never").train[0].text["prompt"] == "Q:\n"


def test_the_world_stays_text(load, chatml):
    """Its rows know characters of their text."""
    tables = load("builtin:world", chatml, holdout=None, world=WorldConfig(pairs=2, eval_pairs=1))
    assert not tables.train[0].text["prompt"].startswith("<|im_start|>")
    with pytest.raises(DataError, match="builtin:world knows characters of its text, which turns would move"):
        load("builtin:world", chatml, holdout=None, chat="always", world=WorldConfig(pairs=2, eval_pairs=1))

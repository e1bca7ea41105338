"""Every format is found by its columns and kinds, and read as a prompt and its responses."""

from __future__ import annotations

import pytest

from alignkit.data.fields import Unusable
from alignkit.data.formats import find_format, read_example
from alignkit.data.raw import RawRow
from alignkit.data.readers import num_shared

USER = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Hello."}
BAD = {"role": "assistant", "content": "Go away."}
TALK = [USER, GOOD, {"role": "user", "content": "And now?"}]
SCRIPT = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: And now?\n\nAssistant:"

BOTH = ("chosen", "rejected")
ONE = ("chosen",)
UNPAIRED = ("completion",)
CASES = [
    ("text with a prompt column", BOTH, {"prompt": "Q", "chosen": "A", "rejected": "B"}, "Q", ("A", "B")),
    (
        "messages with a prompt column",
        BOTH,
        {"prompt": TALK, "chosen": [GOOD], "rejected": [BAD]},
        TALK,
        (GOOD, BAD),
    ),
    ("two conversations", BOTH, {"chosen": [*TALK, GOOD], "rejected": [*TALK, BAD]}, TALK, (GOOD, BAD)),
    (
        "whole conversations, the prompt repeated as text",
        BOTH,
        {"prompt": "Hi", "chosen": [USER, GOOD], "rejected": [USER, BAD], "score_chosen": 7.0},
        [USER],
        (GOOD, BAD),
    ),
    ("two transcripts", BOTH, {"chosen": SCRIPT + " Tea.", "rejected": SCRIPT + " Tar."}, SCRIPT, (" Tea.", " Tar.")),
    ("text with a prompt column", ONE, {"prompt": "Q", "chosen": "A", "rejected": None}, "Q", ("A",)),
    ("two transcripts", ONE, {"chosen": SCRIPT + " Tea.", "rejected": SCRIPT + " Tar."}, SCRIPT, (" Tea.",)),
    ("text prompt and chosen", ONE, {"prompt": "Q", "chosen": "A"}, "Q", ("A",)),
    ("text prompt and completion", ONE, {"prompt": "Q", "completion": "A"}, "Q", ("A",)),
    ("messages prompt and chosen", ONE, {"prompt": [USER], "chosen": [GOOD]}, [USER], (GOOD,)),
    ("messages prompt and completion", ONE, {"prompt": [USER], "completion": [GOOD]}, [USER], (GOOD,)),
    ("conversations", ONE, {"messages": [*TALK, GOOD]}, TALK, (GOOD,)),
    ("text alone", ONE, {"text": "A"}, "", ("A",)),
]


LABELLED = [
    ("text prompt, completion and label", {"prompt": "Q", "completion": "A", "label": True}, "Q", "A", True),
    ("text prompt, completion and label", {"prompt": "Q", "completion": "A", "label": "0"}, "Q", "A", False),
    (
        "messages prompt, completion and label",
        {"prompt": TALK, "completion": [GOOD], "label": False},
        TALK,
        GOOD,
        False,
    ),
    ("conversations with a label", {"messages": [*TALK, GOOD], "label": 1}, TALK, GOOD, True),
]


@pytest.mark.parametrize(("name", "responses", "fields", "prompt", "read"), CASES, ids=range(len(CASES)))
def test_formats(name, responses, fields, prompt, read):
    row = RawRow(0, "a.jsonl:1", fields)
    found = find_format([row], responses, "a.jsonl")
    if fields.get("rejected", "") is None:  # a pair without its rejected reads as prompt and chosen
        name = "text prompt and chosen"
    assert found.name == name
    example = read_example(row, found, responses)
    assert example.prompt == prompt
    assert tuple(example.responses.values()) == read
    assert tuple(example.responses) == responses


@pytest.mark.parametrize(("name", "fields", "prompt", "completion", "label"), LABELLED, ids=range(len(LABELLED)))
def test_labelled_formats(name, fields, prompt, completion, label):
    row = RawRow(0, "a.jsonl:1", fields)
    found = find_format([row], UNPAIRED, "a.jsonl")
    assert (found.name, found.laid_out(UNPAIRED)) == (name, UNPAIRED)
    example = read_example(row, found, UNPAIRED)
    assert (example.prompt, dict(example.responses), example.label) == (prompt, {"completion": completion}, label)


@pytest.mark.parametrize(("name", "responses", "fields", "prompt", "read"), [case for case in CASES if case[1] == BOTH])
def test_pairs_serve_where_completions_are_wanted(name, responses, fields, prompt, read):
    row = RawRow(0, "a.jsonl:1", fields)
    found = find_format([row], UNPAIRED, "a.jsonl")
    assert (found.name, found.laid_out(UNPAIRED)) == (name, BOTH)
    assert read_example(row, found, UNPAIRED) == read_example(row, found, BOTH)
    assert read_example(row, found, UNPAIRED).label is None


def test_labels_go_before_pairs_where_a_row_has_both():
    pair = {"prompt": "Q", "chosen": "A", "rejected": "B"}
    both, extra = ({**pair, **more} for more in ({"completion": "C", "label": True}, {"label": True}))
    assert find_format([RawRow(0, "a:1", both)], UNPAIRED, "a").name == "text prompt, completion and label"
    assert find_format([RawRow(0, "a:1", extra)], UNPAIRED, "a").name == "text with a prompt column"
    assert find_format([RawRow(0, "a:1", both)], BOTH, "a").name == "text with a prompt column"


def test_a_label_means_nothing_to_a_supervised_run():
    row = RawRow(0, "a:1", {"prompt": "Q", "completion": "A", "label": "angry"})
    found = find_format([row], ONE, "a")
    assert found.name == "text prompt and completion"
    assert read_example(row, found, ONE).label is None


def test_gold_stays_beside_what_a_completion_is_read_from():
    pair = {"prompt": "Q", "chosen": "A", "rejected": "B", "gold": "G"}
    single = {"prompt": "Q", "completion": "A", "gold": "G", "label": True}
    for fields, read in (
        (pair, {"chosen": "A", "rejected": "B", "gold": "G"}),
        (single, {"completion": "A", "gold": "G"}),
    ):
        row = RawRow(0, "a:1", fields)
        found = find_format([row], ("completion", "gold"), "a")
        assert dict(read_example(row, found, ("completion", "gold")).responses) == read


def test_the_format_is_that_of_most_rows():
    fields = [{"chosen": SCRIPT + f" {n}", "rejected": SCRIPT + " Tar."} for n in range(2)]
    fields.append({"chosen": [USER, GOOD], "rejected": [USER, BAD]})
    rows = [RawRow(index, f"a:{index}", row) for index, row in enumerate(fields)]
    assert find_format(rows, BOTH, "a").name == "two transcripts"
    assert find_format(rows[1:] + rows[2:], BOTH, "a").name == "two conversations"


def test_equal_prompts_have_equal_keys():
    rows = [{"prompt": [{"role": "user", "content": "Hi"}]}, {"prompt": [{"content": "Hi", "role": "user"}]}]
    keys = set()
    for fields in rows:
        row = RawRow(0, "a", {**fields, "chosen": [GOOD], "rejected": [BAD]})
        keys.add(read_example(row, find_format([row], BOTH, "a"), BOTH).prompt_key)
    assert len(keys) == 1


def test_a_common_start_of_the_responses_stays_in_the_responses():
    """Transcripts that part inside the last turn: ` Tea` and ` Tar` share ` T`."""
    row = RawRow(0, "a", {"chosen": SCRIPT + " Tea", "rejected": SCRIPT + " Tar"})
    example = read_example(row, find_format([row], BOTH, "a"), BOTH)
    assert example.prompt.endswith("\n\nAssistant:")
    assert dict(example.responses) == {"chosen": " Tea", "rejected": " Tar"}


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [("", "a", 0), ("a", "b", 0), ("abc", "abc", 3), ("abc", "abd", 2), ("ab", "abcde", 2), ([1, 2, 3], [1, 3, 3], 1)],
)
def test_num_shared(first, second, shared):
    assert num_shared(first, second) == num_shared(second, first) == shared


# --- messages that say what is wrong ---


def complaint(fields, responses=BOTH, others=()):
    row = RawRow(0, "a:1", fields, others=others)
    with pytest.raises(Unusable) as caught:
        read_example(row, find_format([row], responses, "a"), responses)
    return str(caught.value)


NO_TURN = r"no common prompt: chosen and rejected share no '\n\nAssistant:' turn"
PAIR = {"chosen": "yes", "rejected": "no"}
CALL = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "look"}}]}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (PAIR, "add a 'prompt' column"),
        ({**PAIR, "score": 1.0}, "add a 'prompt' column"),
        (
            {"question": "Q", "id": "7", **PAIR},
            "is the prompt in 'question'? then set data.columns: {prompt: question}",
        ),
        (
            {"query": "Q", "input": "", **PAIR},
            "is the prompt in 'query' or 'input'? then set data.columns: {prompt: query}",
        ),
        ({"Anfrage": "Q", "n": 1, **PAIR}, "is the prompt in 'Anfrage'? then set data.columns: {prompt: Anfrage}"),
    ],
)
def test_pairs_whose_prompt_has_another_name(fields, said):
    assert complaint(fields) == f"{NO_TURN}; {said}"


def test_the_prompt_may_be_in_a_column_that_was_not_read():
    said = f"{NO_TURN}; is the prompt in 'question'? then set data.columns: {{prompt: question}}"
    assert complaint(PAIR, others=("id", "question")) == said
    assert complaint({"chosen": [GOOD], "rejected": [BAD]}, others=("question",)) == (
        "no common prompt: chosen and rejected begin with the assistant's turn; is the prompt in 'question'? then set "
        "data.columns: {prompt: question}"
    )


@pytest.mark.parametrize("prompt", [[USER], "Hi"])
@pytest.mark.parametrize(("good", "bad"), [(GOOD, BAD), ([GOOD], [BAD])], ids=["alone", "in lists"])
def test_responses_are_messages_in_a_list_or_not(prompt, good, bad):
    row = RawRow(0, "a:1", {"prompt": prompt, "chosen": good, "rejected": bad})
    example = read_example(row, find_format([row], BOTH, "a"), BOTH)
    assert (example.prompt, example.responses) == ([USER], {"chosen": GOOD, "rejected": BAD})


def test_a_prompt_of_messages_with_responses_of_text():
    row = RawRow(0, "a:1", {"prompt": [USER], "chosen": "Hello.", "rejected": "Go away."})
    example = read_example(row, find_format([row], BOTH, "a"), BOTH)
    assert (example.prompt, example.responses) == ([USER], {"chosen": GOOD, "rejected": BAD})


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": ""}])
def test_a_response_of_tool_calls_alone(content):
    assert complaint({"prompt": [USER], "chosen": [{**CALL, **content}], "rejected": [BAD]}) == (
        "tool calls without text: 'chosen': a response of tool calls alone is not trained on"
    )


def test_a_text_too_large_for_a_tokenizer():
    assert complaint({"prompt": "Q", "chosen": "x" * 2_000_001, "rejected": "no"}) == (
        "too large: 'chosen' has 2,000,001 characters; at most 2,000,000 are read"
    )

"""Every format is found by its columns and kinds, and read as a prompt and its responses."""

from __future__ import annotations

import pytest

from alignkit.data.formats import find_format, num_shared, read_example
from alignkit.data.sources import RawRow

USER = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Hello."}
BAD = {"role": "assistant", "content": "Go away."}
TALK = [USER, GOOD, {"role": "user", "content": "And now?"}]
SCRIPT = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: And now?\n\nAssistant:"

BOTH = ("chosen", "rejected")
ONE = ("chosen",)
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

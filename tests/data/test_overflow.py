"""Rows longer than `max_length`.

With the byte tokenizer and BOS, prompt `Q12345:` has 1 + 7 tokens, ` yes` and ` no` have 5 and 4 with EOS: 13 in all.
"""

from __future__ import annotations

import pytest

from alignkit.errors import DataError

ROWS = [
    {"prompt": "Q12345:", "chosen": " yes", "rejected": " no"},
    {"prompt": "Q:", "chosen": " yes", "rejected": " no"},
]


@pytest.fixture
def cut(write, load, make_bytes):
    """Loads the two rows at `max_length` and gives the parts of the first as text, and the report."""
    tokenizer = make_bytes(bos=True)

    def load_cut(max_length, policy, rows=ROWS, **options):
        tables = load(write("a.jsonl", rows), tokenizer, on_overflow=policy, max_length=max_length, **options)
        first = tables.train[0]
        parts = [tokenizer.decode(ids) for ids in (first.prompt, *first.responses.values())]
        assert all(row.length <= max_length for row in tables.train)
        return parts, tables.reports[0]

    return load_cut


@pytest.mark.parametrize("policy", ["error", "drop", "truncate_prompt", "truncate_response"])
def test_rows_that_just_fit_are_left_alone(policy, cut):
    parts, report = cut(13, policy)
    assert parts == ["<s>Q12345:", " yes</s>", " no</s>"]
    assert "truncated_prompt" not in report.counts
    assert report.used == 2


def test_error(cut):
    with pytest.raises(DataError) as caught:
        cut(12, "error")
    assert str(caught.value) == (
        "a.jsonl: 1 of 2 rows are longer than data.max_length: 12 tokens, the longest 13: a.jsonl:1 (13); raise it, or "
        "set data.on_overflow to drop, truncate_prompt or truncate_response"
    )


def test_error_names_five_places(cut):
    with pytest.raises(DataError) as caught:
        cut(4, "error", rows=[{**ROWS[0], "prompt": "Q" * n} for n in range(1, 8)])
    assert str(caught.value) == (
        "a.jsonl: 7 of 7 rows are longer than data.max_length: 4 tokens, the longest 13: a.jsonl:1 (7), a.jsonl:2 (8), "
        "a.jsonl:3 (9), a.jsonl:4 (10), a.jsonl:5 (11) and 2 more; raise it, or set data.on_overflow to drop, "
        "truncate_prompt or truncate_response"
    )


def test_drop(cut):
    parts, report = cut(12, "drop", max_bad_rows=0)
    assert parts[0] == "<s>Q:"
    assert (report.rows, report.used, report.dropped) == (2, 1, {"too long": 1})


def test_truncate_prompt_keeps_bos_and_the_end(cut):
    """10 tokens - 5 of the longer response - BOS leave the last 4 of the prompt."""
    parts, report = cut(10, "truncate_prompt")
    assert parts == ["<s>345:", " yes</s>", " no</s>"]
    assert report.counts["truncated_prompt"] == 1


def test_truncate_prompt_keeps_one_token_beside_bos(cut):
    parts, _ = cut(7, "truncate_prompt")
    assert parts == ["<s>:", " yes</s>", " no</s>"]
    with pytest.raises(DataError) as caught:
        cut(6, "truncate_prompt")
    assert str(caught.value) == (
        "a.jsonl: 2 of 2 rows cannot be used: 2 response too long\n"
        "  a.jsonl:1: response too long: the longest response has 5 tokens and leaves no prompt within "
        "data.max_length: 6\n"
        "  a.jsonl:2: response too long: the longest response has 5 tokens and leaves no prompt within "
        "data.max_length: 6\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )


def test_truncate_response_cuts_the_end_token_too(cut):
    """12 tokens - 8 of the prompt leave 4: ` yes` loses its EOS, ` no` fits."""
    parts, report = cut(12, "truncate_response")
    assert parts == ["<s>Q12345:", " yes", " no</s>"]
    assert report.counts["truncated_response"] == 1


def test_numbers_of_tokens_are_cut_with_their_response(write, load, make_bytes):
    """12 tokens - 8 of the prompt leave 4, so ` yes` loses its EOS; a cut prompt takes nothing from them."""
    rows = [{**ROWS[0], "chosen_weight": [1, 2, 3, 4, 5], "rejected_weight": [6, 7, 8]}]
    name, tokenizer = write("a.jsonl", rows), make_bytes(bos=True)
    for policy, kept in (("truncate_response", [1.0, 2.0, 3.0, 4.0]), ("truncate_prompt", [1.0, 2.0, 3.0, 4.0, 5.0])):
        (row,) = load(name, tokenizer, token_columns=["_weight"], on_overflow=policy, max_length=12).train
        assert row.token_columns["_weight"]["chosen"].tolist() == kept
        assert row.token_columns["_weight"]["rejected"].tolist() == [6.0, 7.0, 8.0, 0.0]


@pytest.mark.parametrize(
    ("policy", "prompt", "completion", "weights"),
    [
        ("truncate_prompt", "<s>2345:", " yes</s>", [1.0, 2.0, 3.0, 4.0, 5.0]),
        ("truncate_response", "<s>Q12345:", " ye", [1.0, 2.0, 3.0]),
    ],
)
def test_completions_are_cut_alike(policy, prompt, completion, weights, write, load, make_bytes):
    """8 + 5 tokens cut to 11; ` n` at 8 + 3 fits."""
    long = {"prompt": "Q12345:", "completion": " yes", "label": True, "completion_weight": [1, 2, 3, 4, 5]}
    short = {"prompt": "Q12345:", "completion": " n", "label": False, "completion_weight": [1, 2, 3]}
    tokenizer = make_bytes(bos=True)
    name, options = write("a.jsonl", [long, short]), {"responses": ("completion",), "token_columns": ["_weight"]}
    tables = load(name, tokenizer, on_overflow=policy, max_length=11, **options)
    first, second = tables.train
    assert [tokenizer.decode(ids) for ids in (first.prompt, first.responses["completion"])] == [prompt, completion]
    assert first.token_columns["_weight"]["completion"].tolist() == weights
    assert (second.length, tokenizer.decode(second.responses["completion"])) == (11, " n</s>")
    assert tables.reports[0].counts[policy.replace("truncate", "truncated")] == 1


def test_truncate_response_needs_a_difference_and_a_token(cut):
    with pytest.raises(DataError) as caught:
        cut(9, "truncate_response", rows=ROWS[:1])
    assert str(caught.value).splitlines()[1] == (
        "  a.jsonl:1: chosen equals rejected: they differ only beyond data.max_length: 9"
    )
    with pytest.raises(DataError) as caught:
        cut(8, "truncate_response", rows=ROWS[:1])
    assert str(caught.value).splitlines()[1] == (
        "  a.jsonl:1: prompt too long: it has 8 tokens and leaves no response within data.max_length: 8"
    )


def test_truncate_prompt_keeps_a_bos_that_only_the_template_writes(write, load, make_bytes, templates):
    """20 tokens - 5 of `Yes.` and its end - BOS leave 14: `<|eot|>` and the 13 tokens of the header of the turn."""
    talk = {
        "prompt": [{"role": "user", "content": "Hello there, how are you?"}],
        "chosen": [{"role": "assistant", "content": "Yes."}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }
    tokenizer = make_bytes(template=templates["llama3"], bos=False)
    (row,) = load(write("a.jsonl", [talk]), tokenizer, max_length=20, on_overflow="truncate_prompt").train
    assert row.length == 20
    assert tokenizer.decode(row.prompt) == "<s><|eot|><|start|>assistant<|stop|>\n\n"

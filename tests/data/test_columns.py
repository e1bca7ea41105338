"""Numeric data columns that components need, per row and per response token.

In the byte tokenizer a token is a byte: ` yes` has 5 tokens with EOS and ` no` has 4.
"""

from __future__ import annotations

import numpy as np
import pytest

from alignkit.errors import DataError

PAIR = {"prompt": "Q:", "chosen": " yes", "rejected": " no"}
WEIGHTED = {**PAIR, "chosen_weight": [0, 1, 0.5, 2, 3], "rejected_weight": [1, 2, 3, 4]}


def test_numbers_are_read(write, load):
    tables = load(write("a.jsonl", [{**PAIR, "quality": 3, "other": "x"}]), columns=["quality"])
    assert tables.train[0].columns == {"quality": 3.0}


def test_numbers_of_a_csv(write, load):
    tables = load(write("a.csv", [{**PAIR, "quality": "2.5"}]), columns=["quality"])
    assert tables.train[0].columns == {"quality": 2.5}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (PAIR, "missing field: 'quality'"),
        ({**PAIR, "quality": None}, "null field: 'quality'"),
        ({**PAIR, "quality": True}, "not a number: 'quality': expected a finite number, got True"),
        ({**PAIR, "quality": "high"}, "not a number: 'quality': expected a finite number, got 'high'"),
        ({**PAIR, "quality": float("nan")}, "not a number: 'quality': expected a finite number, got nan"),
        ({**PAIR, "quality": [1]}, "not a number: 'quality': expected a finite number, got [1]"),
    ],
)
def test_bad_numbers_are_bad_rows(row, complaint, write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [{**PAIR, "quality": 1}, row]), columns=["quality"])
    assert str(caught.value) == (
        f"a.jsonl: 1 of 2 rows cannot be used: 1 {complaint.split(':')[0]}\n"
        f"  a.jsonl:2: {complaint}\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )


def test_a_negative_number_where_none_may_be_is_a_bad_row(write, load):
    name = write("a.jsonl", [{**PAIR, "trust": number} for number in (0, -0.5, 1)])
    with pytest.raises(DataError) as caught:
        load(name, columns=["trust"], nonnegative=["trust"])
    assert str(caught.value) == (
        "a.jsonl: 1 of 3 rows cannot be used: 1 negative number\n"
        "  a.jsonl:2: negative number: 'trust': expected a number >= 0, got -0.5\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )
    tables = load(name, columns=["trust"], nonnegative=["trust"], on_bad_row="drop")
    assert [row.columns["trust"] for row in tables.train] == [0.0, 1.0]
    assert [row.columns["trust"] for row in load(name, columns=["trust"]).train] == [0.0, -0.5, 1.0]


def test_a_long_value_is_cut_in_the_message(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [{**PAIR, "quality": "9" * 4000 + "x"}]), columns=["quality"])
    assert f"expected a finite number, got '{'9' * 56}...\n" in str(caught.value)


def test_a_column_in_no_row(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [PAIR, PAIR]), columns=["quality"])
    assert str(caught.value) == (
        "a.jsonl: no column 'quality', which the recipe's components need; columns found: chosen, prompt, rejected"
    )


def test_no_gold_response_in_any_row(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [PAIR, PAIR]), responses=("chosen", "rejected", "gold"))
    assert str(caught.value) == (
        "a.jsonl: no column 'gold', which the recipe's components need; columns found: chosen, prompt, rejected; with "
        "pairs alone use loss 'cpo', which imitates the chosen response"
    )


# --- per response token ---


def weights_of(row, suffix="_weight"):
    values = row.token_columns[suffix]
    assert all(array.dtype == np.float32 for array in values.values())
    return {name: array.tolist() for name, array in values.items()}


def test_one_number_per_token(write, load):
    (row,) = load(write("a.jsonl", [WEIGHTED]), token_columns=["_weight"]).train
    assert weights_of(row) == {"chosen": [0.0, 1.0, 0.5, 2.0, 3.0], "rejected": [1.0, 2.0, 3.0, 4.0]}
    (row,) = load("a.jsonl").train
    assert row.token_columns == {}


def test_one_number_fewer_leaves_the_end_token_at_0(write, load, make_bytes, templates):
    short = {**PAIR, "chosen_weight": [1, 2, 3, 4], "rejected_weight": [5, 6, 7, 8]}
    (row,) = load(write("a.jsonl", [short]), token_columns=["_weight"]).train
    assert weights_of(row) == {"chosen": [1.0, 2.0, 3.0, 4.0, 0.0], "rejected": [5.0, 6.0, 7.0, 8.0]}
    talk = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}
    tokenizer = make_bytes(template=templates["chatml"])  # which ends a response with its own token
    name = write("b.jsonl", [{**talk, "chosen_weight": [1, 2, 3]}])
    (row,) = load(name, tokenizer, responses=("chosen",), token_columns=["_weight"]).train
    assert weights_of(row) == {"chosen": [1.0, 2.0, 3.0, 0.0]}


def test_numbers_of_a_csv_are_json_text(write, load):
    fields = {**PAIR, "chosen_weight": "[0.1, 0.2, 0, 1]", "rejected_weight": "[1, 2, 3]"}
    (row,) = load(write("a.csv", [fields]), token_columns=["_weight"]).train
    assert row.token_columns["_weight"]["chosen"].tolist() == np.array([0.1, 0.2, 0, 1, 0], np.float32).tolist()
    assert row.token_columns["_weight"]["rejected"].tolist() == [1.0, 2.0, 3.0, 0.0]


def test_several_suffixes(write, load):
    fields = {**WEIGHTED, "chosen_tag": [7] * 5, "rejected_tag": [8] * 4}
    (row,) = load(write("a.jsonl", [fields]), token_columns=["_weight", "_tag"]).train
    assert weights_of(row, "_tag") == {"chosen": [7.0] * 5, "rejected": [8.0] * 4}
    assert weights_of(row)["rejected"] == [1.0, 2.0, 3.0, 4.0]


def test_only_the_columns_of_the_responses_laid_out_are_read(write, load):
    """A supervised run needs no weights of rejected responses, and nobody those of gold ones."""
    fields = {**PAIR, "gold": " maybe", "chosen_weight": [1] * 5, "rejected_weight": "none"}
    (row,) = load(write("a.jsonl", [fields]), responses=("chosen",), token_columns=["_weight"]).train
    assert weights_of(row) == {"chosen": [1.0] * 5}
    name = write("b.jsonl", [{**fields, "rejected_weight": [2] * 4}])
    (row,) = load(name, responses=("chosen", "rejected", "gold"), token_columns=["_weight"]).train
    assert weights_of(row) == {"chosen": [1.0] * 5, "rejected": [2.0] * 4}


def test_numbers_of_completions(write, load):
    """` no` at one number fewer than its 4 tokens."""
    answers = [
        {"prompt": "Q:", "completion": " yes", "label": True, "completion_weight": [1, 2, 3, 4, 5]},
        {"prompt": "Q:", "completion": " no", "label": False, "completion_weight": [6, 7, 8]},
    ]
    first, second = load(write("a.jsonl", answers), responses=("completion",), token_columns=["_weight"]).train
    assert weights_of(first) == {"completion": [1.0, 2.0, 3.0, 4.0, 5.0]}
    assert weights_of(second) == {"completion": [6.0, 7.0, 8.0, 0.0]}


def test_numbers_follow_a_moved_boundary_by_their_count_alone(write, load, make_bytes):
    """`a|b` merges, so `a` opens both responses: `ab`, `c`, EOS and `a`, `d`, EOS."""
    fields = {"prompt": "Qa", "chosen": "bc", "rejected": "d", "chosen_weight": [1, 2, 3], "rejected_weight": [4, 5]}
    tokenizer = make_bytes(merges=[("a", "b")])
    (row,) = load(write("a.jsonl", [fields]), tokenizer, token_columns=["_weight"]).train
    assert weights_of(row) == {"chosen": [1.0, 2.0, 3.0], "rejected": [4.0, 5.0, 0.0]}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (None, "null field: 'chosen_weight'"),
        (0.5, "wrong type: 'chosen_weight': expected a list of numbers, got float 0.5"),
        ("0.5, 1", "wrong type: 'chosen_weight': expected a list of numbers, got str \"0.5, 1\""),
        ("7", "wrong type: 'chosen_weight': expected a list of numbers, got str \"7\""),
        (
            "[" * 100_000,
            f"wrong type: 'chosen_weight': expected a list of numbers, got str \"{'[' * 56}...",
        ),
        ([1, "2"], "not a number: 'chosen_weight', number 2: expected a finite number >= 0, got '2'"),
        ([True], "not a number: 'chosen_weight', number 1: expected a finite number >= 0, got True"),
        ([1, 1, None], "not a number: 'chosen_weight', number 3: expected a finite number >= 0, got None"),
        ([float("nan")], "not a number: 'chosen_weight', number 1: expected a finite number >= 0, got nan"),
        ([1e39], "not a number: 'chosen_weight', number 1: expected a finite number >= 0, got 1e+39"),  # as float32
        ([0, -0.5], "negative number: 'chosen_weight', number 2: expected a finite number >= 0, got -0.5"),
        (
            [1, 1, 1],
            "wrong length: 'chosen_weight': 3 numbers, but 'chosen' has 5 tokens, EOS included; expected 5, or 4 "
            "without one for EOS",
        ),
        (
            [1] * 6,
            "wrong length: 'chosen_weight': 6 numbers, but 'chosen' has 5 tokens, EOS included; expected 5, or 4 "
            "without one for EOS",
        ),
    ],
)
def test_bad_numbers_of_tokens_are_bad_rows(given, complaint, write, load):
    name = write("a.jsonl", [WEIGHTED, {**WEIGHTED, "chosen_weight": given}])
    with pytest.raises(DataError) as caught:
        load(name, token_columns=["_weight"])
    assert str(caught.value) == (
        f"a.jsonl: 1 of 2 rows cannot be used: 1 {complaint.split(':')[0]}\n"
        f"  a.jsonl:2: {complaint}\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )
    assert [row.where for row in load(name, token_columns=["_weight"], on_bad_row="drop").train] == ["a.jsonl:1"]


def test_numbers_of_tokens_missing_in_a_row(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [WEIGHTED, {**PAIR, "chosen_weight": [1] * 5}]), token_columns=["_weight"])
    assert str(caught.value).splitlines()[1] == "  a.jsonl:2: missing field: 'rejected_weight'"


@pytest.mark.parametrize("responses", [("chosen", "rejected"), ("completion",)])
def test_numbers_of_tokens_in_no_row(responses, write, load):
    name = write("a.jsonl", [{**PAIR, "chosen_weight": [1] * 5}])
    with pytest.raises(DataError) as caught:
        load(name, responses=responses, token_columns=["_weight"])
    assert str(caught.value) == (
        "a.jsonl: no column 'rejected_weight', which the recipe's components need; columns found: chosen, "
        "chosen_weight, prompt, rejected"
    )


def test_numbers_of_completions_in_no_row(write, load, labelled):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", labelled), responses=("completion",), token_columns=["_weight"])
    assert str(caught.value) == (
        "a.jsonl: no column 'completion_weight', which the recipe's components need; columns found: completion, label, "
        "prompt"
    )

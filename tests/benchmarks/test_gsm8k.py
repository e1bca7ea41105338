"""GSM8K: what is read of a response, and which rows are shown and asked."""

from __future__ import annotations

import pytest
from benchmark_toy import DATA, Told, asked, built, written

from alignkit.benchmarks.gsm8k import scores
from alignkit.errors import BenchmarkError

FILE = str(DATA / "gsm8k_sample.jsonl")


@pytest.mark.parametrize(
    ("response", "strict", "flexible"),
    [
        ("9 * 2 = 18\n#### 18", 1, 1),
        ("#### 18 and then #### 19", 1, 0),  # strict takes the first, flexible the last
        ("The answer is $18.00", 0, 0),  # 18.00 is another text than 18
        ("She makes $18.", 0, 1),
        ("so 18", 0, 1),
        ("####18", 0, 1),  # strict asks for the blank
        ("#### 1,8", 1, 1),  # commas do not count
        ("#### 18\n\nQuestion: What is 3 + 4?\nAnswer: 7\n#### 7", 1, 1),  # cut where it asks itself
        ("eighteen", 0, 0),
        ("", 0, 0),
    ],
)
def test_both_readings(response, strict, flexible):
    assert scores(response, "She makes 9 * 2 = $<<9*2=18>>18.\n#### 18") == {
        "strict_match": strict,
        "flexible_extract": flexible,
    }


def test_a_base_model_is_asked_after_the_shots():
    benchmark = built("gsm8k", data=FILE, shots=2, limit=1)
    told = Told(["#### 18"])
    (answer,) = asked(benchmark, told)
    (item,) = benchmark.items()
    first, second, last = told.asked[0].split("\n\n")
    shots = item.fields["shots"]
    assert first == f"Question: {shots[0].fields['question']}\nAnswer: {shots[0].fields['answer']}"
    assert second.endswith(shots[1].fields["answer"])
    assert last == f"Question: {item.fields['question']}\nAnswer:" and answer.item == item.name


def test_a_chat_model_is_asked_in_turns():
    told = Told(["18"], template="a template")
    asked(built("gsm8k", data=FILE, shots=1, limit=1), told)
    assert [turn["role"] for turn in told.asked[0]] == ["user", "assistant", "user"]
    asked(built("gsm8k", data=FILE, shots=1, limit=1, chat=False), told)
    assert isinstance(told.asked[1], str)


@pytest.mark.parametrize("train", [None, FILE])
def test_what_is_asked_is_never_shown(train):
    """Also where the examples come from a file that has the same questions."""
    for seed in range(8):
        items = built("gsm8k", data=FILE, shots=3, limit=3, seed=seed, train=train).items()
        shown = {shot.fields["question"] for shot in items[0].fields["shots"]}
        assert len(shown) == len(items) == 3 and not shown & {item.fields["question"] for item in items}


def test_without_a_file_of_examples_all_other_rows_are_asked():
    assert len(built("gsm8k", data=FILE, shots=2).items()) == 4
    assert len(built("gsm8k", data=FILE, shots=0).items()) == 6


def test_a_limit_is_a_sample_that_the_seed_decides():
    taken = [[item.name for item in built("gsm8k", data=FILE, shots=0, limit=2, seed=s).items()] for s in range(6)]
    assert len(set(map(tuple, taken))) > 1 and all(names == sorted(names) for names in taken)
    assert taken[0] == [item.name for item in built("gsm8k", data=FILE, shots=0, limit=2).items()]


@pytest.mark.parametrize(
    ("rows", "shots", "said"),
    [
        ([{"question": "Q"}], 0, "rows.jsonl:1: 'answer': expected text, which is not there; a row of gsm8k has "),
        ([{"question": 3, "answer": "4"}], 0, "rows.jsonl:1: 'question': expected text, got 3; a row of gsm8k has "),
        ([], 0, "evaluation.benchmarks.gsm8k.data: 'rows.jsonl' holds no rows"),
        (
            [{"question": "Q", "answer": "#### 4"}],
            5,
            "evaluation.benchmarks.gsm8k.data: 'rows.jsonl' has 1 rows for 5 shots and none to ask; lower 'shots', or ",
        ),
    ],
)
def test_rows_that_are_none(tmp_path, monkeypatch, rows, shots, said):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "rows.jsonl", rows)
    with pytest.raises(BenchmarkError) as caught:
        built("gsm8k", data="rows.jsonl", shots=shots).check()
    assert str(caught.value).startswith(said)


def test_a_missing_file_says_what_belongs_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchmarkError) as caught:
        built("gsm8k", data="data/gsm8k.jsonl", label="sums").check()
    assert str(caught.value) == (
        "evaluation.benchmarks.sums.data: no file 'data/gsm8k.jsonl'; the folder 'data' does not exist; put the "
        "benchmark's rows there (official: data set openai/gsm8k, config main, split test)"
    )

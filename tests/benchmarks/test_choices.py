"""Multiple choice: the likelihoods are the model's own, and three numbers come of them."""

from __future__ import annotations

import math

import pytest
import torch
from benchmark_toy import asked, built, written

from alignkit.benchmarks.choices import scores
from alignkit.benchmarks.items import Item
from alignkit.benchmarks.subject import Subject
from alignkit.conformance.stage import stage
from alignkit.errors import BenchmarkError

QUESTION = {"question": "What?", "choices": ["yes", "no"]}


def test_three_numbers_by_hand():
    """Probabilities .5, .2 and .1, true are the second and third: mc2 = .3 / .8; per character (of 1, 1 and 10) the
    third is the likeliest with log .1 / 10 = -.23."""
    logps = [math.log(p) for p in (0.5, 0.2, 0.1)]
    assert scores(logps, [False, True, True], [1, 1, 10]) == {
        "accuracy": 0.0,
        "acc_norm": 1.0,
        "mc2": pytest.approx(0.375),
    }


def test_unlikely_choices_have_shares_too():
    """e^-2000 is 0 in floating point; a difference of log 3 is a share of 3/4."""
    assert scores([-2000.0, -2000.0 - math.log(3)], [True, False], [1, 1])["mc2"] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ({"answer": 1}, [False, True]),
        ({"answer": "A"}, [True, False]),
        ({"answer": "no"}, [False, True]),
        ({"labels": [1, 1]}, [True, True]),
        ({"answer": 0, "choices": {"text": ["yes", "no"], "label": ["A", "B"]}}, [True, False]),
    ],
)
def test_ways_to_give_what_is_true(tmp_path, given, labels):
    (item,) = built("choices", data=written(tmp_path / "q.jsonl", [QUESTION | given])).items()
    assert item.fields["labels"] == labels


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"answer": 2},
            "'answer': expected a place from 0 to 1, a letter or one of the choices, got 2; a row of choices ",
        ),
        ({"answer": "maybe"}, "'answer': expected a place from 0 to 1, a letter or one of the choices, got 'maybe'; "),
        ({}, "'answer': expected a place from 0 to 1, a letter or one of the choices, got None; "),
        ({"labels": [0, 0]}, "'labels': expected a 0 or 1 for each choice, at least one 1; "),
        ({"labels": [1]}, "'labels': expected a 0 or 1 for each choice, at least one 1; "),
        ({"answer": 0, "choices": ["yes"]}, "'choices': expected a list of at least two texts; "),
        ({"answer": 0, "question": ""}, "'question': expected text, got ''; "),
    ],
)
def test_rows_that_are_none(tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "q.jsonl", [QUESTION | given])
    with pytest.raises(BenchmarkError) as caught:
        built("choices", data="q.jsonl").check()
    assert str(caught.value).startswith(f"q.jsonl:1: {said}")


def test_clusters_are_a_column(tmp_path):
    rows = [QUESTION | {"answer": 0, "subject": "law"}, QUESTION | {"answer": 0}]
    path = written(tmp_path / "q.jsonl", rows)
    with pytest.raises(BenchmarkError, match=r"q\.jsonl:2: 'subject': is not there; it is the column of the clusters$"):
        built("choices", data=path, cluster="subject").check()
    path = written(tmp_path / "r.jsonl", rows[:1])
    (answer,) = asked(built("choices", data=path, cluster="subject"), Subject(stage("pairs").policy))
    assert answer.cluster == "law"


def test_letters_are_scored_in_the_place_of_texts(tmp_path):
    path = written(tmp_path / "q.jsonl", [QUESTION | {"answer": 1}])
    benchmark = built("choices", data=path, style="letters")
    seen = []

    class Spy(Subject):
        def likelihoods(self, items, asked):
            seen.extend(asked)
            return [("p", [-2.0, -1.0])]

    (answer,) = asked(benchmark, Spy(stage("pairs").policy))
    assert seen == [("Question: What?\nA. yes\nB. no\nAnswer:", [" A", " B"])]
    assert answer.scores["accuracy"] == 1.0 and answer.text == "no"


def test_likelihoods_are_the_models_own():
    """Sums of the plain model's log-probs, without padding and without an end token."""
    policy = stage("pairs").policy
    prompt = "My fig has salty soil. What should I do?"
    choices = [" You may want to rinse the soil.", " Good gardeners like a calm home.", " You"]
    found = Subject(policy).likelihoods([Item("0"), Item("1")], [(prompt, choices), (prompt, choices[:2])])
    ids = policy.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    expected = []
    for choice in choices:
        tail = policy.tokenizer(prompt + choice, add_special_tokens=False)["input_ids"][len(ids) :]
        with torch.no_grad():
            logits = policy.model(input_ids=torch.tensor([ids + tail])).logits[0, len(ids) - 1 : -1]
        expected.append(float(logits.log_softmax(-1).gather(-1, torch.tensor(tail)[:, None]).sum()))
    assert found[0] == (prompt, pytest.approx(expected, abs=1e-4))
    assert found[1] == (prompt, pytest.approx(expected[:2], abs=1e-4))

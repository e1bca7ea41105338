"""HumanEval: programs are run where that is allowed, and pass@k counts them without bias."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from benchmark_toy import DATA, Told, built
from pydantic import ValidationError

from alignkit.benchmarks.humaneval import pass_at
from alignkit.errors import RewardError
from alignkit.registry import RegistryError
from alignkit.rewards.permission import granting
from alignkit.rewards.sandbox import passes

FILE = str(DATA / "humaneval_sample.jsonl")
RIGHT = "    return len(string)\n"
WRONG = "    return len(string) + 1\n"


@pytest.fixture
def may_run() -> Iterator[None]:
    """In a sandbox where this kernel gives one."""
    with granting("sandbox"):
        try:
            has_one = bool(passes("", 60.0))
        except RewardError:
            has_one = False
    with granting("sandbox" if has_one else "bare"):
        yield


def test_pass_at_k_by_hand():
    """5 samples of which 2 pass. pass@1 = 2/5; pass@2 = 1 - C(3,2)/C(5,2) = 1 - 3/10; of 4 some must pass."""
    assert [pass_at(k, 5, 2) for k in (1, 2, 4)] == [pytest.approx(0.4), pytest.approx(0.7), 1.0]
    assert pass_at(5, 5, 0) == 0.0


def test_programs_are_run_and_counted(may_run):
    """Two samples of `strlen`, one right: pass@1 is their mean, pass@2 certain."""
    benchmark = built("humaneval", data=FILE, samples=2, k=[1, 2], temperature=1.0)
    benchmark.check()
    (item,) = [item for item in benchmark.items() if item.name == "HumanEval/23"]
    fenced = f"```python\n{item.fields['prompt']}{WRONG}```"
    answers = benchmark.ask(Told([RIGHT + "\nprint(", fenced]), [item])  # what follows the function is left out
    assert [(one.sample, one.scores) for one in answers] == [
        (0, {"pass@1": 1.0, "pass@2": 1.0}),
        (1, {"pass@1": 0.0, "pass@2": 1.0}),
    ]


def test_a_chat_model_is_asked_for_a_block(may_run):
    told = Told([f"Sure:\n```python\ndef strlen(string):\n{RIGHT}```"], template="a template")
    benchmark = built("humaneval", data=FILE)
    (item,) = [item for item in benchmark.items() if item.name == "HumanEval/23"]
    (answer,) = benchmark.ask(told, [item])
    assert answer.scores == {"pass@1": 1.0}
    assert told.asked[0][0]["content"].endswith(f"```python\n{item.fields['prompt']}```")


def test_without_permission_it_is_refused_before_anything_is_read():
    with pytest.raises(RewardError) as caught:
        built("humaneval", data="nowhere.jsonl").check()
    assert str(caught.value) == (
        "evaluation.benchmarks.humaneval: runs code that the model writes; give --execute-code on the command line "
        "(execute_code='sandbox' from Python) to allow that on this machine"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"k": [2]}, "k 2 is more than samples 1; sample more, or lower k"),
        ({"samples": 2}, "temperature 0 gives the same program 2 times; give a temperature such as 0.8"),
    ],
)
def test_parameters_that_do_not_fit(given, said):
    with pytest.raises((ValidationError, RegistryError), match=said):
        built("humaneval", data=FILE, **given)

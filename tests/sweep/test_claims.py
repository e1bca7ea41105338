"""Claims of a paper on a sweep: numbers by hand, verdicts from intervals alone, mistakes in one line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from scipy import stats

from alignkit.cli import main
from alignkit.compare.folders import Folder
from alignkit.compare.measured import ItemSet, Numbers
from alignkit.errors import CompareError, RecipeError
from alignkit.evaluation.summary import Mean
from alignkit.intervals import Interval
from alignkit.sweep import claims
from alignkit.sweep.claims import Claim, Outcome, as_json, refuse_unknown, table_of
from alignkit.sweep.record import SweepRun
from alignkit.sweep.sweep import read

PLAIN = {"name": "better", "paper": "Table 1: 62 against 58", "metric": "reward", "of": "a", "than": "b"}


def claim(**changes) -> Claim:
    return Claim.model_validate({**PLAIN, "direction": "higher", "matters": 0.1, **changes})


def run(arm: str, seed: int, state: str = "finished", **settings) -> SweepRun:
    name = f"{arm}-{seed}" + "".join(f"-{value}" for value in settings.values())
    return SweepRun(name=name, arm=arm, settings=settings, seed=seed, folder=name, state=state)


@pytest.fixture
def measured(monkeypatch):
    """Gives folders their rewards, one for each row; prompts are asked twice, and are others with another seed."""

    def measured(rewards: dict[str, list[float]], prompts: str = "p{seed}{half}") -> None:
        def read_folder(path: Path, moment: str) -> Folder:
            assert moment == "after"
            values = rewards[path.name]
            hashes = {
                str(row): prompts.format(seed=path.name.split("-")[1], half=row // 2) for row in range(len(values))
            }
            records = {str(row): {"row": row, "reward": value} for row, value in enumerate(values)}
            numbers = {"reward": Numbers("reward", True, "higher", 3, Mean("reward"), records)}
            return Folder(path, True, {}, None, {"samples": ItemSet("samples", hashes, hashes, numbers)}, [])

        monkeypatch.setattr(claims, "read_folder", read_folder)

    return measured


def outcome(low: float, high: float, seeds: int | None = 3, se: float = 1.0, **changes) -> Outcome:
    """Of which only the interval is given; the number itself is set where it says the contrary."""
    return Outcome(claim(**changes), Interval(-99.0, se, low, high, 0.95, 9, 2), seeds, 0.123)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (outcome(0.01, 0.3), "replicated"),
        (outcome(0.01, 0.05), "replicated (less than 0.1)"),
        (outcome(-0.3, -0.01), "not replicated (the opposite)"),
        (outcome(-0.05, 0.09), "not replicated (an effect of 0.1 is excluded)"),
        (outcome(-0.05, 0.11), "cannot tell (smallest visible effect 0.12)"),
        (outcome(0.0, 0.3), "cannot tell (smallest visible effect 0.12)"),
        (outcome(0.01, 0.3, seeds=1), "cannot tell (measured with 1 of at least 2 seeds)"),
        (outcome(math.nan, math.nan, se=math.nan), "cannot tell (no spread to judge by)"),
        (outcome(0.2, 0.2, se=0.0), "cannot tell (no spread to judge by)"),
        (outcome(0.01, 0.3, seeds=None), "replicated"),  # nothing was trained
        (outcome(-0.3, -0.01, direction="lower"), "replicated"),
        (outcome(0.01, 0.3, direction="lower"), "not replicated (the opposite)"),
        (outcome(-0.09, 0.3, direction="lower"), "not replicated (an effect of 0.1 is excluded)"),
        (outcome(-0.11, 0.3, direction="lower"), "cannot tell (smallest visible effect 0.12)"),
    ],
)
def test_a_verdict_is_read_off_the_interval(given, words) -> None:
    assert given.words == words and words.startswith(given.verdict)


def test_a_difference_by_hand(measured) -> None:
    """Seed 0: differences .2, .4, .0, .2, mean .2; seed 1: .6, .2, .4, .4, mean .4. Of all rows .3.

    Rows: deviations -.1, .1, -.3, -.1 and .3, -.1, .1, .1 add up by prompt to 0, -.4, .2, .2: sqrt(4/3 x .24) / 8 =
    .070711. Seeds: sqrt((.01 + .01) / 1 / 2) = .1. Together sqrt(.005 + .01) = .122474 with
    .015^2 / (.005^2 / 3 + .01^2 / 1) = 2.076923 degrees of freedom.
    """
    measured({"a-0": [0.2, 0.4, 0.0, 0.2], "b-0": [0.0] * 4, "a-1": [1.6, 1.2, 1.4, 1.4], "b-1": [1.0] * 4})
    runs = [run(arm, seed) for seed in (0, 1) for arm in ("a", "b")]
    (found,) = claims.tested([claim()], runs, Path())
    assert found.seeds == 2
    assert found.difference.value == pytest.approx(0.3)
    assert found.difference.se == pytest.approx(0.122474, abs=1e-6)
    assert found.difference.df == pytest.approx(2.076923, abs=1e-6)
    half = stats.t.ppf(0.975, 2.076923) * 0.1224745
    assert found.difference.high == pytest.approx(0.3 + half, abs=1e-5)
    assert found.words == "cannot tell (smallest visible effect 0.64)"
    (turned,) = claims.tested([claim(of="b", than="a", direction="lower")], runs, Path())
    assert turned.difference.value == pytest.approx(-0.3) and turned.verdict == found.verdict


def test_a_difference_of_differences_by_hand(measured) -> None:
    """At 0: a - b = .1 in all rows; at .4: .3 in all rows of seed 0, .5 of seed 1. Changes .2 and .4: .3 +- .1 by seed.

    Rows lie .1 below and above: by prompt -.2, -.2, .2, .2, sqrt(4/3 x .16) / 8 = .057735.
    """
    rewards = {}
    for seed, after in ((0, 0.3), (1, 0.5)):
        rewards |= {f"a-{seed}-0.0": [0.8] * 4, f"b-{seed}-0.0": [0.7] * 4}
        rewards |= {f"a-{seed}-0.4": [0.2 + after] * 4, f"b-{seed}-0.4": [0.2] * 4}
    measured(rewards)
    runs = [run(arm, seed, **{"noise": noise}) for seed in (0, 1) for arm in ("a", "b") for noise in (0.0, 0.4)]
    (found,) = claims.tested([claim(where={"noise": 0.4}, minus={"noise": 0.0})], runs, Path())
    assert found.difference.value == pytest.approx(0.3)
    assert found.difference.se == pytest.approx(math.hypot(0.1, 0.057735), abs=1e-6)


def test_rows_of_a_prompt_are_one_witness_over_all_seeds(measured) -> None:
    """The same prompt everywhere leaves no spread of prompts to speak of: nothing is claimed."""
    rewards = {"a-0": [0.2, 0.4], "b-0": [0.0] * 2, "a-1": [0.6, 0.2], "b-1": [0.0] * 2}
    measured(rewards, prompts="the one")
    (found,) = claims.tested([claim()], [run(arm, seed) for seed in (0, 1) for arm in ("a", "b")], Path())
    assert found.verdict == "cannot tell" and math.isnan(found.difference.low)


def test_seeds_whose_runs_are_not_all_there_are_left_out(measured) -> None:
    measured({"a-0": [0.3, 0.4], "b-0": [0.0, 0.0]})
    runs = [run("a", 0), run("b", 0), run("a", 1), run("b", 1, "failed"), run("a", 2)]
    (found,) = claims.tested([claim()], runs, Path())
    assert (found.seeds, found.words) == (1, "cannot tell (measured with 1 of at least 2 seeds)")
    (none,) = claims.tested([claim()], [run("a", 0, "planned"), run("b", 0)], Path())
    assert (none.seeds, none.verdict) == (0, "cannot tell") and math.isnan(none.difference.value)


def test_a_measure_that_a_run_could_not_have_is_no_error(measured) -> None:
    measured({"a-0": [0.3, 0.4], "b-0": [0.0, 0.0]})
    (found,) = claims.tested([claim(metric="self_bleu")], [run("a", 0), run("b", 0)], Path())
    assert found.words == "cannot tell (measured with 0 of at least 2 seeds)"


def test_other_prompts_are_not_paired(measured, monkeypatch) -> None:
    measured({"a-0": [0.3, 0.4], "b-0": [0.0, 0.0, 0.0]})
    monkeypatch.setattr(claims, "read_folder", lambda path, moment: read(path))
    sets = {"a-0": {"0": "p", "1": "q"}, "b-0": {"0": "p", "1": "r"}}

    def read(path: Path) -> Folder:
        records = {row: {"row": int(row), "reward": 1.0} for row in sets[path.name]}
        numbers = {"reward": Numbers("reward", True, None, 3, Mean("reward"), records)}
        own = ItemSet("samples", sets[path.name], sets[path.name], numbers)
        return Folder(path, True, {}, None, {"samples": own}, [])

    with pytest.raises(CompareError, match="a-0 and b-0 cannot be paired on samples: 1 of 2 prompts differ"):
        claims.tested([claim()], [run("a", 0), run("b", 0)], Path())


def test_what_is_written_and_shown(measured) -> None:
    measured({"a-0-1": [0.3, 0.3, 0.4, 0.3], "b-0-1": [0.0] * 4})
    outcomes = claims.tested([claim(where={"x": 1})], [run("a", 0, x=1), run("b", 0, x=1)], Path())
    (found,) = as_json(outcomes)
    assert (found["paper"], found["seeds"], found["verdict"]) == ("Table 1: 62 against 58", 1, "cannot tell")
    assert found["value"] == pytest.approx(0.325) and found["where"] == {"x": 1}
    assert table_of(outcomes).row_count == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"metric": "rewart"},
            "claims.0.metric: no measure is called 'rewart'; did you mean 'reward'? known: kl, reward",
        ),
        ({"of": "c"}, "claims.0 (better): no arm is called 'c'; known: a, b"),
        ({"where": {"x": 3}}, "claims.0 (better): arm a has no run where {'x': 3}"),
        ({}, "claims.0 (better): arm a has several runs there; say where, by x"),
        ({"where": {"x": 1}, "minus": {"y": 0}}, "claims.0 (better): arm a has no run where {'y': 0}"),
    ],
)
def test_mistakes(changes, message) -> None:
    runs = [run(arm, 0, x=x) for arm in ("a", "b") for x in (1, 2)]
    with pytest.raises(RecipeError) as caught:
        refuse_unknown([claim(**changes)], runs, ["reward", "kl"])
    assert str(caught.value) == message


TEXT = """\
recipe: recipe.yaml
arms: {plain: {}, small: {set: {losses.0.beta: 0.1}}}
seeds: [0, 1]
claims:
  - {name: small beta learns more, paper: none, metric: kl, of: small, than: plain, direction: higher, matters: 0.1}
"""


def test_a_claim_in_a_sweep_file(write, capsys) -> None:
    file, _ = read(write(TEXT), ())
    assert [one.than for one in file.sweep.claims] == ["plain"]
    with pytest.raises(SystemExit) as caught:
        main(["sweep", str(write(TEXT.replace("than: plain", "than: plane"))), "--dry-run"])
    assert caught.value.code == 2
    said = capsys.readouterr().err.strip()
    assert said.endswith(
        "claims.0 (small beta learns more): no arm is called 'plane'; did you mean 'plain'? known: plain, small"
    )
    with pytest.raises(RecipeError) as error:
        read(write(TEXT.replace("direction: higher, matters: 0.1", "direction: up")), ())
    assert "claims.0.direction" in str(error.value) and "claims.0.matters" in str(error.value)

"""benchmarks/target_kl.py: betas for KLs, of pilots whose KL is a known function of beta."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from pathlib import Path

import pytest
import target_kl
import yaml

from alignkit.sweep.sweep import read

STUDIES = Path(__file__).parents[2] / "recipes" / "studies"


def power(*betas: float) -> dict[float, float]:
    """KL 0.5 / sqrt(beta)."""
    return {beta: 0.5 / math.sqrt(beta) for beta in betas}


def test_of_a_power_law_lines_are_exact() -> None:
    pilots = power(0.1, 1.0, 10.0)
    assert target_kl.beta_for(pilots, 0.5 / math.sqrt(3)) == (3.0, True)
    assert target_kl.beta_for(pilots, 0.5) == (1.0, True)
    assert target_kl.beta_for(pilots, 0.5 / math.sqrt(20)) == (20.0, False)
    assert target_kl.beta_for(pilots, 0.5 / math.sqrt(0.05)) == (0.05, False)


def test_it_never_goes_farther_beyond_the_pilots_than_a_factor_of_ten() -> None:
    assert target_kl.beta_for(power(0.1, 1.0), 100.0) == (0.01, False)
    assert target_kl.beta_for({0.1: 0.6, 1.0: 0.6}, 0.6) == (0.316, True)


def test_an_arm_that_goes_no_further_gets_its_smallest_beta() -> None:
    pilots = {0.03: 0.62, 0.1: 0.64, 1.0: 0.44, 10.0: 0.11}
    assert target_kl.beta_for(pilots, 0.8) == (0.03, False)
    assert target_kl.beta_for(pilots, 0.44) == (1.0, True)
    assert target_kl.next_betas(pilots, [0.8]) == []


def test_the_betas_of_the_screen_are_those_of_its_pilots() -> None:
    """Rounded; but for the KLs that an arm does not come to."""
    kept = STUDIES.parents[1] / "benchmarks" / "results" / "screen_pilots.json"
    for name, arms in json.loads(kept.read_text()).items():
        sweep = yaml.safe_load((STUDIES / f"{name}.yaml").read_text())["arms"]
        assert arms.keys() == sweep.keys()
        for arm, pilots in arms.items():
            found = {float(beta): kl for beta, kl in pilots.items()}
            betas = [target_kl.beta_for(found, kl) for kl in (0.12, 0.225, 0.42, 0.8)]
            grid = sweep[arm]["grid"]["losses.0.beta"]
            if (name, arm) == ("screen_default", "shuffled"):  # comes to no more than 0.2 nats, so its four lie closer
                continue
            for used, (beta, inside) in zip(grid, betas, strict=True):
                assert not inside or used == pytest.approx(beta, rel=0.1), (name, arm, used)


def test_targets_that_a_pilot_is_near_need_none() -> None:
    pilots = power(0.1, 1.0)  # 1.58 and 0.5
    assert target_kl.next_betas(pilots, [0.55, 1.4]) == []
    assert target_kl.next_betas(pilots, [0.55, 0.8]) == [0.391]


def test_round_by_round_all_targets_are_met(tmp_path, monkeypatch) -> None:
    """The pilots' KL bends: 0.5 / (beta + 0.1). What each round runs is what the file of that round lists."""
    rounds = []

    def run(file: Path, folder: Path, jobs: int, console: object) -> Path:
        arms = yaml.safe_load(file.read_text())["arms"]
        rounds.append({name: arm["grid"]["losses.0.beta"] for name, arm in arms.items()})
        return folder

    monkeypatch.setattr(target_kl, "run_sweep", run)
    monkeypatch.setattr(
        target_kl, "measured", lambda *_: {n: {b: 0.5 / (b + 0.1) for b in betas} for n, betas in rounds[-1].items()}
    )
    targets = [0.12, 0.42, 0.8]
    asked = {"kl": targets, "start": [0.1, 1.0, 10.0], "rounds": 2, "samples": 64, "seed": 0, "jobs": 1}
    sweep = STUDIES / "screen_default.yaml"
    found = target_kl.search(Namespace(sweep=sweep, folder=tmp_path, key="losses.0.beta", **asked))
    assert rounds[0]["dpo"] == [0.1, 1.0, 10.0] and 2 <= len(rounds) <= 3
    for pilots in found.values():
        for kl in targets:
            beta, inside = target_kl.beta_for(pilots, kl)
            assert inside and 0.5 / (beta + 0.1) == pytest.approx(kl, rel=0.15)
    (dpo, *_) = target_kl.lines(found, targets, "losses.0.beta")
    assert dpo.startswith("dpo: {losses.0.beta: [") and "*" not in dpo


NAMES = ["screen_default", "screen_spurious", "tune_dpo", "confirmation", "confirmation_spurious"]


@pytest.mark.parametrize("name", NAMES)
def test_a_pilot_is_a_sweep_of_the_same_arms(tmp_path, name) -> None:
    """Every run is checked, as before a sweep."""
    sweep = STUDIES / f"{name}.yaml"
    arms = yaml.safe_load(sweep.read_text())["arms"]
    content = target_kl.pilot_file(sweep, {arm: [1.0] for arm in arms}, "losses.0.beta", 64, 3)
    (tmp_path / "pilots.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    _, runs = read(tmp_path / "pilots.yaml", ())
    recipes = {run.arm: run.loaded.recipe for run in runs}
    assert [*recipes] == [*arms] and len(runs) == len(arms)
    for one in recipes.values():
        assert (one.seed, one.losses[0].beta, one.evaluation.samples, one.evaluation.before) == (3, 1.0, 64, False)

"""alignkit against TRL 1.16 on 20 real pairs: loss, implicit rewards, parameter gradients, and 20 optimizer steps.

TRL runs in an environment of its own, which the first run installs (`ALIGNKIT_PEER_ENV` says where; by default below
the user's cache). It computes with its trainers' own code; see `trl_side.py`. By choice alignkit differs in:

- DPO: TRL ignores `label_smoothing` for `sigmoid`; here it is conservative DPO.
- IPO: TRL divides log-ratios by their length; here `length_norm: false` is the paper's Eq. 17.
- ORPO: TRL's likelihood is over prompt and response; here that is `nll_on: full`, and the response alone by default.
- sigmoid_norm: TRL logs rewards of summed log-ratios; here they are of mean ones, as in the loss.
- KTO: TRL has a baseline for each forward batch, alignkit one for the optimizer step; they agree where a step is one
  forward batch in TRL, as here.
"""

from __future__ import annotations

import json
import math

import pytest
from peer.our_side import Ours, single_step, trajectory
from peer.peer_cases import BY_NAME, CASES, TRAJECTORIES, Case, Trajectory
from peer.peer_inputs import RECORDED, Rows
from peer.peer_job import Peer

pytestmark = pytest.mark.peer

CLOSE = 1e-4
SIDES = ("rewards/chosen", "rewards/rejected")


def run_case(case: Case, rows: Rows, loss: dict | None = None) -> Ours:
    return single_step(case, case.rows(rows), loss)


def near(value: object) -> object:
    return pytest.approx(value, abs=CLOSE, rel=0)


def softplus(value: float) -> float:
    """-log sigmoid(-value)."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_loss_and_gradients(case: Case, rows: Rows, peer: Peer):
    """The loss to 1e-4; each parameter's gradient to 1e-4 of its largest entry. TRL has one batch, alignkit three."""
    ours, theirs = run_case(case, rows), peer.gradients[case.name]
    assert ours.loss == near(peer.values["cases"][case.name]["loss"])
    assert ours.gradients.keys() == theirs.keys()
    for name, gradient in ours.gradients.items():
        largest = theirs[name].abs().max()
        assert largest > 0, name
        assert (gradient - theirs[name]).abs().max() <= CLOSE * largest, name


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "sigmoid_norm"], ids=lambda case: case.name)
def test_rewards(case: Case, rows: Rows, peer: Peer):
    """Implicit rewards as logged: their means, and those of each pair."""
    ours, theirs = run_case(case, rows), peer.values["cases"][case.name]
    for side in SIDES:
        assert ours.logged[side] == near(theirs[side])
        if case.trainer == "preference":
            assert ours.per_pair[side] == near(theirs["per_pair"][side])


def test_rewards_of_sigmoid_norm_are_means(rows: Rows, peer: Peer):
    """TRL logs beta times the summed log-ratio, though its loss has the mean; alignkit logs what the loss compares."""
    case = BY_NAME["sigmoid_norm"]
    ours, theirs = run_case(case, rows), peer.values["cases"][case.name]["per_pair"]
    for side, ids in zip(SIDES, (rows.chosen, rows.rejected), strict=True):
        means = [reward / len(one) for reward, one in zip(theirs[side], ids, strict=True)]
        assert ours.per_pair[side] == near(means)
        assert max(abs(a - b) for a, b in zip(ours.per_pair[side], theirs[side], strict=True)) > 1


@pytest.mark.parametrize("name", ["kto", "kto_below_zero"])
def test_baseline_of_kto(name: str, rows: Rows, peer: Peer):
    """The mean log-ratio of the row before's response under a row's prompt; below 0 it counts as 0 in both."""
    ours, theirs = run_case(BY_NAME[name], rows), peer.values["cases"][name]["kl"]
    assert max(0.0, ours.logged["kl/mismatched"]) == near(theirs)
    assert (ours.logged["kl/mismatched"] < -0.1) == (name == "kto_below_zero")


@pytest.mark.parametrize("one", TRAJECTORIES, ids=lambda one: one.name)
def test_twenty_steps(one: Trajectory, rows: Rows, peer: Peer, tmp_path):
    """The loss at each of 20 optimizer steps of TRL's `train()` and of alignkit's loop, on the same batches."""
    ours = trajectory(one, one.case.rows(rows), tmp_path)
    assert ours == near(peer.values["trajectories"][one.name])


# --- where TRL differs by choice ---


def test_trl_ignores_label_smoothing(rows: Rows, peer: Peer):
    """TRL's `sigmoid` with label_smoothing 0.2 is its loss without; ours is the formula on TRL's own margins."""
    plain, smoothed = (peer.values["cases"][name] for name in ("dpo", "dpo_smoothing_ignored"))
    assert smoothed["loss"] == plain["loss"]
    margins = [chosen - rejected for chosen, rejected in zip(*(plain["per_pair"][side] for side in SIDES), strict=True)]
    expected = sum(0.8 * softplus(-margin) + 0.2 * softplus(margin) for margin in margins) / len(margins)
    case = BY_NAME["dpo"]
    ours = run_case(case, rows, case.loss | {"label_smoothing": 0.2})
    assert ours.loss == near(expected)
    assert abs(ours.loss - smoothed["loss"]) > 50 * CLOSE


def test_ipo_of_sums(rows: Rows, peer: Peer):
    """`length_norm: false` is (h - 1 / (2 beta))^2 of TRL's own summed log-ratios, which TRL has no switch for.

    Its value is about 46, of which 1e-5 is what float32 sums of log-probs leave.
    """
    case, theirs = BY_NAME["ipo"], peer.values["cases"]["ipo"]
    beta = case.loss["beta"]
    pairs = zip(*(theirs["per_pair"][side] for side in SIDES), strict=True)
    expected = [((chosen - rejected) / beta - 1 / (2 * beta)) ** 2 for chosen, rejected in pairs]
    ours = run_case(case, rows, case.loss | {"length_norm": False})
    assert ours.loss == pytest.approx(sum(expected) / len(expected), rel=1e-5)
    assert abs(ours.loss - theirs["loss"]) > 1


def test_orpo_on_the_response(rows: Rows, peer: Peer):
    """`nll_on: response` is the formula on TRL's own mean log-probs of the responses; TRL's likelihood has the prompt.

    Log odds of a mean log-prob m are m - log(1 - e^m).
    """
    case, theirs = BY_NAME["orpo"], peer.values["cases"]["orpo"]
    weight = case.loss["odds_weight"]
    chosen, rejected = ([reward / weight for reward in theirs["per_pair"][side]] for side in SIDES)
    lengths = [len(ids) for ids in rows.chosen]
    nll = -sum(mean * length for mean, length in zip(chosen, lengths, strict=True)) / sum(lengths)
    odds = [[mean - math.log1p(-math.exp(mean)) for mean in side] for side in (chosen, rejected)]
    ratio = sum(softplus(lose - win) for win, lose in zip(*odds, strict=True)) / len(lengths)
    ours = run_case(case, rows, case.loss | {"nll_on": "response"})
    assert ours.loss == near(nll + weight * ratio)
    assert abs(ours.loss - theirs["loss"]) > 100 * CLOSE


# --- the recordings ---


def test_the_recordings_are_what_trl_gives(peer: Peer):
    """`tests/reference`, which the default tests compare with, holds these numbers."""
    steps = json.loads((RECORDED / "trl_single_step.json").read_text())
    assert steps["versions"] == peer.values["versions"]
    for case in CASES:
        recorded, values = steps["cases"][case.name], peer.values["cases"][case.name]
        assert recorded["arguments"] == case.arguments
        per_pair = values.get("per_pair", {})
        for side, numbers in per_pair.items():
            assert recorded["per_pair"][side] == pytest.approx(numbers, abs=1e-5)
        for name in values.keys() - {"per_pair"}:
            assert recorded[name] == pytest.approx(values[name], abs=1e-5, rel=1e-6)
    for one in TRAJECTORIES:
        recorded = json.loads((RECORDED / f"trl_{one.name}_20_steps.json").read_text())
        assert recorded["losses"] == pytest.approx(peer.values["trajectories"][one.name], abs=1e-5)

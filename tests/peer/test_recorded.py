"""alignkit gives the losses, rewards and 20-step trajectories that TRL 1.16 gave for the same inputs.

The numbers in `tests/reference` were made by `peer_job.py`; where TRL differs by choice, see `test_trl.py` and
`test_trl_rollouts.py`.
"""

from __future__ import annotations

import json

import pytest
from peer.our_rollouts import step_on_rollouts, trajectory_on_rollouts
from peer.our_side import single_step, trajectory
from peer.peer_cases import CASES, TRAJECTORIES, Case, Trajectory
from peer.peer_inputs import RECORDED, Rows, fingerprint, make_model, make_policy
from peer.peer_job import gradient_norm
from peer.rollout_cases import ROLLOUT_TRAJECTORIES, SAME, RolloutCase, RolloutTrajectory

CLOSE = 1e-4
OURS_IS_A_MEAN = {"sigmoid_norm"}
"""Losses whose logged reward is of mean log-ratios here and of sums in TRL."""


def read(name: str, rows: Rows) -> dict:
    """A recording, if its inputs are today's."""
    values = json.loads((RECORDED / name).read_text())
    lines = [pair.line for pair in rows.pairs]
    assert lines == values["data"]["lines"], f"{name} was recorded on other lines of {values['data']['file']}"
    found = fingerprint(rows, make_policy(), make_model())
    assert found == values["fingerprint"], (
        f"{name} was recorded with other token ids or weights ({values['fingerprint']}, now {found}): the inputs, not "
        "the losses, have changed; record again, see tests/peer/peer_job.py"
    )
    return values


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_step_is_that_of_trl(case: Case, rows: Rows):
    """Loss of the step, and the rewards: their means, and of pairs each one."""
    theirs = read("trl_single_step.json", rows)["cases"][case.name]
    assert theirs["arguments"] == case.arguments
    ours = single_step(case, case.rows(rows))
    assert ours.loss == pytest.approx(theirs["loss"], abs=CLOSE, rel=0)
    if "kl/mismatched" in ours.logged:
        assert max(0.0, ours.logged["kl/mismatched"]) == pytest.approx(theirs["kl"], abs=CLOSE, rel=0)
    for side, ids in zip(("rewards/chosen", "rewards/rejected"), (rows.chosen, rows.rejected), strict=True):
        mean, each = theirs[side], theirs.get("per_pair", {}).get(side)
        if case.name in OURS_IS_A_MEAN:
            each = [reward / len(one) for reward, one in zip(each, ids, strict=True)]
            mean = sum(each) / len(each)
        assert ours.logged[side] == pytest.approx(mean, abs=CLOSE, rel=0)
        if each:
            assert ours.per_pair[side] == pytest.approx(each, abs=CLOSE, rel=0)


@pytest.mark.parametrize("case", SAME, ids=lambda case: case.name)
def test_a_step_on_responses_is_that_of_trl(case: RolloutCase, rows: Rows):
    """Loss, each response's advantage, and the norm of the gradient."""
    theirs = read("trl_rollouts.json", rows)["cases"][case.name]
    how = {"arguments": case.arguments, "moved": case.moved, "rewards": case.rewards}
    assert {name: theirs[name] for name in how} == how
    ours = step_on_rollouts(case, rows)
    assert ours.loss == pytest.approx(theirs["loss"], abs=1e-6, rel=0)
    assert ours.advantages == pytest.approx(theirs["advantages"], abs=2e-6, rel=0)
    assert gradient_norm(ours.gradients) == pytest.approx(theirs["gradient_norm"], rel=1e-5)


@pytest.mark.parametrize("one", TRAJECTORIES, ids=lambda one: one.name)
def test_twenty_steps_are_those_of_trl(one: Trajectory, rows: Rows, tmp_path):
    """The loss of each of 20 optimizer steps, in alignkit's loop and TRL's."""
    values = read(f"trl_{one.name}_20_steps.json", rows)
    of_case = one.case.rows(rows)
    assert (values["batches"], values["learning_rate"]) == (one.batches(of_case), one.learning_rate)
    assert (values["arguments"], values["optimizer"]) == (one.case.arguments, one.optimizer)
    assert trajectory(one, of_case, tmp_path) == pytest.approx(values["losses"], abs=CLOSE, rel=0)


@pytest.mark.parametrize("one", ROLLOUT_TRAJECTORIES, ids=lambda one: one.name)
def test_ten_steps_on_responses_are_those_of_trl(one: RolloutTrajectory, rows: Rows, tmp_path):
    """The loss of each of 10 optimizer steps, two to a drawing."""
    losses = read("trl_rollouts.json", rows)["trajectories"][one.name]
    assert trajectory_on_rollouts(one, rows, tmp_path) == pytest.approx(losses, abs=5e-6, rel=0)

"""Policy gradients against TRL 1.16 on the same responses, rewards and models: loss, advantages, metrics, gradients.

TRL's own trainers compute all of it but the responses: advantages from the rewards, the log-probs of the policy that
drew, and the loss at the policy's next update, where ratios are on both sides of the clip. Models are in float64, as in
float32 a sum of log-probs over a response is too rough for these tolerances; each log-prob is float32 in both toolkits.
By choice alignkit differs in:

- A response without a reward, and by default a group of equal rewards, is no part of a step; in TRL it counts in the
  denominators, with advantage 0.
- KL with a ratio by response: TRL's corrected k3 has the response's ratio as its factor, ours each token's own, which
  is what makes its gradient that of the KL.
- `bnpo` in TRL divides by the tokens of a forward batch; here, as in `dapo`, by those of the step. They agree where a
  step is one forward batch, as here.
- Metrics: `kl` here is always the mean of k3; TRL's has the factor of its loss, and in RLOO it is the mean log-ratio.
  With `sequence_token` clipped tokens are counted here, clipped responses there.

TRL 1.16 has no token form of GSPO; with one advantage per response that form is GSPO, and is compared with it.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from peer.our_rollouts import OurStep, step_on_rollouts, token_ratios, trajectory_on_rollouts
from peer.peer_inputs import RECORDED, Rows
from peer.peer_job import Peer, gradient_norm
from peer.rollout_cases import (
    GROUP,
    ROLLOUT_CASES,
    ROLLOUT_TRAJECTORIES,
    ROLLOUTS_BY_NAME,
    SAME,
    RolloutCase,
    RolloutTrajectory,
    responses,
)

pytestmark = pytest.mark.peer

LOSS = 1e-6
ADVANTAGE = 2e-6
GRADIENT = 1e-5
"""Of the largest entry of a parameter's gradient."""

TRAJECTORY = 5e-6
"""RLOO's ratio multiplies what rounding leaves of a sum of log-probs; GRPO and GSPO stay within 1e-7."""

CLIPPED = ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean")


def near(value: object, within: float = LOSS) -> object:
    return pytest.approx(value, abs=within, rel=0)


def assert_gradients(ours: OurStep, theirs: dict[str, torch.Tensor], factor: float = 1.0) -> None:
    """Ours are `factor` times theirs."""
    assert ours.gradients.keys() == theirs.keys()
    for name, gradient in ours.gradients.items():
        largest = theirs[name].abs().max()
        assert largest > 0, name
        assert (gradient - factor * theirs[name]).abs().max() <= GRADIENT * factor * largest, name


@pytest.mark.parametrize("case", SAME, ids=lambda case: case.name)
def test_loss_advantages_and_gradients(case: RolloutCase, rows: Rows, peer: Peer):
    """TRL has one batch, or two with accumulation; alignkit has micro-batches of 8."""
    ours, theirs = step_on_rollouts(case, rows), peer.values["rollouts"][case.name]
    assert ours.loss == near(theirs["loss"])
    assert ours.advantages == near(theirs["advantages"], ADVANTAGE)
    assert_gradients(ours, peer.gradients[case.name])


@pytest.mark.parametrize(
    "name", ["grpo", "grpo_first_update", "dapo", "dr_grpo", "bnpo", "gspo", "rloo", "grpo_two_sided"]
)
def test_clipping(name: str, rows: Rows, peer: Peer):
    """As many are clipped on each side, and but for a first update some are."""
    case = ROLLOUTS_BY_NAME[name]
    ours, theirs = step_on_rollouts(case, rows).logged, peer.values["rollouts"][name]
    for metric in CLIPPED:
        assert ours[metric] == near(theirs[metric])
        assert (ours[metric] > 0.02) == (name != "grpo_first_update")


def test_clipping_of_cispo(rows: Rows, peer: Peer):
    ours = step_on_rollouts(ROLLOUTS_BY_NAME["cispo"], rows).logged["clip_ratio/high_mean"]
    assert ours == near(peer.values["rollouts"]["cispo"]["cispo_clip_ratio"])
    assert ours > 0.1


@pytest.mark.parametrize("one", ROLLOUT_TRAJECTORIES, ids=lambda one: one.name)
def test_ten_steps(one: RolloutTrajectory, rows: Rows, peer: Peer, tmp_path):
    """The loss at each of 10 AdamW steps, two to a drawing, of TRL's `train()` and of alignkit's loop."""
    ours = trajectory_on_rollouts(one, rows, tmp_path)
    assert ours == near(peer.values["trajectories"][one.name], TRAJECTORY)
    assert max(map(abs, ours[1::2])) > 1000 * TRAJECTORY


# --- where TRL differs by choice ---


@pytest.mark.parametrize("name", ["dapo", "grpo"])
def test_dead_groups_are_dropped(name: str, rows: Rows, peer: Peer):
    """The denominator lacks the dead group: all tokens over those of the others, or 20 responses over 16."""
    case = replace(ROLLOUTS_BY_NAME[name], dead_groups="drop")
    tokens = [sum(map(len, group)) for group in responses(rows)]
    factor = sum(tokens) / (sum(tokens) - tokens[2]) if name == "dapo" else 20 / 16
    ours, theirs = step_on_rollouts(case, rows), peer.values["rollouts"][name]
    advantages = theirs["advantages"]
    assert ours.loss == near(factor * theirs["loss"])
    assert ours.advantages == near(advantages[: 2 * GROUP] + advantages[3 * GROUP :], ADVANTAGE)
    assert_gradients(ours, peer.gradients[name], factor)


@pytest.mark.parametrize("name", ["dapo_unscored", "grpo_unscored"])
def test_responses_without_a_reward_are_dropped(name: str, rows: Rows, peer: Peer):
    """They are in no baseline in either; in TRL they are in the denominator, with advantage 0."""
    case = ROLLOUTS_BY_NAME[name]
    (place,) = case.unscored
    tokens = [len(ids) for group in responses(rows) for ids in group]
    factor = sum(tokens) / (sum(tokens) - tokens[place]) if name.startswith("dapo") else 20 / 19
    ours, theirs = step_on_rollouts(case, rows), peer.values["rollouts"][name]
    advantages = theirs["advantages"]
    assert advantages[place] == 0
    assert ours.advantages == near(advantages[:place] + advantages[place + 1 :], ADVANTAGE)
    assert ours.loss == near(factor * theirs["loss"])
    assert_gradients(ours, peer.gradients[name], factor)


def test_kl_with_a_ratio_by_response(rows: Rows, peer: Peer):
    """TRL: 0.1 x mean over responses of s x mean_t k3; here 0.1 x mean over responses of mean_t r_t k3_t."""
    ours, plain = step_on_rollouts(ROLLOUTS_BY_NAME["gspo_kl"], rows), peer.values["rollouts"]["gspo"]["loss"]
    by_response, by_token = [], []
    for moved_T, away_T in token_ratios(ours):
        k3_T = torch.expm1(-away_T) + away_T
        by_response.append(moved_T.mean().exp() * k3_T.mean())
        by_token.append((moved_T.exp() * k3_T).mean())
    theirs = peer.values["rollouts"]["gspo_kl"]["loss"]
    assert theirs == near(plain + 0.1 * float(torch.stack(by_response).mean()))
    assert ours.loss == near(plain + 0.1 * float(torch.stack(by_token).mean()))
    assert abs(ours.loss - theirs) > 100 * LOSS


def test_what_is_logged_of_the_kl(rows: Rows, peer: Peer):
    """The mean of k3 over tokens, which TRL logs where its loss has that; else with the ratio, or the log-ratio."""
    ours, theirs = step_on_rollouts(ROLLOUTS_BY_NAME["grpo_kl"], rows), peer.values["rollouts"]
    assert ours.logged["kl"] == near(theirs["grpo_kl_biased"]["kl"])
    moved_N, away_N = (torch.cat(parts) for parts in zip(*token_ratios(ours), strict=True))
    k3_N = torch.expm1(-away_N) + away_N
    assert theirs["grpo_kl"]["kl"] == near(float((moved_N.exp() * k3_N).mean()))
    rloo = step_on_rollouts(ROLLOUTS_BY_NAME["rloo"], rows)
    assert rloo.logged["kl"] > 0.1 > theirs["rloo"]["kl"]


# --- the recording ---


def test_the_recording_is_what_trl_gives(peer: Peer):
    """`tests/reference/trl_rollouts.json`, which the default tests compare with, holds these numbers."""
    recorded = json.loads((RECORDED / "trl_rollouts.json").read_text())
    assert recorded["versions"] == peer.values["versions"]
    assert recorded["cases"].keys() == ROLLOUTS_BY_NAME.keys()
    for case in ROLLOUT_CASES:
        found = recorded["cases"][case.name]
        values = peer.values["rollouts"][case.name] | {"gradient_norm": gradient_norm(peer.gradients[case.name])}
        for name, value in values.items():
            assert found[name] == pytest.approx(value, abs=1e-7, rel=1e-6), (case.name, name)
    for one in ROLLOUT_TRAJECTORIES:
        assert recorded["trajectories"][one.name] == pytest.approx(peer.values["trajectories"][one.name], abs=1e-6)

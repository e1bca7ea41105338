"""The policy gradients that are compared, as each toolkit calls them, on the same responses, rewards and models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from peer.peer_cases import adamw
from peer.peer_inputs import Rows, make_policy, shifted
from transformers import PreTrainedModel

from alignkit.data.rows import TokenRow

GROUP = 4
NUM_PROMPTS = 5
LONGEST = 40
"""Tokens, after which responses are cut, as a sampler would; short, so that a case takes a fraction of a second."""

STEP_SEED = 9
REWARDS = (
    *(1.0, 0.0, 0.0, 0.5),
    *(0.0, 1.0, 0.25, 0.75),
    *(0.5, 0.5, 0.5, 0.5),  # a dead group
    *(-1.0, 2.0, 0.0, 0.125),
    *(1.0, 1.0, 0.0, 1.0),
)


@dataclass(frozen=True)
class RolloutCase:
    """One step of one method in both toolkits.

    Attributes:
        name: of the case.
        arguments: of TRL's configuration; everything else is TRL's default.
        loss: the recipe's loss that gives the same numbers.
        advantage: the recipe's advantage.
        peer: class of TRL's trainer.
        moved: how far the policy has moved since it drew the responses, a bound on each parameter's change; 0 for the
            first update, which has no log-probs but its own.
        dead_groups: the recipe's; TRL keeps them.
        unscored: places of responses that have no reward.
    """

    name: str
    arguments: dict[str, Any]
    loss: dict[str, Any]
    advantage: dict[str, Any] = field(default_factory=dict)
    peer: str = "GRPOTrainer"
    moved: float = 0.01
    dead_groups: str = "keep"
    unscored: tuple[int, ...] = ()

    @property
    def updates(self) -> int:
        """Optimizer steps that the responses are trained on; what is compared is the last."""
        return 2 if self.moved else 1

    @property
    def rewards(self) -> list[float | None]:
        """Of each response."""
        return [None if place in self.unscored else reward for place, reward in enumerate(REWARDS)]


def trained(moved: float) -> PreTrainedModel:
    """The policy when it has moved so far from the one that drew the responses, `make_policy()`."""
    return shifted(make_policy(), STEP_SEED, moved)


def prompts(rows: Rows) -> list[TokenRow]:
    """Rows of the on-policy trainer, which are prompts alone: the shortest."""
    shortest = sorted(rows.paired(), key=lambda row: len(row.prompt))[:NUM_PROMPTS]
    return [TokenRow(row.index, row.where, row.prompt, {}) for row in shortest]


def responses(rows: Rows) -> list[list[np.ndarray]]:
    """What was drawn for each prompt: real responses, which need not be answers to it."""
    every = [np.array(ids[:LONGEST], dtype=np.int32) for ids in rows.chosen]
    return [every[p::NUM_PROMPTS] for p in range(NUM_PROMPTS)]


# --- the cases ---


def _grpo(name: str, arguments: dict[str, Any], loss: dict[str, Any], **other: Any) -> RolloutCase:
    return RolloutCase(name, arguments, {"name": "policy_gradient", **loss}, **other)


_EXAMPLES = {"average": "examples"}
_HIGHER = {"clip": [0.2, 0.28]}
_SEQUENCE = {"importance_sampling_level": "sequence", "epsilon": 0.01, "epsilon_high": 0.015}
_NARROW = {"clip": [0.01, 0.015]}
_KL = {"kl": {"coefficient": 0.1, "estimator": "k3_corrected"}}
_BIASED_KL = {"kl": {"coefficient": 0.1, "estimator": "k3"}}
_BIASED = {"beta": 0.1, "use_bias_correction_kl": False}

ROLLOUT_CASES = (
    _grpo("grpo", {"loss_type": "grpo"}, _EXAMPLES),
    _grpo("grpo_first_update", {"loss_type": "grpo", "beta": 0.1}, _EXAMPLES | _KL, moved=0.0),
    _grpo("grpo_kl", {"loss_type": "grpo", "beta": 0.1}, _EXAMPLES | _KL),
    _grpo("grpo_kl_biased", {"loss_type": "grpo", **_BIASED}, _EXAMPLES | _BIASED_KL),
    _grpo("grpo_two_sided", {"loss_type": "grpo", "delta": 1.3}, _EXAMPLES | {"dual_clip": 1.3}),
    _grpo("grpo_unscored", {"loss_type": "grpo"}, _EXAMPLES, unscored=(6,)),
    _grpo("bnpo", {"loss_type": "bnpo"}, {}),
    _grpo("dapo", {"loss_type": "dapo", "epsilon_high": 0.28}, _HIGHER),
    _grpo("dapo_accumulated", {"loss_type": "dapo", "gradient_accumulation_steps": 2}, {}),
    _grpo("dapo_kl", {"loss_type": "dapo", "beta": 0.1}, _KL),
    _grpo("dapo_batch_std", {"scale_rewards": "batch"}, {}, advantage={"scale": "batch_std"}),
    _grpo("dapo_unscored", {"loss_type": "dapo"}, {}, unscored=(6,)),
    _grpo(
        "dr_grpo",
        {"loss_type": "dr_grpo", "scale_rewards": "none"},
        {"average": "constant"},
        advantage={"scale": "none"},
    ),
    _grpo(
        "dr_grpo_kl",
        {"loss_type": "dr_grpo", "scale_rewards": "none", "beta": 0.1},
        {"average": "constant"} | _KL,
        advantage={"scale": "none"},
    ),
    _grpo("gspo", {"loss_type": "grpo", **_SEQUENCE}, _EXAMPLES | _NARROW | {"ratio": "sequence"}),
    _grpo("gspo_by_token", {"loss_type": "grpo", **_SEQUENCE}, _EXAMPLES | _NARROW | {"ratio": "sequence_token"}),
    _grpo("gspo_tokens", {"loss_type": "dapo", **_SEQUENCE}, _NARROW | {"ratio": "sequence_token"}),
    _grpo(
        "gspo_kl_biased",
        {"loss_type": "grpo", **_SEQUENCE, **_BIASED},
        _EXAMPLES | _NARROW | _BIASED_KL | {"ratio": "sequence"},
    ),
    _grpo(
        "gspo_kl", {"loss_type": "grpo", **_SEQUENCE, "beta": 0.1}, _EXAMPLES | _NARROW | _KL | {"ratio": "sequence"}
    ),
    _grpo("cispo", {"loss_type": "cispo", "epsilon_high": 1.1}, {"surrogate": "cispo", "clip": [1.0, 0.1]}),
    _grpo(
        "rloo",
        {"beta": 0.05},
        {"ratio": "sequence_sum", "kl": {"coefficient": 0.05, "estimator": "k1_in_reward"}} | _EXAMPLES,
        advantage={"baseline": "leave_one_out", "scale": "none"},
        peer="RLOOTrainer",
        moved=0.003,
    ),
)
ROLLOUTS_BY_NAME = {case.name: case for case in ROLLOUT_CASES}
DIFFERENT = ("grpo_unscored", "dapo_unscored", "gspo_kl")
"""Cases whose losses differ by choice; see `test_trl_rollouts.py`."""

SAME = tuple(case for case in ROLLOUT_CASES if case.name not in DIFFERENT)


@dataclass(frozen=True)
class RolloutTrajectory:
    """Optimizer steps of a case from its first policy on, two to a drawing, which always gives the same responses."""

    name: str
    case: RolloutCase
    steps: int = 10
    learning_rate: float = 1e-3
    optimizer: dict[str, Any] = field(default_factory=adamw)


ROLLOUT_TRAJECTORIES = tuple(
    RolloutTrajectory(f"{name}_steps", ROLLOUTS_BY_NAME[name]) for name in ("grpo_kl", "gspo", "rloo")
)

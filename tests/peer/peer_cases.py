"""The losses that are compared, as each toolkit calls them, and the trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from peer.peer_inputs import Rows

from alignkit.data.rows import TokenRow
from alignkit.loop.order import DataOrder

ORDER_SEED = 11


@dataclass(frozen=True)
class Case:
    """One loss in both toolkits.

    Attributes:
        name: of the case.
        peer: class of TRL's trainer.
        arguments: of its configuration; everything else is TRL's default.
        loss: the recipe's loss that gives the same numbers.
        trainer: the recipe's trainer.
        swapped: policy and reference change places.
        update: the recipe's `model.reference_update`.
    """

    name: str
    peer: str
    arguments: dict[str, Any]
    loss: dict[str, Any]
    trainer: str = "preference"
    swapped: bool = False
    update: dict[str, Any] | None = None

    @property
    def needs_gold(self) -> bool:
        """Whether it has a gold response."""
        return self.peer == "TPOTrainer"

    def rows(self, rows: Rows) -> list[TokenRow]:
        """The rows that its trainer takes."""
        return rows.unpaired() if self.trainer == "unpaired" else rows.paired(gold=self.needs_gold)


def _dpo(name: str, loss_type: str, loss: dict[str, Any], **arguments: Any) -> Case:
    return Case(name, "DPOTrainer", {"loss_type": [loss_type], **arguments}, loss)


def _f_dpo(name: str, beta: float, divergence: str, ours: dict[str, Any], **arguments: Any) -> Case:
    return _dpo(
        name, "sigmoid", {"name": "f_dpo", "beta": beta, **ours}, beta=beta, f_divergence_type=divergence, **arguments
    )


def _alphapo(name: str, beta: float, ratio: float, alpha: float) -> Case:
    theirs = {"loss_type": "alphapo", "beta": beta, "simpo_gamma": ratio * beta, "alpha": alpha}
    return Case(
        name, "CPOTrainer", theirs, {"name": "alphapo", "beta": beta, "gamma_beta_ratio": ratio, "alpha": alpha}
    )


_KTO = {"beta": 0.1, "desirable_weight": 1.25, "undesirable_weight": 0.75}

CASES = (
    _dpo("dpo", "sigmoid", {"name": "dpo", "beta": 0.1}, beta=0.1),
    _dpo("dpo_smoothing_ignored", "sigmoid", {"name": "dpo", "beta": 0.1}, beta=0.1, label_smoothing=0.2),
    _dpo("hinge", "hinge", {"name": "hinge", "beta": 0.25}, beta=0.25),
    _dpo("ipo", "ipo", {"name": "ipo", "beta": 0.2}, beta=0.2),
    _dpo("robust", "robust", {"name": "robust", "beta": 0.1, "label_smoothing": 0.2}, beta=0.1, label_smoothing=0.2),
    _dpo("sigmoid_norm", "sigmoid_norm", {"name": "sigmoid_norm", "beta": 3.0}, beta=3.0),
    Case("kto", "KTOTrainer", _KTO, {"name": "kto", **_KTO}, "unpaired"),
    Case("kto_below_zero", "KTOTrainer", _KTO, {"name": "kto", **_KTO}, "unpaired", swapped=True),
    Case(
        "cpo",
        "CPOTrainer",
        {"loss_type": "sigmoid", "beta": 0.1, "cpo_alpha": 1.0},
        {"name": "cpo", "beta": 0.1, "alpha": 1.0},
    ),
    Case(
        "cpo_smoothed",
        "CPOTrainer",
        {"loss_type": "sigmoid", "beta": 0.1, "cpo_alpha": 0.5, "label_smoothing": 0.2},
        {"name": "cpo", "beta": 0.1, "alpha": 0.5, "label_smoothing": 0.2},
    ),
    Case(
        "simpo",
        "CPOTrainer",
        {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.0},
        {"name": "simpo", "beta": 2.0, "gamma_beta_ratio": 0.5},
    ),
    Case("orpo", "ORPOTrainer", {"beta": 0.1}, {"name": "orpo", "odds_weight": 0.1, "nll_on": "full"}),
    # At p = 0.002 the odds are nearly p itself: with this weight the loss tells them apart by more than the tolerance.
    Case("orpo_odds", "ORPOTrainer", {"beta": 20.0}, {"name": "orpo", "odds_weight": 20.0, "nll_on": "full"}),
    Case(
        "tpo",
        "TPOTrainer",
        {"loss_type": "sigmoid", "beta": 0.01, "tpo_alpha": 1.0},
        {"name": "tpo", "beta": 0.01, "alpha": 1.0},
    ),
    Case(
        "tpo_l",
        "TPOTrainer",
        {"loss_type": "tpo-l", "beta": 2.0, "tpo_l_gamma": 0.5, "tpo_alpha": 0.5},
        {"name": "tpo_l", "beta": 2.0, "gamma": 0.5, "alpha": 0.5},
    ),
    _dpo("apo_zero", "apo_zero", {"name": "apo", "beta": 0.1}, beta=0.1),
    _dpo("apo_zero_steep", "apo_zero", {"name": "apo", "beta": 0.5}, beta=0.5),
    _dpo("apo_down", "apo_down", {"name": "apo", "beta": 0.1, "form": "down"}, beta=0.1),
    _dpo("apo_down_steep", "apo_down", {"name": "apo", "beta": 0.5, "form": "down"}, beta=0.5),
    Case(
        "apo_unpaired",
        "KTOTrainer",
        {**_KTO, "loss_type": "apo_zero_unpaired"},
        {"name": "apo_unpaired", **_KTO},
        "unpaired",
    ),
    _dpo("nca", "nca_pair", {"name": "nca", "beta": 0.1}, beta=0.1),
    _dpo("nca_steep", "nca_pair", {"name": "nca", "beta": 0.5}, beta=0.5),
    _dpo("exo", "exo_pair", {"name": "exo", "beta": 0.1}, beta=0.1, label_smoothing=0.001),
    _dpo("exo_soft", "exo_pair", {"name": "exo", "beta": 0.5, "label_smoothing": 0.2}, beta=0.5, label_smoothing=0.2),
    _dpo("discopop", "discopop", {"name": "discopop", "beta": 0.1}, beta=0.1, discopop_tau=0.05),
    _dpo("discopop_wide", "discopop", {"name": "discopop", "beta": 0.3, "tau": 0.5}, beta=0.3, discopop_tau=0.5),
    _dpo("sppo", "sppo_hard", {"name": "sppo", "beta": 0.1}, beta=0.1),
    _dpo("sppo_near", "sppo_hard", {"name": "sppo", "beta": 1.0}, beta=1.0),
    _f_dpo("f_dpo_reverse_kl", 0.1, "reverse_kl", {"divergence": "reverse_kl"}),
    _f_dpo("f_dpo_forward_kl", 0.001, "forward_kl", {"divergence": "forward_kl"}),
    _f_dpo("f_dpo_js", 0.5, "js_divergence", {}),
    _f_dpo("f_dpo_alpha", 0.1, "alpha_divergence", {"divergence": "alpha"}, f_alpha_divergence_coef=0.5),
    _f_dpo(
        "f_dpo_alpha_near_1",
        0.1,
        "alpha_divergence",
        {"divergence": "alpha", "alpha": 0.9},
        f_alpha_divergence_coef=0.9,
    ),
    _alphapo("alphapo", 2.0, 0.25, 0.25),
    _alphapo("alphapo_flat", 4.0, 0.1, -0.5),
    _alphapo("alphapo_simpo", 2.0, 0.5, 0.0),
    _dpo("bco", "bco_pair", {"name": "bco", "beta": 0.1, "shift": "none"}, beta=0.1),
    _dpo("bco_steep", "bco_pair", {"name": "bco", "beta": 0.5, "shift": "none"}, beta=0.5),
    _dpo("aot", "aot", {"name": "aot", "beta": 0.1}, beta=0.1),
    _dpo("aot_smoothed", "aot", {"name": "aot", "beta": 0.2, "label_smoothing": 0.2}, beta=0.2, label_smoothing=0.2),
    _dpo("aot_unpaired", "aot_unpaired", {"name": "aot", "form": "unpaired", "beta": 0.1}, beta=0.1),
    _dpo(
        "aot_unpaired_smoothed",
        "aot_unpaired",
        {"name": "aot", "form": "unpaired", "beta": 0.2, "label_smoothing": 0.2},
        beta=0.2,
        label_smoothing=0.2,
    ),
)
BY_NAME = {case.name: case for case in CASES}


def adamw() -> dict[str, Any]:
    """The optimizer of every trajectory."""
    return {"name": "adamw", "betas": [0.9, 0.999], "weight_decay": 0.0, "max_grad_norm": 1.0}


@dataclass(frozen=True)
class Trajectory:
    """Twenty optimizer steps of a case: AdamW at a constant learning rate, gradients clipped at a norm of 1."""

    name: str
    case: Case
    batch_size: int
    steps: int = 20
    learning_rate: float = 1e-3
    optimizer: dict[str, Any] = field(default_factory=adamw)

    def batches(self, rows: Sequence[TokenRow]) -> list[list[int]]:
        """Places in `rows` of each step's batch: alignkit's own order, given to TRL."""
        order = DataOrder(range(len(rows)), self.batch_size, ORDER_SEED)
        return [list(order.batch(step)) for step in range(self.steps)]


_MOVING = {"sync_ref_model": True, "ref_model_sync_steps": 3, "ref_model_mixup_alpha": 0.6}
TR_DPO = Case(
    "tr_dpo",
    "DPOTrainer",
    {"loss_type": ["sigmoid"], "beta": 0.1, **_MOVING},
    {"name": "dpo", "beta": 0.1},
    update={"every": 3, "mix": 0.6},
)
"""Its single step is DPO's: the reference has not moved yet."""

TRAJECTORIES = (
    Trajectory("dpo", BY_NAME["dpo"], 4),
    Trajectory("simpo", BY_NAME["simpo"], 4),
    Trajectory("kto", BY_NAME["kto"], 8),
    Trajectory("tr_dpo", TR_DPO, 4),
)

"""OTPO's token weights (Li et al. 2025, arXiv:2505.18720): what a pair's responses share, by optimal transport.

Hidden states of the chosen response are moved to those of the rejected one at the least cost; a token weighs as much as
is moved from or to it. The weights of a response sum to the length of the shorter one, so that they also normalise for
length. It weighs up what the responses share: where they differ in what decides, that is the opposite of credit, and
`by: distance` is its reverse.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.asks.pairs import refused_without_pairs
from alignkit.lazy import torch
from alignkit.models.readings import Reading, States
from alignkit.scores import Span
from alignkit.weighting.base import shares
from alignkit.weighting.by_reading import ByReading

if TYPE_CHECKING:
    from torch import Tensor

PRECISION = 1e-10
"""Share of the first error of the potentials that may be left."""

LARGEST_RATIO = 40
"""Of `mass` to `reg`; beyond, hundreds of rounds would not be enough."""


class _OfPairs(Reading):
    """Base of the readings that lay the two responses of a pair on each other."""

    def refusal(self, trainer: str, gives: str) -> str | None:
        return refused_without_pairs(self.words, trainer, gives)


class Transported(_OfPairs):
    """mass that optimal transport between the two responses' hidden states moves, without gradient.

    Formula: row and column sums of G, times min(T_w, T_l) / sum G
    """

    reg: float
    mass: float

    def read(self, states: States) -> Tensor:
        cost_BCJ, valid_BCJ = costs(states)
        log_plan_BCJ = sinkhorn(cost_BCJ, valid_BCJ, self.reg, self.mass, rounds(self.reg, self.mass))
        log_total_B1 = log_plan_BCJ.flatten(1).logsumexp(-1, keepdim=True)
        shorter_B1 = states.mask_BRT[:, :2].sum(-1).amin(-1, keepdim=True)
        both = (log_plan_BCJ.logsumexp(axis) - log_total_B1 for axis in (2, 1))
        return torch.stack([share_BT.exp() * shorter_B1 for share_BT in both], dim=1)


class Nearest(_OfPairs):
    """distance of a token's hidden state to the nearest one of the other response, without gradient.

    Formula: min over j of C_ij
    """

    def read(self, states: States) -> Tensor:
        cost_BCJ, valid_BCJ = costs(states)
        cost_BCJ = cost_BCJ.masked_fill(~valid_BCJ, torch.inf)
        return torch.stack([cost_BCJ.amin(axis) for axis in (2, 1)], dim=1)


def costs(states: States) -> tuple[Tensor, Tensor]:
    """[B, T, T] distance of each token of the first response to each of the second, at most 1; and where both are.

    Distances are divided by the pair's largest, if that is above 1.
    """
    chosen_BTD, rejected_BTD = states.hidden_BRTD[:, :2].unbind(1)
    chosen_BT, rejected_BT = states.mask_BRT[:, :2].unbind(1)
    valid_BCJ = chosen_BT[:, :, None] & rejected_BT[:, None]
    # Not by a product of matrices: of states that are nearly equal it leaves rounding.
    mode = "donot_use_mm_for_euclid_dist"
    cost_BCJ = torch.cdist(chosen_BTD, rejected_BTD, compute_mode=mode) + 1e-6
    cost_BCJ = cost_BCJ.masked_fill(~valid_BCJ, 0.0)
    return cost_BCJ / cost_BCJ.amax((1, 2), keepdim=True).clamp_min(1.0), valid_BCJ


def rounds(reg: float, mass: float) -> int:
    """How many rounds `sinkhorn` takes: in each, errors of the logarithms shrink by (mass / (mass + reg))^2."""
    return math.ceil(math.log(PRECISION) / (2 * math.log(max(PRECISION, mass / (mass + reg)))))


def sinkhorn(cost_BCJ: Tensor, valid_BCJ: Tensor, reg: float, mass: float, number: int) -> Tensor:
    """[B, C, J] log of the plan of unbalanced transport between tokens of mass 1, -inf off the mask.

    In logarithms, as exp(-cost / reg) and powers of its sums leave the range of numbers where `reg` is small.

    Args:
        cost_BCJ: cost of moving mass from one token to another.
        valid_BCJ: bool; where both are tokens.
        reg: weight of the plan's entropy.
        mass: weight of the divergence of what is moved from the mass that is there.
        number: rounds.
    """
    log_kernel_BCJ = (-cost_BCJ / reg).masked_fill(~valid_BCJ, -torch.inf)
    power = mass / (mass + reg)
    # A token that is none sends nothing: of its -inf, 0 is as good as any number.
    log_v_BJ = torch.zeros_like(cost_BCJ[:, 0])
    for _ in range(number):
        log_u_BC = _potential(log_kernel_BCJ + log_v_BJ[:, None], 2, power)
        log_v_BJ = _potential(log_kernel_BCJ + log_u_BC[..., None], 1, power)
    return log_u_BC[..., None] + log_kernel_BCJ + log_v_BJ[:, None]


def _potential(log_BCJ: Tensor, axis: int, power: float) -> Tensor:
    log_sum = log_BCJ.logsumexp(axis)
    return -power * log_sum.masked_fill(log_sum == -torch.inf, 0.0)


class Transport(ByReading):
    """Mass that a token sends or receives in unbalanced optimal transport between the responses' hidden states.

    Formula: plan: row (chosen) and column (rejected) sums of G, times min(T_w, T_l) / sum G; G = diag(u) K diag(v),
        K = exp(-C / reg), u = (1 / K v)^f, v = (1 / K' u)^f, f = mass / (mass + reg); distance: min_j C_ij, in units
        of its mean over the response; C_ij = |h_i - h'_j| + 1e-6, divided by its largest if that is above 1, h last
        hidden states that predict
    Paper: arXiv:2505.18720 (ACL 2025); the authors' code
    """

    rescale: Literal["mean1", "sum1", "raw", "max1"] = "raw"
    """Final scale of each response; kept by default, as a plan's weights are absolute and those of distances have
    mean 1."""

    by: Literal["plan", "distance"] = "plan"
    """What weighs: the mass that is moved, which is most where the responses agree; or the distance to the nearest
    token of the other response, which is most where they do not."""

    reg: float = Field(0.1, gt=0)
    """Weight of the plan's entropy, in units of the cost, which is at most 1; usual 0.05 to 0.5."""

    mass: float = Field(0.2, gt=0)
    """Weight of the divergence of the moved mass from 1 per token; small leaves far tokens out; usual 0.1 to 1."""

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.mass > LARGEST_RATIO * self.reg:
            raise PydanticCustomError(
                "mass",
                f"mass {self.mass:g} is more than {LARGEST_RATIO} times reg {self.reg:g}, which takes too many rounds; "
                "give a larger 'reg' or a smaller 'mass'",
            )
        return self

    @model_validator(mode="after")
    def _each_option_has_a_use(self) -> Self:
        if self.by == "distance":
            self.refuse_unused(["reg", "mass"], "by 'distance'")
        return self

    @property
    def reading(self) -> Reading:
        return Transported(reg=self.reg, mass=self.mass) if self.by == "plan" else Nearest()

    def raw(self, span: Span) -> Tensor:
        value_BS = super().raw(span)
        if self.by == "plan":
            return value_BS
        return shares(value_BS, span.mask_BS) * span.length_B[:, None]  # a distance of hidden states has no scale

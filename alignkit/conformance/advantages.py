"""What advantages promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from alignkit.advantages.base import Advantage, Groups
from alignkit.conformance.check import difference
from alignkit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

REWARDS = ((1.0, 0.0, 0.5, 0.0), (-1.0, 2.0, 0.25, 3.0), (0.0, 0.0, 1.0, 1.0))
LENGTHS = ((3, 5, 1, 4), (4, 2, 6, 3), (2, 4, 3, 5))
"""Of four responses to each of three prompts."""


def _groups(rewards: Sequence[Sequence[float]] = REWARDS, *, without: int = 0) -> Groups:
    """Groups with a penalty; the first `without` responses of each have no reward."""
    scored_PG = torch.ones(len(rewards), 4, dtype=torch.bool)
    scored_PG[:, :without] = False
    mask_PGT = torch.arange(max(map(max, LENGTHS))) < torch.tensor(LENGTHS)[:, :, None]
    generator = torch.Generator().manual_seed(0)
    penalty_PGT = 0.02 * torch.rand(mask_PGT.shape, generator=generator, dtype=torch.float64) - 0.01
    rewards_PG = torch.tensor(rewards, dtype=torch.float64).where(scored_PG, 0.0)
    return Groups(rewards_PG, scored_PG, mask_PGT, penalty_PGT.where(mask_PGT, 0.0))


def _kept(advantage: Advantage, groups: Groups) -> Tensor:
    """[P, G, T] what is read of an advantage: the tokens of responses with a reward."""
    return advantage.per_token(groups).where(groups.mask_PGT & groups.scored_PG[:, :, None], 0.0)


def _one_number_per_token(advantage: Advantage) -> Iterator[str]:
    """gives one finite number per token, as a constant, whether or not all responses have a reward"""
    for without in (0, 1, 3, 4):
        groups = _groups(without=without)
        found_PGT = advantage.per_token(groups)
        case = f"with {4 - without} of 4 rewards in a group"
        if found_PGT.shape != groups.mask_PGT.shape:
            yield f"shape {list(found_PGT.shape)}, not [P, G, T] = {list(groups.mask_PGT.shape)}"
            return
        if not torch.isfinite(_kept(advantage, groups)).all():
            yield f"an advantage is not finite {case}"
        if not found_PGT.is_floating_point() or found_PGT.requires_grad:
            yield f"advantages {case} are {found_PGT.dtype}, gradient {found_PGT.requires_grad}; expected constants"


def _permutes(advantage: Advantage) -> Iterator[str]:
    """gives a response the same in another place of its group, and a group the same in another place of the step"""
    groups = _groups()
    wanted_PGT = _kept(advantage, groups)
    for what, place in (("responses", (slice(None), [2, 0, 3, 1])), ("groups", ([1, 2, 0],))):
        turned = Groups(*(value[place] for value in vars(groups).values()))
        yield from difference(f"advantages of {what} in another order", _kept(advantage, turned), wanted_PGT[place])


def _prefers(advantage: Advantage) -> Iterator[str]:
    """gives the better of two responses of the same length more"""
    groups = _groups(REWARDS[:2])
    even = Groups(groups.rewards_PG, groups.scored_PG, torch.ones(2, 4, 3, dtype=torch.bool))
    better, worse = advantage.per_token(even)[0, :2].sum(-1).tolist()
    if not better > worse:
        yield f"a response with reward 1 gets {better:.4g}, and one of its group with reward 0 gets {worse:.4g}"


def _says_what_compares(advantage: Advantage) -> Iterator[str]:
    """gives 0 where rewards of a group are equal, if it says that it compares within groups"""
    if not advantage.is_relative:
        return
    groups = _groups([[1.0] * 4, [0.3] * 4, [-2.0] * 4])
    equal = Groups(groups.rewards_PG, groups.scored_PG, groups.mask_PGT)
    yield from difference("advantages of equal rewards", _kept(advantage, equal), torch.zeros(equal.mask_PGT.shape))


def _ignores_padding(advantage: Advantage) -> Iterator[str]:
    """gives the same beside more padding"""
    groups = _groups()
    padded = {name: torch.nn.functional.pad(value, (0, 3)) for name, value in vars(groups).items() if "T" in name}
    got_PGT = _kept(advantage, Groups(groups.rewards_PG, groups.scored_PG, **padded))
    yield from difference("advantages beside more padding", got_PGT[:, :, :-3], _kept(advantage, groups))


CHECKS = (_one_number_per_token, _permutes, _prefers, _says_what_compares, _ignores_padding)

"""Made-up scores of a few examples, as the engine hands them to a trainer, and changes made to all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alignkit.asks.needs import Needs
from alignkit.asks.whole_step import Facts, WholeStep
from alignkit.lazy import torch
from alignkit.losses.base import PairLoss
from alignkit.registry import RegistryError
from alignkit.scores import RowScores, Sees, TokenScores
from alignkit.views import trainers
from alignkit.views.base import Trainer

if TYPE_CHECKING:
    from torch import Tensor

LENGTHS = ((3, 5, 1, 4), (4, 2, 3, 6), (5, 3, 2, 1), (2, 4, 3, 5))
"""Tokens of the responses of four examples, response by response; further ones begin again."""


def trainer_of(sees: Sees) -> Trainer | None:
    """A trainer that gives this; None when nobody knows one."""
    for name in trainers.names():
        try:
            if trainers.get(name).gives == sees:
                return trainers.build(name, {})
        except RegistryError:  # another plugin's trouble
            continue
    return None


def laid_out(trainer: Trainer) -> int:
    """How many responses its rows have; one that draws them says it by what it gives."""
    return len(trainer.responses) or (2 if trainer.gives == PairLoss.sees else 1)


def response(lengths: tuple[int, ...], seed: int, needs: Needs) -> TokenScores:
    """Random scores with random weights of mean 1, padded on the right, float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    mask_BT = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]

    def draw() -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64).masked_fill(~mask_BT, 0.0)

    weights_BT = draw()
    prompt_mask_BP = torch.arange(4) < torch.tensor(lengths)[:, None].clamp_max(3)
    return TokenScores(
        policy_BT=-3 * draw(),
        mask_BT=mask_BT,
        weights_BT=weights_BT * (mask_BT.sum(-1) / weights_BT.sum(-1))[:, None],
        reference_BT=-3 * draw(),
        statistics={s: -draw() if s.can_be_negative else draw() for s in sorted(needs.statistics, key=repr)},
        prompt_BP=-torch.rand(prompt_mask_BP.shape, generator=generator, dtype=torch.float64) * prompt_mask_BP,
        prompt_mask_BP=prompt_mask_BP,
        decided=at_rest(needs),
    )


def with_decisions(scores: RowScores, decided: Mapping[WholeStep, Facts]) -> RowScores:
    """With these facts in the place of those at rest."""
    return each_response(scores, lambda one: replace(one, decided={**one.decided, **decided}))


def at_rest(needs: Needs) -> dict[WholeStep, Facts]:
    """What is read of components that look at whole steps where there is none."""
    return {key: key.at_rest(key.initial_state()) for key in needs.whole_step}


def scored(trainer: Trainer, needs: Needs, lengths: tuple[tuple[int, ...], ...] = LENGTHS) -> RowScores:
    """What the rows of a micro-batch scored to, with all that was asked for."""
    made = [response(lengths[n % len(lengths)], n, needs) for n in range(laid_out(trainer) + 2)]
    first, sign_B1 = made[0].length_B, (made[0].length_B[:, None] != 5) * 2 - 1
    drawn_BT = response(lengths[0], len(made), needs).weights_BT
    return RowScores(
        responses=tuple(made[:-2]),
        spans=(),
        desirable_B=first != 5,
        sampled=made[-2],
        gold=made[-1],
        columns={
            **{name: 2.0 + first.double() for name in sorted(needs.columns)},
            **{key: first.double() / 10 for key in sorted(needs.row_values, key=repr)},
        },
        mismatch=torch.tensor(0.3, dtype=torch.float64),
        per_token={"advantage": sign_B1 * drawn_BT, "old_logp": made[0].policy_BT.detach() + 0.05 * drawn_BT},
        max_new_tokens=8,
    )


def each_tensor(scores: TokenScores, change: Callable[[str, Tensor], Tensor]) -> TokenScores:
    """The scores with `change(name, tensor)` in the place of each tensor, those of statistics included."""
    changed: dict[str, Any] = {
        name: {key: change(name, of_key) for key, of_key in value.items()}
        if isinstance(value, Mapping) and name != "decided"
        else value
        if value is None or name == "decided"  # scalars
        else change(name, value)
        for name, value in vars(scores).items()
    }
    return TokenScores(**changed)


def each_response(scores: RowScores, change: Callable[[TokenScores], TokenScores]) -> RowScores:
    """The scores with every response changed."""
    return replace(
        scores,
        responses=tuple(map(change, scores.responses)),
        sampled=None if scores.sampled is None else change(scores.sampled),
        gold=None if scores.gold is None else change(scores.gold),
    )


def per_token(scores: RowScores, change: Callable[[Tensor], Tensor]) -> RowScores:
    """The scores with what rows bring along for each token changed."""
    return replace(scores, per_token={name: change(value_BT) for name, value_BT in scores.per_token.items()})


def padded(scores: RowScores, left: int, right: int) -> RowScores:
    """With columns of padding on both sides."""

    def pad(value: Tensor) -> Tensor:
        return torch.nn.functional.pad(value, (left, right))

    return per_token(each_response(scores, lambda one: each_tensor(one, lambda _, x: pad(x))), pad)


def picked(scores: RowScores, examples: list[int]) -> RowScores:
    """These examples, in this order."""
    found = each_response(scores, lambda one: each_tensor(one, lambda _, x: x[examples]))
    columns = {name: values_B[examples] for name, values_B in scores.columns.items()}
    found = per_token(found, lambda x: x[examples])
    return replace(found, desirable_B=scores.desirable_B[examples], columns=columns)


def alone(scores: RowScores, example: int) -> RowScores:
    """One example, without the columns that are padding then."""

    def cut(one: TokenScores) -> TokenScores:
        kept = {"prompt_BP": one.prompt_mask_BP, "prompt_mask_BP": one.prompt_mask_BP}

        def change(name: str, value: Tensor) -> Tensor:
            mask = kept.get(name, one.mask_BT)
            assert mask is not None
            return value[:, mask[0]]

        return each_tensor(one, change)

    found = picked(scores, [example])
    return per_token(each_response(found, cut), lambda x: x[:, found.responses[0].mask_BT[0]])


def bare(scores: RowScores, needs: Needs) -> RowScores:
    """Without what was not asked for."""

    def strip(one: TokenScores) -> TokenScores:
        reference_BT = one.reference_BT if needs.reference or needs.live_reference else None
        prompt = (one.prompt_BP, one.prompt_mask_BP) if needs.prompt else (None, None)
        return replace(one, reference_BT=reference_BT, prompt_BP=prompt[0], prompt_mask_BP=prompt[1])

    found = each_response(scores, strip)
    return replace(
        found,
        sampled=found.sampled if needs.anchor else None,
        gold=found.gold if needs.gold else None,
        mismatch=found.mismatch if needs.mismatched else None,
    )


def at_start(scores: RowScores) -> RowScores:
    """As before the first step, when the policy is the reference."""
    return each_response(scores, lambda one: replace(one, reference_BT=one.policy_BT.detach()))


def leaves(scores: RowScores) -> list[Tensor]:
    """What the policy says of the responses that carry weights, from here on with a gradient: log-probs, and those
    statistics that are trained through."""
    found = [one.policy_BT for one in scores.responses]
    found += [value for one in scores.responses for key, value in one.statistics.items() if key.has_gradient]
    return [value.requires_grad_() for value in found]

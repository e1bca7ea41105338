"""The worked numbers of token weightings that look at ids, lengths, log-probs, a guide or the entropy.

beta is 0.1 unless the key says otherwise; the inputs are those of the other worked numbers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from alignkit.asks.columns import RowColumn
from alignkit.asks.pairs import Changed, PairValues, WithinShorter
from alignkit.asks.values import TokenValues
from alignkit.losses import losses
from alignkit.models.statistics import Entropy, Vocabulary
from alignkit.scores import PairScores, ResponseScores, Span
from alignkit.weighting import weightings
from alignkit.weighting.base import TokenWeighting

KEYS = (
    *("diff ", "guide ", "tgdpo ", "confpo ", "advantage_reweighting", "dft ", "decay ", "ld_dpo ", "sampo "),
    *("entropy ", "dpo_shift", "mappo", "gated "),
)
"""Beginnings of the keys that belong here."""

SIDES = ("chosen", "rejected")
GUIDE = {"chosen": (0.6, 0.5, 0.4), "rejected": (0.2, 0.3, 0.5, 0.1)}
"""The guide's probabilities of the tokens."""

OTHER_PROMPT = {"chosen": (0.375, 0.075, 0.475), "rejected": (0.225, 0.45, 0.45, 0.3)}
"""The reference's mean probabilities under two other prompts."""


def row(numbers) -> torch.Tensor:
    return torch.as_tensor(np.asarray(numbers, dtype=np.float64))[None]


def span(worked, side: str, values: dict[TokenValues, object] | None = None) -> Span:
    """One side as weightings see it."""
    scores = worked.response(side)
    entropy_N = Entropy().reduce(Vocabulary(torch.tensor(getattr(worked, f"{side}_policy")).double().log(), None))
    return Span(
        scores.mask_BT,
        seeds_B=(0,),
        policy_BS=scores.policy_BT,
        reference_BS=scores.reference_BT,
        desirable_B=torch.tensor([side == "chosen"]),
        values={key: row(numbers) for key, numbers in (values or {}).items()},
        statistics={Entropy(): entropy_N[None]},
    )


def of_pair(worked, values: PairValues) -> dict[str, dict[TokenValues, object]]:
    """What is known of each side's tokens."""
    ids = (np.array(getattr(worked, f"{side}_targets")) for side in SIDES)
    return {side: {values: numbers} for side, numbers in zip(SIDES, values.of_pair(*ids), strict=True)}


def weights(worked, weighting: TokenWeighting, values=None) -> dict[str, torch.Tensor]:
    return {side: weighting.weights(span(worked, side, (values or {}).get(side))) for side in SIDES}


def loss(worked, found: dict[str, torch.Tensor], name: str = "weighted_dpo", **parameters) -> float:
    pair = worked.pair()
    weighted = PairScores(*(replace(getattr(pair, side), weights_BT=found[side]) for side in SIDES))
    return float(losses.build(name, parameters).per_example(weighted))


def build(name: str, **parameters) -> TokenWeighting:
    return weightings.build(name, parameters)


def diff(worked, pair) -> dict:
    known = of_pair(worked, Changed(min_block=1))
    by_scale = {
        scale: weights(worked, build("diff", min_block=1, rescale=scale), known) for scale in ("raw", "mean1", "sum1")
    }
    long = [np.array(ids) for ids in ([5, 6, 7, 8, 9, 3, 4], [5, 6, 2, 7, 8, 9, 1, 4])]
    names = [f"diff long example {ids} changed" for ids in ("a=5 6 7 8 9 3 4", "b=5 6 2 7 8 9 1 4")]
    blocks = {
        f"{name} (block>={least})": changed.astype(float).tolist()
        for least in (1, 3)
        for name, changed in zip(names, Changed(min_block=least).of_pair(*long), strict=True)
    }
    return blocks | {
        **{
            f"diff changed {side} (block>=1)": next(iter(known[side].values())).astype(float).tolist() for side in SIDES
        },
        **{f"diff mean1 {side}": by_scale["mean1"][side][0].tolist() for side in SIDES},
        "diff raw weights 3/1 loss": loss(worked, by_scale["raw"]),
        "diff mean1 loss": loss(worked, by_scale["mean1"]),
        "diff average form (sum w b / sum w) loss": loss(worked, by_scale["sum1"]),
        "diff common prefix length of the long example": (~Changed(mode="prefix").of_pair(*long)[0]).sum(),
    }


def guide(worked, pair) -> dict:
    """TGDPO, and the size of the guide's log-ratio times that of the prompt's influence."""
    found = {}
    for beta in (0.1, 1.0):
        weighting = build("guide", beta=beta)
        (key,) = weighting.needs().values
        ratios = {side: (row(GUIDE[side]).log() - worked.response(side).reference_BT)[0] for side in SIDES}
        of = weights(worked, weighting, {side: {key: ratios[side]} for side in SIDES})
        found |= {f"guide log-ratio {side}": ratios[side].tolist() for side in SIDES}
        found |= {f"tgdpo w {side} beta={beta} alpha=0.5": of[side][0].tolist() for side in SIDES}
        found[f"tgdpo loss beta={beta} alpha=0.5"] = loss(worked, of, beta=beta)
    sizes = {"name": "guide", "form": "size"}
    product = build("product", of=[sizes, {**sizes, "contrast": "prompts"}], rescale="raw")
    factors = [next(iter(part.needs().values)) for part in product.of]
    pmi = {side: (worked.response(side).reference_BT - row(OTHER_PROMPT[side]).log())[0] for side in SIDES}
    of = weights(worked, product, {side: dict(zip(factors, (ratios[side], pmi[side]), strict=True)) for side in SIDES})
    return found | {"gated |pmi| x |guide| chosen, rejected": [of[side][0].tolist() for side in SIDES]}


def confidence(worked, pair) -> dict:
    """ConfPO with SimPO, whose gamma is a share of beta here; and weights that follow the probability."""
    kept = weights(worked, build("confidence"))
    soft = weights(worked, build("confidence", soft=0.2))["chosen"]
    certain = replace(worked.response("chosen"), weights_BT=weights(worked, build("confidence", soft=1.0))["chosen"])
    imitated = losses.build("sft", {}).per_example(ResponseScores(certain))
    means = {side: float((kept[side] * getattr(pair, side).policy_BT).mean()) for side in SIDES}
    return {
        "confpo mean probability chosen, rejected": [float(getattr(pair, s).policy_BT.exp().mean()) for s in SIDES],
        **{f"confpo mask {side}": (kept[side] > 0).double()[0].tolist() for side in SIDES},
        "confpo mean selected gap": means["chosen"] - means["rejected"],
        "confpo loss beta=1.5 simpo_gamma=1.6": loss(worked, kept, "simpo", beta=1.5, gamma_beta_ratio=1.6 / 1.5),
        "confpo loss beta=2 simpo_gamma=.5": loss(worked, kept, "simpo", beta=2.0, gamma_beta_ratio=0.25),
        "advantage_reweighting alpha=.2 chosen (alpha p + 1 - alpha)": soft[0].tolist(),
        "dft sft loss -mean sg(p) log p, chosen": float(imitated) / 3,
    }


def lengths(worked, pair) -> dict:
    """D2PO, LD-DPO and SamPO."""
    decay = weights(worked, build("decay"))
    long = Span(torch.ones(1, 2000).bool())
    known = of_pair(worked, WithinShorter())
    ld, average = (weights(worked, build("shared_length", mode=mode), known) for mode in ("alpha", "average"))
    return {
        "decay .98 chosen": decay["chosen"][0].tolist(),
        "decay .98 loss": loss(worked, decay),
        "decay .98 limit of sum (gamma / (1 - gamma))": float(build("decay").weights(long).double().sum()),
        "ld_dpo alpha=.5 rejected": ld["rejected"][0].tolist(),
        "ld_dpo alpha=.5 loss": loss(worked, ld),
        "sampo expected weights rejected (min T / T)": average["rejected"][0].tolist(),
        "sampo average form loss (common length)": loss(worked, average),
    }


def sides(worked, pair) -> dict:
    """DPO-Shift, and MaPPO's with a gap of 0.6."""
    column = build("side", rejected_column="gap")
    known = {side: {RowColumn(column="gap"): [0.6] * worked.response(side).policy_BT.shape[1]} for side in SIDES}
    return {
        "dpo_shift lambda=.95": loss(worked, weights(worked, build("side"))),
        "mappo delta_r=.6 (rejected scaled)": loss(worked, weights(worked, column, known)),
    }


def entropy(worked, pair) -> dict:
    weighting = build("entropy", strength=1.0)
    return {
        **{f"entropy {side}": build("statistic").raw(span(worked, side))[0].tolist() for side in SIDES},
        "entropy mean1 loss": loss(worked, weights(worked, weighting)),
    }


PARTS = (diff, guide, confidence, lengths, sides, entropy)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_numbers(part, worked, newer) -> None:
    for key, got in part(worked, worked.pair()).items():
        wanted = newer[key]
        if isinstance(wanted, list):
            got, wanted = np.hstack(got), np.hstack(wanted)
        assert got == pytest.approx(wanted, rel=1e-6, abs=1e-6), key


def test_every_number_has_its_place(worked, newer) -> None:
    here = {key for part in PARTS for key in part(worked, worked.pair())}
    assert here == {key for key in newer if key.startswith(KEYS)}

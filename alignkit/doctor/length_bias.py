"""Whether the longer response is preferred."""

from __future__ import annotations

from collections.abc import Iterator

from alignkit.doctor.base import Check, Finding, warn_if
from alignkit.doctor.case import Case
from alignkit.doctor.statistics import auc, sign_z
from alignkit.lazy import numpy as np

LOWEST, HIGHEST = 0.4, 0.6
"""Share of pairs with the longer response chosen, outside of which the finding warns."""

NOISE = 2.0
"""Standard errors that the share must differ from a half by, to be called a lean."""

NUM_PARTS = 10


class LengthBias(Check):
    """How often the chosen response is the longer one, in words, among pairs of different lengths.

    `auc` is the chance that a chosen response is longer than a rejected one of any pair, `mean_ratio` the mean length
    of the chosen ones / that of the rejected ones, `decile_1` to `decile_10` the share in tenths of the pairs, by the
    mean length of their two responses. Warns outside .4 to .6, where that is more than 2 standard
    errors. Paper: arXiv:2310.03716.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        chosen, rejected = case.num_words[:, 0], case.num_words[:, 1]
        differing = chosen != rejected
        wins, total = int((chosen > rejected).sum()), int(differing.sum())
        if not total:
            return
        share, z = wins / total, sign_z(wins, total - wins)
        values = {"share": share, "z": z, "auc": auc(chosen, rejected)}
        values["mean_ratio"] = float(chosen.mean() / max(rejected.mean(), 1e-9))
        order = np.argsort(chosen + rejected, kind="stable")
        for number, part in enumerate(np.array_split(order[differing[order]], NUM_PARTS), start=1):
            if len(part):
                values[f"decile_{number}"] = float((chosen[part] > rejected[part]).mean())
        is_longer = share >= 0.5
        follows = chosen > rejected if is_longer else chosen < rejected
        yield self.finding(
            "chosen is longer",
            warn_if(not LOWEST <= share <= HIGHEST and abs(z) > NOISE),
            case.places(follows),
            total,
            f"The chosen response has more words in {share:.3f} of the pairs of different lengths (z {z:+.1f}); a "
            "policy learns length from such a lean, and a loss on mean log-probs does so least.",
            key="losses.N",
            count=wins,
            values=values,
        )

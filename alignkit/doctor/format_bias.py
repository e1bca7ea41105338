"""Whether a way of writing is preferred."""

from __future__ import annotations

from collections.abc import Iterator

from alignkit.doctor.base import Check, Finding, warn_if
from alignkit.doctor.case import Case
from alignkit.doctor.statistics import holm, p_value, sign_z
from alignkit.lazy import numpy as np

MOST_Z = 4.0
"""Standard errors of the share from which a finding warns."""


class FormatBias(Check):
    """How often the chosen response has what the rejected one has not: emoji, bold, a list, a link, an opener, length.

    For each, among the pairs in which exactly one response has it, the share in which the chosen one does, and its
    standard errors from a half; `p` is adjusted for all of them by Holm's method. Less than 1 % of biased pairs can
    give a reward model the bias. Paper: arXiv:2409.11704.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        words = case.num_words
        leads = {name: has[:, 0].astype(int) - has[:, 1] for name, has in case.formats.items()}
        leads["more words"] = np.sign(words[:, 0] - words[:, 1])
        found = {name: (lead > 0, lead < 0) for name, lead in leads.items() if lead.any()}
        scores = {name: sign_z(int(wins.sum()), int(losses.sum())) for name, (wins, losses) in found.items()}
        adjusted = dict(zip(scores, holm([p_value(z) for z in scores.values()]), strict=True))
        for name, (wins, losses) in found.items():
            count, total, z = int(wins.sum()), int((wins | losses).sum()), scores[name]
            share = count / total
            yield self.finding(
                name,
                warn_if(abs(z) > MOST_Z),
                case.places(wins if z >= 0 else losses),
                total,
                f"Of the pairs in which one response has it, the chosen one does in {share:.3f} (z {z:+.1f}, Holm p "
                f"{adjusted[name]:.2g}); a policy takes such a lean for what is asked.",
                key="pair_weighting",
                count=count,
                values={"share": share, "z": z, "p": adjusted[name]},
            )

"""What is measured on held-out rows, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignkit.evaluation.base import Measure, Value
from alignkit.evaluation.summary import Mean

if TYPE_CHECKING:
    from alignkit.evaluation.scene import HeldOut


class Template(Measure):
    """How likely the least likely token of each row's first response is.

    least_logp: its log-prob under the policy, nats.
    """

    values = (Value("least_logp", Mean("least_logp"), "log-prob of the least likely token, nats", digits=2),)

    def per_row(self, held_out: HeldOut) -> Sequence[Mapping[str, Any]]:
        first = held_out.scores.responses[0]
        least_B = first.policy_BT.masked_fill(~first.mask_BT, 0.0).amin(-1)
        return [{"least_logp": value} for value in least_B.tolist()]

"""Where the third response of a triplet comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow
from alignkit.rollouts.base import ResponseAnchor

if TYPE_CHECKING:
    from numpy import ndarray

    from alignkit.rollouts.sampler import Sampler


class Template(ResponseAnchor):
    """The beginning of the row's first response; `sampler.sample` would draw one from the policy."""

    def respond(self, rows: Sequence[TokenRow], sampler: Sampler) -> list[ndarray]:
        return [next(iter(row.responses.values()))[: self.max_new_tokens] for row in rows]

"""Anchors in use: drawn for a window of optimizer steps, scored by the reference, kept until the next window.

They are part of what an exact resume needs, because the policy that drew them is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow
from alignkit.lazy import numpy as np
from alignkit.lazy import torch
from alignkit.models.decoding import of_like_lengths
from alignkit.models.layout import Example
from alignkit.models.policy import Policy
from alignkit.models.reference import Reference
from alignkit.models.scorer import Want
from alignkit.progress.display import counted
from alignkit.rollouts.base import ResponseAnchor
from alignkit.rollouts.sampler import Sampler

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

BATCH = 1024
"""Rows that an anchor is asked for at once; how many of them are decoded together depends on their lengths."""


@dataclass(frozen=True)
class DrawnAnchor:
    """One anchor.

    Attributes:
        ids: its token ids.
        reference_T: [T] its log-probs under the reference, nats, CPU.
    """

    ids: ndarray
    reference_T: Tensor


class AnchorPool:
    """The anchors of the current window, by row index.

    Args:
        anchor: how they are drawn.
        policy: draws them.
        reference: scores them.
        seed: the run's seed.
    """

    def __init__(self, anchor: ResponseAnchor, policy: Policy, reference: Reference, seed: int) -> None:
        self.anchor = anchor
        self._policy = policy
        self._reference = reference
        self._seed = seed
        self._drawn: dict[int, DrawnAnchor] = {}
        self._expired: set[int] = set()

    def __getitem__(self, row: TokenRow) -> DrawnAnchor:
        return self._drawn[row.index]

    def refresh(self, step: int, rows: Sequence[TokenRow]) -> None:
        """Draws new anchors when a window begins at `step`; `rows` are those of all its steps."""
        if step % self.anchor.refresh_every:
            return
        self.clear()
        self.complete(step, rows)

    def clear(self) -> None:
        """Forgets what was drawn."""
        self._drawn, self._expired = {}, set()

    def expire(self) -> None:
        """The reference has become another model: what is drawn stays, and is scored again before it is used."""
        self._expired = set(self._drawn)

    def complete(self, step: int, rows: Sequence[TokenRow]) -> None:
        """Draws what is missing: of rows beyond the old end of a run that goes on further than was planned. Scores
        again what the reference scored before it moved."""
        if expired := {row.index: row for row in rows if row.index in self._expired}:
            self._score_again(list(expired.values()))
        unique = {row.index: row for row in rows if row.index not in self._drawn}
        ascending = sorted(unique.values(), key=lambda row: len(row.prompt))  # so that there is little padding
        with counted("drawing anchors", len(unique)) as advance:
            for start in range(0, len(unique), BATCH):
                part = ascending[start : start + BATCH]
                self._drawn |= zip((row.index for row in part), self._draw(step, part), strict=True)
                advance(len(part))

    def _score_again(self, rows: Sequence[TokenRow]) -> None:
        indices = [row.index for row in rows]
        ids = [self._drawn[index].ids for index in indices]
        self._drawn |= zip(indices, self._scored(rows, ids), strict=True)
        self._expired -= set(indices)

    def _draw(self, step: int, rows: Sequence[TokenRow]) -> list[DrawnAnchor]:
        return self._scored(rows, self.anchor.respond(rows, Sampler(self._policy, self._seed, step)))

    def _scored(self, rows: Sequence[TokenRow], responses: Sequence[ndarray]) -> list[DrawnAnchor]:
        """The responses with what the reference says of them."""
        examples = [Example(row.prompt, [ids]) for row, ids in zip(rows, responses, strict=True)]
        lengths = [len(example.prompt) + len(ids) for example, ids in zip(examples, responses, strict=True)]
        order = sorted(range(len(rows)), key=lengths.__getitem__)
        found: dict[int, DrawnAnchor] = {}
        for start, stop in of_like_lengths([lengths[place] for place in order]):
            places = order[start:stop]
            batch = self._policy.collate([examples[place] for place in places])
            logp_BT = self._reference.score(batch, Want()).logp_BRT[:, 0].float().cpu()
            for place, logp_T in zip(places, logp_BT, strict=True):
                ids = responses[place]
                found[place] = DrawnAnchor(ids, logp_T[: len(ids)].clone())
        return [found[place] for place in range(len(rows))]

    def state(self) -> dict[str, Tensor]:
        """The pool as flat tensors."""
        if not self._drawn:
            return {}
        drawn = list(self._drawn.values())
        return {
            "anchor.rows": torch.tensor(list(self._drawn)),
            "anchor.lengths": torch.tensor([len(anchor.ids) for anchor in drawn]),
            "anchor.ids": torch.from_numpy(np.concatenate([anchor.ids for anchor in drawn])),
            "anchor.reference": torch.cat([anchor.reference_T for anchor in drawn]),
            "anchor.expired": torch.tensor([row in self._expired for row in self._drawn]),
        }

    def lacks(self, step: int, rows: Sequence[TokenRow]) -> bool:
        """Whether `refresh` and `complete` will draw or score."""
        known = self._drawn.keys() - self._expired
        return step % self.anchor.refresh_every == 0 or any(row.index not in known for row in rows)

    def load_state(self, *states: Mapping[str, Tensor]) -> None:
        """Puts `state` back; those of several processes together."""
        self.clear()
        for state in states:
            self._add(state)

    def _add(self, state: Mapping[str, Tensor]) -> None:
        if "anchor.rows" not in state:
            return
        lengths = state["anchor.lengths"].tolist()
        pieces = zip(
            state["anchor.rows"].tolist(),
            state["anchor.ids"].split(lengths),  # type: ignore[no-untyped-call]
            state["anchor.reference"].split(lengths),  # type: ignore[no-untyped-call]
            strict=True,
        )
        if "anchor.expired" in state:  # older checkpoints know of no reference that moves
            self._expired |= set(state["anchor.rows"][state["anchor.expired"]].tolist())
        self._drawn |= {row: DrawnAnchor(ids.numpy(), reference_T.clone()) for row, ids, reference_T in pieces}

"""Where importances come from: the training graph, both models' graphs, a table, or what a row was given before.

`alignkit.models.scorer.importances` does the differentiating; this decides what is asked of it and keeps the answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from alignkit.asks.importance import ReferenceImportance
from alignkit.asks.needs import Needs
from alignkit.asks.table import Table
from alignkit.asks.values import TokenValues
from alignkit.data.rows import TokenRow
from alignkit.lazy import accelerate, torch
from alignkit.models.attribution import Attribution
from alignkit.models.importances import importances
from alignkit.models.layout import Batch
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scored, Want
from alignkit.weighting.base import shares

if TYPE_CHECKING:
    from torch import Tensor


Against = Mapping[Attribution, "tuple[Tensor, Tensor]"]
"""Attribution -> the reference's gradients and embeddings, [X, L, D] each."""


class Attributor:
    """Gives the importances of a micro-batch.

    Args:
        needs: of the recipe.
        tables: importances that were computed before training.
    """

    def __init__(self, needs: Needs, tables: Mapping[TokenValues, Table]) -> None:
        self._attributions = sorted(needs.attributions, key=repr)
        self._whole = needs.full_sequence
        self._tables = tables
        self.memory = Memory([a for a in self._attributions if a.is_remembered])

    def wanted(self, rows: Sequence[TokenRow], step: int | None) -> frozenset[Attribution]:
        """What the policy's forward pass must keep for these rows; `step` is None in an evaluation, always anew."""
        return frozenset(
            a for a in self._attributions if not a.is_static and (step is None or self.memory.is_due(a, rows, step))
        )

    def importances(
        self,
        rows: Sequence[TokenRow],
        batch: Batch,
        scored: Scored,
        mask_BRS: Tensor,
        step: int | None,
        against: Against,
    ) -> dict[Attribution, Tensor]:
        """attribution -> [B, R, S] float32 >= 0, 0 off the mask.

        Args:
            rows: the examples.
            batch: how they were laid out.
            scored: the policy's forward pass, with what was `wanted`.
            mask_BRS: [B, R, S] bool; True on the tokens that weights are shared among.
            step: optimizer step, or None.
            against: of `score_reference`, for targets that ask both models.
        """
        num_weighted = mask_BRS.shape[1]
        found = importances(scored, batch, num_weighted, full_sequence=self._whole, against=against)
        for attribution in self._attributions:
            if attribution.is_static:
                table = self._tables[ReferenceImportance(attribution=attribution, full_sequence=self._whole)]
                found[attribution] = table.lookup(rows, mask_BRS)
            elif attribution.is_remembered and step is not None:
                found[attribution] = self.memory.update(attribution, rows, step, found.get(attribution), mask_BRS)
        return found


def score_reference(
    reference: Reference, batch: Batch, want: Want, asked: frozenset[Attribution]
) -> tuple[Scored, Against]:
    """What the reference says of a batch, without gradient, and its half of the targets that ask both models.

    Args:
        reference: live.
        batch: laid out as for the policy, so that the two gradients lie on each other.
        want: what else to compute.
        asked: attributions with target `log_ratio`, at least one.
    """
    with torch.enable_grad(), reference.active() as scorer:  # active until the gradient is there
        scored = scorer(batch, replace(want, attributions=asked))
        assert scored.embeddings_XLD is not None
        (gradient_XLD,) = torch.autograd.grad(next(iter(scored.targets.values())).sum(), scored.embeddings_XLD)
    half = (gradient_XLD, scored.embeddings_XLD.detach())
    plain = replace(scored, logp_BRT=scored.logp_BRT.detach(), targets={}, embeddings_XLD=None)
    return plain, dict.fromkeys(asked, half)


class Memory:
    """Shares of importance that rows were given, until they are due again.

    Kept as shares (sum 1 over the span), because the size of a gradient changes as the model learns.

    Args:
        attributions: those whose answers are kept.
    """

    def __init__(self, attributions: Sequence[Attribution]) -> None:
        self._attributions = list(attributions)
        self._kept: dict[tuple[int, int], tuple[int, Tensor]] = {}
        self._latest: set[tuple[int, int]] = set()

    def is_due(self, attribution: Attribution, rows: Sequence[TokenRow], step: int) -> bool:
        """Whether any of the rows needs new importances."""
        return not attribution.is_remembered or any(self._is_due(attribution, row, step) for row in rows)

    def _is_due(self, attribution: Attribution, row: TokenRow, step: int) -> bool:
        kept = self._kept.get((self._attributions.index(attribution), row.index))
        return kept is None or step - kept[0] >= attribution.refresh_every

    def update(
        self, attribution: Attribution, rows: Sequence[TokenRow], step: int, new_BRS: Tensor | None, mask_BRS: Tensor
    ) -> Tensor:
        """[B, R, S] shares: new ones, smoothed, for the rows that are due; for the others what they were given."""
        number = self._attributions.index(attribution)
        new: list[Tensor | None] = [None] * len(rows)
        if new_BRS is not None:  # shares and mask in one transfer, so that a GPU is waited for once
            shares_BRS = shares(new_BRS, mask_BRS).float()
            both = torch.stack([shares_BRS, mask_BRS.to(shares_BRS.dtype)]).cpu()
            new = [share_RS[mask_RS > 0] for share_RS, mask_RS in zip(*both, strict=True)]
        packed = []
        for row, share_N in zip(rows, new, strict=True):
            key = (number, row.index)
            if self._is_due(attribution, row, step):
                assert share_N is not None, "is_due() told so before the forward pass"
                if key in self._kept:
                    share_N = attribution.smoothing * self._kept[key][1] + (1 - attribution.smoothing) * share_N
                self._kept[key] = (step, share_N)
                self._latest.add(key)
            packed.append(self._kept[key][1])
        values_N = torch.cat(packed).to(mask_BRS.device)
        return torch.zeros(mask_BRS.shape, device=mask_BRS.device).masked_scatter(mask_BRS, values_N)

    def exchange(self, step: int) -> None:
        """Tells all processes what each computed in the step before `step`, as a row may come to another one next."""
        if self._attributions:
            mine = {key: self._kept[key] for key in self._latest if self._kept[key][0] == step - 1}
            self._latest = set()
            for part in accelerate.utils.gather_object([mine]):
                self._kept |= part

    def state(self) -> dict[str, Tensor]:
        """Everything kept, as flat tensors."""
        if not self._kept:
            return {}
        kept = self._kept.values()
        return {
            "importance.keys": torch.tensor(list(self._kept)),
            "importance.steps": torch.tensor([step for step, _ in kept]),
            "importance.lengths": torch.tensor([len(share_N) for _, share_N in kept]),
            "importance.shares": torch.cat([share_N for _, share_N in kept]),
        }

    def load_state(self, *states: Mapping[str, Tensor]) -> None:
        """Puts `state` back; of those of several processes what is newest."""
        self._kept = {}
        for state in states:
            if "importance.keys" not in state:
                continue
            pieces = torch.split(state["importance.shares"], state["importance.lengths"].tolist())
            steps = state["importance.steps"].tolist()
            for (number, index), step, share_N in zip(state["importance.keys"].tolist(), steps, pieces, strict=True):
                if step >= self._kept.get((number, index), (step, None))[0]:
                    self._kept[number, index] = (step, share_N)
        self._latest = set(self._kept)  # a checkpoint may lie before the exchange of its last step

"""From token rows to the scores that losses see: reference, policy, attribution, token weights, in this order."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from alignkit.asks.importance import ReferenceImportance
from alignkit.asks.needs import Needs
from alignkit.asks.reference_logps import ReferenceLogps
from alignkit.asks.row_values import RowValues
from alignkit.asks.table import Table
from alignkit.asks.values import TokenValues
from alignkit.data.rows import TokenRow
from alignkit.engine.attributor import Against, Attributor, score_reference
from alignkit.engine.decisions import Decisions
from alignkit.engine.method import Method
from alignkit.engine.moving import MovingReference
from alignkit.lazy import accelerate, torch
from alignkit.models.attribution import Attribution
from alignkit.models.base import ReferenceUpdate
from alignkit.models.decoding import uniforms
from alignkit.models.head import Draw, token_logps
from alignkit.models.laid import Laid
from alignkit.models.layout import Batch
from alignkit.models.policy import Policy
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scored, Scorer, Want
from alignkit.models.statistics import Statistic
from alignkit.parallel.sharding import is_sharded, whole
from alignkit.rollouts.base import ResponseAnchor, TokenAnchor
from alignkit.rollouts.pool import AnchorPool
from alignkit.scores import Columns, RowScores, Span, TokenScores
from alignkit.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor, nn


WEIGHTS = "weights"
"""What rows call token weights that were computed when their responses were sampled."""

CARRIED = ("advantage", "old_logp", "sampled_logp")
"""What else they bring along for each token."""


def tabulated(needs: Needs) -> frozenset[TokenValues]:
    """What must be computed before training, beside log-probs of the reference."""
    static = (attribution for attribution in needs.attributions if attribution.is_static)
    importances = {ReferenceImportance(attribution=a, full_sequence=needs.full_sequence) for a in static}
    return needs.values | needs.row_values | importances


class Scoring:
    """Scores rows as a method needs it, and nothing that it does not need.

    Args:
        method: says which components score what.
        policy: the model in training.
        reference: the live reference, or None when log-probs are cached or nobody needs them.
        tables: what was computed before training: reference log-probs (`ReferenceLogps`), and what weightings need.
        autocast: context of the mixed precision that the loop trains in.
        update: how the live reference follows the policy; None where it stays.
    """

    def __init__(
        self,
        method: Method,
        policy: Policy,
        reference: Reference | None,
        tables: Mapping[TokenValues, Table],
        autocast: Callable[[], AbstractContextManager[None]],
        update: ReferenceUpdate | None = None,
    ) -> None:
        self.method = method
        self.policy = policy
        self.reference = reference
        self.tables = tables
        self.cache = tables.get(ReferenceLogps())
        self.autocast = autocast
        self.needs = method.needs
        self.module: nn.Module = policy.scorer
        self.pool = self._pool()
        self.attributor = Attributor(self.needs, tables)
        self.decisions = Decisions(method)
        self.moving = MovingReference(update, reference, policy) if update and reference else None

    def against(self, reference: Reference) -> Scoring:
        """The same, compared with another live reference, which stays."""
        other = copy.copy(self)
        other.reference, other.moving = reference, None
        return other

    def _pool(self) -> AnchorPool | None:
        if not isinstance(self.needs.anchor, ResponseAnchor):
            return None
        assert self.reference is not None, "anchors are scored by a live reference"
        return AnchorPool(self.needs.anchor, self.policy, self.reference, self.method.seed)

    @property
    def scorers(self) -> list[Scorer]:
        """That of the policy, and of a live reference: the same again where that is the adapter switched off."""
        return [self.policy.scorer, *([] if self.reference is None else [self.reference.scorer])]

    @contextmanager
    def whole(self, wanted: bool = True) -> Iterator[None]:
        """Policy and live reference whole in each process, where they are cut and any process wants it: for what
        processes do differently often. Entered by all of them together."""
        is_wanted = is_sharded(self.policy.scorer) and any(accelerate.utils.gather_object([wanted]))
        with whole(self.scorers) if is_wanted else nullcontext():
            yield

    @property
    def has_live_reference(self) -> bool:
        """Whether each forward pass of the policy goes with one of the reference."""
        return self.reference is not None and self.cache is None and self.needs.reference

    @property
    def laid(self) -> Laid:
        """How many tokens rows are in a training step; at most, as anchors may end early."""
        return Laid(self.policy.layout, 0 if self.needs.anchor is None else self.needs.anchor.longest, ends=False)

    @property
    def tolerance(self) -> float:
        """Nats by which two forward passes of one model may differ: what rounding explains."""
        with self.autocast():
            low = torch.is_autocast_enabled(self.policy.device.type) or self.policy.model.dtype != torch.float32
        return 0.2 if low else 1e-3

    def score(
        self,
        rows: Sequence[TokenRow],
        step: int | None = None,
        *,
        weigh: bool = True,
        also: frozenset[Statistic] = frozenset(),
        observing: bool = False,
        decided: bool | None = None,
    ) -> RowScores:
        """Scores of `rows` with the gradients that are enabled.

        Args:
            rows: examples of one micro-batch.
            step: optimizer step that the scores are for; None in an evaluation, which has no anchors and goes past
                the loop's wrapper.
            weigh: compute token weights; without, every weight is 1.
            also: statistics that nothing in the method needs; those that read the reference need a live one.
            observing: only look at the step's rows, past the loop's wrapper.
            decided: whether these rows are those of which components have decided something; by default where there is
                a step. Otherwise these are at rest.
        """
        module = self.policy.scorer if step is None or observing else self.module
        decided = step is not None if decided is None else decided
        # Computed under the policy that sampled these responses; a column of the data may be called so too.
        is_kept = self.method.drawing is not None and WEIGHTS in rows[0].token_columns
        asks = weigh and not is_kept
        with self.autocast():
            pool = None if step is None else self.pool
            batch = self.policy.batch(rows, [pool[row].ids for row in rows] if pool else ())
            # Processes that share the work of a backward pass must all make it, whoever's rows are due.
            due = None if step is None or is_sharded(self.policy.scorer) else step
            wanted = self.attributor.wanted(rows, due) if asks and self.needs.attributions else frozenset()
            reads = self.needs.reference_logits or any(statistic.reads_reference for statistic in also)
            reference, against = self._reference(rows, batch, wanted, reads=reads)
            want = self._want(rows, step, batch, reference if reads else None, wanted)
            readings = self.needs.readings if asks else frozenset()
            scored = module(batch, replace(want, statistics=want.statistics | also, readings=readings))
        responses = self._token_scores(rows, batch, scored, reference, decided=decided)
        spans = self._spans(rows, batch, scored, responses, step, against, weigh=asks, decided=decided)
        weighted = [
            replace(scores, weights_BT=self.method.weighting.weights(span)) if asks else scores
            for scores, span in zip(responses, spans, strict=True)
        ]
        if weigh and is_kept:
            names = rows[0].weighted
            weighted = [
                replace(scores, weights_BT=_carried(rows, WEIGHTS, name, scores.mask_BT))
                for scores, name in zip(responses, names, strict=True)
            ]
        return RowScores(
            responses=tuple(weighted),
            spans=tuple(spans),
            desirable_B=_desirable_B(rows, 0, batch),
            sampled=self._anchor(rows, batch, scored, reference, pool),
            gold=self._gold(batch, scored, len(spans)) if self.needs.gold else None,
            columns=self._columns(rows),
            per_token=self._per_token(rows, responses[0].mask_BT) if self.method.view.needs_advantage else {},
            max_new_tokens=self.method.drawing.sampler.max_new_tokens if self.method.drawing else 0,
        )

    def _columns(self, rows: Sequence[TokenRow]) -> Columns:
        found: dict[str | RowValues, Tensor] = {
            name: torch.tensor([row.columns[name] for row in rows]) for name in self.needs.columns
        }
        found |= {values: self.tables[values].numbers(rows) for values in self.needs.row_values}
        return {name: value_B.to(self.policy.device) for name, value_B in found.items()}

    def _per_token(self, rows: Sequence[TokenRow], mask_BT: Tensor) -> dict[str, Tensor]:
        """What rollouts bring along; nothing of rows that are none."""
        (name,) = rows[0].weighted
        return {key: _carried(rows, key, name, mask_BT) for key in rows[0].token_columns if key in CARRIED}

    def _gold(self, batch: Batch, scored: Scored, place: int) -> TokenScores:
        mask_BT, policy_BT = batch.mask_BRT[:, place], scored.logp_BRT[:, place]
        return TokenScores(policy_BT, mask_BT, mask_BT.to(policy_BT.dtype))

    # --- the reference ---

    def _reference(
        self, rows: Sequence[TokenRow], batch: Batch, wanted: frozenset[Attribution], *, reads: bool
    ) -> tuple[Scored | None, Against]:
        """Scores under the live reference; anchors only when their distribution is needed, else the pool has them."""
        if self.reference is None or not self.has_live_reference:
            return None, {}
        asked = frozenset(attribution for attribution in wanted if attribution.target == "log_ratio")
        along = isinstance(self.needs.anchor, TokenAnchor)
        want = Want(predictions=reads or along, temperature=self.method.temperature)
        laid = batch if reads or asked else self.policy.batch(rows)
        return score_reference(self.reference, laid, want, asked) if asked else (self.reference.score(laid, want), {})

    def _reference_logps(self, rows: Sequence[TokenRow], batch: Batch, reference: Scored | None) -> Tensor | None:
        """[B, R, T] of the weighted responses, padded to the batch."""
        num_weighted = len(rows[0].weighted)
        if not self.needs.reference:
            return None
        if reference is None:
            assert self.cache is not None
            return self.cache.lookup(rows, batch.mask_BRT[:, :num_weighted])
        missing = batch.mask_BRT.shape[-1] - reference.logp_BRT.shape[-1]
        return torch.nn.functional.pad(reference.logp_BRT[:, :num_weighted], (0, missing))

    # --- the policy ---

    def _want(
        self,
        rows: Sequence[TokenRow],
        step: int | None,
        batch: Batch,
        reference: Scored | None,
        attributions: frozenset[Attribution],
    ) -> Want:
        want = Want(
            attributions,
            statistics=self.needs.statistics,
            reference=None if reference is None else reference.predictions,
            prompt=self.needs.prompt,
            temperature=self.method.temperature,
            num_read=len(rows[0].weighted),
        )
        anchor = self.needs.anchor
        if step is None or not isinstance(anchor, TokenAnchor):
            return want
        seeds = [derive(self.method.seed, "anchor", step, row.index) for row in rows]
        uniform_BT = torch.from_numpy(uniforms(seeds, batch.mask_BRT.shape[-1])).to(self.policy.device)
        return replace(want, draw=Draw(anchor.temperature, anchor.top_k, anchor.top_p), uniform_BT=uniform_BT)

    def _token_scores(
        self, rows: Sequence[TokenRow], batch: Batch, scored: Scored, reference: Scored | None, *, decided: bool
    ) -> list[TokenScores]:
        """Scores of the responses that carry weights, each with weight 1."""
        facts = self.decisions.of_examples(rows, self.policy.device, decided=decided)
        reference_BRT = self._reference_logps(rows, batch, reference)
        return [
            TokenScores(
                policy_BT=scored.logp_BRT[:, r],
                mask_BT=batch.mask_BRT[:, r],
                weights_BT=batch.mask_BRT[:, r].to(scored.logp_BRT.dtype),
                reference_BT=_of(reference_BRT, r),
                statistics={statistic: value_BRT[:, r] for statistic, value_BRT in scored.statistics.items()},
                prompt_BP=scored.prompt_BP,
                prompt_mask_BP=None if scored.prompt_BP is None else batch.predicted_prompt_BP,
                decided=facts,
            )
            for r in range(len(rows[0].weighted))
        ]

    def _anchor(
        self,
        rows: Sequence[TokenRow],
        batch: Batch,
        scored: Scored,
        reference: Scored | None,
        pool: AnchorPool | None,
    ) -> TokenScores | None:
        if pool is not None:
            mask_BT, policy_BT = batch.mask_BRT[:, -1], scored.logp_BRT[:, -1]
            packed_N = torch.cat([pool[row].reference_T for row in rows]).to(policy_BT.device)
            reference_BT = torch.zeros_like(policy_BT).masked_scatter(mask_BT, packed_N)
        elif scored.drawn_BT is not None and scored.drawn_logp_BT is not None:
            mask_BT, policy_BT = batch.mask_BRT[:, 0], scored.drawn_logp_BT
            reference_BT = self._drawn_reference(batch, scored.drawn_BT, reference)
        else:
            return None
        return TokenScores(policy_BT, mask_BT, mask_BT.to(policy_BT.dtype), reference_BT)

    @torch.no_grad()
    def _drawn_reference(self, batch: Batch, drawn_BT: Tensor, reference: Scored | None) -> Tensor:
        """[B, T] reference log-probs of tokens drawn along the first response."""
        assert reference is not None and reference.predictions is not None
        first_N = batch.first.pack(batch.packed.slot[:, 0])
        predictions = replace(reference.predictions, hidden_ND=reference.predictions.hidden_ND[first_N])
        logp_N, _ = token_logps(predictions, batch.first.pack(drawn_BT), self.policy.scorer.head_chunk)
        return batch.first.unpack(logp_N)

    # --- the weighting ---

    def _spans(
        self,
        rows: Sequence[TokenRow],
        batch: Batch,
        scored: Scored,
        responses: Sequence[TokenScores],
        step: int | None,
        against: Against,
        *,
        weigh: bool,
        decided: bool,
    ) -> list[Span]:
        """What the weighting may look at, for each weighted response."""
        mask_BRS, num_prompt = self._span_mask(batch, len(responses))
        mask_BRT = mask_BRS[..., num_prompt:]
        with self.autocast():
            found = (
                self.attributor.importances(rows, batch, scored, mask_BRS, step, against)
                if weigh and self.needs.attributions
                else {}
            )
        values = {v: self.tables[v].lookup(rows, mask_BRT) for v in self.needs.values} if weigh else {}
        return [
            Span(
                mask_BS=mask_BRS[:, r],
                num_prompt=num_prompt,
                importance={attribution: size_BRS[:, r] for attribution, size_BRS in found.items()},
                seeds_B=tuple(derive(self.method.seed, "weighting", row.index, r) for row in rows),
                policy_BS=_after_prompt(scores.policy_BT, num_prompt),
                reference_BS=None if scores.reference_BT is None else _after_prompt(scores.reference_BT, num_prompt),
                desirable_B=_desirable_B(rows, r, batch),
                values={v: _after_prompt(value_BRT[:, r], num_prompt) for v, value_BRT in values.items()},
                statistics={s: _after_prompt(value_BT, num_prompt) for s, value_BT in scores.statistics.items()},
                decided=self.decisions.of_tokens(rows, r, mask_BRS[:, r], decided=decided) if weigh else {},
                readings={
                    one: _after_prompt(value_BRT[:, r], num_prompt) for one, value_BRT in scored.readings.items()
                },
            )
            for r, scores in enumerate(responses)
        ]

    def _span_mask(self, batch: Batch, num_weighted: int) -> tuple[Tensor, int]:
        """[B, R, S] the tokens that weights are shared among, and how many of S are prompt tokens."""
        mask_BRT = batch.mask_BRT[:, :num_weighted]
        if not self.needs.full_sequence:
            return mask_BRT, 0
        prompt_BRP = batch.prompt_mask_BP[:, None].expand(-1, num_weighted, -1)
        return torch.cat([prompt_BRP, mask_BRT], dim=-1), prompt_BRP.shape[-1]


def _carried(rows: Sequence[TokenRow], key: str, name: str, mask_BT: Tensor) -> Tensor:
    """[B, T] float32 numbers that the rows bring along for the tokens of a response, 0 off the mask."""
    packed_N = torch.cat([torch.from_numpy(row.token_columns[key][name]) for row in rows]).to(mask_BT.device)
    return torch.zeros(mask_BT.shape, device=mask_BT.device).masked_scatter(mask_BT, packed_N)


def _of(values_BRT: Tensor | None, response: int) -> Tensor | None:
    return None if values_BRT is None else values_BRT[:, response]


def _after_prompt(values_BT: Tensor, num_prompt: int) -> Tensor:
    return torch.nn.functional.pad(values_BT.detach(), (num_prompt, 0))


def _desirable_B(rows: Sequence[TokenRow], response: int, batch: Batch) -> Tensor:
    """[B] bool; whether each row's response at this place is one to be made likelier."""
    names = [row.weighted[response] for row in rows]
    desirable = [name == "chosen" if row.label is None else row.label for name, row in zip(names, rows, strict=True)]
    return torch.tensor(desirable, device=batch.mask_BRT.device)

"""What a run scores with: the reference in the way that is asked for, and all that is computed before training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from alignkit.asks.needs import Needs
from alignkit.asks.reference_logps import ReferenceLogps
from alignkit.asks.table import load_table
from alignkit.asks.values import TokenValues
from alignkit.data.rows import Tables, TokenRow
from alignkit.engine.method import Job, Method, Sizes
from alignkit.engine.scoring import Scoring, tabulated
from alignkit.engine.workbench import SideRuns, Workbench
from alignkit.errors import ModelError
from alignkit.loop.order import planned_steps, rows_in_order
from alignkit.models.base import ADAPTERS_DO_NOT_MIX, ModelSource
from alignkit.models.layers import decoder_layers
from alignkit.models.lengths import Longest
from alignkit.models.policy import Policy, build_policy
from alignkit.models.reference import Reference, frozen_copy
from alignkit.parallel.config import ParallelConfig
from alignkit.parallel.sharding import is_sharded, shard

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedTokenizerBase


ReferenceKind = Literal["adapter_off", "copy", "cache"]


def reference_kind(source: ModelSource, has_adapter: bool, needs: Needs) -> ReferenceKind:
    """Which way serves the recipe; `auto` takes the cheapest.

    Raises:
        ModelError: the way asked for cannot serve it.
    """
    live = needs.live_reference
    if source.reference_update is not None:
        return _that_moves(source, has_adapter)
    if source.reference == "auto":
        return "adapter_off" if has_adapter else "copy" if live else "cache"
    if source.reference == "adapter_off" and not has_adapter:
        raise ModelError("model.reference: 'adapter_off' needs an adapter, and the model has none; use auto")
    if source.reference == "cache" and live:
        raise ModelError("model.reference: 'cache' holds log-probs of the data only, this recipe needs more; use auto")
    return source.reference


def _that_moves(source: ModelSource, has_adapter: bool) -> ReferenceKind:
    if has_adapter:
        raise ModelError(f"model.reference_update: {ADAPTERS_DO_NOT_MIX}")
    if source.reference not in ("auto", "copy"):
        raise ModelError(f"model.reference: '{source.reference}' holds a reference that stays; use auto or copy")
    return "copy"


def keeps_logps(source: ModelSource, kind: ReferenceKind | None, needs: Needs) -> bool:
    """Whether the reference's log-probs of the data are computed once before training, and not in every step."""
    stays = source.reference_update is None
    is_kept_too = kind == "copy" and source.reference == "auto" and stays and needs.live_for_anchors_only
    return kind == "cache" or is_kept_too


def looked_up_values(source: ModelSource, kind: ReferenceKind | None, needs: Needs) -> frozenset[TokenValues]:
    """All numbers per token that steps look up, known before training."""
    return tabulated(needs) | ({ReferenceLogps()} if keeps_logps(source, kind, needs) else frozenset())


def longest_rows(method: Method, sizes: Sizes, tables: Tables, tokenizer: PreTrainedTokenizerBase) -> Longest:
    """What the model must be able to take in one row: the data's longest, and the longest that may be sampled."""
    rows, needs = (*tables.train, *tables.eval), method.needs
    num_before = max((values.tokens_before(tokenizer) for values in needs.values), default=0)
    found = [(num_before + max(row.length for row in rows), "data.max_length")]
    num_drawn = 0
    if method.drawing is not None:
        num_sampled = method.drawing.sampler.max_new_tokens
        num_drawn = num_sampled * method.view.drawn_per_row
        found.append((max(len(row.prompt) for row in rows) + num_sampled, "sampler.max_new_tokens"))
    num_anchor = 0 if needs.anchor is None else needs.anchor.longest
    if num_anchor:
        found.append((max(len(row.prompt) for row in rows) + num_anchor, "the anchor's max_new_tokens"))
    sampled = tables.eval[: sizes.samples]
    if sampled:
        num_prompt = max(len(row.prompt) for row in sampled)
        found.append((num_prompt + sizes.max_new_tokens, "evaluation.max_new_tokens"))
    tokens, key = max(found, key=lambda pair: pair[0])
    together = max(len(row.prompt) + sum(map(len, row.responses.values())) for row in rows) + num_drawn
    return Longest(tokens, key, shared=max(tokens, together + num_anchor, together + num_before))


@dataclass(frozen=True)
class LookedUp:
    """The rows whose token values a run may look up, in the order in which a longer run would come to need them.

    Attributes:
        held_out: those of the evaluation.
        train: all training rows, in the order of the first epoch.
        num_visited: how many of them, from the first, the run's steps see.
    """

    held_out: Sequence[TokenRow]
    train: Sequence[TokenRow]
    num_visited: int

    @classmethod
    def by(cls, job: Job, tables: Tables) -> LookedUp:
        """Those of a job: its seed, its steps and what it is measured on."""
        held_out = tables.eval[: max(1, job.sizes.held_out)]  # one is shown at the end, evaluated or not
        visited = planned_steps(job.training, len(tables.train), job.method.view.updates) * job.training.batch_size
        return cls(held_out, rows_in_order(tables.train, job.method.seed), min(visited, len(tables.train)))

    @property
    def rows(self) -> list[TokenRow]:
        """All of them; this run needs the first `needed`."""
        return [*self.held_out, *self.train]

    @property
    def needed(self) -> int:
        """Rows that this run needs."""
        return len(self.held_out) + self.num_visited

    @property
    def visited(self) -> Sequence[TokenRow]:
        """The training rows that the run's steps see."""
        return self.train[: self.num_visited]


@dataclass(frozen=True)
class Setup:
    """What a run scores with.

    Attributes:
        scoring: of the method.
        reference: makes a live reference for its evaluation, the first one; None when it has none.
        looked_up: rows with token values.
        left_out: token values that a dry run did not compute.
    """

    scoring: Scoring
    reference: Callable[[], Reference] | None
    looked_up: LookedUp
    left_out: Sequence[TokenValues]


def build_scoring(
    job: Job,
    policy: Policy,
    tables: Tables,
    fingerprints: Mapping[str, str],
    accelerator: Accelerator,
    side: SideRuns,
) -> Setup:
    """The scoring of a method.

    A dry run has a live reference, and token values of its first few rows alone.

    Args:
        job: the method, its model and its training.
        policy: the model before training.
        tables: all rows that will be scored.
        fingerprints: of data, template and model before training.
        accelerator: tells the processes apart.
        side: what trainings that token weights need beforehand have to know of the run.

    Raises:
        AlignkitError: the reference cannot be had in the way asked for, or a part of the work failed.
    """
    method, needs = job.method, job.method.needs
    kind = reference_kind(job.model, policy.has_adapter, needs) if needs.reference else None
    reference: Reference | None = None
    if kind in ("adapter_off", "copy"):
        reference = Reference(policy.scorer, policy) if kind == "adapter_off" else frozen_copy(policy)

    def start() -> Reference:
        """The model before training, as long as it is not trained yet."""
        return reference or Reference(policy.scorer, policy if policy.has_adapter else None)

    bench = Workbench(job, policy, start, tables.train, accelerator, fingerprints, side)
    values = sorted(looked_up_values(job.model, kind, needs), key=repr)
    looked_up = LookedUp.by(job, tables)
    if side.is_dry:
        few = looked_up.visited[: job.sizes.micro_batch]
        found = {v: load_table(v, few, bench) for v in values if not v.trains and v != ReferenceLogps()}
        live = start() if kind == "cache" else reference
        left_out = [v for v in values if v.lasting]
        return Setup(Scoring(method, policy, live, found, accelerator.autocast), None, looked_up, left_out)
    rows = looked_up.rows
    found = {v: load_table(v, rows, bench, looked_up.needed, looked_up.visited) for v in values}
    side.tidy(accelerator)
    _note_if_it_never_moves(job, tables, side)
    scoring = Scoring(method, policy, reference, found, accelerator.autocast, job.model.reference_update)

    def first() -> Reference:
        has_moved = scoring.moving is not None and scoring.moving.has_moved
        return _loaded_again(job, policy, tables, accelerator) if reference is None or has_moved else reference

    return Setup(scoring, None if kind is None else first, looked_up, [])


def _loaded_again(job: Job, policy: Policy, tables: Tables, accelerator: Accelerator) -> Reference:
    """The starting model: no copy of it is kept while training where log-probs are cached or the reference moves."""
    fresh = build_policy(
        job.model,
        policy.tokenizer,
        seed=job.method.seed,
        separate=False,
        device=accelerator.device,
        longest=longest_rows(job.method, job.sizes, tables, policy.tokenizer),
        parameters=job.training.parameters,
    )
    return frozen_copy(fresh)


def _note_if_it_never_moves(job: Job, tables: Tables, side: SideRuns) -> None:
    update = job.model.reference_update
    num_steps = planned_steps(job.training, len(tables.train), job.method.view.updates)
    if update is not None and num_steps <= update.every:
        side.note(f"model.reference_update.every: {update.every}, of {num_steps} steps: the reference never moves")


def shard_models(scoring: Scoring, config: ParallelConfig, accelerator: Accelerator) -> None:
    """Cuts policy and live reference into pieces, when all is computed that is known before training.

    Args:
        scoring: of the method.
        config: how many pieces.
        accelerator: says what they compute with.

    Raises:
        ModelError: a model cannot be cut.
    """
    for scorer in scoring.scorers:
        if not is_sharded(scorer):
            bf16 = accelerator.mixed_precision == "bf16"
            shard(scorer, decoder_layers(scorer.model), config, accelerator.device, bf16=bf16)

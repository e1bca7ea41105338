"""The stages of a run on tensors that hold no numbers: the engine's own code, every operation accounted for.

What is computed is nothing, and what would live in memory is known to the byte, for every model, loss and weighting.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from alignkit.data.rows import Tables
from alignkit.engine.method import Job, Method
from alignkit.engine.scoring import Scoring
from alignkit.engine.setup import ReferenceKind, keeps_logps, longest_rows, looked_up_values, reference_kind
from alignkit.engine.workbench import SideRuns, Workbench
from alignkit.errors import AlignkitError
from alignkit.evaluation.config import EvaluationConfig
from alignkit.evaluation.scene import HeldOut, Scene
from alignkit.finite import postponed
from alignkit.lazy import fake_tensors, torch
from alignkit.lazy import numpy as np
from alignkit.loop.optimizer import make_optimizer, trainable
from alignkit.loop.order import planned_steps
from alignkit.models.decoding import of_like_lengths
from alignkit.models.generation import decoded_together
from alignkit.models.head import Draw
from alignkit.models.laid import Laid
from alignkit.models.layout import Batch, Example
from alignkit.models.outline import outlined_policy, outlined_scorer
from alignkit.models.policy import Policy
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scorer, Want, causal_lm
from alignkit.plan.batches import MicroBatches, Rows, batches, micro_batches
from alignkit.plan.decoding import decode
from alignkit.plan.ledger import Ledger, Stage
from alignkit.plan.presumed import NoMemory, PresumedAnchors, PresumedStep, Zeros, presumed_rows
from alignkit.recipe.recipe import Recipe
from alignkit.rollouts.base import ResponseAnchor
from alignkit.rollouts.groups import Sampler
from alignkit.weighting.uniform import Uniform

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

LARGEST, LATER = "training: largest micro-batch", "training: largest micro-batch beside the gradient of an earlier one"
OBSERVED = "training: the largest micro-batch looked at before the step"
UNWEIGHTED = "training: the same without token weights"
CUT = "training: the same with every anchor as long as it may become"


@dataclass(frozen=True)
class Rehearsed:
    """What came of it.

    Attributes:
        policy: the model without numbers.
        job: what the run does.
        reference: where reference log-probs come from; None where nobody needs them.
        stages: parts of the run.
        sizes: places of the largest micro-batch, width of the model and of its feed-forward layers.
        micro: the micro-batches that the run makes.
        left_out: what could not be rehearsed, and why.
    """

    policy: Policy
    job: Job
    reference: str | None
    stages: Sequence[Stage]
    sizes: tuple[int, int, int]
    micro: MicroBatches
    left_out: Sequence[str]


@contextmanager
def _without_reports() -> Iterator[None]:
    """Torch reports operations that it cannot do without numbers, with their stack; `left_out` tells of them."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    was, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = was


@_without_reports()
def rehearse(
    recipe: Recipe, tables: Tables, tokenizer: PreTrainedTokenizerBase, accelerator: Accelerator, *, on_world: bool
) -> Rehearsed:
    """Goes through a run's stages.

    Args:
        recipe: what is run.
        tables: its rows.
        tokenizer: of its model.
        accelerator: for the device, the precision and the number of processes.
        on_world: whether the rows are the built-in world's.

    Raises:
        AlignkitError: the model, the reference or the rows do not fit.
    """
    fake: Any = fake_tensors.FakeTensorMode()
    needs, held = recipe.needs(), recipe.training.parameters
    policy = outlined_policy(
        recipe.model,
        tokenizer,
        separate=needs.full_sequence,
        device=accelerator.device,
        fake=fake,
        template_end=tables.end,
        longest=longest_rows(recipe.method(), recipe.sizes(), tables, tokenizer),
        parameters=held,
    )
    job = recipe.job(policy.has_adapter)
    kind = reference_kind(job.model, policy.has_adapter, needs) if needs.reference else None
    measures = kind == "cache" or (kind == "copy" and job.model.reference_update is not None)
    copied, loaded = (
        outlined_scorer(recipe.model, tokenizer, accelerator.device, fake, held).requires_grad_(False) if own else None
        for own in (kind == "copy", measures)
    )
    config = causal_lm(policy.model).config.get_text_config()
    ledger = Ledger(int(config.vocab_size))
    with fake, ledger:
        rehearsal = _Rehearsal(ledger, job, policy, kind, copied, loaded, tables, accelerator)
        rehearsal.run(recipe.evaluation, on_world=on_world)
    embeddings: Any = causal_lm(policy.model).get_input_embeddings()
    width = int(embeddings.weight.shape[-1])
    inner = getattr(config, "intermediate_size", None)
    sizes = (rehearsal.most_places, width, inner if isinstance(inner, int) else 4 * width)
    return Rehearsed(policy, job, kind, ledger.stages, sizes, rehearsal.micro, rehearsal.left_out)


class _Rehearsal:
    def __init__(
        self,
        ledger: Ledger,
        job: Job,
        policy: Policy,
        kind: ReferenceKind | None,
        copied: Scorer | None,
        loaded: Scorer | None,
        tables: Tables,
        accelerator: Accelerator,
    ) -> None:
        self.ledger, self.job, self.policy, self.tables = ledger, job, policy, tables
        self.needs, self.kind, self.accelerator = job.method.needs, kind, accelerator
        self.loaded = loaded  # the first reference, to measure with: log-probs are cached, or the copy has moved
        self.keeps_logps = keeps_logps(job.model, kind, self.needs)
        self.left_out: list[str] = []
        ledger.see(_held(policy.scorer), "parameters")
        self.reference: Reference | None = None
        if kind == "adapter_off":
            self.reference = Reference(policy.scorer, policy)
        elif copied is not None:
            self.reference = self._own(copied)
        anchor = self.needs.anchor
        self.laid = Laid(policy.layout, 0 if anchor is None else anchor.longest)
        self.rows, of_each = presumed_rows(job.method, tables.train)
        self.batch_size = job.training.batch_size * of_each
        self.steps = planned_steps(job.training, len(tables.train), job.method.view.updates)
        training = job.training.model_copy(update={"batch_size": self.batch_size})
        most, processes = replace(self.laid, ends=False), accelerator.num_processes
        self.micro = micro_batches(self.rows, training, job.method.seed, most.meter, processes)
        self.most_places = self.laid.places(self.laid.largest(self.micro.all)[0])

    def _own(self, scorer: Scorer) -> Reference:
        self.ledger.see(_held(scorer), "reference")
        return Reference(scorer.eval())

    def run(self, evaluation: EvaluationConfig, *, on_world: bool) -> None:
        """All stages, those with most on top of each other last."""
        with self.ledger.measuring("model: nothing else"):
            pass
        scoring = self._scoring(self.laid, self.job.method)
        with self._leaving_out("values computed before training"):
            self._before_training()
        optimizer = self._optimizer()
        with self._leaving_out("training steps"):
            self._training(scoring, optimizer)
        if isinstance(self.needs.anchor, ResponseAnchor):
            with self._leaving_out("drawn anchors"):
                self._anchors(self.needs.anchor)
        if self.job.method.drawing is not None:
            with self._leaving_out("rollouts"):
                self._rollouts(self.job.method.drawing.sampler)
        with self._leaving_out("evaluations"):
            self._evaluation(scoring, evaluation, on_world=on_world)
        self.left_out += [f"benchmark {one.title}, before and after training" for one in evaluation.benchmarks]

    @contextmanager
    def _leaving_out(self, what: str) -> Iterator[None]:
        """A stage that asks a tensor for its numbers, or that a model's code does not get through, is told of."""
        try:
            with postponed():
                yield
        except AlignkitError:
            raise
        except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, AssertionError) as error:
            line = (str(error).strip().splitlines() or [""])[0]
            self.left_out.append(f"{what}: not rehearsed with this model ({type(error).__name__}: {line:.150})")

    def _scoring(self, laid: Laid, method: Method) -> Scoring:
        """The engine's scoring, with what it would look up or draw made up."""
        values = looked_up_values(self.job.model, self.kind, self.needs)
        scoring = Scoring(method, self.policy, self.reference, {v: Zeros() for v in values}, self._autocast)
        if scoring.pool is not None:
            assert self.reference is not None
            scoring.pool = PresumedAnchors(scoring.pool.anchor, self.policy, self.reference, method.seed)
            scoring.pool.laid = laid
        scoring.attributor.memory = NoMemory([])
        return scoring

    def _autocast(self) -> AbstractContextManager[None]:
        return self.accelerator.autocast()

    def _start(self) -> Reference:
        """The model before training, as `build_scoring` has it."""
        return self.reference or Reference(self.policy.scorer, self.policy if self.policy.has_adapter else None)

    # --- before training ---

    def _before_training(self) -> None:
        visited = min(self.steps * self.job.training.batch_size, len(self.tables.train))
        held_out, train = self.tables.eval[: self.job.sizes.held_out], self.tables.train[:visited]

        def parts(size: int) -> list[Rows]:
            return [[row.without_gold for row in rows] for some in (held_out, train) for rows in batches(some, size)]

        if self.keeps_logps:
            several = parts(self.job.sizes.batch)
            batch = self.policy.batch(self.laid.largest(several)[0])
            with self.ledger.measuring("reference log-probs", len(several)), torch.no_grad(), self._autocast():
                self.policy.scorer(batch, Want(predictions=True))
        side, whole = SideRuns(is_dry=True), self.needs.full_sequence
        bench = Workbench(self.job, self.policy, self._start, train, self.accelerator, {}, side)
        for attribution in sorted((a for a in self.needs.attributions if a.is_static), key=repr):
            several = parts(self.job.sizes.micro_batch)
            with self.ledger.measuring("importances under the reference", len(several)):
                deque(bench.importances(attribution, self.laid.largest(several)[0], full_sequence=whole), maxlen=0)
        left = [values.words for values in self.needs.values | self.needs.row_values if values.lasting]
        self.left_out += [f"{words}, computed before training" for words in sorted(left)]

    # --- training ---

    def _optimizer(self) -> torch.optim.Optimizer:
        parameters = trainable(self.policy.scorer)
        with fake_tensors.unset_fake_temporarily():  # bitsandbytes works out what its 256 values stand for
            optimizer = make_optimizer(parameters, self.job.training)
        tables: dict[str, Tensor] = getattr(optimizer, "name2qmap", {})
        tables.update({name: torch.empty(table.shape) for name, table in tables.items()})
        for parameter in parameters.values():
            parameter.grad = torch.zeros_like(parameter)
            self.ledger.see([parameter.grad], "gradients")
        optimizer.step()
        for state in optimizer.state.values():
            self.ledger.see((value for value in state.values() if isinstance(value, torch.Tensor)), "optimizer state")
        optimizer.zero_grad()
        return optimizer

    def _training(self, scoring: Scoring, optimizer: torch.optim.Optimizer) -> None:
        step = PresumedStep(scoring, self.job.sizes).ready()
        largest, *others = self.laid.largest(self.micro.first)
        share = self.laid.mean_places(self.micro.all) / self.laid.places(largest)
        with self.ledger.measuring(LARGEST, self.steps * self.micro.per_step, share):
            self._forward_backward(step, largest)
        if self.needs.whole_step:
            with (
                self.ledger.measuring(OBSERVED, self.steps * self.micro.per_step, share),
                torch.set_grad_enabled(bool(self.needs.attributions)),
            ):
                scoring.score(largest, 0, observing=True)
        if self.micro.later:
            with self.ledger.measuring(LATER):
                self._forward_backward(step, self.laid.largest(self.micro.later)[0])
        for rows in others:
            optimizer.zero_grad()
            with self.ledger.measuring("training: micro-batch with most response tokens"):
                self._forward_backward(step, rows)
        method, variants = self.job.method, dict[str, Scoring]()
        if self.needs.attributions:
            variants[UNWEIGHTED] = self._scoring(self.laid, replace(method, weighting=Uniform(name="uniform")))
        if self.laid.most_anchor:
            variants[CUT] = self._scoring(replace(self.laid, ends=False), method)
        for name, varied in variants.items():
            optimizer.zero_grad()
            with self.ledger.measuring(name):
                self._forward_backward(PresumedStep(varied, self.job.sizes).ready(), largest)
        with self.ledger.measuring("training: update", self.steps):
            self._update(optimizer)

    def _forward_backward(self, step: PresumedStep, rows: Rows) -> None:
        loss, _ = step.loss(rows, 0, step.totals(rows))
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = (parameter.grad for parameter in self.policy.scorer.parameters())
        self.ledger.see((gradient for gradient in gradients if gradient is not None), "gradients")

    def _update(self, optimizer: torch.optim.Optimizer) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.job.training.max_grad_norm or 1.0)
        optimizer.step()
        optimizer.zero_grad()

    # --- sampling and measuring ---

    def _anchors(self, anchor: ResponseAnchor) -> None:
        """A window's draw, and the reference's scores of what was drawn: of each the batch with the longest rows."""
        assert self.reference is not None
        share = -(-self.batch_size // self.accelerator.num_processes)
        in_window = min(anchor.refresh_every, self.steps) * share
        rows = sorted(self.rows, key=lambda row: len(row.prompt))[-in_window:]
        times = -(-self.steps // anchor.refresh_every) * len(rows)
        draw = Draw(anchor.temperature, anchor.top_k, anchor.top_p)
        lengths = [len(row.prompt) + self.laid.anchor(row) for row in rows]
        start, stop = list(of_like_lengths(sorted(lengths)))[-1]
        scored = sorted(rows, key=lambda row: len(row.prompt) + self.laid.anchor(row))[start:stop]
        with self._autocast():
            self._decode("anchors", rows, 1, draw, anchor.max_new_tokens, times, max(map(self.laid.anchor, rows)))
            with self.ledger.measuring("anchors: scores of the reference", times / len(scored)):
                self.reference.score(self._sampled_batch(scored, [self.laid.anchor(row) for row in scored]), Want())

    def _rollouts(self, sampler: Sampler) -> None:
        """The drawings of all steps, none of whose responses ends early."""
        if not sampler.is_exact:  # another engine draws, elsewhere
            return
        prompts = -(-self.job.training.batch_size // self.accelerator.num_processes)
        rows = sorted(self.tables.train, key=lambda row: len(row.prompt))[-prompts:]
        times = self.steps / self.job.method.view.updates * prompts * sampler.responses
        draw = Draw(sampler.temperature, sampler.top_k, sampler.top_p)
        with self._autocast():
            length = sampler.max_new_tokens
            self._decode("rollouts", rows, sampler.responses, draw, length, times, length)

    def _decode(
        self, what: str, rows: Rows, responses: int, draw: Draw, num_new: int, total: float, length: int
    ) -> None:
        """Of the batches in which rows, shortest first, are decoded that with the longest; `total` responses in all."""
        prompts = [len(row.prompt) for row in rows for _ in range(responses)]
        start, stop = list(decoded_together(causal_lm(self.policy.model), prompts, num_new))[-1]
        in_batch = -(-(stop - start) // responses)
        draws = total / (in_batch * responses)
        decode(
            self.ledger,
            self.policy,
            [len(row.prompt) for row in rows[-in_batch:]],
            responses,
            draw,
            num_new,
            what=what,
            draws=draws,
            tokens=draws * length,
        )

    def _sampled_batch(self, rows: Rows, lengths: Sequence[int]) -> Batch:
        zeros = [np.zeros(length, dtype=np.int32) for length in lengths]
        return self.policy.collate([Example(row.prompt, [ids]) for row, ids in zip(rows, zeros, strict=True)])

    def _evaluation(self, scoring: Scoring, config: EvaluationConfig, *, on_world: bool) -> None:
        def make_reference() -> Reference:
            if self.loaded is None:
                assert self.reference is not None
                return self.reference
            loaded = self._own(self.loaded)  # of which, for a moment, there is a copy too
            copied = [torch.empty_like(tensor) for tensor in _held(loaded.scorer)]
            copied.clear()
            return loaded

        scene = Scene(scoring, config, make_reference if self.kind else None, on_world)
        if self.reference is not None and self.loaded is not None:
            with self.ledger.measuring("evaluation: the first reference"):
                first = make_reference()
            scene = Scene(scoring.against(first), config, lambda: first, on_world)
        moments = 2 + (self.steps // self.job.training.eval_every if self.job.training.eval_every else 0)
        for looks_at in ("rows", "samples"):
            is_there = looks_at == "samples" or not self.job.method.view.draws
            measures = [measure for measure in config.chosen if measure.looks_at == looks_at and is_there]
            most = min(config.looked_at(looks_at), max((measure.count(scene) for measure in measures), default=0))
            parts = list(batches(self.tables.eval[:most], config.batch_size))
            if not parts:
                continue
            rows, times = Laid(self.policy.layout).largest(parts)[0], moments * len(parts)
            if looks_at == "rows":
                weigh = any(measure.weighs(scene) for measure in measures)
                with self.ledger.measuring("evaluation: held-out rows", times):
                    HeldOut(scene, rows, looks_at, weigh=weigh).scores  # noqa: B018 -- computed when it is read
                continue
            sampled = Laid(self.policy.layout, config.max_new_tokens)
            responses = [sampled.anchor(row) for row in rows]
            draw = Draw(config.temperature)
            ascending = sorted(rows, key=lambda row: len(row.prompt))
            self._decode(
                "evaluation: samples", ascending, 1, draw, config.max_new_tokens, times * len(rows), max(responses)
            )
            held_out = HeldOut(scene, rows, looks_at, weigh=False)
            held_out.sampled = [np.zeros(length, dtype=np.int32) for length in responses]
            with self.ledger.measuring("evaluation: KL along samples", times):
                held_out.kl_B  # noqa: B018


def _held(module: Scorer) -> list[Tensor]:
    """Parameters, the scales of packed ones, and buffers."""
    packed = (state for one in module.parameters() if (state := getattr(one, "quant_state", None)) is not None)
    return [*module.parameters(), *module.buffers(), *(state.absmax for state in packed)]

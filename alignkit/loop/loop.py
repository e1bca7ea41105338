"""The training loop on accelerate: data order, gradients, clipping, schedule, log, checkpoints, resume, signals.

It knows no algorithm: a `TrainingStep` turns rows into a loss. Every step depends on (seed, step), the parameters, the
optimizer and `TrainingStep.state` alone, so a run that was killed and resumed is the uninterrupted run, bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignkit.data.rows import TokenRow
from alignkit.errors import AlignkitError, NonFiniteError, RewardError, ServerError, StorageError
from alignkit.finite import postponed
from alignkit.lazy import accelerate, torch
from alignkit.loop.checkpoint import CheckpointFolder
from alignkit.loop.config import TrainingConfig
from alignkit.loop.metrics import NOTHING, MetricsLog, means
from alignkit.loop.optimizer import make_optimizer, not_finite, trainable
from alignkit.loop.order import Cut, DataOrder, Share, planned_steps
from alignkit.loop.readings import MicroBatch, Reading, ReadMetrics, read_step
from alignkit.loop.saving import Saver, made_with
from alignkit.loop.schedule import learning_rate_factor
from alignkit.loop.signals import Interrupted, StopRequest
from alignkit.loop.step import TrainingStep
from alignkit.parallel.sharding import is_sharded, reshard
from alignkit.parallel.tensors import clip_grad_norm
from alignkit.seeds import derive

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn
    from torch.optim import Optimizer

OnLog = Callable[[int, dict[str, float]], None]
OnEval = Callable[[int], dict[str, float]]
OnNote = Callable[[str], None]
OnStart = Callable[[int], None]
OnTrained = Callable[[], None]

STOPPED = "stopped before the optimizer step"
"""How a message says that nothing has been moved yet."""


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        steps: optimizer steps done, those before a resume included.
        metrics: the last step's line of the log; empty when this call made no step.
        stopped_by_signal: number of a signal that asked to stop, answered with a checkpoint; it may have come so late
            that all steps are done.
    """

    steps: int
    metrics: dict[str, float]
    stopped_by_signal: int | None = None


def train(
    step: TrainingStep,
    rows: Sequence[TokenRow],
    config: TrainingConfig,
    *,
    seed: int,
    folder: Path,
    accelerator: Accelerator,
    fingerprint: Mapping[str, Any],
    on_log: OnLog,
    on_eval: OnEval | None = None,
    on_note: OnNote = print,
    on_start: OnStart = lambda done: None,
    on_trained: OnTrained = lambda: None,
    resume: bool = False,
) -> TrainResult:
    """Trains `step.module` in place and returns when all steps are done or a signal asked to stop.

    Whichever it is, a checkpoint of the last step is left.

    Args:
        step: the algorithm.
        rows: the training rows, at least one; every process has all of them.
        config: how to train; its learning rate is resolved.
        seed: of the data order and of what `step` draws from torch's generator.
        folder: gets `metrics.jsonl` and `checkpoints/`; shared by all processes.
        accelerator: from `make_accelerator`.
        fingerprint: what a checkpoint must have been made with to be resumed (`data`, `recipe`, `model`); JSON values.
        on_log: gets (step from 1, its metrics) on the main process.
        on_eval: gives metrics every `config.eval_every` steps, on every process, from the plain module;
            logged as `eval/NAME`.
        on_note: gets what the user should know about a resume, on the main process.
        on_start: gets the steps done before, on every process, when it is certain that the training goes on.
        on_trained: called on every process when all steps are done and saved, while signals still wait; should the
            last checkpoint not fit on the disk, it is called all the same before the error.
        resume: go on from the newest checkpoint that verifies, or from the start when none was written.

    Raises:
        NonFiniteError: a loss, the gradient norm or a parameter is NaN or infinite.
        CheckpointError: the checkpoints are damaged or were made by another run.
        RunFolderError: `folder` holds another run and `resume` is false, or it cannot be written.
        Interrupted: a signal came after the last moment at which all processes could have agreed on it.
    """
    order = DataOrder(rows, config.batch_size, seed, step.updates)
    plain = step.module
    reshard(plain)
    parameters = trainable(plain)
    optimizer = make_optimizer(parameters, config)
    if not is_sharded(plain):
        step.module, optimizer = accelerator.prepare(plain, optimizer)
    saver = Saver(
        CheckpointFolder(folder / "checkpoints", config.keep_checkpoints),
        step,
        parameters,
        optimizer,
        accelerator,
        config,
        made_with(fingerprint, config, seed, len(rows), accelerator.num_processes),
        on_note,
    )
    loop = _Loop(step, config, seed, accelerator, order, parameters, optimizer, saver, on_log, on_eval, on_start)
    try:
        with StopRequest() as stop:
            result = loop.run(folder / "metrics.jsonl", resume, stop, on_trained)
    finally:
        step.module = plain
    if stop.signal and result.stopped_by_signal is None:
        raise Interrupted(stop.signal)
    return result


@dataclass(frozen=True)
class _Report:
    """What one process's micro-batches gave; `problem` says what was first found not to be finite."""

    loss: float
    metrics: list[ReadMetrics]
    problem: str | None


@dataclass
class _Loop:
    step: TrainingStep
    config: TrainingConfig
    seed: int
    accelerator: Accelerator
    order: DataOrder
    parameters: Mapping[str, nn.Parameter]
    optimizer: Optimizer
    saver: Saver
    on_log: OnLog
    on_eval: OnEval | None
    on_start: OnStart

    def __post_init__(self) -> None:
        self.num_steps = planned_steps(self.config, len(self.order.rows), self.order.updates)
        self.factor = learning_rate_factor(self.config, self.num_steps)

    def run(self, log_path: Path, resume: bool, stop: StopRequest, on_trained: OnTrained) -> TrainResult:
        """All steps that are left, or those until a signal."""
        state = self.saver.restore() if resume else None
        done = state.step if state else 0
        self.on_start(done)
        mark = (state.log if state else NOTHING) if resume else None
        values: dict[str, float] = {}
        with MetricsLog(log_path, mark) if self.accelerator.is_main_process else nullcontext() as log:
            while done < self.num_steps:
                try:
                    values = self._train_one(done)
                except (RewardError, ServerError) as error:
                    raise self._saved_before(error, done, log) from error
                done += 1
                self._evaluate_and_log(done, values, log)
                stopped_by = self._agreed(stop)
                every = self.config.save_every
                if stopped_by or done == self.num_steps or (every and done % every == 0):
                    self._save(done, log, on_trained)
                if stopped_by:
                    return TrainResult(done, values, stopped_by)
        on_trained()
        return TrainResult(done, values, self._agreed(stop))

    def _agreed(self, stop: StopRequest) -> int | None:
        """A signal that reached any process: asked at boundaries, because all must leave after the same step."""
        return max(self._gather(stop.signal)) or None

    def _save(self, done: int, log: MetricsLog | None, on_trained: OnTrained) -> None:
        try:
            self.saver.save(done, self.order.epochs_after(done), log.sync() if log else None)
        except StorageError as error:
            comfort = ""
            if done == self.num_steps:
                on_trained()  # the model alone is a fraction of a checkpoint and may still fit
                comfort = "; all steps are done and the trained model was saved by itself"
            raise StorageError(f"{error}; last good checkpoint: {self.saver.last_good or 'none'}{comfort}") from None

    def _saved_before(self, error: AlignkitError, done: int, log: MetricsLog | None) -> AlignkitError:
        """Of an error in a step that has moved nothing yet, as responses cannot be had: what was trained is saved.

        Several processes need not all have met it, and so do not write together.
        """
        is_saved = self.saver.last_good == self.saver.folder.path(done)
        if done and not is_saved and self.accelerator.num_processes == 1:
            self.saver.save(done, self.order.epochs_after(done), log.sync() if log else None)
        saved = self.saver.last_good
        return type(error)(f"{error}; last good checkpoint: {saved}") if saved else error

    # --- one optimizer step ---

    def _train_one(self, number: int) -> dict[str, float]:
        """Optimizer step `number` (from 0); returns its line of the log."""
        started = time.perf_counter()
        prompts = self.order.batch(number)
        with self._located(number, prompts):
            drawn = self.step.draw(number, prompts)
        batch = drawn.rows
        if not batch:
            return self._idle(number, drawn.metrics, started)
        share = Share.of(batch, self.accelerator.process_index, self.accelerator.num_processes)
        with self._located(number, batch):
            self.step.prepare(number, batch, self._coming(number, share))
        totals = self.step.totals(batch)
        micro_batches = self._accumulate(number, self._parts(batch, share), totals)
        readings, grad_norm = read_step(micro_batches, self._clip())
        reports: list[_Report] = self._gather(self._report(number, readings))
        self._check_finite(number, batch, reports, grad_norm)
        lr = self._update(number, batch)
        return {
            "step": number + 1,
            "epoch": self.order.epochs_after(number + 1),
            "loss": sum(one.loss for one in reports),
            "grad_norm": grad_norm,
            "lr": lr,
            **totals,
            "seconds": time.perf_counter() - started,
            **means(part for one in reports for part in one.metrics),
            **drawn.metrics,
        }

    def _idle(self, number: int, metrics: Mapping[str, float], started: float) -> dict[str, float]:
        """The line of a step that has nothing to train on and leaves parameters and optimizer as they are."""
        return {
            "step": number + 1,
            "epoch": self.order.epochs_after(number + 1),
            "loss": 0.0,
            "grad_norm": 0.0,
            "lr": self._lr(number),
            "seconds": time.perf_counter() - started,
            **metrics,
        }

    def _lr(self, number: int) -> float:
        return (self.config.learning_rate or 0.0) * self.factor(number)

    def _coming(self, number: int, share: Share) -> dict[int, tuple[TokenRow, ...]]:
        end = min(number + self.step.lookahead, self.num_steps)
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        later = {step: self.order.share(step, process, processes).rows for step in range(number + 1, end)}
        return {number: share.rows, **later}

    def _parts(self, batch: Sequence[TokenRow], share: Share) -> list[Share]:
        """The micro-batches of this process.

        All processes must go through a model that is cut into pieces equally often: one that has fewer keeps the others
        company with its last.
        """
        cut = Cut(self.config.micro_batch_size, self.config.micro_batch_tokens)
        processes = self.accelerator.num_processes
        mine = [Share(rows, share.factor) for rows in share.micro_batches(cut, self.step.meter)]
        if not is_sharded(self.step.module):
            return mine
        shares = (Share.of(batch, process, processes) for process in range(processes))
        most = max(len(one.micro_batches(cut, self.step.meter)) for one in shares)
        return mine + [Share(mine[-1].rows, factor=0.0)] * (most - len(mine))

    def _accumulate(self, number: int, parts: Sequence[Share], totals: Mapping[str, float]) -> list[MicroBatch]:
        """Adds up the gradient of this process's rows; the last micro-batch exchanges it between processes."""
        processes = self.accelerator.num_processes
        found = []
        for place, part in enumerate(parts):
            torch.manual_seed(derive(self.seed, "forward", number, self.accelerator.process_index, place))
            exchanges = place == len(parts) - 1 or is_sharded(self.step.module)
            no_sync = nullcontext() if exchanges else self.accelerator.no_sync(self.step.module)
            with self._located(number, part.rows), no_sync:
                with postponed() as required:
                    loss, metrics = self.step.loss(part.rows, number, totals)
                # What exchanges gradients averages over processes, and the objective is the sum.
                self.accelerator.backward(loss * part.factor * processes)
            found.append(MicroBatch(part.rows, loss.detach() * part.factor, metrics if part.factor else {}, required))
        return found

    def _clip(self) -> Tensor:
        """Clips the gradient; gives the norm that it had."""
        max_norm, parameters = self.config.max_grad_norm or math.inf, self.parameters.values()
        if is_sharded(self.step.module):
            return clip_grad_norm(parameters, max_norm)
        norm: Tensor = self.accelerator.clip_grad_norm_(parameters, max_norm)
        return norm

    def _report(self, number: int, readings: Sequence[Reading]) -> _Report:
        problems = [problem for reading in readings for problem in self._problems(number, reading)]
        metrics = [reading.metrics for reading in readings]
        return _Report(sum(reading.loss for reading in readings), metrics, problems[0] if problems else None)

    def _problems(self, number: int, reading: Reading) -> Iterator[str]:
        """What is not finite in a micro-batch: what was required first, because the loss only follows from it."""
        if reading.broken:
            yield self._at(number, reading.rows, reading.broken)
        if not math.isfinite(reading.loss):
            where = self._where(reading.rows)
            yield f"the loss is {reading.loss} in the micro-batch of {where}; {STOPPED}"

    def _check_finite(
        self, number: int, batch: Sequence[TokenRow], reports: Sequence[_Report], grad_norm: float
    ) -> None:
        problems = [report.problem for report in reports if report.problem]
        if problems or not math.isfinite(grad_norm):
            norm = f"the gradient norm is {grad_norm} in the batch of {_names(batch)}; {STOPPED}"
            raise self._not_finite(number, problems[0] if problems else norm)

    def _update(self, number: int, batch: Sequence[TokenRow]) -> float:
        """Moves the parameters, which must stay finite; returns the learning rate used."""
        lr = self._lr(number)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        cause = f"the learning rate is {lr:.4g}, the batch {_names(batch)}"
        try:
            self.optimizer.step()
        except (RuntimeError, OverflowError) as error:
            if "overflow" not in str(error):
                raise
            raise self._not_finite(number, f"the optimizer step overflows; {cause}") from None
        self.optimizer.zero_grad()
        if name := not_finite(self.parameters):
            raise self._not_finite(number, f"parameter '{name}' is NaN or infinite after the optimizer step; {cause}")
        return lr

    @contextmanager
    def _located(self, number: int, rows: Sequence[TokenRow]) -> Iterator[None]:
        """Says where a part of the objective met what is not finite; the part itself knows no step and no rows."""
        try:
            yield
        except NonFiniteError as error:
            raise self._not_finite(number, self._at(number, rows, str(error))) from None

    def _at(self, number: int, rows: Sequence[TokenRow], what: str) -> str:
        lr = self._lr(max(0, number - 1))
        return f"{what}, on {self._where(rows)}; the learning rate of the step before was {lr:.4g}"

    def _where(self, rows: Sequence[TokenRow]) -> str:
        return f"{_names(rows)} (process {self.accelerator.process_index})"

    def _not_finite(self, number: int, what: str) -> NonFiniteError:
        return NonFiniteError(f"step {number + 1}: {what}; last good checkpoint: {self.saver.last_good or 'none'}")

    def _evaluate_and_log(self, done: int, values: dict[str, float], log: MetricsLog | None) -> None:
        evaluates = self.on_eval and self.config.eval_every and done % self.config.eval_every == 0
        if self.on_eval and evaluates:
            values.update({f"eval/{name}": value for name, value in self.on_eval(done).items()})
        if not (evaluates or done % self.config.log_every == 0 or done == self.num_steps):
            return
        if log is not None:
            log.write(values)
            self.on_log(done, values)
        if self.config.trackers:  # a training on the side shares the accelerator, not the trackers
            self.accelerator.log(values, step=done)

    def _gather(self, value: Any) -> list[Any]:  # noqa: ANN401 -- one value per process, of any type
        gathered: list[Any] = accelerate.utils.gather_object([value])
        return gathered


def _names(rows: Sequence[TokenRow], most: int = 8) -> str:
    rest = f" and {len(rows) - most} more" if len(rows) > most else ""
    return ", ".join(row.where for row in rows[:most]) + rest

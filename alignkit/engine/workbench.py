"""What token values are computed with: a run that is about to start, its models, and short trainings on the side."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any

from rich.console import Console

from alignkit.data.rows import TokenRow
from alignkit.data.splitting import rows_fingerprint
from alignkit.engine.method import Job, Method
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.scoring import Scoring
from alignkit.errors import NonFiniteError
from alignkit.lazy import torch
from alignkit.loop.config import FREE_ON_RESUME, TrainingConfig
from alignkit.loop.loop import train
from alignkit.losses.base import Loss
from alignkit.models.attribution import Attribution
from alignkit.models.importances import importances
from alignkit.models.layout import Batch
from alignkit.models.policy import Policy
from alignkit.models.readings import Reading
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scored, Want, causal_lm
from alignkit.models.statistics import Statistic
from alignkit.pair_weighting.uniform import Uniform as UniformPairs
from alignkit.progress.display import Display
from alignkit.progress.steps import Progress
from alignkit.records.fingerprints import text_fingerprint
from alignkit.views.base import Trainer
from alignkit.weighting.uniform import Uniform

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor


@dataclass(frozen=True)
class SideRuns:
    """What trainings on the side have to know of the run they belong to.

    Attributes:
        folder: where their logs and checkpoints go; they can be interrupted and resumed. None where there are none.
        begin: records the run, given its fingerprints, so that it can be resumed; called on every process.
        note: gets what the user should know while waiting, on every process.
        progress: shows so many steps.
        go_on: the command that goes on with the run after a signal.
        is_dry: a dry run, which leaves out values that need a training, and keeps nothing.
    """

    folder: Path | None = None
    begin: Callable[[Mapping[str, str]], None] = lambda _: None
    note: Callable[[str], None] = lambda _: None
    progress: Callable[[int], Progress] = lambda steps: Progress(steps, display=Display(Console(quiet=True)))
    go_on: str = ""
    is_dry: bool = False

    def tidy(self, accelerator: Accelerator) -> None:
        """Removes what only a resume would need, when all are done; their logs stay."""
        accelerator.wait_for_everyone()
        if accelerator.is_main_process and self.folder is not None:
            for checkpoints in self.folder.glob("*/checkpoints"):
                shutil.rmtree(checkpoints)


@dataclass(frozen=True)
class Workbench:
    """A run that is about to start.

    Attributes:
        job: what the run does.
        policy: the model before training.
        reference: gives the reference, live.
        train: the training rows.
        accelerator: tells the processes apart.
        fingerprints: of data, template and model before training.
        side: for trainings on the side.
    """

    job: Job
    policy: Policy
    reference: Callable[[], Reference]
    train: Sequence[TokenRow]
    accelerator: Accelerator
    fingerprints: Mapping[str, str]
    side: SideRuns

    @property
    def batch_size(self) -> int:
        """Rows in one forward pass without a graph."""
        return self.job.sizes.batch

    @property
    def micro_batch_size(self) -> int:
        """Rows in one forward pass with a graph."""
        return self.job.sizes.micro_batch

    @property
    def head_chunk(self) -> int:
        """Response tokens whose logits exist at once."""
        return self.policy.scorer.head_chunk

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.job.method.seed

    @property
    def is_dry(self) -> bool:
        """Whether nothing is to be kept."""
        return self.side.is_dry

    @property
    def note(self) -> Callable[[str], None]:
        """Gets what the user should know while waiting."""
        return self.side.note

    def scored(
        self,
        model: Reference,
        rows: Sequence[TokenRow],
        statistics: frozenset[Statistic] = frozenset(),
        readings: frozenset[Reading] = frozenset(),
    ) -> Iterator[tuple[Batch, Scored]]:
        """Batches of the rows with log-probs, predictions, `statistics` and `readings` of `model`, without gradient."""
        for batch in self._batches(rows, self.batch_size):
            with self.accelerator.autocast():
                scored = model.score(batch, Want(predictions=True, statistics=statistics, readings=readings))
            yield batch, scored

    def importances(
        self, attribution: Attribution, rows: Sequence[TokenRow], *, full_sequence: bool
    ) -> Iterator[tuple[Batch, Tensor]]:
        """Batches of the rows with their [B, R, S] importances under the reference."""
        reference = self.reference()
        for batch in self._batches(rows, self.micro_batch_size):  # this one has a graph
            with self.accelerator.autocast(), torch.enable_grad(), reference.active() as scorer:
                scored = scorer(batch, Want(frozenset({attribution})))
                found = importances(scored, batch, batch.mask_BRT.shape[1], full_sequence=full_sequence)
            yield batch, found[attribution]

    def _batches(self, rows: Sequence[TokenRow], size: int) -> Iterator[Batch]:
        """Rows of one shape (pairs or single responses), at most `size` at a time, cut at each multiple of it: so the
        first rows are cut the same way whatever follows, and what follows whole batches too."""
        start = 0
        while start < len(rows):
            names = rows[start].weighted
            stop = start + 1
            while stop < min(start - start % size + size, len(rows)) and rows[stop].weighted == names:
                stop += 1
            yield self.policy.batch([row.without_gold for row in rows[start:stop]])
            start = stop

    @property
    def max_positions(self) -> int | None:
        """Longest prompt + response that the model has positions for; None when its configuration does not say."""
        return getattr(causal_lm(self.policy.model).config.get_text_config(), "max_position_embeddings", None)

    def training_facts(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """JSON values that decide what a side training with these changes gives."""
        config = self._config(changes).model_dump(mode="json")
        decides = {key: value for key, value in config.items() if key not in FREE_ON_RESUME}
        return {"training": decides, "seed": self.job.method.seed, "trained_on": rows_fingerprint(self.train)}

    def _config(self, changes: Mapping[str, Any]) -> TrainingConfig:
        """The run's configuration with these changes."""
        return TrainingConfig.model_validate({**self.job.training.model_dump(), **changes})

    def trained(
        self,
        name: str,
        rows: Sequence[TokenRow],
        *,
        view: Trainer,
        loss: Loss,
        training: Mapping[str, Any],
    ) -> Reference:
        """A copy of the model trained on the side, by all processes together; frozen.

        Args:
            name: in words, for the user and for its folder.
            rows: what it is trained on.
            view: how the rows are laid out.
            loss: what is minimised, with uniform weights.
            training: what differs from the run's own `training`.

        Raises:
            SystemExit: 128 + signal, after a signal was answered with a checkpoint.
        """
        config = self._side_config(training)
        method = Method(Uniform(name="uniform"), UniformPairs(name="uniform"), (loss,), view, self.job.method.seed)
        policy = replace(self.policy, scorer=copy.deepcopy(self.policy.scorer))
        reference = self.reference() if loss.needs().reference else None
        facts = {"trainer": view.name, "loss": loss.model_dump(mode="json"), **self.training_facts(training)}
        folder = self._side_folder(name, facts)
        steps = config.steps or 0
        self.side.note(f"training the contrastive model '{name}': {steps} steps on {len(rows):,} rows")
        try:
            with self.side.progress(steps) as progress:
                result = train(
                    ObjectiveStep(Scoring(method, policy, reference, {}, self.accelerator.autocast), self.job.sizes),
                    [row.without_gold for row in rows],
                    config,
                    seed=method.seed,
                    folder=folder,
                    accelerator=self.accelerator,
                    fingerprint={"model": self.fingerprints["model"], **facts},
                    on_log=progress.update,
                    on_note=lambda text: None,
                    resume=True,
                )
        except NonFiniteError as error:
            raise NonFiniteError(f"contrastive model '{name}': {error}") from None
        self.accelerator.free_memory()  # or it would hold on to model and optimizer
        if result.stopped_by_signal is not None:
            signal = Signals(result.stopped_by_signal)
            where = f"'{name}' after step {result.steps}; go on with {self.side.go_on}"
            self.side.note(f"stopped by {signal.name} while training {where}")
            raise SystemExit(128 + signal)
        policy.scorer.requires_grad_(False).eval()
        return Reference(policy.scorer)

    def _side_config(self, training: Mapping[str, Any]) -> TrainingConfig:
        """A shorter training that leaves evaluation and trackers alone."""
        return self._config({"eval_every": None, "trackers": (), "keep_checkpoints": 1, **training})

    def _side_folder(self, name: str, facts: Mapping[str, Any]) -> Path:
        """Where a side training is kept while it is needed; two that differ must not take each other's checkpoints."""
        assert self.side.folder is not None, "values that need a training are left out where there is no folder"
        self.side.begin(self.fingerprints)
        folder = self.side.folder / f"{name}-{text_fingerprint(json.dumps(facts, sort_keys=True))[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

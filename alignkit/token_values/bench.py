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
from alignkit.errors import NonFiniteError
from alignkit.fingerprints import text_fingerprint
from alignkit.folder import resume_command
from alignkit.lazy import torch
from alignkit.losses.base import Loss
from alignkit.models.layout import Batch
from alignkit.models.policy import Policy
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scored, Want, causal_lm, importances
from alignkit.needs import Attribution
from alignkit.objective import ObjectiveStep
from alignkit.pair_weighting.uniform import Uniform as UniformPairs
from alignkit.recipe.recipe import Recipe
from alignkit.report.display import Display
from alignkit.report.progress import Progress
from alignkit.scoring import Scoring
from alignkit.trainers.base import Trainer
from alignkit.trainers.config import FREE_ON_RESUME
from alignkit.trainers.loop import train
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
        is_dry: a dry run, which leaves out values that need a training, and keeps nothing.
    """

    folder: Path | None = None
    begin: Callable[[Mapping[str, str]], None] = lambda _: None
    note: Callable[[str], None] = lambda _: None
    progress: Callable[[int], Progress] = lambda steps: Progress(steps, display=Display(Console(quiet=True)))
    is_dry: bool = False

    def tidy(self, accelerator: Accelerator) -> None:
        """Removes what only a resume would need, when all are done; their logs stay."""
        accelerator.wait_for_everyone()
        if accelerator.is_main_process and self.folder is not None:
            for checkpoints in self.folder.glob("*/checkpoints"):
                shutil.rmtree(checkpoints)


@dataclass(frozen=True)
class Bench:
    """A run that is about to start.

    Attributes:
        recipe: the run's recipe, its learning rate resolved.
        policy: the model before training.
        reference: gives the reference, live.
        train: the training rows.
        accelerator: tells the processes apart.
        fingerprints: of data, template and model before training.
        side: for trainings on the side.
    """

    recipe: Recipe
    policy: Policy
    reference: Callable[[], Reference]
    train: Sequence[TokenRow]
    accelerator: Accelerator
    fingerprints: Mapping[str, str]
    side: SideRuns

    def scored(self, model: Reference, rows: Sequence[TokenRow]) -> Iterator[tuple[Batch, Scored]]:
        """Batches of the rows with their log-probs and predictions under `model`, without gradient."""
        for batch in self._batches(rows, self.recipe.evaluation.batch_size):
            with self.accelerator.autocast():
                scored = model.score(batch, Want(predictions=True))
            yield batch, scored

    def importances(
        self, attribution: Attribution, rows: Sequence[TokenRow], *, full_sequence: bool
    ) -> Iterator[tuple[Batch, Tensor]]:
        """Batches of the rows with their [B, R, S] importances under the reference."""
        reference = self.reference()
        for batch in self._batches(rows, self.recipe.training.micro_batch_size):  # this one has a graph
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
        config = self.recipe.training.model_copy(update=dict(changes)).model_dump(mode="json")
        decides = {key: value for key, value in config.items() if key not in FREE_ON_RESUME}
        return {"training": decides, "seed": self.recipe.seed, "trained_on": rows_fingerprint(self.train)}

    def trained(
        self,
        name: str,
        rows: Sequence[TokenRow],
        *,
        trainer: Trainer,
        loss: Loss,
        training: Mapping[str, Any],
    ) -> Reference:
        """A copy of the model trained on the side, by all processes together; frozen.

        Args:
            name: in words, for the user and for its folder.
            rows: what it is trained on.
            trainer: how the rows are laid out.
            loss: what is minimised, with uniform weights.
            training: what differs from the run's own `training`.

        Raises:
            SystemExit: 128 + signal, after a signal was answered with a checkpoint.
        """
        recipe = self._side_recipe(trainer, loss, training)
        policy = replace(self.policy, scorer=copy.deepcopy(self.policy.scorer))
        reference = self.reference() if loss.needs().reference else None
        facts = {"trainer": trainer.name, "loss": loss.model_dump(mode="json"), **self.training_facts(training)}
        folder = self._side_folder(name, facts)
        steps = recipe.training.steps or 0
        self.side.note(f"training the contrastive model '{name}': {steps} steps on {len(rows):,} rows")
        try:
            with self.side.progress(steps) as progress:
                result = train(
                    ObjectiveStep(Scoring(recipe, policy, reference, {}, self.accelerator.autocast)),
                    [row.without_gold for row in rows],
                    recipe.training,
                    seed=recipe.seed,
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
            where = f"'{name}' after step {result.steps}; go on with {resume_command(folder.parents[1])}"
            self.side.note(f"stopped by {signal.name} while training {where}")
            raise SystemExit(128 + signal)
        policy.scorer.requires_grad_(False).eval()
        return Reference(policy.scorer)

    def _side_recipe(self, trainer: Trainer, loss: Loss, training: Mapping[str, Any]) -> Recipe:
        """The run's recipe with another loss, uniform weights and a shorter training."""
        config = self.recipe.training.model_copy(
            update={"eval_every": None, "trackers": (), "keep_checkpoints": 1, **training}
        )
        # The last step is always saved: whoever asks for the same model again, or resumes, finds it trained.
        config = config.model_copy(update={"save_every": config.save_every or config.steps})
        return self.recipe.model_copy(
            update={
                "weighting": Uniform(name="uniform"),
                "pair_weighting": UniformPairs(name="uniform"),
                "losses": (loss,),
                "trainer": trainer,
                "training": config,
            }
        )

    def _side_folder(self, name: str, facts: Mapping[str, Any]) -> Path:
        """Where a side training is kept while it is needed; two that differ must not take each other's checkpoints."""
        assert self.side.folder is not None, "values that need a training are left out where there is no folder"
        self.side.begin(self.fingerprints)
        folder = self.side.folder / f"{name}-{text_fingerprint(json.dumps(facts, sort_keys=True))[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

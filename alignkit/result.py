"""What came of a run, read from its folder when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from alignkit.errors import RunFolderError
from alignkit.folder import DONE, EVALUATIONS, FINAL
from alignkit.lazy import datasets, peft, transformers
from alignkit.models.loading import loading
from alignkit.quiet import quiet_libraries
from alignkit.records.files import read_record
from alignkit.records.run_record import Evaluations, Moment
from alignkit.report.outcome import read_log

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class RunResult:
    """What came of a run; `RunResult(Path("runs/NAME"))` reads an earlier one.

    Attributes:
        folder: the run folder; None after a dry run, which leaves nothing behind.
    """

    folder: Path | None

    @property
    def finished(self) -> bool:
        """Whether it came to its end; False when it was stopped, and after a dry run."""
        return self.folder is not None and (self.folder / DONE).is_file()

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The log, a dict for each line of `metrics.jsonl`; a value that is no number is left out."""
        return [] if self.folder is None else read_log(self.folder / "metrics.jsonl")

    def metrics_table(self) -> Dataset:
        """The log as a table, a row for each line and a column for each metric; null where a line has none.

        `.to_pandas()` makes a data frame of it.
        """
        lines = self.metrics
        names = dict.fromkeys(name for line in lines for name in line)
        return datasets.Dataset.from_dict({name: [line.get(name) for line in lines] for name in names})

    @property
    def evaluations(self) -> Mapping[Moment, Mapping[str, float]]:
        """`before`, `after` and `change`, as far as they were measured -> measure -> value.

        Raises:
            RunFolderError: `eval.json` cannot be read.
        """
        if self.folder is None or not (self.folder / EVALUATIONS).exists():
            return {}
        recorded = read_record(self.folder / EVALUATIONS, Evaluations)
        measured = {moment: getattr(recorded, moment) for moment in get_args(Moment)}
        return {
            moment: {name: math.nan if value is None else value for name, value in values.items()}
            for moment, values in measured.items()
            if values is not None
        }

    def load_model(self) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
        """The trained model, on the CPU and in evaluation mode, and its tokenizer.

        An adapter comes on the model that it was trained on, which is loaded from where it was then.

        Raises:
            RunFolderError: nothing was trained to the end.
            ModelError: what was saved cannot be loaded.
        """
        if self.folder is None:
            raise RunFolderError("a dry run trains no model")
        path = self.folder / FINAL
        if not path.is_dir():
            raise RunFolderError(f"{path}: no such folder; it is written when all steps are done")
        is_adapter = (path / "adapter_config.json").is_file()
        with quiet_libraries(), loading(f"{path} cannot be loaded"):
            tokenizer = transformers.AutoTokenizer.from_pretrained(path)
            source = peft.AutoPeftModelForCausalLM if is_adapter else transformers.AutoModelForCausalLM
            model = source.from_pretrained(path)
        return model.eval(), tokenizer

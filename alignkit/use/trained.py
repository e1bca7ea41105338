"""A model to use, as a user names it: a run folder, a model folder, or a Hub id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from alignkit.errors import ModelError, RunFolderError, printable
from alignkit.folder import DONE, FINAL, RECIPE, RUN, resume_command
from alignkit.models.gguf import parted
from alignkit.models.loading import loading, require_place, unreachable
from alignkit.models.pretrained import Pretrained
from alignkit.models.weights import adapter_folder, stored_file
from alignkit.recipe.load import load_recipe
from alignkit.recipe.recipe import Recipe
from alignkit.records.files import read_record
from alignkit.records.run_record import RunRecord

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DType = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Trained:
    """A model to use.

    Attributes:
        path: the folder of the model, or a Hub id.
        run: the run that made it; None where it is a model alone.
    """

    path: str
    run: Path | None

    @classmethod
    def of(cls, given: str) -> Trained:
        """The model of a run, whose `final` names it too; or the model as it is given.

        Raises:
            RunFolderError: it is a run that has saved no model yet.
        """
        folder = Path(given)
        with loading(f"'{printable(given)}' cannot be a folder"):
            if folder.name == FINAL and (folder.parent / RUN).is_file():
                folder = folder.parent
            is_run = any((folder / name).is_file() for name in (RUN, RECIPE)) and not (folder / "config.json").exists()
        if not is_run:
            return cls(given, None)
        if not (folder / FINAL).is_dir():
            raise RunFolderError(f"{folder}: {_nothing_yet(folder)}")
        return cls(str(folder / FINAL), folder)

    @property
    def name(self) -> str:
        """What it is called without saying where it lies: the run's or the folder's own name, or the Hub id."""
        folder = self.run or Path(self.path)
        return folder.resolve().name if folder.is_dir() else self.path

    @property
    def is_adapter(self) -> bool:
        """Whether it is an adapter.

        Raises:
            ModelError: it is one without weights, or there is nothing at all.
        """
        with as_argument():
            path, gguf = parted(self.path, None)
            require_place("model.path", path, None)
            if gguf:
                return False
            if adapter_folder(path, None) is not None:
                return True
            if not Path(self.path).is_dir() and stored_file(self.path, "config.json", None) is None:
                raise ModelError(unreachable("model.path", self.path, None))
            return False

    def require_finished(self) -> None:
        """Stops when its run has not come to its end.

        Raises:
            RunFolderError: not yet; says how to go on.
        """
        if self.run is not None and not (self.run / DONE).is_file():
            raise RunFolderError(f"{self.run}: its run is not finished; go on with {resume_command(self.run)}")

    def record(self) -> RunRecord | None:
        """What the run recorded of itself.

        Raises:
            RunFolderError: that is damaged.
        """
        return None if self.run is None else read_record(self.run / RUN, RunRecord)

    def recipe(self) -> Recipe | None:
        """The recipe of the run.

        Raises:
            RecipeError: it does not validate any more, a plugin being gone for one.
        """
        return None if self.run is None else load_recipe(self.run / RECIPE).recipe

    def load(self, dtype: DType = "auto") -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
        """The model, in evaluation mode on the CPU, and its tokenizer; an adapter on its base.

        Args:
            dtype: number format of a model, or of an adapter's base; auto is the one it is stored in.

        Raises:
            ModelError: it is not there, or is not one that a run could start from.
        """
        with as_argument():
            source = self.source(dtype)
            tokenizer = source.load_tokenizer(())
            return source.load_model(tokenizer, seed=0), tokenizer

    def source(self, dtype: DType = "auto") -> Pretrained:
        """The model as a recipe names it.

        Args:
            dtype: as for `load`.
        """
        return Pretrained(name="pretrained", path=self.path, dtype=dtype, tokenizer=self._tokenizer())

    def _tokenizer(self) -> str | None:
        """The base of an adapter that came without a tokenizer; None where the model has its own."""
        if stored_file(self.path, "tokenizer_config.json", None) is not None or not self.is_adapter:
            return None
        config = stored_file(self.path, "adapter_config.json", None)
        assert config is not None
        with loading(f"{config} cannot be read"):
            return str(json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"])


@contextmanager
def as_argument() -> Iterator[None]:
    """What is said of `model.path` is said of an argument of the command line."""
    try:
        yield
    except ModelError as error:
        raise ModelError(str(error).removeprefix("model.path: ")) from error


def _nothing_yet(folder: Path) -> str:
    return f"its run has saved no model yet (there is no '{FINAL}' in it); go on with {resume_command(folder)}"

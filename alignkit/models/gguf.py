"""Models in a GGUF file, llama.cpp's: where it is, and its weights as plain numbers. transformers reads it."""

from __future__ import annotations

import importlib.util
import io
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignkit.errors import ModelError, shown
from alignkit.lazy import huggingface_hub, transformers
from alignkit.models.loading import loading, unreachable
from alignkit.models.weights import require_whole_model, stored_file

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

ENDING = ".gguf"
NEEDED = "needs the package gguf: pip install 'alignkit[gguf]'"

_MAGIC = b"GGUF"


def is_installed() -> bool:
    """Whether the package is there that reads the files."""
    return importlib.util.find_spec("gguf") is not None


def parted(path: str, file: str | None) -> tuple[str, str | None]:
    """Folder or Hub id, and the GGUF file in it; None for a model in the format of transformers.

    Args:
        path: of the model. An adapter names such a base in one text, `folder/model.gguf` or `owner/name/model.gguf`.
        file: as it is given apart from it.
    """
    is_file = path.endswith(ENDING) and (path.count("/") > 1 or Path(path).is_file())
    if file is None and is_file and not Path(path).is_dir():
        folder, slash, file = path.rpartition("/")
        return folder or slash or ".", file
    return path, file


def files_in(folder: str) -> list[str]:
    """Names of the GGUF files of a folder."""
    return sorted(entry.name for entry in Path(folder).iterdir() if entry.suffix == ENDING and entry.is_file())


def require_gguf(path: str, revision: str | None, name: str) -> None:
    """Stops unless the file is there, from the Hub if need be, and is one of this format.

    Raises:
        ModelError: it is not, or the package that reads it is missing.
    """
    if not is_installed():
        raise ModelError(f"model.gguf_file: {name} {NEEDED}")
    with loading(f"model.gguf_file: {path}/{name} cannot be read"):
        file = stored_file(path, name, revision)
        if file is None:
            there = ", ".join(map(shown, _names(path, revision))) or "none"
            raise ModelError(f"model.gguf_file: {shown(name)} is not in {path}; {ENDING} files there: {there}")
        with file.open("rb") as opened:
            start = opened.read(len(_MAGIC))
        if start != _MAGIC:
            raise ModelError(f"model.gguf_file: {path}/{name} is no GGUF file: it begins with {start!r}")


def _names(path: str, revision: str | None) -> list[str]:
    if Path(path).is_dir():
        return files_in(path)
    try:
        files = huggingface_hub.list_repo_files(path, revision=revision)
    except Exception as error:  # no network, no such model, no right to read it: of several libraries
        raise ModelError(unreachable("model.path", path, revision)) from error
    return sorted(name for name in files if name.endswith(ENDING))


def load_unpacked(
    path: str,
    revision: str | None,
    name: str,
    config: PretrainedConfig,
    **options: Any,  # noqa: ANN401 -- as transformers has them
) -> PreTrainedModel:
    """The model with its weights as plain numbers, and nothing that says they were others.

    Args:
        path: folder or Hub id.
        revision: of a Hub id.
        name: of the file.
        config: what is read from it.
        options: for `from_pretrained`.

    Raises:
        ModelError: tensors are missing, or of another shape.
    """
    if unpacking := getattr(transformers, "GgufConfig", None):  # else some architectures keep their blocks
        options["quantization_config"] = unpacking(dequantize=True)
    loader: Any = transformers.AutoModelForCausalLM
    model: PreTrainedModel
    with redirect_stderr(io.StringIO()):  # its bar is not among those that can be switched off
        model, info = loader.from_pretrained(
            path,
            revision=revision,
            gguf_file=name,
            config=config,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **options,
        )
    require_whole_model(f"{path}/{name}", model, info)
    for holder in (model, model.config):
        for attribute in ("hf_quantizer", "quantization_method", "quantization_config", "_weight_conversions"):
            vars(holder).pop(attribute, None)
    model.config.name_or_path = model.name_or_path = f"{path}/{name}"  # what adapters call their base
    return model

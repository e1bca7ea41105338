"""Stored weights: which files hold them, and whether they are the model's, all of them and nothing else."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignkit.errors import ModelError
from alignkit.lazy import hub_errors, huggingface_hub, peft, safetensors
from alignkit.models.loading import loading

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from peft import PeftModel
    from transformers import PretrainedConfig, PreTrainedModel

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"

_COMPUTED = re.compile(r"(^|\.)(inv_freq|masked_bias)$")
"""Constants that old checkpoints stored and transformers computes; it declares only some of them as harmless."""

_FLOATS = re.compile(r"B?F\d")
"""Types of numbers that a parameter may be stored in, as safetensors names them: F32, BF16, F8_E4M3, ..."""

_NAMED = 3
"""Tensors named in a message."""


def weight_files(path: str, revision: str | None) -> list[Path]:
    """The files that hold a model's weights, found by name; pickled weights are never among them.

    Args:
        path: folder or Hub id; of the latter the files are downloaded.
        revision: of a Hub id.

    Raises:
        ModelError: there are none, or the index names anything but .safetensors files beside it.
    """
    if Path(path).is_dir() and any(entry.name.startswith("shard-") for entry in Path(path).iterdir()):
        raise ModelError(
            f"model.path: {path} holds a distributed checkpoint (shard-*); save the model with save_pretrained"
        )
    whole = stored_file(path, WHOLE, revision)
    if whole is not None:
        return [whole]
    index = stored_file(path, INDEX, revision)
    if index is None:
        raise ModelError(f"model.path: {path} holds no weights as .safetensors (pickled weights are never read)")
    with loading(f"model.path: {path}/{INDEX} cannot be read"):
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    files = []
    for name in names:
        if not _is_plain(name):
            raise ModelError(
                f"model.path: {path}/{INDEX} names {name!r} as weights; only .safetensors files in the same folder "
                "are read"
            )
        file = stored_file(path, name, revision)
        if file is None:
            raise ModelError(f"model.path: {path}/{INDEX} names {name}, which is not there; download it again")
        files.append(file)
    return files


def adapter_folder(path: str, revision: str | None) -> Path | None:
    """The folder of a peft adapter, downloaded from the Hub if need be; None where `path` is no adapter.

    Raises:
        ModelError: it is one, but its weights are not there as .safetensors.
    """
    config = stored_file(path, ADAPTER_CONFIG, revision)
    if config is None:
        return None
    if stored_file(path, ADAPTER, revision) is None:
        raise ModelError(f"model.path: {path} is an adapter without {ADAPTER} (pickled weights are never read)")
    return config.parent


def stored_file(path: str, name: str, revision: str | None) -> Path | None:
    """A file of a folder or of a Hub id (downloaded); None where there is none or the Hub does not answer."""
    if Path(path).is_dir():
        file = Path(path) / name
        return file if file.is_file() else None
    try:
        return Path(huggingface_hub.hf_hub_download(path, name, revision=revision))
    except (hub_errors.EntryNotFoundError, hub_errors.HfHubHTTPError, hub_errors.HFValidationError):
        return None  # where the model itself is not there, loading its configuration says so


def cached_file(path: str, name: str, revision: str | None) -> Path | None:
    """A file of a folder, or of a Hub id as it was downloaded last; the Hub is not asked."""
    if Path(path).is_dir():
        return stored_file(path, name, revision)
    found = huggingface_hub.try_to_load_from_cache(path, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def commit_of(path: str, revision: str | None, file: str | None = None) -> str | None:
    """The commit of a Hub id that was downloaded last, by which the cache names its folders.

    Args:
        path: the Hub id.
        revision: branch, tag or commit.
        file: what was read there, where it is none of those that most models have.
    """
    names = (file,) if file else ("config.json", "adapter_config.json", "tokenizer_config.json")
    found = ((name, cached_file(path, name, revision)) for name in names)
    return next((file.parents[name.count("/")].name for name, file in found if file), None)


def load_whole(loader: Any, path: str, **options: Any) -> PreTrainedModel:  # noqa: ANN401 -- as transformers has them
    """The model in a folder or of a Hub id, with every tensor of it read from .safetensors files.

    Args:
        loader: a model class of transformers, or one of its auto classes.
        path: folder or Hub id.
        options: for `from_pretrained`.

    Raises:
        ModelError: as `require_whole_model` says.
    """
    model: PreTrainedModel
    model, info = loader.from_pretrained(
        path,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused below, by name
        **options,
    )
    require_whole_model(path, model, info)
    return model


def require_whole_model(path: str, model: PreTrainedModel, info: Mapping[str, Iterable[Any]]) -> None:
    """Refuses a model of which some tensors were made up at random, or that has no place for some stored ones.

    What transformers calls harmless is accepted: it leaves tied weights out of its account, and tensors that the model
    class declares ignorable (`_keys_to_ignore_on_load_*`: a vision tower that a language model does not have, layers
    that predict further tokens). So are buffers, which the model computes itself.

    Args:
        path: for the message.
        model: as loaded.
        info: transformers' account of loading it.
    """
    buffers = {name for name, _ in model.named_buffers()}
    unexpected = {str(name) for name in info["unexpected_keys"]}
    unexpected -= {name for name in unexpected if name in buffers or _COMPUTED.search(name)}
    shapes = {f"{name} {_shape(stored)} for {_shape(own)}" for name, stored, own in info["mismatched_keys"]}
    _refuse(
        f"model.path: the weights of {path} are not those of its config.json",
        missing={str(name) for name in info["missing_keys"]},
        unexpected=unexpected,
        mismatched=shapes,
        advice="download it again, or give the config.json that the weights were saved with",
    )


def require_whole_adapter(path: str, file: Path, model: PeftModel, name: str) -> None:
    """Refuses an adapter whose stored tensors are not exactly those of the adapter `name` of `model`.

    Stored copies of the base model's own tensors (peft saves embeddings that were resized) are loaded and accepted.
    """
    stored = _shapes([file])
    own = {
        key: tuple(tensor.shape)
        for key, tensor in peft.get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False).items()
    }
    require_floats(path, [file], own)
    of_base = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items() if key in stored}
    known = of_base | own
    _refuse(
        f"model.path: the weights of adapter {path} are not those of its adapter_config.json and base model",
        missing=own.keys() - stored.keys(),
        unexpected=stored.keys() - known.keys(),
        mismatched={
            f"{key} {_shape(stored[key])} for {_shape(known[key])}"
            for key in stored.keys() & known.keys()
            if stored[key] != known[key]
        },
        advice="copy the adapter folder again, or mend rank, targets and base model in its adapter_config.json",
    )


def require_sizes(path: str, files: Sequence[Path], config: PretrainedConfig) -> None:
    """Refuses sizes far beyond the stored weights before a model of these sizes is built and fills the memory.

    What can be built is left to `require_whole_model`, which names the tensors.
    """
    shapes = _shapes(files)
    text = config.get_text_config()
    layers = getattr(text, "num_hidden_layers", None) or 0
    embeddings = (getattr(text, "vocab_size", None) or 0) * (getattr(text, "hidden_size", None) or 0)
    stored = sum(math.prod(shape) for shape in shapes.values())
    if layers > max(len(shapes), 1000) or embeddings > max(4 * stored, 2**28):
        raise ModelError(
            f"model.path: {path}/config.json asks for {layers:,} layers and {embeddings:,} embedding parameters, but "
            f"{len(shapes):,} tensors with {stored:,} parameters are stored"
        )


def require_floats(path: str, files: Sequence[Path], parameters: Iterable[str]) -> None:
    """Refuses parameters that are stored as whole numbers: read as they are, they are not the weights.

    Args:
        path: for the message.
        files: those of `weight_files`.
        parameters: names of the parameters.
    """
    names = set(parameters)
    ends = {name.rpartition(".")[2] for name in names}
    found = sorted(
        f"{name} {kind}"
        for name, kind in _kinds(files).items()
        if not _FLOATS.match(kind) and name.rpartition(".")[2] in ends and any(own.endswith(name) for own in names)
    )
    if found:
        raise ModelError(
            f"model.path: {path} stores {_list(found)} as whole numbers (quantized?) without a quantization_config; "
            "give the model in float32, float16 or bfloat16"
        )


def _refuse(
    start: str, *, missing: AbstractSet[str], unexpected: AbstractSet[str], mismatched: AbstractSet[str], advice: str
) -> None:
    kinds = (("missing", missing), ("unknown to the model", unexpected), ("of another shape", mismatched))
    parts = [f"{_list(sorted(names))} {kind}" for kind, names in kinds if names]
    if parts:
        raise ModelError(f"{start}: {'; '.join(parts)}; {advice}")


def _list(names: Sequence[str]) -> str:
    """How many, and the first of them."""
    rest = ", ..." if len(names) > _NAMED else ""
    return f"{len(names)} tensor{'s'[: len(names) > 1]} ({', '.join(names[:_NAMED])}{rest})"


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name and "\0" not in name


def _shapes(files: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        with safetensors.safe_open(file, "pt") as opened:
            shapes |= {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    return shapes


def _kinds(files: Sequence[Path]) -> dict[str, str]:
    kinds: dict[str, str] = {}
    for file in files:
        with safetensors.safe_open(file, "pt") as opened:
            kinds |= {name: str(opened.get_slice(name).get_dtype()) for name in opened.keys()}  # noqa: SIM118
    return kinds

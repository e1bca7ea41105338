"""The configuration of a stored model: read, and refused where something of it would be left out in silence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.errors import ModelError, shown
from alignkit.lazy import transformers
from alignkit.models.gguf import files_in, require_gguf
from alignkit.models.loading import loading, require_place, unreachable

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def in_file(gguf: str | None) -> dict[str, str]:
    """What transformers is told of a GGUF file."""
    return {"gguf_file": gguf} if gguf else {}


def read_config(path: str, revision: str | None, gguf: str | None = None, key: str = "model.path") -> PretrainedConfig:
    """The model's configuration.

    Raises:
        ModelError: there is none, it is damaged, or it asks for something that would be left out in silence.
    """
    is_folder = Path(path).is_dir()
    try:
        with loading(f"{key}: {path}/{gguf or 'config.json'} cannot be read"):
            config: PretrainedConfig = transformers.AutoConfig.from_pretrained(
                path, revision=revision, trust_remote_code=False, **in_file(gguf)
            )
            _require_known_options(path, config)
            if gguf:
                config.name_or_path = f"{path}/{gguf}"
    except ModelError as error:
        if "trust_remote_code" in str(error.__cause__):
            raise ModelError(
                f"{key}: {path} needs code of its own, which is never run; use a model that transformers knows"
            ) from error
        if is_folder and not gguf and not (Path(path) / "config.json").is_file():
            other = f"; it holds {shown(files[0])}: set model.gguf_file" if (files := files_in(path)) else ""
            known = "a config.json with a known model_type"
            raise ModelError(f"{key}: {path} holds no model that transformers can load ({known}){other}") from error
        if not is_folder and isinstance(error.__cause__, OSError):
            raise ModelError(unreachable(key, path, revision)) from error
        raise
    return config


def causal_config(path: str, revision: str | None, gguf: str | None = None) -> PretrainedConfig:
    """The configuration of a causal language model.

    Raises:
        ModelError: it is not there, cannot be read, or is of another kind of model.
    """
    require_place("model.path", path, revision)
    if gguf:
        require_gguf(path, revision, gguf)
    config = read_config(path, revision, gguf)
    with loading(f"model.path: {path}/{gguf or 'config.json'} cannot be read"):
        _require_causal(path, config)
    return config


def _require_known_options(path: str, config: PretrainedConfig) -> None:
    if getattr(config, "transformers_weights", None) is not None:
        raise ModelError(
            f"model.path: {path}/config.json names its weights file (transformers_weights); "
            "only model.safetensors or its index is read"
        )
    quantization = getattr(config, "quantization_config", None)
    if quantization is None:
        return
    settings = quantization if isinstance(quantization, dict) else quantization.to_dict()
    if not transformers.quantizers.auto.AutoHfQuantizer.supports_quant_method(settings):
        method = settings.get("quant_method")
        raise ModelError(f"model.path: {path}/config.json: unknown quant_method {method!r} in its quantization_config")


def _require_causal(path: str, config: PretrainedConfig) -> None:
    """Refuses weights without a language model's head: transformers would put a random one there, with a warning."""
    wanted = transformers.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    stored = config.architectures or []
    fits = not stored or any(name == getattr(wanted, "__name__", "") or name.endswith("ForCausalLM") for name in stored)
    if wanted is None or not fits or config.is_encoder_decoder:
        kind = ", ".join(stored) or config.model_type
        raise ModelError(f"model.path: {path} is {kind}, not a causal language model; give one that continues text")

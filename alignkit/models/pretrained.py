"""A causal language model from the Hub or a folder, or an adapter folder of peft with the model it belongs to."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignkit.errors import ModelError
from alignkit.lazy import peft, torch, transformers
from alignkit.models.base import REFERENCE_ADAPTER, ModelSource
from alignkit.models.loading import loading, require_place, unreachable
from alignkit.models.weights import (
    ADAPTER,
    ADAPTER_CONFIG,
    adapter_folder,
    cached_file,
    commit_of,
    load_whole,
    require_floats,
    require_sizes,
    require_whole_adapter,
    stored_file,
    weight_files,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_MAX_TEMPLATE = 2**20
"""Bytes of a chat template; the longest published ones have some 20,000."""


class Pretrained(ModelSource):
    """Weights and tokenizer made elsewhere, or by an earlier run: `runs/NAME/final`.

    Code that comes with a model is never run. An adapter folder is trained on from where it stands, and a frozen copy
    of the adapter is the reference.
    """

    may_be_adapter = True

    path: str = Field(min_length=1)
    """Hub id or folder of a model in the format of transformers, or of a peft adapter."""

    revision: str | None = None
    """Branch, tag or commit on the Hub; null takes the newest. Give a commit to make a run repeatable."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format the frozen weights are held in; auto is the one they are stored in."""

    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """Attention kernel; null leaves it to transformers, which takes sdpa. Shared prompts need sdpa or eager."""

    tokenizer: str | None = None
    """Hub id or folder of the tokenizer; null takes the model's."""

    chat_template: str | None = None
    """File with a chat template (jinja) that replaces the tokenizer's."""

    def load_tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerBase:
        """The tokenizer; padding is EOS where it has none of its own.

        Raises:
            ModelError: it is not there, has no EOS, or the chat template cannot be read.
        """
        path, revision = (self.tokenizer, None) if self.tokenizer else (self.path, self.revision)
        key = "model.tokenizer" if self.tokenizer else "model.path"
        require_place(key, path, revision)
        tokenizer = _tokenizer(key, path, revision)
        if self.chat_template is not None:
            tokenizer.chat_template = _read_template(self.chat_template)
        return tokenizer

    def load_model(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel | peft.PeftModel:
        """The model; of an adapter folder the model with that adapter, trainable, and a frozen copy of it.

        Raises:
            ModelError: it is not there, is no causal language model, needs its own code, or is smaller than the
                tokenizer's vocabulary.
        """
        require_place("model.path", self.path, self.revision)
        with loading(f"model.path: {self.path} cannot be loaded"):
            folder = adapter_folder(self.path, self.revision)
        if folder is None:
            return self._load_base(self.path, self.revision, tokenizer)
        adapter = self._adapter_config(str(folder))
        base = self._load_base(str(adapter.base_model_name_or_path), adapter.revision, tokenizer)
        with loading(f"model.path: adapter {self.path} does not fit its base model"), _quiet():
            # Tensors of another shape are told by name below; peft would list them all.
            model = peft.PeftModel.from_pretrained(
                base, str(folder), is_trainable=True, torch_device="cpu", ignore_mismatched_sizes=True
            )
            model.load_adapter(
                str(folder), REFERENCE_ADAPTER, is_trainable=False, torch_device="cpu", ignore_mismatched_sizes=True
            )
            for name in ("default", REFERENCE_ADAPTER):
                require_whole_adapter(self.path, folder / ADAPTER, model, name)
        adapted: peft.PeftModel = model.eval()
        return adapted

    def outline(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel | peft.PeftModel:
        """The model of its configuration; of an adapter folder with new adapters of the same sizes."""
        require_place("model.path", self.path, self.revision)
        with loading(f"model.path: {self.path} cannot be loaded"):
            adapter_file = stored_file(self.path, ADAPTER_CONFIG, self.revision)
        if adapter_file is None:
            return self._outline_base(self.path, self.revision, tokenizer)
        adapter = self._adapter_config(str(adapter_file.parent))
        base = self._outline_base(str(adapter.base_model_name_or_path), adapter.revision, tokenizer)
        adapter.inference_mode = False
        with loading(f"model.path: adapter {self.path} does not fit its base model"):
            model = peft.get_peft_model(base, adapter)
            model.add_adapter(REFERENCE_ADAPTER, adapter)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and f".{REFERENCE_ADAPTER}." not in name)
        return model

    def _adapter_config(self, folder: str) -> peft.PeftConfig:
        """An adapter's configuration, whose base model is where it says."""
        with loading(f"model.path: {self.path}/{ADAPTER_CONFIG} cannot be read"):
            adapter: peft.PeftConfig = peft.PeftConfig.from_pretrained(folder)
        if not adapter.base_model_name_or_path:
            raise ModelError(f"model.path: the adapter {self.path} names no base model in its {ADAPTER_CONFIG}")
        whose = f"model.path: the base model of adapter {self.path}"
        require_place(whose, str(adapter.base_model_name_or_path), adapter.revision)
        return adapter

    @property
    def _options(self) -> dict[str, str]:
        """What transformers is told of the attention."""
        return {"attn_implementation": self.attn_implementation} if self.attn_implementation else {}

    def _outline_base(self, path: str, revision: str | None, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        config = _causal_config(path, revision)
        stored = config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32
        dtype = stored if self.dtype == "auto" else getattr(torch, self.dtype)
        with loading(f"model.path: {path} cannot be built"):
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, **self._options)
        _require_vocabulary(path, model, tokenizer)
        outlined: PreTrainedModel = model.eval()
        return outlined

    def commits(self) -> dict[str, str | None]:
        places = {"model": (self.path, self.revision)}
        if adapter := cached_file(self.path, ADAPTER_CONFIG, self.revision):
            config = json.loads(adapter.read_text(encoding="utf-8"))
            places["model.base"] = (str(config["base_model_name_or_path"]), config.get("revision"))
        if self.tokenizer:
            places["model.tokenizer"] = (self.tokenizer, None)
        return {name: commit_of(*place) for name, place in places.items() if not Path(place[0]).is_dir()}

    def _load_base(self, path: str, revision: str | None, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        config = _causal_config(path, revision)
        dtype = self.dtype if self.dtype == "auto" else getattr(torch, self.dtype)
        with loading(f"model.path: {path} cannot be loaded"):
            if stored_file(path, ADAPTER_CONFIG, revision) is not None:
                raise ModelError(f"model.path: {path} is an adapter, which cannot be the base model of another one")
            files = weight_files(path, revision)
            is_plain = getattr(config, "quantization_config", None) is None  # packed numbers look like fewer
            if is_plain:
                require_sizes(path, files, config)
            model = load_whole(transformers.AutoModelForCausalLM, path, revision=revision, dtype=dtype, **self._options)
            if is_plain:
                require_floats(path, files, (name for name, _ in model.named_parameters()))
        _require_vocabulary(path, model, tokenizer)
        loaded: PreTrainedModel = model.eval()
        return loaded


def _require_vocabulary(path: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = int(model.config.get_text_config().vocab_size)
    if len(tokenizer) > rows:
        raise ModelError(
            f"model.path: {path} knows {rows} tokens, its tokenizer {len(tokenizer)}; they do not belong together"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without peft's warnings of missing keys, which are errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _tokenizer(key: str, path: str, revision: str | None) -> PreTrainedTokenizerBase:
    advice = "" if key == "model.tokenizer" else "; name one with model.tokenizer"
    is_folder = Path(path).is_dir()
    why = f"{key}: {path} holds no tokenizer that transformers can load"
    try:
        with loading(why):
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
            _try_out(tokenizer)
    except ModelError as error:
        if not is_folder and isinstance(error.__cause__, OSError):
            raise ModelError(unreachable(key, path, revision)) from error
        if is_folder and not any(Path(path).glob("*token*")):
            raise ModelError(f"{why}{advice}") from error
        if (Path(path) / "config.json").is_file():
            _config(path, revision, key)  # read for the tokenizer too, and often what is wrong
        raise ModelError(f"{error}{advice}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{key}: the tokenizer of {path} has no EOS token; set eos_token in its tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    loaded: PreTrainedTokenizerBase = tokenizer
    return loaded


def _try_out(tokenizer: PreTrainedTokenizerBase) -> None:
    """A damaged tokenizer may load and fail at the first text."""
    tokenizer.decode(tokenizer("a b")["input_ids"])


def _config(path: str, revision: str | None, key: str = "model.path") -> PretrainedConfig:
    """The model's configuration.

    Raises:
        ModelError: there is none, it is damaged, or it asks for something that would be left out in silence.
    """
    is_folder = Path(path).is_dir()
    try:
        with loading(f"{key}: {path}/config.json cannot be read"):
            config: PretrainedConfig = transformers.AutoConfig.from_pretrained(
                path, revision=revision, trust_remote_code=False
            )
            _require_known_options(path, config)
    except ModelError as error:
        if "trust_remote_code" in str(error.__cause__):
            raise ModelError(
                f"{key}: {path} needs code of its own, which is never run; use a model that transformers knows"
            ) from error
        if is_folder and not (Path(path) / "config.json").is_file():
            raise ModelError(
                f"{key}: {path} holds no model that transformers can load (a config.json with a known model_type)"
            ) from error
        if not is_folder and isinstance(error.__cause__, OSError):
            raise ModelError(unreachable(key, path, revision)) from error
        raise
    return config


def _causal_config(path: str, revision: str | None) -> PretrainedConfig:
    """The configuration of a causal language model.

    Raises:
        ModelError: it is not there, cannot be read, or is of another kind of model.
    """
    require_place("model.path", path, revision)
    config = _config(path, revision)
    with loading(f"model.path: {path}/config.json cannot be read"):
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


def _read_template(path: str) -> str:
    """The text of a template file.

    Raises:
        ModelError: it is no plain file, too large for a template, or not text.
    """
    with loading(f"model.chat_template: {path} cannot be read"):
        file = Path(path)
        if file.exists() and not file.is_file():
            raise ValueError("it is no file")
        with file.open("rb") as opened:  # bounded, whatever size the file system names
            content = opened.read(_MAX_TEMPLATE + 1)
        if len(content) > _MAX_TEMPLATE:
            raise ValueError(f"it is larger than {_MAX_TEMPLATE:,} bytes, which no template is")
        return content.decode()

"""A causal language model from the Hub or a folder, or an adapter folder of peft with the model it belongs to."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from alignkit.errors import ModelError, shown
from alignkit.lazy import peft, torch, transformers
from alignkit.models.base import REFERENCE_ADAPTER, ModelSource
from alignkit.models.configuration import causal_config, in_file, read_config
from alignkit.models.gguf import ENDING, load_unpacked, parted, require_gguf
from alignkit.models.loading import loading, require_place, unreachable
from alignkit.models.quantized import quantize, require_quantizable
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
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MAX_TEMPLATE = 2**20
"""Bytes of a chat template; the longest published ones have some 20,000."""


class Pretrained(ModelSource):
    """Weights and tokenizer made elsewhere, or by an earlier run: `runs/NAME/final`.

    Code that comes with a model is never run. An adapter folder is trained on from where it stands, and a frozen copy
    of the adapter is the reference.
    """

    may_be_adapter = True

    path: str = Field(min_length=1)
    """Hub id or folder of a model in the format of transformers, or of a peft adapter; or of a GGUF file, which then
    stands in `gguf_file`."""

    gguf_file: str | None = None
    """Name of a GGUF file there (package gguf), which holds weights, configuration, tokenizer and chat template. The
    weights are unpacked, and saved as any others."""

    revision: str | None = None
    """Branch, tag or commit on the Hub; null takes the newest. Give a commit to make a run repeatable."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format the frozen weights are held in; auto is the one they are stored in, float32 for those of a GGUF
    file."""

    quantize: Literal["nf4"] | None = None
    """Hold the frozen weights of linear layers, but the head, in 4 bits (QLoRA): about 0.56 bytes each. Needs an
    adapter and the extra `quant`; `dtype` is what is computed in."""

    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """Attention kernel; null leaves it to transformers, which takes sdpa. Shared prompts need sdpa or eager."""

    tokenizer: str | None = None
    """Hub id or folder of the tokenizer; null takes the model's."""

    chat_template: str | None = None
    """File with a chat template (jinja) that replaces the tokenizer's."""

    @field_validator("gguf_file")
    @classmethod
    def _is_gguf(cls, value: str | None) -> str | None:
        if value is not None and not value.endswith(ENDING):
            said = f"expected the name of a file that ends with {ENDING}, got {shown(value)}"
            raise PydanticCustomError("gguf_file", "{said}", {"said": said})
        return value

    def load_tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerBase:
        """The tokenizer; padding is EOS where it has none of its own.

        Raises:
            ModelError: it is not there, has no EOS, or the chat template cannot be read.
        """
        key = "model.tokenizer" if self.tokenizer else "model.path"
        path, gguf = parted(self.tokenizer, None) if self.tokenizer else parted(self.path, self.gguf_file)
        revision = None if self.tokenizer else self.revision
        require_place(key, path, revision)
        tokenizer = _tokenizer(key, path, revision, gguf)
        if self.chat_template is not None:
            tokenizer.chat_template = _read_template(self.chat_template)
        return tokenizer

    def load_model(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel | peft.PeftModel:
        """The model; of an adapter folder the model with that adapter, trainable, and a frozen copy of it.

        Raises:
            ModelError: it is not there, is no causal language model, needs its own code, or is smaller than the
                tokenizer's vocabulary.
        """
        path, gguf = parted(self.path, self.gguf_file)
        require_place("model.path", path, self.revision)
        with loading(f"model.path: {self.path} cannot be loaded"):
            folder = None if gguf else adapter_folder(path, self.revision)
        if self.quantize:
            require_quantizable(self.quantize, has_adapter=folder is not None or self.adapter is not None)
        if folder is None:
            return self._load_base(path, self.revision, gguf, tokenizer)
        adapter = self._adapter_config(str(folder))
        path, gguf = parted(str(adapter.base_model_name_or_path), None)
        base = self._load_base(path, adapter.revision, gguf, tokenizer)
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
        path, gguf = parted(self.path, self.gguf_file)
        require_place("model.path", path, self.revision)
        with loading(f"model.path: {self.path} cannot be loaded"):
            adapter_file = None if gguf else stored_file(path, ADAPTER_CONFIG, self.revision)
        if self.quantize:
            require_quantizable(self.quantize, has_adapter=adapter_file is not None or self.adapter is not None)
        if adapter_file is None:
            return self._outline_base(path, self.revision, gguf, tokenizer)
        adapter = self._adapter_config(str(adapter_file.parent))
        path, gguf = parted(str(adapter.base_model_name_or_path), None)
        base = self._outline_base(path, adapter.revision, gguf, tokenizer)
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
        require_place(whose, parted(str(adapter.base_model_name_or_path), None)[0], adapter.revision)
        return adapter

    @property
    def _options(self) -> dict[str, str]:
        """What transformers is told of the attention."""
        return {"attn_implementation": self.attn_implementation} if self.attn_implementation else {}

    def _outline_base(
        self, path: str, revision: str | None, gguf: str | None, tokenizer: PreTrainedTokenizerBase
    ) -> PreTrainedModel:
        config = causal_config(path, revision, gguf)
        stored = config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32
        dtype = stored if self.dtype == "auto" else getattr(torch, self.dtype)
        with loading(f"model.path: {path} cannot be built"):
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, **self._options)
        _require_vocabulary(path, gguf, model, tokenizer)
        if self.quantize:
            quantize(model, self.quantize)
        outlined: PreTrainedModel = model.eval()
        return outlined

    def commits(self) -> dict[str, str | None]:
        path, gguf = parted(self.path, self.gguf_file)
        places = {"model": (path, self.revision, gguf)}
        if not gguf and (adapter := cached_file(path, ADAPTER_CONFIG, self.revision)):
            config = json.loads(adapter.read_text(encoding="utf-8"))
            base, of_base = parted(str(config["base_model_name_or_path"]), None)
            places["model.base"] = (base, config.get("revision"), of_base)
        if self.tokenizer:
            named, of_tokenizer = parted(self.tokenizer, None)
            places["model.tokenizer"] = (named, None, of_tokenizer)
        return {name: commit_of(*place) for name, place in places.items() if not Path(place[0]).is_dir()}

    def _load_base(
        self, path: str, revision: str | None, gguf: str | None, tokenizer: PreTrainedTokenizerBase
    ) -> PreTrainedModel:
        model = self._load_unpacked(path, revision, gguf) if gguf else self._load_stored(path, revision)
        _require_vocabulary(path, gguf, model, tokenizer)
        if self.quantize:
            quantize(model, self.quantize)
        loaded: PreTrainedModel = model.eval()
        return loaded

    def _load_unpacked(self, path: str, revision: str | None, gguf: str) -> PreTrainedModel:
        config = causal_config(path, revision, gguf)
        dtype = torch.float32 if self.dtype == "auto" else getattr(torch, self.dtype)
        with loading(f"model.gguf_file: {path}/{gguf} cannot be loaded"):
            return load_unpacked(path, revision, gguf, config, dtype=dtype, **self._options)

    def _load_stored(self, path: str, revision: str | None) -> PreTrainedModel:
        config = causal_config(path, revision)
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
        return model


def _require_vocabulary(
    path: str, gguf: str | None, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = int(model.config.get_text_config().vocab_size)
    if len(tokenizer) > rows:
        # What transformers makes of a byte-level BPE in a GGUF file has '<|endoftext|>', also where the file has not.
        why = "name that of the original model with model.tokenizer" if gguf else "they do not belong together"
        raise ModelError(f"model.path: {path} knows {rows} tokens, its tokenizer {len(tokenizer)}; {why}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without peft's warnings of missing keys, which are errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _tokenizer(key: str, path: str, revision: str | None, gguf: str | None) -> PreTrainedTokenizerBase:
    if gguf:
        require_gguf(path, revision, gguf)
    advice = "" if key == "model.tokenizer" else "; name one with model.tokenizer"
    is_folder = Path(path).is_dir()
    why = f"{key}: {path} holds no tokenizer that transformers can load"
    try:
        with loading(why):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                path, revision=revision, trust_remote_code=False, **in_file(gguf)
            )
            _try_out(tokenizer)
    except ModelError as error:
        if not is_folder and isinstance(error.__cause__, OSError):
            raise ModelError(unreachable(key, path, revision)) from error
        if is_folder and not gguf and not any(Path(path).glob("*token*")):
            raise ModelError(f"{why}{advice}") from error
        if gguf or (Path(path) / "config.json").is_file():
            read_config(path, revision, gguf, key)  # read for the tokenizer too, and often what is wrong
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

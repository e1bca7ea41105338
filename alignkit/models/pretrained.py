"""A causal language model from the Hub or a folder, or an adapter folder of peft with the model it belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignkit.errors import ModelError
from alignkit.lazy import peft, torch, transformers
from alignkit.models.base import REFERENCE_ADAPTER, ModelSource

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


class Pretrained(ModelSource):
    """Weights and tokenizer made elsewhere, or by an earlier run: `runs/NAME/final`.

    Code that comes with a model is never run. An adapter folder is trained on from where it stands, and a frozen copy
    of the adapter is the reference.
    """

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
        _require_place(key, path, revision)
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            if not Path(path).is_dir():
                raise ModelError(_unreachable(key, path, revision)) from error
            advice = "" if self.tokenizer else "; name one with model.tokenizer"
            raise ModelError(f"{key}: {path} holds no tokenizer that transformers can load{advice}") from error
        if tokenizer.eos_token_id is None:
            raise ModelError(
                f"{key}: the tokenizer of {path} has no EOS token; set eos_token in its tokenizer_config.json"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if self.chat_template is not None:
            tokenizer.chat_template = _read_template(self.chat_template)
        loaded: PreTrainedTokenizerBase = tokenizer
        return loaded

    def load_model(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel | peft.PeftModel:
        """The model; of an adapter folder the model with that adapter, trainable, and a frozen copy of it.

        Raises:
            ModelError: it is not there, is no causal language model, needs its own code, or is smaller than the
                tokenizer's vocabulary.
        """
        if not (Path(self.path) / "adapter_config.json").exists():
            return self._load_base(self.path, self.revision, tokenizer)
        _require_safetensors(self.path)
        adapter = peft.PeftConfig.from_pretrained(self.path)
        base = self._load_base(str(adapter.base_model_name_or_path), adapter.revision, tokenizer)
        model = peft.PeftModel.from_pretrained(base, self.path, is_trainable=True)
        model.load_adapter(self.path, REFERENCE_ADAPTER, is_trainable=False)
        return model.eval()

    def _load_base(self, path: str, revision: str | None, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        _require_place("model.path", path, revision)
        _require_causal(path, _config(path, revision))
        _require_safetensors(path)
        options = {"attn_implementation": self.attn_implementation} if self.attn_implementation else {}
        dtype = self.dtype if self.dtype == "auto" else getattr(torch, self.dtype)
        try:
            model: PreTrainedModel = transformers.AutoModelForCausalLM.from_pretrained(
                path, revision=revision, dtype=dtype, trust_remote_code=False, use_safetensors=True, **options
            )
        except (OSError, ValueError, ImportError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"model.path: {path} cannot be loaded: {reason}") from error
        rows = int(model.config.get_text_config().vocab_size)
        if len(tokenizer) > rows:
            raise ModelError(
                f"model.path: {path} knows {rows} tokens, its tokenizer {len(tokenizer)}; they do not belong together"
            )
        model.eval()
        return model


def _config(path: str, revision: str | None) -> PretrainedConfig:
    try:
        config: PretrainedConfig = transformers.AutoConfig.from_pretrained(
            path, revision=revision, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"model.path: {path} needs code of its own, which is never run; use a model that transformers knows"
            ) from error
        if Path(path).is_dir():
            raise ModelError(
                f"model.path: {path} holds no model that transformers can load (a config.json with a known model_type)"
            ) from error
        raise ModelError(_unreachable("model.path", path, revision)) from error
    return config


def _require_place(key: str, path: str, revision: str | None) -> None:
    """What looks like a path must be a folder: the Hub's answer to a mistyped one would mislead."""
    if Path(path).is_dir():
        if revision is not None:
            raise ModelError(f"model.revision: '{revision}' belongs to a Hub id; {path} is a folder")
        return
    if Path(path).exists():
        raise ModelError(f"{key}: {path} is a file; give the folder that holds the model, or a Hub id")
    if path.startswith((".", "/", "~")) or path.count("/") > 1 or path.endswith("/"):
        raise ModelError(f"{key}: folder {path} does not exist; give a folder or a Hub id such as 'owner/name'")


def _unreachable(key: str, path: str, revision: str | None) -> str:
    at = f" at revision '{revision}'" if revision else ""
    return (
        f"{key}: '{path}'{at} is neither a folder nor on the Hub, or the Hub cannot be reached and it was not "
        "downloaded before"
    )


def _require_safetensors(path: str) -> None:
    if Path(path).is_dir() and not any(Path(path).glob("*.safetensors")):
        raise ModelError(f"model.path: {path} holds no weights as .safetensors (pickled weights are never read)")


def _require_causal(path: str, config: PretrainedConfig) -> None:
    """Refuses weights without a language model's head: transformers would put a random one there, with a warning."""
    wanted = transformers.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    stored = config.architectures or []
    fits = not stored or any(name == getattr(wanted, "__name__", "") or name.endswith("ForCausalLM") for name in stored)
    if wanted is None or not fits or config.is_encoder_decoder:
        kind = ", ".join(stored) or config.model_type
        raise ModelError(f"model.path: {path} is {kind}, not a causal language model; give one that continues text")


def _read_template(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"model.chat_template: {path} cannot be read: {type(error).__name__}") from error

"""A reward model: what the head of a sequence classifier says of prompt and response."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.errors import ModelError
from alignkit.lazy import accelerate, torch, transformers
from alignkit.models.loading import loading, require_place
from alignkit.models.weights import load_whole
from alignkit.rewards.base import Reward, Sample

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_LONGEST = 2**20
"""What tokenizers without a limit say is larger."""


class ByModel(Reward):
    """The one number that a sequence classifier of transformers gives, on its own scale.

    It reads conversations through its own chat template, and other rows as prompt and response one after the other; of
    what is longer than it takes, the beginning is left out. It is loaded when it is first asked, on the device of the
    process, in the number format that it is stored in.
    """

    path: str = Field(min_length=1)
    """Hub id or folder of a sequence classifier with one label, and its tokenizer."""

    revision: str | None = None
    """Branch, tag or commit on the Hub; null takes the newest. Give a commit to make a run repeatable."""

    batch_size: int = Field(16, ge=1, le=4096)
    """Samples in one forward pass."""

    def check(self) -> None:
        """Reads the configuration alone.

        Raises:
            ModelError: it is not there, or is that of no classifier with one label.
        """
        with _told_of(self._key):
            _config(self.path, self.revision)

    def score(self, samples: Sequence[Sample]) -> Sequence[float | None]:
        scorer = _loaded(self._key, self.path, self.revision)
        batches = (samples[start : start + self.batch_size] for start in range(0, len(samples), self.batch_size))
        return [score for batch in batches for score in scorer.scores(batch)]

    @property
    def _key(self) -> str:
        return f"rewards.{self.title}"


@cache
def _loaded(key: str, path: str, revision: str | None) -> _Scorer:
    """The model at a place, loaded once per process.

    Raises:
        ModelError: it is not there, or is no classifier with one label.
    """
    with _told_of(key):
        config = _config(path, revision)
        with _reading(path):
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
            kind = transformers.AutoModelForSequenceClassification
            model = load_whole(kind, path, revision=revision, dtype="auto", config=config)
    model = model.eval().requires_grad_(False).to(accelerate.PartialState().device)
    limits = (tokenizer.model_max_length, getattr(config.get_text_config(), "max_position_embeddings", None))
    return _Scorer(key, path, model, tokenizer, min(limit or _LONGEST for limit in limits))


def _config(path: str, revision: str | None) -> PretrainedConfig:
    require_place("model.path", path, revision)
    with _reading(path):
        config: PretrainedConfig = transformers.AutoConfig.from_pretrained(
            path, revision=revision, trust_remote_code=False
        )
    if config.num_labels != 1:
        raise ModelError(f"model.path: {path} gives {config.num_labels} labels (num_labels); a reward has 1")
    return config


def _reading(path: str) -> AbstractContextManager[None]:
    return loading(f"model.path: {path} cannot be loaded as a sequence classifier")


@contextmanager
def _told_of(key: str) -> Iterator[None]:
    """Names the reward where messages about models name the recipe's own."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{key}.{str(error).removeprefix('model.')}") from error


@dataclass(frozen=True)
class _Scorer:
    """A classifier at work.

    Attributes:
        key: the reward, for messages.
        path: of the model.
        model: on its device.
        tokenizer: its own.
        longest: most tokens of a text.
    """

    key: str
    path: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    longest: int

    def scores(self, samples: Sequence[Sample]) -> list[float]:
        """What the model says of a batch."""
        texts = [self._ids(sample)[-self.longest :] for sample in samples]
        pad = self._padding(texts)
        self.model.config.get_text_config().pad_token_id = pad
        ids_BT = torch.full((len(texts), max(map(len, texts))), pad)
        mask_BT = torch.zeros_like(ids_BT)
        for row, ids in enumerate(texts):
            ids_BT[row, : len(ids)] = torch.tensor(ids)
            mask_BT[row, : len(ids)] = 1
        device = self.model.device
        with torch.inference_mode():
            logits_B1 = self.model(input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device)).logits
        scores: list[float] = logits_B1[:, 0].float().tolist()
        return scores

    def _ids(self, sample: Sample) -> list[int]:
        if sample.messages is None:
            found: list[int] = self.tokenizer(sample.prompt + sample.response)["input_ids"]
            return found
        if not self.tokenizer.chat_template:
            raise ModelError(f"{self.key}: the tokenizer of {self.path} has no chat template, and prompts are messages")
        answer = {"role": "assistant", "content": sample.response}
        text = self.tokenizer.apply_chat_template([*map(dict, sample.messages), answer], tokenize=False)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _padding(self, texts: Sequence[Sequence[int]]) -> int:
        """The tokenizer's padding, unless a text has it: a classifier reads its last token that is no padding."""
        used = {token for text in texts for token in text}
        pad = self.tokenizer.pad_token_id
        if pad is not None and pad not in used:
            return int(pad)
        return next(token for token in range(len(used) + 1) if token not in used)

"""The tiny Llama of the built-in world: shipped with the package, trained by recipes/world/sft.yaml."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import alignkit.world
from alignkit.lazy import torch, transformers
from alignkit.models.base import ModelSource
from alignkit.models.loading import loading
from alignkit.models.scratch import Scratch
from alignkit.models.weights import load_whole
from alignkit.world.tokenizer import build_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

FOLDER = Path(alignkit.world.__file__).parent / "model"
"""The shipped model and its tokenizer."""

_SIZES = Scratch(name="scratch", layers=2, width=128, heads=4, max_positions=512)


class World(ModelSource):
    """The model of the built-in world: fluent in its text, right about half of the time."""

    start: Literal["shipped", "random"] = "shipped"
    """The shipped weights, or random ones of the same sizes, to make the shipped ones anew."""

    def load_tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerFast:
        """The world's word-level tokenizer; it does not depend on the texts."""
        return build_tokenizer()

    def load_model(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> LlamaForCausalLM:
        """The shipped model (which has no seed), or a random one."""
        if self.start == "random":
            return _SIZES.load_model(tokenizer, seed)
        with loading("model: the shipped model is damaged, install the package again"):
            model = load_whole(transformers.LlamaForCausalLM, str(FOLDER), dtype=torch.float32)
        shipped: LlamaForCausalLM = model.eval()
        return shipped

    def outline(self, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
        """One of the shipped model's sizes."""
        return _SIZES.load_model(tokenizer, seed=0)

"""A small Llama with random weights and a byte-level BPE learnt from the training data: real text, no download."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from alignkit.lazy import tokenizers, torch, transformers
from alignkit.models.base import ModelSource
from alignkit.seeds import derive

if TYPE_CHECKING:
    from typing import Self

    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

_SPECIAL = ("<pad>", "<bos>", "<eos>")
_MOST_PARAMETERS = 4_000_000_000


class Scratch(ModelSource):
    """A Llama built from its sizes, with a tokenizer trained on the texts of `data.train`."""

    layers: int = Field(4, gt=0, le=256)
    """Transformer blocks; 2 to 8 train on a CPU."""

    width: int = Field(256, gt=0, le=16384)
    """Size of an embedding; the feed-forward layers are 8/3 as wide, as in Llama."""

    heads: int = Field(4, gt=0, le=2**12)
    """Attention heads; each is width / heads wide, an even number."""

    vocab_size: int = Field(4096, ge=512, le=1_000_000)
    """Most tokens of the tokenizer: 3 special ones, the 256 bytes, and merges as far as the texts have any."""

    max_positions: int = Field(1024, gt=1, le=1_048_576)
    """Longest prompt + response; tokens. At least `data.max_length`."""

    @property
    def positions(self) -> int:
        return self.max_positions

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} is no multiple of 2 x {self.heads} heads (rotary positions need pairs)"
            )
        return self

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        parameters = self.layers * 12 * self.width**2 + self.vocab_size * self.width
        if parameters > _MOST_PARAMETERS:
            raise ValueError(
                f"layers, width and vocab_size must be smaller: about {parameters / 1e9:.1f} billion parameters; a "
                f"model from scratch has at most {_MOST_PARAMETERS / 1e9:.0f} billion"
            )
        return self

    def load_tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerFast:
        """A lossless byte-level BPE, the same for the same texts in the same order; puts BOS before a text."""
        inner = tokenizers.Tokenizer(tokenizers.models.BPE())
        inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = tokenizers.decoders.ByteLevel()
        alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=self.vocab_size, special_tokens=list(_SPECIAL), initial_alphabet=alphabet, show_progress=False
        )
        inner.train_from_iterator(texts, trainer)
        inner.post_processor = tokenizers.processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", inner.token_to_id("<bos>"))]
        )
        pad, bos, eos = _SPECIAL
        return transformers.PreTrainedTokenizerFast(
            tokenizer_object=inner,
            pad_token=pad,
            bos_token=bos,
            eos_token=eos,
            clean_up_tokenization_spaces=False,
            model_max_length=self.max_positions,
        )

    def load_model(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> LlamaForCausalLM:
        """Random weights that depend on the seed and the sizes only; dropout off, float32."""
        config = transformers.LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.width,
            intermediate_size=-(-self.width * 8 // 3 // 32) * 32,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=self.max_positions,
            tie_word_embeddings=True,  # half the parameters of a small model would be its head
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        # The CPU generator alone: seeding all devices would leave the GPU's generator changed behind us.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(seed, "model"))
            model = transformers.LlamaForCausalLM(config)
        model.eval()
        return model

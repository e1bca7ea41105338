"""The word-level tokenizer of the built-in world: one token a word or mark, a word's leading blank included."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from alignkit.lazy import tokenizers, transformers
from alignkit.world.text import ADVICE, CARRIERS, FILLERS, FRAMES, PLANTS, SIGN_OFF

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_PIECES = r" ?\w+|[^\w\s]|\s"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, made from the world's sentences. Lossless on its text; adds no BOS, has EOS and padding.

    Blanks belong to the word after them, so that tokens joined are the text again and no rule has to guess spaces.
    """
    splitter = tokenizers.pre_tokenizers.Split(tokenizers.Regex(_PIECES), behavior="isolated")
    special = ["<pad>", "<eos>", "<unk>"]
    words = sorted({piece for text in _sentences() for piece, _ in splitter.pre_tokenize_str(text)})
    vocabulary = {word: number for number, word in enumerate([*special, *words])}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = splitter
    inner.decoder = tokenizers.decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def _sentences() -> list[str]:
    """Text that holds every token: each sentence at the start of a response and after another one."""
    prompts = [frame.format(plant=plant, problem=problem) for frame, plant, problem in product(FRAMES, PLANTS, ADVICE)]
    advice = [f"{carrier} {advice}." for carrier, advice in product(CARRIERS, ADVICE.values())]
    sentences = [*FILLERS, *advice, SIGN_OFF]
    return [*prompts, *sentences, *(f" {sentence}" for sentence in sentences)]

"""What alignkit and TRL are both given: pairs, token ids, and a policy that differs from its reference.

Everything follows from the shared data and from numbers that numpy draws, which are the same on every machine.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers

from alignkit.data.rows import TokenRow

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "hh_harmless.jsonl.gz"
RECORDED = ROOT / "tests" / "reference"

NUM_PAIRS = 20
MOST_BYTES = 300
"""Of the prompt with the longer response; longer pairs are passed over, so that 20 steps take a second."""

MODEL_SEED = 7
MOVE_SEED = 8
TURN = "\n\nAssistant:"
SPECIAL = ("<pad>", "<bos>", "<eos>")


# --- data ---


@dataclass(frozen=True)
class Pair:
    """One pair as text, and the line of the data file it comes from, from 1."""

    line: int
    prompt: str
    chosen: str
    rejected: str


def read_pairs() -> list[Pair]:
    """The first 20 pairs that are short, differ in their last turn only, and say something there."""
    found: list[Pair] = []
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            chosen, rejected = (json.loads(line)[side] for side in ("chosen", "rejected"))
            start = chosen.rfind(TURN) + len(TURN)
            answers = chosen[start:], rejected[start:]
            is_short = max(len(chosen.encode()), len(rejected.encode())) <= MOST_BYTES
            if is_short and rejected.startswith(chosen[:start]) and all(map(str.strip, answers)):
                found.append(Pair(number, chosen[:start], *answers))
            if len(found) == NUM_PAIRS:
                return found
    raise AssertionError("the data file has too few short pairs")


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """One token per byte, after padding, BOS and EOS; puts BOS before a text."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *alphabet])}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    inner.add_special_tokens(list(SPECIAL))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", SPECIAL.index("<bos>"))]
    )
    pad, bos, eos = SPECIAL
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


@dataclass(frozen=True)
class Rows:
    """The same 20 pairs as text and as token ids; a pair's gold response is the chosen one of the next pair."""

    pairs: tuple[Pair, ...]
    prompts: tuple[list[int], ...]
    chosen: tuple[list[int], ...]
    rejected: tuple[list[int], ...]

    def gold(self, index: int) -> int:
        """The pair whose chosen response is this one's gold response."""
        return (index + 1) % len(self.pairs)

    def paired(self, *, gold: bool = False) -> list[TokenRow]:
        """Rows of the preference trainer."""
        rows = []
        for index, pair in enumerate(self.pairs):
            ids = {"chosen": self.chosen[index], "rejected": self.rejected[index]}
            if gold:
                ids["gold"] = self.chosen[self.gold(index)]
            rows.append(self._row(index, pair, index, ids))
        return rows

    def unpaired(self) -> list[TokenRow]:
        """Rows of the unpaired trainer: the chosen responses of all pairs, then the rejected ones."""
        sides = ((True, self.chosen), (False, self.rejected))
        return [
            self._row(2 * index + (not label), pair, index, {"completion": ids[index]}, label)
            for label, ids in sides
            for index, pair in enumerate(self.pairs)
        ]

    def _row(
        self, number: int, pair: Pair, index: int, ids: dict[str, list[int]], label: bool | None = None
    ) -> TokenRow:
        responses = {name: np.array(one, dtype=np.int64) for name, one in ids.items()}
        prompt = np.array(self.prompts[index], dtype=np.int64)
        return TokenRow(number, f"{DATA.name}:{pair.line}", prompt, responses, label=label)


def read_rows() -> Rows:
    """The rows; ids of a response end with EOS."""
    pairs, encode = read_pairs(), tokenizer()
    prompts = tuple(encode(pair.prompt)["input_ids"] for pair in pairs)
    sides = (
        tuple(
            [*encode(getattr(pair, side), add_special_tokens=False)["input_ids"], encode.eos_token_id] for pair in pairs
        )
        for side in ("chosen", "rejected")
    )
    return Rows(tuple(pairs), prompts, *sides)


# --- models ---


def make_model(seed: int = MODEL_SEED) -> transformers.LlamaForCausalLM:
    """A Llama of 35 000 parameters in float32; each is a uniform draw of numpy, so no library's initialiser matters."""
    config = transformers.LlamaConfig(
        vocab_size=len(SPECIAL) + 256,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        attention_dropout=0.0,
        pad_token_id=SPECIAL.index("<pad>"),
        bos_token_id=SPECIAL.index("<bos>"),
        eos_token_id=SPECIAL.index("<eos>"),
        dtype="float32",
    )
    model = transformers.LlamaForCausalLM(config).float().eval()
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre, width = (1.0, 0.2) if name.endswith("norm.weight") else (0.0, 0.3)
            parameter.copy_(centre + width * _draw(random, parameter))
    return model


def make_policy() -> transformers.LlamaForCausalLM:
    """The reference, `make_model()`, moved as training would move it."""
    return shifted(make_model(), MOVE_SEED, 0.05)


@torch.no_grad()
def shifted(model: transformers.LlamaForCausalLM, seed: int, size: float) -> transformers.LlamaForCausalLM:
    """`model` with up to `size` added to each parameter in place."""
    random = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter += size * _draw(random, parameter)
    return model


def _draw(random: np.random.Generator, like: torch.Tensor) -> torch.Tensor:
    """Uniform in -1 to 1."""
    return torch.from_numpy(2 * random.random(tuple(like.shape), dtype=np.float32) - 1)


def fingerprint(rows: Rows, *models: transformers.PreTrainedModel) -> str:
    """blake2b of all token ids and all weights, hex."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([rows.prompts, rows.chosen, rows.rejected]).encode())
    for model in models:
        for name, parameter in model.named_parameters():
            digest.update(name.encode() + parameter.detach().numpy().tobytes())
    return digest.hexdigest()

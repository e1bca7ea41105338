"""What a tokenizer puts around a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class SpecialTokens:
    """What the tokenizer puts around a text.

    Attributes:
        prefix: ids that it puts before every text; empty when it adds none.
        bos: its BOS id if `prefix` holds it; None when it adds no BOS.
        named_bos: its BOS id, whether it adds it or leaves that to the chat template.
        eos: its EOS id.
    """

    prefix: list[int]
    bos: int | None
    named_bos: int | None
    eos: int | None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> SpecialTokens:
        """Found by tokenising a probe: a `bos_token` that is named is not always used."""
        bare = tokenizer("a", add_special_tokens=False)["input_ids"]
        ids = tokenizer("a")["input_ids"]
        starts = [start for start in range(len(ids)) if ids[start : start + len(bare)] == bare]
        prefix = ids[: starts[0]] if starts else []
        bos = tokenizer.bos_token_id
        return cls(prefix, bos if bos in prefix else None, bos, tokenizer.eos_token_id)

    def num_leading(self, prompt: Sequence[int]) -> int:
        """Tokens at the start of a prompt that open every text: the prefix, or the BOS of a template."""
        if self.prefix and list(prompt[: len(self.prefix)]) == self.prefix:
            return len(self.prefix)
        return int(self.named_bos is not None and len(prompt) > 0 and prompt[0] == self.named_bos)

"""How a model is asked: what a recipe may say of it, without all that asking needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Chat = Literal["auto"] | bool
"""Whether prompts go through the chat template; auto: where the tokenizer has one."""


@dataclass(frozen=True)
class Decoding:
    """How responses are drawn.

    Attributes:
        seed: of the benchmark; with item and sample it decides every draw.
        samples: responses to each prompt.
        temperature: divides the logits; 0 takes the likeliest token each time.
        max_new_tokens: longest response; tokens.
    """

    seed: int
    samples: int = 1
    temperature: float = 0.0
    max_new_tokens: int = 256

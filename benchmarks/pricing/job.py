"""What all variants of a comparison are given: two models, and the same rows in the same batches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ORDER_SEED = 11
"""Of the data order, which is alignkit's own; all others are given its batches."""

GROUP = 8
"""Responses to each prompt, on-policy."""

WARM_UP = 1
"""Steps that are not counted: the first makes the optimizer's memory."""

Row = dict[str, Any]
"""`index`, `where`, and the token ids of `prompt`, `chosen` and `rejected`, special tokens included."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama with random weights and a tied head; None of `intermediate` is 8/3 of the width."""

    layers: int = 4
    width: int = 256
    heads: int = 4
    key_heads: int = 4
    vocabulary: int = 8192
    positions: int = 1024
    intermediate: int | None = None

    @property
    def inner(self) -> int:
        """Width of the feed-forward layers."""
        return self.intermediate or -(-self.width * 8 // 3 // 32) * 32

    @property
    def linear(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of every linear layer but the head."""
        keys = self.width // self.heads * self.key_heads
        attention = [(self.width, self.width), (self.width, keys), (self.width, keys), (self.width, self.width)]
        return [*attention, (self.width, self.inner), (self.width, self.inner), (self.inner, self.width)] * self.layers

    @property
    def parameters(self) -> int:
        """Of linear layers, norms and the embedding, which is the head as well."""
        norms = (2 * self.layers + 1) * self.width
        return sum(a * b for a, b in self.linear) + norms + self.vocabulary * self.width


@dataclass(frozen=True)
class Job:
    """A folder with `policy`, `reference` (weights and tokenizer) and `job.json`; of a GPU only the policy's tokenizer.

    Attributes:
        folder: where they are.
        shape: of both models.
        rows: every row once, in any order.
        batches: places in `rows` of each optimizer step's batch.
        threads: that a variant may use.
        pairs: of an optimizer step, all of them in one micro-batch; on-policy as many prompts.
        longest: tokens of a sampled response; random weights hardly ever end one before.
        device: where it is trained; on another than the CPU in bf16, with reference log-probs that are made up.
        lora: trains adapters of rank 16 on all linear layers.
        recomputes: activations are recomputed in the backward pass.
    """

    folder: Path
    shape: Shape
    rows: list[Row]
    batches: list[list[int]]
    threads: int = 1
    pairs: int = 4
    longest: int = 64
    device: str = "cpu"
    lora: bool = False
    recomputes: bool = False

    @property
    def is_real(self) -> bool:
        """Whether there are weights, and a reference model that is asked."""
        return (self.folder / "reference").exists()

    def batch(self, step: int) -> list[Row]:
        """The rows of a step."""
        return [self.rows[place] for place in self.batches[step]]

    def write(self) -> None:
        """Puts all but the models into the folder."""
        values = {key: value for key, value in asdict(self).items() if key != "folder"}
        (self.folder / "job.json").write_text(json.dumps(values))

    @classmethod
    def read(cls, folder: Path) -> Job:
        """What `write` wrote."""
        values = json.loads((folder / "job.json").read_text())
        return cls(folder, Shape(**values.pop("shape")), **values)


def sizes(rows: Sequence[Row]) -> dict[str, int]:
    """Tokens of a batch: of prompts, of responses, and of separate rows padded to the longest."""
    responses = [[len(row["chosen"]), len(row["rejected"])] for row in rows]
    longest = max(len(row["prompt"]) + max(both) for row, both in zip(rows, responses, strict=True))
    return {
        "prompts": sum(len(row["prompt"]) for row in rows),
        "responses": sum(map(sum, responses)),
        "padded": 2 * len(rows) * longest,
    }


def padded(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """All chosen and then all rejected responses as separate rows.

    Returns:
        [2B, L] int64 ids; [2B, L] int64, 1 on tokens; [2B, L - 1] bool, True where the next token is of a response.
    """
    both = [(row["prompt"], row[side]) for side in ("chosen", "rejected") for row in rows]
    longest = max(len(prompt) + len(response) for prompt, response in both)
    ids, tokens = (torch.zeros(len(both), longest, dtype=torch.int64) for _ in range(2))
    predicts = torch.zeros(len(both), longest - 1, dtype=torch.bool)
    for place, (prompt, response) in enumerate(both):
        end = len(prompt) + len(response)
        ids[place, :end] = torch.tensor([*prompt, *response])
        tokens[place, :end] = 1
        predicts[place, len(prompt) - 1 : end - 1] = True
    return ids, tokens, predicts

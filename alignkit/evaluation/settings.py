"""How much is measured, and how samples are drawn: what the measures may read of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from alignkit.registry import Section

LooksAt = Literal["rows", "samples"]
"""Held-out rows (the first `evaluation.pairs`), or responses sampled to their prompts (`evaluation.samples`)."""

FILES: Mapping[LooksAt, str] = {"rows": "eval_rows.jsonl", "samples": "samples.jsonl"}
"""Where in a run folder the records of each are."""


class Settings(Section):
    """How much is measured, and how."""

    pairs: int = Field(256, ge=0)
    """Held-out pairs scored for accuracy and margin; the first so many."""

    samples: int = Field(128, ge=0)
    """Held-out prompts that one response each is sampled for, for the KL to the reference and the true reward."""

    max_new_tokens: int = Field(64, gt=0, le=131_072)
    """Longest sampled response; tokens."""

    temperature: float = Field(1.0, gt=0)
    """Divides the logits when sampling; 1 makes the KL estimate unbiased."""

    batch_size: int = Field(32, gt=0)
    """Examples in one forward pass of the evaluation."""

    weighted: bool = False
    """Also report accuracy and margin of the weighted log-ratios, under their own keys."""

    def most(self, looks_at: LooksAt) -> int:
        """The held-out rows that a measure may look at, from the first."""
        return self.pairs if looks_at == "rows" else self.samples

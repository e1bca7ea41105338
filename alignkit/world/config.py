"""The `data.world` section of a recipe: how hard the built-in proving ground is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignkit.registry import Section


class WorldConfig(Section):
    """How the built-in world is generated."""

    pairs: int = Field(2000, gt=0, le=1_000_000)
    """Training pairs generated; the first n pairs are the same for every number of pairs."""

    eval_pairs: int = Field(256, gt=0, le=1_000_000)
    """Held-out pairs generated, on prompts that training never shows."""

    topics: int = Field(24, ge=2, le=24)
    """Problems asked about, each with its own right advice; fewer make the mapping easier to learn."""

    filler: int = Field(4, ge=0, le=16)
    """Most filler sentences around the advice; each response has between 1 and this many, or none when it is 0."""

    position: Literal["start", "middle", "end", "anywhere"] = "anywhere"
    """Where the advice stands among the filler sentences; anywhere draws the place for each response."""

    right_share: float = Field(1.0, ge=0, le=1)
    """Share of training pairs whose chosen advice is right; in the rest it is wrong too, as in text to imitate."""

    spurious_share: float = Field(0.0, ge=0, le=1)
    """Share of training pairs in which only the chosen response ends with a harmless word; by chance when held out."""

    echo_share: float = Field(0.0, ge=0, le=1)
    """Share of filler sentences that name the plant of the prompt: words that hang on the prompt and do not matter."""

    rare_share: float = Field(0.0, ge=0, le=1)
    """Share of filler sentences with one of 16 rare words, which do not matter either."""

    style_share: float = Field(0.0, ge=0, le=1)
    """Share of pairs, held-out ones too, in which both responses advise rightly and a banned word, which no prompt
    predicts, makes the rejected one wrong; with `right_share` below 1 some chosen responses have it too."""

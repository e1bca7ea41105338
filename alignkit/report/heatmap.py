"""The token weights of one response, shown on its words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.panel import Panel
from rich.text import Text

from alignkit.errors import printable

BARS = "▁▂▃▄▅▆▇█"
DIGITS = "01234567"
"""Stands for the bars where the output cannot carry them."""

COLD, HOT = (255, 255, 255), (255, 110, 60)
"""Background of weight 0 and of the largest weight; black is readable on both."""

NUM_LARGEST = 5
"""Tokens whose weights are written out."""


@dataclass(frozen=True)
class Heatmap:
    """Renders the tokens with their weights: as background colour, or as a bar after each where there is no colour.

    Attributes:
        tokens: the response, one text piece per token.
        weights: their weights, each >= 0.
        critical: True on the planted critical tokens: underlined, or between underscores where there is no colour.
    """

    tokens: Sequence[str]
    weights: Sequence[float]
    critical: Sequence[bool] | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        has_colour = console.color_system is not None and not console.no_color
        yield self._coloured() if has_colour else self._plain(DIGITS if options.ascii_only else BARS)
        yield Text()
        yield from self._legend()

    def _coloured(self) -> Text:
        pieces = []
        for token, share, is_critical in self._shares():
            rgb = ",".join(str(round(cold + share * (hot - cold))) for cold, hot in zip(COLD, HOT, strict=True))
            pieces.append(Text(_visible(token), style=f"black on rgb({rgb}){' underline' if is_critical else ''}"))
        return Text(" ").join(pieces)

    def _plain(self, levels: str) -> Text:
        top = len(levels) - 1
        return Text(" ").join(
            Text((f"_{_visible(token)}_" if is_critical else _visible(token)) + levels[round(share * top)])
            for token, share, is_critical in self._shares()
        )

    def _shares(self) -> Iterator[tuple[str, float, bool]]:
        """Each token with its weight as a share of the largest."""
        largest = max(self.weights, default=0.0) or 1.0
        critical = self.critical or [False] * len(self.tokens)
        for token, weight, is_critical in zip(self.tokens, self.weights, critical, strict=True):
            yield token, weight / largest, is_critical

    def _legend(self) -> Iterator[Text]:
        if not self.tokens:
            yield Text("no tokens")
            return
        mean = sum(self.weights) / len(self.weights)
        yield Text(f"weights: min {min(self.weights):.2f}, mean {mean:.2f}, max {max(self.weights):.2f}")
        order = sorted(range(len(self.tokens)), key=lambda index: -self.weights[index])[:NUM_LARGEST]
        yield Text("largest: " + ", ".join(f"{_visible(self.tokens[i])} {self.weights[i]:.2f}" for i in order))


def token_heatmap(
    tokens: Sequence[str], weights: Sequence[float], *, title: str, critical: Sequence[bool] | None = None
) -> Panel:
    """A panel with the heatmap of one response.

    Args:
        tokens: the response, one text piece per token; spaces around a piece are not shown.
        weights: one per token, >= 0.
        title: which response it is.
        critical: True on the planted critical tokens, where they are known.
    """
    return Panel(Heatmap(tokens, weights, critical), title=Text(title), title_align="left")


def _visible(token: str) -> str:
    """The token without its spaces, with what a terminal would obey or hide (newlines, escapes) written out."""
    return printable(token.strip(" "), limit=None) or repr(token)

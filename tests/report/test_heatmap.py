"""The heatmap with colour, without it, in ASCII and in a narrow terminal, compared whole."""

from __future__ import annotations

import io

from rich.console import Console

from alignkit.report.heatmap import token_heatmap

TOKENS = ["If", " it", " rains", ",", " take", " a", " red", " umbrella", "\n", "</s>"]
WEIGHTS = [0.2, 0.3, 1.4, 0.0, 0.9, 0.2, 3.0, 4.0, 0.1, 0.4]
CRITICAL = [False] * 6 + [True, True, False, False]


def shown(panel, width=100) -> list[str]:
    console = Console(record=True, width=width, color_system=None, file=io.StringIO())
    console.print(panel)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_whole_without_colour():
    """Largest weight 4: the bar of 1.4 is round(7 x 0.35) = 2, of 3.0 round(5.25) = 5, of 0.9 round(1.575) = 2."""
    assert shown(token_heatmap(TOKENS, WEIGHTS, title="chosen [0]", critical=CRITICAL), width=72) == [
        "╭─ chosen [0] ─────────────────────────────────────────────────────────╮",
        "│ If▁ it▂ rains▃ ,▁ take▃ a▁ _red_▆ _umbrella_█ \\n▁ </s>▂              │",
        "│                                                                      │",
        "│ weights: min 0.00, mean 1.05, max 4.00                               │",
        "│ largest: umbrella 4.00, red 3.00, rains 1.40, take 0.90, </s> 0.40   │",
        "╰──────────────────────────────────────────────────────────────────────╯",
    ]


def test_a_narrow_terminal_breaks_between_tokens_and_cuts_nothing():
    assert shown(token_heatmap(TOKENS, WEIGHTS, title="rejected"), width=40) == [
        "╭─ rejected ───────────────────────────╮",
        "│ If▁ it▂ rains▃ ,▁ take▃ a▁ red▆      │",
        "│ umbrella█ \\n▁ </s>▂                  │",
        "│                                      │",
        "│ weights: min 0.00, mean 1.05, max    │",
        "│ 4.00                                 │",
        "│ largest: umbrella 4.00, red 3.00,    │",
        "│ rains 1.40, take 0.90, </s> 0.40     │",
        "╰──────────────────────────────────────╯",
    ]


def test_an_ascii_terminal_gets_digits():
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii", write_through=True), width=40, color_system=None)
    console.print(token_heatmap(["a", "b", "c"], [0.0, 2.0, 4.0], title="x"))
    assert raw.getvalue().decode("ascii").splitlines()[1] == "| a0 b4 c7                             |"


def coloured(*args, **kwargs) -> str:
    file = io.StringIO()
    console = Console(file=file, width=60, force_terminal=True, color_system="truecolor", no_color=False)
    console.print(token_heatmap(*args, **kwargs))
    return file.getvalue().splitlines()[1]


def test_colour_runs_from_white_to_orange_and_the_planted_are_underlined():
    """Half of the largest weight: (255 + 255) / 2, round(255 - 72.5) = 182 (ties to even), round(255 - 97.5) = 158."""
    line = coloured(["a", "b", "c"], [0.0, 1.0, 2.0], title="x", critical=[False, False, True])
    assert line.startswith(
        "│ \x1b[30;48;2;255;255;255ma\x1b[0m \x1b[30;48;2;255;182;158mb\x1b[0m \x1b[4;30;48;2;255;110;60mc\x1b[0m "
    )


def test_no_color_beats_a_terminal_that_could():
    file = io.StringIO()
    console = Console(file=file, width=30, force_terminal=True, color_system="truecolor", no_color=True)
    console.print(token_heatmap(["a", "b"], [1.0, 1.0], title="x"))
    assert file.getvalue().splitlines()[1] == "│ a█ b█                      │"


def test_what_a_terminal_would_obey_is_written_out():
    assert shown(token_heatmap(["\x1b[2J", " ", "don't", "\t", "é"], [1.0] * 5, title="x"), width=50)[1] == (
        "│ \\e[2J█ ' '█ don't█ \\t█ é█                      │"
    )


def test_all_zero_and_no_tokens():
    assert shown(token_heatmap(["a", "b"], [0.0, 0.0], title="x"), width=46)[1:4] == [
        "│ a▁ b▁                                      │",
        "│                                            │",
        "│ weights: min 0.00, mean 0.00, max 0.00     │",
    ]
    assert shown(token_heatmap([], [], title="x"), width=20)[3] == "│ no tokens        │"
    assert "48;2;255;255;255ma" in coloured(["a"], [0.0], title="x")

"""Cards made in code, for tests of the page."""

from __future__ import annotations

from typing import Any

from alignkit.inspector.cards import Card, cards_of_rows
from alignkit.inspector.subject import Subject

HOSTILE = "</script><img src=x onerror=alert(1)><!--"
"""What must stay text wherever it stands."""


def response(tokens: list[str], weights: list[float], logp: list[float], **more: Any) -> dict[str, Any]:
    """A response of a line of `token_rows.jsonl`; its reference is -1 at each token."""
    length = len(tokens)
    columns = {"weight": weights, "logp": logp, "reference": [-1.0] * length, "entropy": [0.5] * length}
    ids = more.pop("ids", [hash(token) % 900 for token in tokens])
    return {"tokens": tokens, "ids": ids, "forms": {}, "cut": False, **columns, **more}


def line(row: int, chosen: dict[str, Any], rejected: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A line of `token_rows.jsonl`."""
    said = {"where": f"data/pairs.jsonl:{row + 1}", "prompt": f"Prompt {row}?", "cut": []}
    return {"row": row, **said, "responses": {"chosen": chosen, "rejected": rejected}, **more}


def moments() -> dict[str, list[dict[str, Any]]]:
    """Three rows before and after training; margins after it are 2, -1 and 0.5, before it 0."""
    before, after = [], []
    words = (["Take", " two", " pills", "."], ["See", " a", " doctor", "."])
    margins = (2.0, -1.0, 0.5)
    for row, margin in enumerate(margins):
        ids = ([1, 2, 3, 9], [4, 5, 6, 9])
        flat = [[-1.0] * 4, [-1.0] * 4]
        moved = [[-1.0, -1.0, -1.0 + margin, -1.0], [-1.0] * 4]
        weights = [[0.5, 0.5, 2.5, 0.5], [1.0, 0.4, 1.6 - 0.2 * row, 1.0 + 0.2 * row]]
        planted = {"critical": [0, 0, 1, 0]}
        for lines, logps in ((before, flat), (after, moved)):
            sides = [response(words[side], weights[side], logps[side], ids=ids[side], **planted) for side in (0, 1)]
            lines.append(line(row, *sides, cut=["chosen"] if row == 2 else []))
    return {"before": before, "after": after}


def cards() -> list[Card]:
    """The cards of these rows; the first has been answered."""
    samples = {"before": [{"row": 0, "response": "said before"}], "after": [{"row": 0, "response": "said after"}]}
    return cards_of_rows(moments(), samples)


def subject(shown: list[Card] | None = None) -> Subject:
    """A page about them."""
    log = [
        {"step": float(step), "loss": 1 / step, "rewards/chosen": step / 10, "rewards/rejected": -step / 10}
        for step in (1, 2, 3)
    ]
    facts = [("recipe", "sha256 abc"), ("seed", "0")]
    results = [("margin, nats", "0.000", "0.500 +-0.1", "+0.500 +-0.1")]
    return Subject(
        "a run",
        facts,
        "losses: dpo\n",
        "It rose.",
        ["Read samples."],
        results,
        log,
        cards() if shown is None else shown,
    )


def hostile() -> list[Card]:
    """Texts that want to be markup, to hide or to be endless."""
    tokens = [HOSTILE, "\u202eabc\u2066", "x" * 100_000, "\ud800", "\x00\x1b[31m", "\n\t", ""]
    one = response(tokens, [0.5, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0], [-1.0] * 7, ids=[*range(7)], forms={"6": HOSTILE})
    said = line(0, one, one, prompt=HOSTILE + "\ud800\u202e", where=f"{HOSTILE}.jsonl:1")
    return cards_of_rows({"before": [said], "after": [said]}, {"after": [{"row": 0, "response": HOSTILE}]})

"""Every row that docs/data.md shows is read, by the trainers that it is shown for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
RESPONSES = {
    "preference": ("chosen", "rejected"),
    "unpaired": ("completion",),
    "sft": ("chosen",),
    "on_policy": (),
}


def shown() -> list[tuple[str, str]]:
    """(trainer, JSON line) for each trainer that a section's title names."""
    found = []
    for section in PAGE.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        trainers = [name for name in RESPONSES if f"`{name}`" in title] or ["preference"]
        found += [(name, line) for line in re.findall(r"```json\n(.*)\n```", text) for name in trainers]
    return found


def test_all_are_found() -> None:
    """Four pairs for three trainers, three labelled, single and prompts, one with a system message or more."""
    assert len(shown()) == 4 * 3 + 3 + 3 + 3 + 1 + 1


@pytest.mark.parametrize(("trainer", "line"), shown())
def test_a_row_is_read(trainer: str, line: str, write, load, make_bytes, templates) -> None:
    row = json.loads(line)
    rows = [row, {**row, "label": not row["label"]}] if "label" in row else [row]
    wanted = RESPONSES[trainer] + (("gold",) if "gold" in row else ())
    tokenizer = make_bytes(bos=True, template=templates["chatml"])
    tables = load(write("a.jsonl", rows), responses=wanted, tokenizer=tokenizer)
    assert len(tables.train) == len(rows) * (2 if trainer == "unpaired" and "label" not in row else 1)
    assert all(set(one.responses) == set(wanted) for one in tables.train)

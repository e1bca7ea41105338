"""docs/use-a-model.md: its commands run from top to bottom in an empty folder and say what the page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from alignkit.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "use-a-model.md"
NUMBER = re.compile(r"\d[\d,.e+-]*|'/.*'")


def test_the_commands_say_what_the_page_shows(tmp_path, monkeypatch, capsys):
    """Numbers may differ from machine to machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    blocks = re.findall(r"^```(sh|text|json)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    Path("asked.jsonl").write_text(next(text for kind, text in blocks if kind == "json"))
    assert [kind for kind, _ in blocks].count("sh") == 5
    for kind, text in blocks:
        if kind == "sh":
            with pytest.raises(SystemExit) as caught:
                main(shlex.split(text)[1:])
            said = capsys.readouterr()
            assert caught.value.code == 0, said.err
        elif kind == "text":
            assert NUMBER.sub("N", said.out) == NUMBER.sub("N", text)

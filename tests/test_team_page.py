"""The commands of docs/team-recipes.md, run one after the other in an empty folder, print what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "team-recipes.md"
MARK = "--- block ---"
START = f"""set -euo pipefail
alignkit() {{ {sys.executable} -m alignkit "$@"; }}
"""


def blocks() -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [(language, text) for language, text in found]


def test_every_block_of_commands_is_followed_by_what_it_prints() -> None:
    languages = [language for language, _ in blocks()]
    assert languages == ["sh", "text"] * (len(languages) // 2)


@pytest.mark.slow
def test_the_walk(tmp_path: Path) -> None:
    commands = [text for language, text in blocks() if language == "sh"]
    script = START + "".join(f"{text}echo '{MARK}'\n" for text in commands)
    who = {f"GIT_{role}_{what}": "test" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = os.environ | who | {"XDG_CONFIG_HOME": str(tmp_path / "config"), "COLUMNS": "120"}
    walk = tmp_path / "walk"
    walk.mkdir()
    done = subprocess.run(
        ["bash", "-c", script], cwd=walk, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    printed = [part.strip("\n") for part in done.stdout.split(f"{MARK}\n")]
    outputs = [text for language, text in blocks() if language == "text"]
    for text, expected, got in zip(commands, outputs, printed, strict=False):
        pattern = re.escape(expected.strip("\n")).replace(r"\.\.\.", ".*?")
        assert re.fullmatch(pattern, got, re.DOTALL), f"{text}\nprinted:\n{got}\nthe page has:\n{expected}"

"""docs/performance.md: the tables in it are those of the JSON files in benchmarks/results, and nothing else.

    python benchmarks/pricing/page.py

writes them anew between lines `<!-- result: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pricing.tables import markdown

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/performance.md"
RESULTS = ROOT / "benchmarks/results"
PLACE = re.compile(r"<!-- result: (?P<name>\S+) -->\n.*?<!-- end -->", re.DOTALL)


def filled(text: str, results: Path = RESULTS) -> str:
    """The page with the tables of `results`; where there is no file, a line says so."""

    def table(found: re.Match[str]) -> str:
        name, file = found["name"], results / f"{found['name']}.json"
        body = markdown(json.loads(file.read_text())) if file.exists() else "Not measured."
        return f"<!-- result: {name} -->\n\n{body}\n\n<!-- end -->"

    return PLACE.sub(table, text)


def named(text: str) -> set[str]:
    """The results that the page shows."""
    return {found["name"] for found in PLACE.finditer(text)}


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))

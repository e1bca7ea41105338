"""Run folders whose recipe names files of a library or of one machine, read where these are others or gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from alignkit.authoring import SMOKE

ROWS = "".join(
    json.dumps({"prompt": f"q{n} ", "chosen": f"good {n}", "rejected": f"bad {n}"}) + "\n" for n in range(16)
)
OWN = ("model=", "data.")  # the rows are not those of the world
QUICK = [
    word for one in (*(one for one in SMOKE if not one.startswith(OWN)), "data.holdout=4") for word in ("--set", one)
]


@pytest.fixture
def recorded(project, acme, alignkit):
    """The project of a run on data of acme 2.0."""
    more = {
        "d.jsonl": ROWS,
        "r.yaml": "# R.\nextends: base.yaml\nmodel: {name: scratch, layers: 1, width: 16, heads: 2}\n",
    }
    more["r.yaml"] += "data: {train: 'acme:d.jsonl', world: null, eval: null}\n"
    acme.release("2.0", more)
    assert alignkit("library", "add", "acme", acme.url, "--rev", "v2.0")[0] == 0
    assert alignkit("run", "acme:r", "--output", "one", *QUICK)[0] == 0
    return project


def test_a_run_on_data_of_a_library_that_was_updated_or_is_gone(recorded, acme, alignkit):
    acme.release("2.1", {"d.jsonl": ROWS + ROWS})
    assert alignkit("library", "update", "acme", "--to", "v2.1")[0] == 0
    code, told, _ = alignkit("reproduce", "one", "--check")
    (library, data) = told.splitlines()[:2]
    assert (code, library.startswith("library acme: 2.0 (v2.0, "), " now" in data) == (1, True, True)
    text = Path("one/recipe.yaml").read_text().replace("acme:d.jsonl", "path:hh")
    Path("two").mkdir()
    Path("two/recipe.yaml").write_text(text)
    shutil.rmtree(".alignkit")
    said = "data.train: acme:d.jsonl (one/recipe.yaml:16) -> path:hh (two/recipe.yaml:16)\n"
    assert alignkit("diff", "one", "two") == (1, said, "")
    code, _, errors = alignkit("reproduce", "one", "--check")
    assert (
        code,
        errors.endswith("no copy of library acme 2.1 is here; run 'alignkit library sync', which gets it\n"),
    ) == (2, True)

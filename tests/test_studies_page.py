"""docs/studies.md: what its generator makes of sweep folders, and that it names every study that makes claims."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "studies.md"
STUDIES = ROOT / "recipes" / "studies"


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_studies", ROOT / "docs" / "build_studies.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


CLAIM = {
    "name": "a is better",
    "paper": "Table 1",
    "metric": "true_reward",
    "of": "a",
    "than": "b",
    "where": {"data.label_noise": 0.4},
    "minus": {"data.label_noise": 0.0},
    "value": 0.0123,
    "low": -0.004,
    "high": 0.0286,
    "seeds": 2,
    "words": "cannot tell (smallest visible effect 0.02)",
}
VALUES = {"true_reward": {"value": 0.7, "high": 0.75}, "distinct_2": {"value": 0.005, "high": None}}
TABLE = {
    "measures": ["true_reward", "kl", "distinct_2"],
    "rows": [{"arm": "a", "settings": {"data.label_noise": 0.4}, "seeds": [0, 1], "values": VALUES}],
    "claims": [CLAIM],
}
TASK = {"task": "maths", "scale": "largest 1", "responses": 8, "tokens": 104.2, "quartiles": [0.1, 0.123, 0.19]}


def test_what_is_made_of_folders(builder, tmp_path) -> None:
    for name, table in (("label_noise", TABLE), ("weights_by_task", {"tasks": [TASK], "claims": []})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "table.json").write_text(json.dumps(table))
    assert list(builder.results(tmp_path))[2:] == [
        "| label_noise | a is better | Table 1 | true_reward, a - b, label_noise 0.4 less that at 0: +0.012 | -0.0040 "
        "to +0.029 | 2 | **cannot tell (smallest visible effect 0.02)** |",
        "",
        "Not run: diversity, ablations, lambda.",
        "",
        "### label_noise",
        "",
        "| arm | data.label_noise | seeds | true_reward | distinct_2 |",
        "|---|---|---|---|---|",
        "| a | 0.4 | 2 | 0.700 +-0.050 | 0.0050 |",
        "",
        "### weights_by_task",
        "",
        "| pairs | scale | responses | mean tokens | quartiles here | the paper's |",
        "|---|---|---|---|---|---|",
        "| maths | largest 1 | 8 | 104 | 0.10, 0.12, 0.19 | .22, .33, .45 |",
    ]


def test_all_studies_with_claims_are_told(builder) -> None:
    with_claims = {path.stem for path in STUDIES.glob("*.yaml") if "claims" in yaml.safe_load(path.read_text())}
    assert with_claims | {"weights_by_task"} == set(builder.STUDIES)
    text = PAGE.read_text()
    assert text.count(builder.BEGIN) == text.count(builder.END) == 1
    assert all(f"recipes/studies/{name}.yaml" in text for name in with_claims)

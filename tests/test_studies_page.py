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


def module(name: str) -> ModuleType:
    """A script of docs/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    return module("build_studies")


@pytest.fixture(scope="module")
def screen() -> ModuleType:
    return module("build_screen")


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


def test_the_screen_on_the_page_is_that_of_the_results(screen) -> None:
    inside = PAGE.read_text().partition(f"{screen.BEGIN}\n\n")[2].partition(screen.END)[0]
    assert inside == "\n".join([*screen.section(), ""])


@pytest.mark.parametrize("name", ["screen_default", "screen_spurious"])
def test_the_results_are_those_of_the_sweep_file(screen, name) -> None:
    assert name in screen.WORLDS and (PAGE.parent / f"{name}.svg").read_text().startswith("<svg")
    frontier = json.loads((screen.RESULTS / f"{name}.json").read_text())["frontier"]
    sweep = yaml.safe_load((STUDIES / f"{name}.yaml").read_text())
    wanted = {(arm, beta) for arm, one in sweep["arms"].items() for beta in one["grid"]["losses.0.beta"]}
    assert {(one["arm"], one["settings"]["losses.0.beta"]) for one in frontier["points"]} == wanted
    assert len(frontier["points"]) == len(wanted) and frontier["left_out"] == []
    assert frontier["seeds"] == sweep["seeds"] and frontier["base"] == "dpo"


def test_how_the_screen_is_told(screen) -> None:
    """A point's row, a frontier that does not reach, and one that shares no KL with DPO."""
    interval = {"value": 0.7, "low": 0.65, "high": 0.75}
    settings = {"losses.0.beta": 2.4}
    curve = {"cost": [0.1, 0.4], "reward": [0.6, 0.8], "low": [0.5, 0.7], "high": [0.7, 0.9]}
    point = {"arm": "dpo", "settings": settings, "reward": interval, "cost": interval, "efficiency": None}
    side = {"arm": "dpo", "settings": settings, "kl_elsewhere": 0.0123, "malformed": 0.01, "sample_tokens": 25.04}
    frontier = {"base": "dpo", "start": 0.5, "arms": [{"arm": "dpo", "curve": curve}], "areas": [], "apart": ["far"]}
    assert [*screen._points(frontier | {"points": [point]}, [side])][2:] == [
        "| dpo | 2.4 | 0.700 +-0.050 | 0.700 +-0.050 | - | 0.012 | 0.010 | 25.0 |"
    ]
    (row,) = [line for line in screen._curves(frontier) if line.startswith("| dpo")]
    assert row == "| dpo | 0.658 (0.558 to 0.758) | 0.758 (0.658 to 0.858) | - |"
    assert [*screen._areas(frontier)][-1] == "| far | no KL in common | - | - | - | - |"

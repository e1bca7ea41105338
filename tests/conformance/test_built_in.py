"""Every built-in component keeps what its kind promises."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import datasets
import math_stand_in
import pytest
from engine_toy import llama
from vllm_stand_in import serving

from alignkit.conformance import check_component
from alignkit.conformance.kit import CHECKS
from alignkit.models.world import FOLDER
from alignkit.quiet import quiet_libraries
from alignkit.recipe.kinds import KINDS

PARAMETERS = {
    ("pair_weighting", "column"): {"column": "trust"},
    ("contrast", "dpo"): {"steps": 1},
    ("contrast", "sft"): {"steps": 1},
    ("contrast", "prompts"): {"positive": "good", "negative": "bad"},
    ("model", "pretrained"): {"path": str(FOLDER)},
    ("reward", "constraints"): {"column": "constraints", "ends_with": "42"},
    ("reward", "length"): {"max": 80},
    ("reward", "regex"): {"pattern": "[0-9]+"},
    ("sampler", "generate"): {"responses": 2, "max_new_tokens": 16},
    ("source", "file"): {"path": "pairs.jsonl"},
    ("source", "hub"): {"id": "owner/pairs"},
    ("source", "world"): {"pairs": 4, "eval_pairs": 2},
}
"""Of those that need some, or are slow without."""

ASKED_BELOW = ("vllm",)
"""Needs a server."""

ROWS = [{"prompt": f"Q{n}:", "chosen": " yes", "rejected": " no"} for n in range(4)]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, registry in KINDS.items() for name in registry.classes() if name not in ASKED_BELOW],
)
def test_it_keeps_its_promises(kind, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    monkeypatch.setattr("gc.collect", lambda *_: 0)  # half a second for each model that is trained on the side
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: datasets.Dataset.from_list(ROWS))
    monkeypatch.setitem(sys.modules, "math_verify", math_stand_in)  # the real one is asked in tests/rewards
    component = KINDS[kind].build(name, PARAMETERS.get((kind, name), {}))
    with quiet_libraries():
        check_component(component)


def test_a_sampler_that_asks_a_server_keeps_its_promises(tmp_path):
    with serving(llama(seed=9)) as server:
        parameters = {"url": server.url, "weights": str(tmp_path), "responses": 2, "max_new_tokens": 6}
        check_component(KINDS["sampler"].build("vllm", parameters))


def test_every_kind_has_promises_of_its_own():
    assert CHECKS.keys() == KINDS.keys()
    assert all(check.__doc__ for checks in CHECKS.values() for check in checks)

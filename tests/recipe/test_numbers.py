"""No number of any component or section is taken for its equal of another type, or is beyond what training computes."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import ValidationError

from alignkit.errors import RecipeError
from alignkit.models.scratch import Scratch
from alignkit.recipe.kinds import KINDS
from alignkit.recipe.load import load_recipe
from alignkit.recipe.parts import parts
from alignkit.recipe.recipe import Recipe
from alignkit.registry import Section

CLASSES = {part.cls for part in parts(Recipe, None)} | {
    cls for registry in KINDS.values() for cls in registry.classes().values()
}


def refused(cls: type[Section], key: str, value: object) -> bool:
    try:
        cls.model_validate({key: value})
    except ValidationError as error:
        return any(problem["loc"][:1] == (key,) for problem in error.errors() if problem["type"] != "missing")
    except TypeError:  # a check of the whole that leans on a missing key
        return False
    return False


@pytest.mark.parametrize("cls", sorted(CLASSES, key=repr), ids=lambda cls: cls.__name__)
def test_every_field(cls):
    for key, field in cls.model_fields.items():
        if "bool" not in str(field.annotation):
            assert refused(cls, key, True), key
        for extreme in (10**31, -(10**31), 1e31, -1e31, 1e-31, [1e-31, 2.0], [1.0, 1e31]):
            assert refused(cls, key, extreme), (key, extreme)


class Choice(Section):
    """One of each."""

    number: Literal[1, 2] = 1
    flag: Literal["auto", False] = "auto"
    either: int | Literal["all"] = "all"
    ratio: float = 0.0


@pytest.mark.parametrize("given", [{"number": True}, {"number": 1.0}, {"flag": 0}, {"either": True}, {"ratio": False}])
def test_equal_is_not_the_same(given):
    with pytest.raises(ValidationError):
        Choice.model_validate(given)


def test_what_is_meant_is_taken():
    given = {"number": 2, "flag": False, "either": 3, "ratio": 1}
    assert Choice.model_validate(given).model_dump() == given


RECIPE = "model: scratch\ndata: {train: 'builtin:world'}\nlosses: [dpo]\ntrainer: preference\n"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("losses=[{name: tdpo, version: true}]", "losses.0.version: expected one of: 1, 2, got true"),
        ("losses=[{name: tdpo, version: 2.0}]", "losses.0.version: expected one of: 1, 2, got 2.0 (a number)"),
        (f"seed={10**20}", f"seed: must be at most 1e+18, got {10**20}"),
        ("losses.0.beta=1e300", "losses.0.beta: must be at most 1e+30, got 1e+300"),
        (
            "evaluation.temperature=1e-300",
            "evaluation.temperature: must be 0 or at least 1e-30 in size, got 1e-300",
        ),
        ("weighting={name: uniform, clip: [0, 1e31]}", "weighting.clip: must be at most 1e+30, got [0, 1e+31]"),
        ("model.adapter={rank: 100000}", "model.adapter.rank: must be at most 8192, got 100000"),
        ("model.layers=1000000000", "model.layers: must be at most 256, got 1000000000"),
        (f"model.vocab_size=1{'0' * 299}", f"model.vocab_size: must be at most 1e+06, got 1{'0' * 41}...{'0' * 15}"),
        (
            "model={name: scratch, layers: 200, width: 16384}",
            "model: layers, width and vocab_size must be smaller: about 644.3 billion parameters; a model from scratch "
            "has at most 4 billion",
        ),
    ],
)
def test_messages(tmp_path, override, message):
    (tmp_path / "r.yaml").write_text(RECIPE)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "r.yaml", [override])
    assert [f"{problem.key}: {problem.message}" for problem in caught.value.problems] == [message]


def test_the_largest_models_that_laptops_train_are_allowed():
    assert Scratch(name="scratch", layers=32, width=2048, heads=16, vocab_size=32_000).layers == 32

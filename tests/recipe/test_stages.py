"""Several recipes in one file: what a stage is made of, who said each value, and what is no pipeline."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from alignkit.cli import main
from alignkit.errors import RecipeError
from alignkit.recipe.load import load_recipe
from alignkit.recipe.pipeline import load, load_pipeline
from alignkit.recipe.schema import recipe_schema

FILES = {
    "world": "model: {name: world}\ndata: {train: 'builtin:world'}\ntraining: {steps: 100, warmup: 0.3}\n",
    "sft": "losses: [sft]\ntrainer: sft\ntraining: {steps: 200}\n",
    "dpo": "losses:\n  - {name: dpo, beta: 1.0}\n  - {name: triplet, coefficient: 0.1}\ntrainer: preference\n",
    "both": """\
extends: world.yaml
seed: 3
training.log_every: 5
stages:
  sft:
    extends: sft.yaml
    training.warmup: 0.2
  dpo:
    extends: dpo.yaml
    seed: 4
    model: {name: pretrained, path: stage:sft}
    losses.dpo.beta: 0.5
    ~losses.triplet:
""",
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(f"{name}.yaml").write_text(text)


def child(lines):
    Path("child.yaml").write_text(f"extends: both.yaml\n{lines}\n")
    return "child.yaml"


def complaint(path, *overrides):
    with pytest.raises(RecipeError) as caught:
        load(path, overrides)
    return str(caught.value)


def values(pipeline, key):
    """The value and its origin in each stage."""
    found = {}
    for name in pipeline.stages:
        at = pipeline.tree()["stages"][name]
        for step in key.split("."):
            at = at[int(step) if isinstance(at, list) else step]
        found[name] = (at, pipeline.origins[f"stages.{name}.{key}"])
    return found


# --- composition ---


def test_a_stage_is_what_all_share_with_its_own_on_top():
    both = load_pipeline("both.yaml")
    assert list(both.stages) == ["sft", "dpo"]
    assert values(both, "seed") == {"sft": (3, "both.yaml:2"), "dpo": (4, "both.yaml:10")}
    assert values(both, "training.steps") == {"sft": (200, "sft.yaml:3"), "dpo": (100, "world.yaml:3")}
    assert values(both, "training.log_every") == dict.fromkeys(("sft", "dpo"), (5, "both.yaml:3"))
    assert values(both, "training.warmup") == {"sft": (0.2, "both.yaml:7"), "dpo": (0.3, "world.yaml:3")}
    assert values(both, "losses.0.name") == {"sft": ("sft", "sft.yaml:1"), "dpo": ("dpo", "dpo.yaml:2")}
    assert both.origins["stages.dpo.losses.0.beta"] == "both.yaml:12"
    assert len(both.stages["dpo"].recipe.losses) == 1


def test_a_files_own_keys_win_over_what_it_and_its_stages_extend():
    """`seed` at the top of a file is said by that file, `seed` in what its stage extends by another one."""
    Path("sft.yaml").write_text(FILES["sft"] + "seed: 9\n")
    assert values(load_pipeline("both.yaml"), "seed")["sft"] == (3, "both.yaml:2")


def test_a_recipe_that_extends_a_pipeline_is_the_next_layer():
    lines = "training.steps: 7\nstages.dpo.losses.0.beta: 0.2\nstages:\n  sft: {training.steps: 8, seed: 1}"
    found = load_pipeline(child(lines))
    assert values(found, "training.steps") == {"sft": (8, "child.yaml:5"), "dpo": (7, "child.yaml:2")}
    assert values(found, "seed") == {"sft": (1, "child.yaml:5"), "dpo": (4, "both.yaml:10")}
    assert found.origins["stages.dpo.losses.0.beta"] == "child.yaml:3"


def test_a_stage_is_added_and_another_taken_away():
    lines = "~stages.sft:\nstages.dpo.model: world\nstages:\n  ipo: {extends: dpo.yaml, losses: [ipo]}"
    found = load_pipeline(child(lines))
    assert list(found.stages) == ["dpo", "ipo"]
    assert values(found, "seed") == {"dpo": (4, "both.yaml:10"), "ipo": (3, "both.yaml:2")}
    assert found.stages["ipo"].recipe.losses[0].name == "ipo"


def test_set_is_the_last_layer():
    found = load_pipeline("both.yaml", ["stages.dpo.training.steps=3", "training.warmup=0", "stages.sft.seed=6"])
    assert values(found, "training.warmup") == dict.fromkeys(("sft", "dpo"), (0.0, "--set training.warmup=0"))
    assert values(found, "training.steps")["dpo"] == (3, "--set stages.dpo.training.steps=3")
    assert values(found, "seed") == {"sft": (6, "--set stages.sft.seed=6"), "dpo": (4, "both.yaml:10")}
    last = load_pipeline("both.yaml", ["stages.dpo.training.steps=3", "training.steps=2"])
    assert values(last, "training.steps") == dict.fromkeys(("sft", "dpo"), (2, "--set training.steps=2"))


def test_what_all_stages_share_may_be_a_pipeline_and_a_recipe():
    Path("more.yaml").write_text("seed: 12\n")
    Path("child.yaml").write_text("extends: [both.yaml, more.yaml]\n")
    assert values(load_pipeline("child.yaml"), "seed") == dict.fromkeys(("sft", "dpo"), (12, "more.yaml:1"))


def test_what_is_shown_loads_again_as_the_same_pipeline():
    both = load_pipeline("both.yaml")
    for origin in (False, True):
        Path("again.yaml").write_text(both.to_yaml(origin))
        again = load_pipeline("again.yaml")
        assert [one.recipe for one in again.stages.values()] == [one.recipe for one in both.stages.values()]
    assert "path: stage:sft" in both.to_yaml() and "# both.yaml:11" in both.to_yaml(origin=True)


# --- mistakes ---


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "training.stepz: 1",
            "child.yaml:2: training.stepz: unknown key; did you mean 'steps'? known keys: batch_size, ",
        ),
        (
            "stages.dpo.losses.0.betta: 1",
            "child.yaml:2: stages.dpo.losses.0.betta: unknown key; did you mean 'beta'? known keys: beta, ",
        ),
        (
            "losses.dpo.beta: 1",
            "child.yaml:2: stages.sft.losses: no item is called 'dpo'; the list has sft; an index (0) will do too",
        ),
        (
            "stages.dpp.seed: 1",
            "child.yaml:2: stages.dpp.seed: there is no stage 'dpp'; did you mean 'dpo'? stages: sft, dpo",
        ),
        (
            "~stages.sft:",
            "both.yaml:11: stages.dpo.model.path: there is no stage 'sft'; no stage is earlier than this one",
        ),
        (
            "stages.sft.model: {name: pretrained, path: stage:dpo}",
            "child.yaml:2: stages.sft.model.path: stage 'dpo' runs later; no stage is earlier than this one",
        ),
        (
            "stages.dpo.model.path: stage:dpo",
            "child.yaml:2: stages.dpo.model.path: a stage cannot begin with its own result; earlier stages: sft",
        ),
        (
            "stages.dpo.model: stage:sft",
            "child.yaml:2: stages.dpo.model: unknown model 'stage:sft'; the result of a stage is written {name: "
            "pretrained, path: stage:sft}; known: pretrained, scratch, world",
        ),
        (
            "stages: {sft: {seed: 1, training: {steps: 2}, training.steps: 3}}",
            "child.yaml:2: stages.sft.training.steps: given twice; first on line 2",
        ),
        (
            "stages: {sft: {seed: 1}}\nstages.sft.seed: 2",
            "child.yaml:3: stages.sft.seed: given twice; first on line 2",
        ),
        ("stages: [sft]", "child.yaml:2: stages: expected a mapping of names to what each stage says, got ['sft']"),
        ("stages: {sft: 3}", "child.yaml:2: stages.sft: expected a mapping of a recipe's keys, got 3"),
        (
            "stages: {a/b: {}}",
            "child.yaml:2: stages: 'a/b' cannot be the name of a stage; take a letter, then letters, digits, '_' and "
            "'-'",
        ),
        ("stages: {sft: {stages: {}}}", "child.yaml:2: stages.sft.stages: a stage has none itself"),
        (
            "stages.sft: {extends: dpo.yaml}",
            "child.yaml:2: stages.sft.extends: can only stand under 'stages:' of a recipe file",
        ),
        (
            "stages: {sft: {extends: both.yaml}}",
            "child.yaml:2: extends: 'both.yaml' has stages itself; a stage extends single recipes",
        ),
        (
            "stages: {sft: {extends: child.yaml}}",
            "child.yaml:2: extends: goes in a circle: child.yaml -> child.yaml",
        ),
        ("stages: {sft: {extends: dpoo.yaml}}", "child.yaml:2: extends: no file 'dpoo.yaml'; did you mean 'dpo.yaml'?"),
    ],
)
def test_mistakes_are_placed_and_named_by_their_stage(lines, message):
    said = complaint(child(lines))
    assert said == message or (message.endswith(", ") and said.startswith(message)), said
    assert "\n" not in said


def test_a_mistake_in_what_all_share_is_told_once_and_others_each():
    said = complaint("both.yaml", "seed=-1", "stages.dpo.training.steps=0", "stages.sft.training.steps=0")
    assert said.splitlines() == [
        "--set seed=-1: seed: must be at least 0, got -1",
        "--set stages.dpo.training.steps=0: stages.dpo.training.steps: must be greater than 0, got 0",
        "--set stages.sft.training.steps=0: stages.sft.training.steps: must be greater than 0, got 0",
    ]


def test_parts_that_do_not_fit_are_named_by_their_stage():
    said = complaint(child("stages.dpo.trainer: sft"))
    assert said.startswith("dpo.yaml:2: stages.dpo.losses.0.name: 'dpo' is a loss of ")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.dpo.extends=x.yaml", "stages.dpo.extends: can only stand under 'stages:' of a recipe file"),
        ("stages.dpo={extends: x.yaml}", "stages.dpo.extends: can only stand under 'stages:' of a recipe file"),
        ("extends=x.yaml", "'extends' can only stand in a recipe file"),
        ("stages={}", "stages: name one of the stages: stages.NAME, or stages.NAME.KEY"),
        ("~stages", "~stages: name one of the stages: stages.NAME, or stages.NAME.KEY"),
        ("stages.sftt.seed=1", "stages.sftt.seed: there is no stage 'sftt'; did you mean 'sft'? stages: sft, dpo"),
    ],
)
def test_what_set_cannot_do(override, message):
    assert complaint("both.yaml", override) == f"--set {override}: {message}"


def test_the_last_stage_stays_and_a_recipe_has_none():
    gone = complaint("both.yaml", "~stages.dpo", "~stages.sft")
    assert gone == "--set ~stages.sft: ~stages.sft: the last stage cannot be taken away"
    Path("one.yaml").write_text("extends: [world.yaml, dpo.yaml]\n")
    said = complaint("one.yaml", "stages.dpo.seed=1")
    assert said == "--set stages.dpo.seed=1: stages.dpo.seed: this recipe has no stages"


def test_one_recipe_and_several_are_not_taken_for_each_other():
    with pytest.raises(RecipeError, match=r"^'both.yaml' has the stages sft, dpo; one recipe is expected "):
        load_recipe("both.yaml")
    Path("one.yaml").write_text("extends: [world.yaml, dpo.yaml]\n")
    with pytest.raises(RecipeError, match=r"^'one.yaml' has no stages; alignkit.load_recipe loads it$"):
        load_pipeline("one.yaml")


# --- what a pipeline may make us read ---


def test_stages_and_what_is_in_them_are_counted():
    names = ", ".join(f"s{number}: {{}}" for number in range(21))
    assert complaint(child(f"stages: {{{names}}}")) == "child.yaml:2: stages: more than 20 stages"
    more = ", ".join(f"s{number}: {{}}" for number in range(19))
    assert complaint(child(f"stages: {{{more}}}")) == "child.yaml:1: stages: more than 20 stages"
    Path("world.yaml").write_text(FILES["world"] + f"extra: [{', '.join(['0'] * 11_000)}]\n")
    assert complaint("both.yaml") == "both.yaml:1: stages: hold more than 20000 values together"


def test_what_would_be_said_to_every_stage_is_counted_before_it_costs_anything():
    keys = "".join(f"training.k{number}: {{a: 1, b: 2}}\n" for number in range(4_900))
    Path("many.yaml").write_text(f"extends: both.yaml\n{keys}")
    began = time.process_time()
    assert complaint("many.yaml") == "many.yaml:1: stages: hold more than 20000 values together"
    assert time.process_time() - began < 3


def test_the_files_of_stages_count_with_all_others():
    extends = f"[{', '.join(['dpo.yaml'] * 60)}]"
    said = complaint(child(f"stages: {{sft: {{extends: {extends}}}, dpo: {{extends: {extends}}}}}"))
    assert said == (
        "child.yaml:2: extends: more than 100 files are named under 'extends', over all files of the recipe"
    )


# --- the command line ---


@pytest.fixture
def alignkit(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        return caught.value.code, *capsys.readouterr()

    return run


def test_validate_says_what_each_stage_is(alignkit):
    code, out, err = alignkit("validate", "both.yaml")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "ok: both.yaml: stage sft: trainer sft, losses sft, weighting uniform, model world, data builtin:world",
        "ok: both.yaml: stage dpo: trainer preference, losses dpo, weighting uniform, model pretrained, data "
        "builtin:world",
    ]
    code, out, err = alignkit("validate", "both.yaml", "--set", "data.train=gone.jsonl")
    assert (code, out) == (2, "")
    said = "data.train: no file 'gone.jsonl'; give a file, a Hub data set (owner/name) or builtin:world"
    assert err.splitlines() == [f"--set data.train=gone.jsonl: stages.{name}.{said}" for name in ("sft", "dpo")]


def test_diff_compares_stage_by_stage(alignkit):
    lines = "stages.dpo.losses.0.beta: 0.2\nstages:\n  more: {losses: [dpo], trainer: preference}"
    code, out, err = alignkit("diff", "both.yaml", child(lines))
    first, second = out.splitlines()
    assert (code, err) == (1, "")
    assert first == "stages.dpo.losses.dpo.beta: 0.5 (both.yaml:12) -> 0.2 (child.yaml:2)"
    assert second.startswith("stages.more: absent -> {seed: 3, ") and second.endswith(" (child.yaml:4)")
    assert alignkit("diff", "both.yaml", "both.yaml") == (0, "", "")


def test_a_recipe_and_a_pipeline_have_nothing_in_common(alignkit):
    Path("one.yaml").write_text("extends: [world.yaml, dpo.yaml]\n")
    code, out, err = alignkit("diff", "one.yaml", "both.yaml")
    lines = out.splitlines()
    assert (code, err) == (1, "") and lines[0] == "seed: 0 (default) -> absent"
    assert lines[-1].startswith("stages: absent -> {sft: {") and lines[-1].endswith(" (both.yaml:5)")


def test_another_order_is_a_difference(alignkit):
    shared = "extends: [world.yaml, dpo.yaml]\nstages: {"
    Path("ab.yaml").write_text(f"{shared}a: {{}}, b: {{}}}}\n")
    Path("ba.yaml").write_text(f"{shared}b: {{}}, a: {{}}}}\n")
    assert alignkit("diff", "ab.yaml", "ba.yaml")[:2] == (1, "stages: [a, b] -> [b, a]\n")


# --- editors ---


def test_the_schema_knows_what_a_stage_may_say():
    schema = recipe_schema()
    stages, stage = schema["properties"]["stages"], schema["$defs"]["stage"]
    ((pattern, reference),) = stages["patternProperties"].items()
    assert reference == {"$ref": "#/$defs/stage"} and stages["maxProperties"] == 20
    assert [bool(re.search(pattern, name)) for name in ("dpo-2", "a/b", "2", "x" * 65)] == [True, False, False, False]
    assert schema["properties"].keys() - stage["properties"].keys() == {
        "$schema",
        "schema",
        "deprecated",
        "requires",
        "stages",
    }
    assert all(schema["properties"][key] == value for key, value in stage["properties"].items())
    assert stage["patternProperties"] == schema["patternProperties"]

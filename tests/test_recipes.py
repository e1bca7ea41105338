"""Every shipped recipe: it loads, its head tells how to run it, it differs from its base as it says, and it trains."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alignkit import run
from alignkit.contrasts.base import TrainedContrast
from alignkit.pipeline import run_pipeline
from alignkit.recipe.libraries import is_sweep
from alignkit.recipe.load import load_recipe
from alignkit.recipe.pipeline import load_pipeline
from alignkit.recipe.schema import recipe_schema
from alignkit.sweep.config import sweep_schema
from alignkit.sweep.sweep import read

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "recipes"
DATA = ROOT / "tests" / "data"
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml") if not is_sweep(path))
SWEEPS = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml") if is_sweep(path))
PIPELINES = ["world/sft_then_tidpo.yaml"]
RECIPES = [name for name in FILES if not name.startswith("base/") and name not in PIPELINES]

PAIRS = {"hh": "hh_harmless.jsonl.gz", "smollm2": "hh_harmless.jsonl.gz", "gsm8k": "gsm8k_pairs.jsonl.gz"}

SMALL = (
    "training.steps=2",
    "training.batch_size=2",
    "training.micro_batch_size=2",
    "evaluation.pairs=4",
    "evaluation.samples=2",
    "evaluation.max_new_tokens=4",
)
WORLD = ("data.world.pairs=16", "data.world.eval_pairs=8")
LEAN = ("evaluation.pairs=1", "evaluation.samples=0", "evaluation.report=false")
WHOLE = (
    *("tidpo.yaml", "dpo.yaml", "world/sft.yaml", "hh/tidpo.yaml", "gsm8k/dpo.yaml", "smollm2/ti_grpo.yaml"),
    *("llama-3.2-3b/tidpo_lora.yaml", "methods/kto.yaml", "methods/tis_dpo.yaml", "methods/online_dpo.yaml"),
)
"""Recipes whose whole run is in the default run: each trainer, kind of data and adapter, and models on the side."""

NOT_HUB = ("data.train=builtin:world", "data.split=null", "data.eval=null", "data.eval_split=null")
QUESTIONS = (f"data.train={DATA / 'questions.jsonl'}", "data.subset=null", "data.holdout=4")
SCRATCH = "model={name: scratch, layers: 1, width: 32, heads: 2, vocab_size: 512}"

OF_PAPER = "llama-3.2-3b/tidpo.yaml"
OF_TABLE_1 = {
    "sft": {"losses.0", "trainer", "training.learning_rate"},
    "ipo": {"losses.0"},
    "kto": {"losses.0", "trainer", "training.batch_size"},
    "simpo": {"losses.0", "training.learning_rate"},
    "tdpo": {"losses.0"},
    "cpo": {"losses.0"},
    "tpo": {"losses.0", *(f"data.{key}" for key in ("train", "split", "eval", "eval_split", "holdout"))},
    "cdpo": {"losses.0", "weighting"},
    "tis_dpo": {"losses.0", "weighting"},
}
OF_TIDPO: dict[str, set[str]] = {
    "table1/tidpo": set(),
    "table1/tidpo_b13": {"losses.0"},
    "table1/dpo": {"weighting", "losses.0", "losses.1"},
    "table2/full": set(),
    "table2/no_triplet": {"losses.1"},
    "table2/uniform": {"weighting"},
    "table2/random": {"weighting"},
    "table2/no_prior": {"weighting.mix"},
    "table2/softmax_prior": {"weighting.prior"},
    **{f"table_b11/mix_{mix}": {"weighting.mix"} for mix in ("0", "0_1", "0_3", "0_5", "0_9", "1")},
    "table_b11/mix_0_7": set(),
    **{f"table_b12/alpha_{alpha}": {"losses.0"} for alpha in ("0_1", "0_2", "0_3", "0_5")},
}
OF_LORA = {"model.adapter", "training.learning_rate"}
DIFFERENCES = {
    ("tidpo.yaml", "dpo.yaml"): {"weighting", "losses.0", "losses.1"},
    ("tidpo.yaml", "eq8_raw.yaml"): {"weighting.rescale", "weighting.prior.normalise"},
    ("tidpo.yaml", "tidpo_b13.yaml"): {"losses.0"},
    ("tidpo.yaml", "released.yaml"): {
        "weighting.mix",
        "weighting.scope",
        "weighting.gradient.position",
        "weighting.prior.sigma_divisor",
        "weighting.prior.sigma_min",
        "losses.0",
        "losses.1.coefficient",
        "losses.1.margin",
        "training.optimizer",
        "training.learning_rate",
        "training.batch_size",
        "training.micro_batch_size",
        "training.steps",
        "training.warmup",
        "training.max_grad_norm",
    },
    ("tidpo.yaml", "ablations/no_triplet.yaml"): {"losses.1"},
    ("tidpo.yaml", "ablations/uniform.yaml"): {"weighting"},
    ("tidpo.yaml", "ablations/random.yaml"): {"weighting"},
    ("tidpo.yaml", "ablations/no_prior.yaml"): {"weighting.mix"},
    ("tidpo.yaml", "ablations/prior_only.yaml"): {"weighting.mix"},
    ("tidpo.yaml", "ablations/softmax_prior.yaml"): {"weighting.prior"},
    ("llama-3.2-3b/tidpo.yaml", "llama-3.2-3b/tidpo_lora.yaml"): OF_LORA,
    ("mistral-7b/tidpo.yaml", "mistral-7b/tidpo_lora.yaml"): OF_LORA,
    ("llama-3.2-3b/tidpo.yaml", "mistral-7b/tidpo.yaml"): {"model.path"},
    ("llama-3.2-3b/tidpo_lora.yaml", "mistral-7b/tidpo_lora.yaml"): {"model.path"},
    ("dpo.yaml", "methods/rpo.yaml"): {"losses.1"},
    ("dpo.yaml", "methods/wpo.yaml"): {"pair_weighting"},
    ("methods/tdpo1.yaml", "methods/tdpo2.yaml"): {"losses.0.version", "losses.0.alpha"},
    ("methods/uni_dpo.yaml", "methods/dual_level.yaml"): {"weighting"},
    ("smollm2/tidpo.yaml", "smollm2/dpo.yaml"): {"weighting", "losses.0", "losses.1"},
    ("smollm2/grpo.yaml", "smollm2/ti_grpo.yaml"): {"weighting"},
    ("hh/tidpo.yaml", "hh/dpo.yaml"): {"weighting", "losses.0", "losses.1"},
    ("gsm8k/tidpo.yaml", "gsm8k/dpo.yaml"): {"weighting", "losses.0", "losses.1"},
    ("tidpo.yaml", "methods/tidpo.yaml"): set(),
    ("dpo.yaml", "methods/dpo.yaml"): set(),
    ("methods/dpo.yaml", "methods/sft.yaml"): {"losses.0", "trainer"},
    ("methods/dpo.yaml", "methods/kto.yaml"): {"losses.0", "trainer", "training.batch_size"},
    ("methods/dpo.yaml", "methods/surprisal.yaml"): {"losses.0", "weighting"},
    ("methods/surprisal.yaml", "methods/self.yaml"): {"weighting"},
    ("methods/surprisal.yaml", "methods/oracle.yaml"): {"weighting"},
    ("methods/surprisal.yaml", "methods/log_ratio_gradient.yaml"): {"weighting"},
    **{
        ("methods/surprisal.yaml", f"methods/{name}.yaml"): {"weighting"}
        for name in ("ddpo", "tgdpo", "d2po", "ld_dpo", "dpo_shift", "forks")
    },
    ("methods/simpo.yaml", "methods/confpo.yaml"): {"weighting"},
    ("methods/ld_dpo.yaml", "methods/sampo.yaml"): {"weighting.mode"},
    ("methods/grpo.yaml", "methods/ar.yaml"): {"weighting"},
    ("ablations/no_triplet.yaml", "methods/cached_gradient.yaml"): {"weighting.gradient.model"},
    ("ablations/no_triplet.yaml", "methods/smoothed_gradient.yaml"): {
        "weighting.gradient.refresh_every",
        "weighting.gradient.smoothing",
    },
    ("methods/dpo.yaml", "methods/tis_dpo.yaml"): {"losses.0", "weighting"},
    ("methods/dpo.yaml", "methods/cdpo.yaml"): {"losses.0", "weighting"},
    ("methods/tis_dpo.yaml", "methods/tis_prompts.yaml"): {"weighting.transform", "weighting.contrast"},
    ("methods/tis_dpo.yaml", "methods/tis_triplet.yaml"): {"losses.1"},
    ("methods/simpo.yaml", "methods/ti_simpo.yaml"): {"weighting"},
    ("methods/ipo.yaml", "methods/ti_ipo.yaml"): {"weighting"},
    ("methods/kto.yaml", "methods/ti_kto.yaml"): {"weighting"},
    **{("paper/table1/dpo.yaml", f"paper/table1/{name}.yaml"): keys for name, keys in OF_TABLE_1.items()},
    **{(OF_PAPER, f"paper/{name}.yaml"): keys for name, keys in OF_TIDPO.items()},
    ("paper/table1/tidpo_b13.yaml", "paper/table_b12/alpha_0_5.yaml"): set(),
    ("paper/table1/tidpo_b13.yaml", "paper/table_b12/alpha_0_1.yaml"): {"losses.0.alpha"},
}


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Dotted keys whose values differ; of a component that another one stands for, the slot alone."""
    if isinstance(one, list) and isinstance(other, list):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if isinstance(one, dict) and isinstance(other, dict) and one.get("name") == other.get("name"):
        for key in sorted(one.keys() | other.keys(), key=str):
            yield from differences(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
    elif one != other:
        yield path


def swaps(name: str) -> list[str]:
    """What makes a recipe two steps of a tiny run: the `--set` arguments that a user would write."""
    folder = name.partition("/")[0]
    recipe = load_recipe(FOLDER / name).recipe
    anchored = [index for index, loss in enumerate(recipe.losses) if loss.needs().anchor]
    small = [*SMALL, *(f"losses.{index}.anchor.max_new_tokens=4" for index in anchored)]
    if isinstance(getattr(recipe.weighting, "contrast", None), TrainedContrast):
        small.append("weighting.contrast.steps=1")
    if folder in ("llama-3.2-3b", "mistral-7b", "paper"):
        adapter = "{rank: 2, alpha: 4}" if "lora" in name else "null"
        if recipe.trainer.draws:  # the world's model knows no answer, so another reward makes the difference
            rewards = [
                *load_recipe(FOLDER / name).tree()["rewards"],
                {"name": "length", "shape": "target", "target": 9},
            ]
            small += [f"rewards={json.dumps(rewards)}", "sampler.max_new_tokens=32"]
            return [*small, *NOT_HUB, *QUESTIONS, f"model={{name: world, adapter: {adapter}}}"]
        small += ["data.holdout=null"] if recipe.data.holdout else []
        return [*small, *NOT_HUB, *WORLD, f"model={{name: world, adapter: {adapter}}}"]
    if folder == "smollm2":  # the model from scratch has no chat template, and more tokens a word
        small += ["data.chat=auto", "data.max_length=900"]
    if folder in PAIRS:
        return [*small, f"data.train={DATA / PAIRS[folder]}", "data.max_rows=40", "data.holdout=8", SCRATCH]
    return [*small, *WORLD]


def test_all_recipes_are_here():
    assert (len(RECIPES), len(PIPELINES), len(FILES) - len(RECIPES)) == (146, 1, 8)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_loads(name: str):
    assert load_recipe(FOLDER / name).recipe.losses


@pytest.mark.parametrize("name", FILES)
def test_the_head_says_what_it_is_and_how_to_run_it(name: str):
    lines = (FOLDER / name).read_text().splitlines()
    command = lines[1].removeprefix("# alignkit run ").split()[0]
    assert command == f"recipes/{name}" or (name.startswith("base/") and (ROOT / command).is_file())
    if name != "tidpo.yaml":  # the recipe that the README shows, without a line for editors
        schema = lines[2].removeprefix("# yaml-language-server: $schema=")
        assert (FOLDER / name).parent.joinpath(schema).resolve() == ROOT / "docs" / "recipe.schema.json"


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_has_a_head_and_all_its_runs_are_good(name: str):
    lines = (FOLDER / name).read_text().splitlines()
    assert lines[1].startswith(f"# alignkit sweep recipes/{name}")
    schema = lines[2].removeprefix("# yaml-language-server: $schema=")
    assert (FOLDER / name).parent.joinpath(schema).resolve() == ROOT / "docs" / "sweep.schema.json"
    assert read(FOLDER / name, ())[1]


@pytest.mark.parametrize(("base", "name"), DIFFERENCES)
def test_a_recipe_differs_from_its_base_in_these_keys_only(base: str, name: str):
    trees = [load_recipe(FOLDER / file).tree() for file in (base, name)]
    assert set(differences(*trees)) == DIFFERENCES[base, name]


@pytest.mark.parametrize("path", sorted((FOLDER / "methods").iterdir()), ids=lambda path: path.stem)
def test_a_method_takes_fifteen_lines_at_most(path: Path):
    assert len(path.read_text().splitlines()) <= 15


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_trains_two_steps_a_stage_and_leaves_whole_run_folders(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    results = run_pipeline(load_pipeline(FOLDER / name, [*SMALL, *WORLD]), "out", quiet=True)
    for number, (stage, result) in enumerate(results.items(), 1):
        assert result.finished and result.folder == Path("out") / f"{number}-{stage}"
        assert [line["step"] for line in result.metrics] == [1, 2]
        assert set(result.evaluations) == {"before", "after", "change"}
    assert Path("out/DONE").is_file()


def test_the_shipped_schema_is_the_one_that_alignkit_schema_prints():
    assert json.loads((ROOT / "docs" / "recipe.schema.json").read_text()) == recipe_schema()
    assert json.loads((ROOT / "docs" / "sweep.schema.json").read_text()) == sweep_schema()


def trained(name: str, folder: Path, *more: str) -> Path:
    """The folder of a run of two steps, whose losses and gradients are finite, with an evaluation before and after."""
    run.run(load_recipe(FOLDER / name, [*swaps(name), *more]), folder, resume=False, dry_run=False)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(math.isfinite(line["loss"]) and math.isfinite(line["grad_norm"]) for line in lines)
    assert any(line["grad_norm"] > 0 for line in lines)  # not all of what it samples is dead
    assert set(json.loads((folder / "eval.json").read_text())) >= {"before", "after"}
    assert (folder / "DONE").is_file()
    return folder


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in WHOLE and not name.startswith("paper/")])
def test_a_recipe_trains_two_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a small evaluation and no page; the whole run folder of each recipe is the slow test below."""
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    trained(name, tmp_path / "run", *LEAN)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in WHOLE else [pytest.mark.slow]) for name in RECIPES]
)
def test_a_recipe_trains_two_steps_and_leaves_a_whole_run_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    trained(name, tmp_path / "run")

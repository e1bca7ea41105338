"""From a sweep file to its runs: which there are, what they are called, and what is said before any begins."""

from __future__ import annotations

import pytest

from alignkit.errors import RecipeError
from alignkit.recipe.load import load_recipe
from alignkit.sweep.sweep import read

ARMS = """\
recipe: recipe.yaml
seeds: [0, 1]
set: {training.steps: 1}
arms:
  dpo: {}
  simpo: {set: {losses: [{name: simpo, beta: 2.0}]}, grid: {losses.0.gamma_beta_ratio: [0.5]}}
grid: {losses.0.beta: [0.5, 1.0]}
"""


def complaint(*arguments) -> str:
    with pytest.raises(RecipeError) as caught:
        read(*arguments)
    return str(caught.value)


def test_every_arm_has_every_point_and_seed_and_seeds_come_one_after_the_other(write):
    _, runs = read(write(ARMS), ())
    assert [run.name for run in runs] == [
        f"{arm}-seed={seed}"
        for seed in (0, 1)
        for arm in ("dpo-losses.0.beta=0.5", "dpo-losses.0.beta=1.0", "simpo-losses.0.gamma_beta_ratio=0.5")
    ]
    assert [run.settings for run in runs[1:3]] == [{"losses.0.beta": 1.0}, {"losses.0.gamma_beta_ratio": 0.5}]
    assert {run.loaded.recipe.training.steps for run in runs} == {1}
    assert runs[0].recorded().model_dump() == {
        "name": "dpo-losses.0.beta=0.5-seed=0",
        "arm": "dpo",
        "settings": {"losses.0.beta": 0.5},
        "seed": 0,
        "folder": "runs/dpo-losses.0.beta=0.5-seed=0",
        "state": "planned",
        "error": None,
    }


def test_the_arguments_of_a_run_make_its_recipe(write):
    text = ARMS.replace("dpo: {}", "dpo: {set: {~training.micro_batch_size: null, 'data.world': {filler: 2}}}")
    _, runs = read(write(text), ["evaluation.pairs=2"])
    assert [load_recipe(run.recipe, run.arguments).to_yaml() for run in runs] == [run.text for run in runs]
    assert runs[0].loaded.recipe.training.micro_batch_size == 8


def test_a_sweep_of_a_recipe_alone_is_one_run(write):
    _, runs = read(write("recipe: recipe.yaml\n"), ())
    assert [(run.name, run.arguments) for run in runs] == [("recipe", [])]


def test_equal_recipes_are_run_once(write):
    text = "recipe: recipe.yaml\narms:\n  one: {}\n  same: {set: {losses.0.beta: 1}}\n  other: {set: {seed: 7}}\n"
    _, runs = read(write(text), ())
    assert [run.folder for run in runs] == ["runs/one", "runs/one", "runs/other"]
    assert [run.recorded().seed for run in runs] == [0, 0, 7]


def test_settings_that_make_no_name_become_a_hash(write):
    text = "recipe: recipe.yaml\ngrid: {losses: [[dpo], [ipo]], training.steps: [1]}\n"
    names = [run.name for run in read(write(text), ())[1]]
    assert len({*names}) == 2
    assert all(name.startswith("recipe-training.steps=1-") and len(name) == 32 for name in names)


def test_every_problem_is_told_once_with_the_runs_that_have_it(write):
    text = ARMS.replace("0.5, 1.0]", "0.5, -1.0, 2.0]").replace("steps: 1", "steps: none")
    assert complaint(write(text), ()).split("\n") == [
        "sweep.yaml:3: training.steps: expected a whole number, got 'none' (a string) (in run "
        "dpo-losses.0.beta=0.5-seed=0 and 7 more)",
        "sweep.yaml:7: losses.0.beta: must be greater than 0, got -1.0 (in run dpo-losses.0.beta=-1.0-seed=0 and "
        "1 more)",
    ]


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("recipe: recpe.yaml\n", (), "sweep.yaml:1: recipe: no file 'recpe.yaml'; did you mean 'recipe.yaml'?"),
        (
            "recipe: recipe.yaml\narms:\n  a: {recipe: no.yaml}\n",
            (),
            "sweep.yaml:3: arms.a.recipe: no file 'no.yaml'",
        ),
        (
            "recipe: recipe.yaml\nset: {losses.0.beta: 2}\ngrid: {losses.0.beta: [1]}\n",
            (),
            "sweep.yaml:3: losses.0.beta: given twice: 'set' gives it too",
        ),
        (
            "recipe: recipe.yaml\ngrid: {losses.0.beta: [1]}\n",
            ["losses.0.beta=2"],
            "sweep.yaml:2: losses.0.beta: given twice: '--set' gives it too",
        ),
        ("recipe: recipe.yaml\nseeds: [0, 1]\n", ["seed=2"], "sweep.yaml:2: seed: given twice: '--set' gives it too"),
        (
            "recipe: recipe.yaml\nreport: [true_rewards]\n",
            (),
            "report: no measure is called 'true_rewards'; did you mean 'true_reward'? known: ",
        ),
        (
            "recipe: recipe.yaml\nset: {data.train: gone.jsonl, data.world: null}\n",
            (),
            "sweep.yaml:2: data.train: no file 'gone.jsonl'; give a file",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_runs(write, text, overrides, message):
    assert complaint(write(text), overrides).startswith(message)


# --- random draws ---

RANDOM = """\
recipe: recipe.yaml
random:
  draws: {draws}
  seed: 3
  of:
    losses.0.beta: {{low: 0.1, high: 10, log: true}}
"""


def drawn(write, text: str) -> list[dict[str, object]]:
    return [dict(run.settings) for run in read(write(text), ())[1]]


def test_draws_are_the_same_each_time_and_more_of_them_leave_the_first_as_they_were(write):
    first = drawn(write, RANDOM.format(draws=3))
    assert first == drawn(write, RANDOM.format(draws=3)) == drawn(write, RANDOM.format(draws=5))[:3]
    more = RANDOM.format(draws=3) + "    training.steps: {low: 2, high: 9, whole: true}\n"
    both = drawn(write, more)
    assert [one["losses.0.beta"] for one in both] == [one["losses.0.beta"] for one in first]
    assert all(isinstance(one["training.steps"], int) and 2 <= one["training.steps"] <= 9 for one in both)


def test_a_logarithmic_range_is_drawn_evenly_by_factors(write):
    values = [float(one["losses.0.beta"]) for one in drawn(write, RANDOM.format(draws=200))]
    assert 0.1 <= min(values) < 0.13 and 8 < max(values) <= 10
    assert 80 < sum(value < 1 for value in values) < 120  # half of the draws in each factor of ten
    assert all(value == float(f"{value:.4g}") for value in values)


def test_values_of_a_list_are_drawn_from_it(write):
    text = "recipe: recipe.yaml\nrandom: {draws: 9, of: {training.steps: [1, 2]}}\n"
    assert {one["training.steps"] for one in drawn(write, text)} == {1, 2}

"""Every mistake in a recipe gives its one line, matched whole: place, key, what is wrong, what would be right."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import ValidationError

from alignkit.data.config import DataConfig
from alignkit.errors import RecipeError
from alignkit.losses import losses
from alignkit.recipe.load import load_recipe
from alignkit.recipe.messages import problems_of
from alignkit.recipe.yaml import read_yaml
from alignkit.registry import Component, Registry, Section
from alignkit.weighting import weightings

RECIPE = """\
model: world
data: {train: "builtin:world"}
losses: [dpo]
trainer: preference
"""

WEIGHTINGS = ", ".join(weightings.names())

# What is put on line 5 of the recipe above -> the line it gives.
ADDED = {
    "weigting: uniform": (
        "weigting: unknown key; did you mean 'weighting'? known keys: advantage, data, deprecated, evaluation, "
        "extends, losses, model, pair_weighting, parallel, requires, rewards, sampler, schema, seed, stages, trainer, "
        "training, weighting"
    ),
    "weighting: hybird": f"weighting: unknown weighting 'hybird'; did you mean 'hybrid'? known: {WEIGHTINGS}",
    "weighting: {name: hybird}": (
        f"weighting.name: unknown weighting 'hybird'; did you mean 'hybrid'? known: {WEIGHTINGS}"
    ),
    "weighting: {mix: 0.5}": (
        "weighting.name: missing, as a mapping stands for itself and not for the default 'uniform'; choose one of: "
        f"{WEIGHTINGS}"
    ),
    "weighting: 3": "weighting: expected the name of a weighting or a mapping with 'name', got 3 (a number)",
    "weighting: {name: [a]}": "weighting.name: expected the name of a weighting, got a list",
    "weighting: dpo": f"weighting: 'dpo' is a loss, not a weighting; known: {WEIGHTINGS}",
    "weighting: {name: hybrid, mix: 1.5}": "weighting.mix: must be at most 1, got 1.5",
    "weighting: {name: hybrid, prior: {name: prior, divisor: 3}}": (
        "weighting.prior.divisor: unknown key; did you mean 'sigma_divisor'? known keys: clip, name, normalise, "
        "rescale, scope, shape, sigma_divisor, sigma_min"
    ),
    "weighting: {name: uniform, mix: 0.5}": "weighting.mix: belongs to 'hybrid'; weighting is 'uniform'",
    "learning_rate: 5e-7": "learning_rate: belongs under 'training'",
    "training: {losses: [dpo]}": "training.losses: belongs at the top level of the recipe",
    "rank: 8": "rank: belongs under 'model.adapter'",
    "lr: 1e-5": "lr: unknown key; here it is called 'training.learning_rate'",
    "beta: 0.1": "beta: unknown key; here it is called 'losses.N.beta'",
    "training: {num_train_epochs: 3}": ("training.num_train_epochs: unknown key; here it is called 'training.epochs'"),
    "training: {gradient_accumulation_steps: 4}": (
        "training.gradient_accumulation_steps: unknown key; it follows from training.batch_size (examples per "
        "optimizer step) and training.micro_batch_size"
    ),
    "training: {learning_rate: '5e-7'}": "training.learning_rate: expected a number, got '5e-7' (a string)",
    "training: {batch_size: 8.5}": "training.batch_size: expected a whole number, got 8.5 (a number)",
    "training: {batch_size: -1}": "training.batch_size: must be greater than 0, got -1",
    "training: {schedule: cosin}": (
        "training.schedule: unknown value 'cosin'; did you mean 'cosine'? known: cosine, linear, constant"
    ),
    "training: {schedule: adamw}": (
        "training.schedule: unknown value 'adamw'; it is a value of 'training.optimizer'; "
        "known: cosine, linear, constant"
    ),
    "training: {schedule: 3}": "training.schedule: expected one of: cosine, linear, constant, got 3 (a number)",
    "training: {betas: [0.9]}": "training.betas: too few items: needs at least 2, got 1",
    "training: {betas: [0.9, 0.99, 1]}": "training.betas: too many items: takes at most 2, got 3",
    "training: {betas: [0.9, x]}": "training.betas.1: expected a number, got 'x' (a string)",
    "training: {trackers: wandb}": "training.trackers: expected a list, got 'wandb' (a string)",
    "training: fast": "training: expected a mapping, got 'fast' (a string)",
    "training: {epochs: 1, steps: 2}": "training: give either 'epochs' or 'steps', the other one null",
    "evaluation: {weighted: yes}": "evaluation.weighted: expected true or false, got 'yes' (a string)",
    "evaluation: {temperature: .inf}": "evaluation.temperature: expected a finite number, got inf (a number)",
    "seed: null": "seed: expected a whole number, got null",
    "seed: -1": "seed: must be at least 0, got -1",
}


@pytest.mark.parametrize(("line", "message"), ADDED.items(), ids=list(ADDED))
def test_a_wrong_line(tmp_path, monkeypatch, line, message):
    assert problems(tmp_path, monkeypatch, RECIPE + line) == [f"recipe.yaml:5: {message}"]


# What stands in place of one part of the recipe -> the lines it gives.
REPLACED = {
    ("losses: [dpo]", "losses: []"): ["3: losses: too few items: needs at least 1, got 0"],
    ("losses: [dpo]", "losses: [{beta: 0.1}]"): [
        f"3: losses.0.name: missing; choose one of: {', '.join(losses.names())}"
    ],
    ("losses: [dpo]", "losses: {name: dpo}"): ["3: losses: expected a list, got a mapping"],
    ("losses: [dpo]", "losses: [{name: tdpo, version: '2'}]"): [
        "3: losses.0.version: expected one of: 1, 2, got '2' (a string)"
    ],
    ("losses: [dpo]", "losses: [{name: triplet, anchor: {name: teacher_forced, max_new_tokens: 3}}]"): [
        "3: losses.0.anchor.max_new_tokens: belongs to 'sample_prompt'; anchor is 'teacher_forced'"
    ],
    ("losses: [dpo]", "losses: [{name: dpo, bta: 0.1}]"): [
        "3: losses.0.bta: unknown key; did you mean 'beta'? "
        "known keys: beta, coefficient, label_smoothing, name, pair_weighted"
    ],
    ("losses: [dpo]\n", ""): ["1: losses: missing required key: What is minimised: the sum of coefficient x loss"],
    ('{train: "builtin:world"}', "{trian: x}"): [
        "2: data.train: missing required key: A file (.jsonl, .json, .csv, each also with .gz, or .parquet), a Hub "
        "data set id, or `builtin:world`",
        f"2: data.trian: unknown key; did you mean 'train'? known keys: {', '.join(sorted(DataConfig.model_fields))}",
    ],
    ("model: world", "model: {name: world, adapter: {rank: 0, targets: 5}}"): [
        "1: model.adapter.rank: must be greater than 0, got 0",
        "1: model.adapter.targets: expected a list or 'all-linear', got 5 (a number)",
    ],
    ("model: world", "model: {name: world, adapter: {targets: []}}"): [
        "1: model.adapter.targets: too few items: needs at least 1, got 0"
    ],
    ("model: world", "model: {name: world, adapter: {targets: [q_proj, 3]}}"): [
        "1: model.adapter.targets.1: expected text, got 3 (a number)"
    ],
}


@pytest.mark.parametrize(("change", "messages"), REPLACED.items(), ids=[new for _, new in REPLACED])
def test_a_wrong_part(tmp_path, monkeypatch, change, messages):
    assert problems(tmp_path, monkeypatch, RECIPE.replace(*change)) == [f"recipe.yaml:{line}" for line in messages]


def test_all_problems_at_once_in_the_order_of_the_lines(tmp_path, monkeypatch):
    text = "seed: -1\n" + RECIPE.replace("[dpo]", "[{name: dpo, beta: 0}]") + "seed: 2\nweighting: hybird\n"
    assert problems(tmp_path, monkeypatch, text) == [
        "recipe.yaml:1: seed: must be at least 0, got -1",
        "recipe.yaml:4: losses.0.beta: must be greater than 0, got 0",
        "recipe.yaml:6: seed: given twice; first on line 1",
        f"recipe.yaml:7: weighting: unknown weighting 'hybird'; did you mean 'hybrid'? known: {WEIGHTINGS}",
    ]


def problems(folder, monkeypatch, text):
    """The lines that loading `text` as recipe.yaml complains with."""
    monkeypatch.chdir(folder)
    (folder / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe("recipe.yaml")
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return str(caught.value).splitlines()


# --- the three messages of the design, on components that have just the parameters they speak of ---


class Weight(Component):
    """Base."""


class Loss(Component):
    """Base."""

    coefficient: float = 1.0


weightings: Registry[Weight] = Registry("weighting", Weight, {})
losses: Registry[Loss] = Registry("loss", Loss, {})


@weightings.register("gradient")
@weightings.register("hybrid")
@weightings.register("random")
@weightings.register("uniform")
class Plain(Weight):
    """Without parameters."""


@weightings.register("prior")
class Prior(Weight):
    """With one."""

    sigma: float = 4.0


@losses.register("dpo")
class DPO(Loss):
    """With two more."""

    beta: float = 0.1
    label_smoothing: float = 0.0


class Toy(Section):
    """A recipe of these."""

    weighting: Annotated[Weight, weightings]
    losses: list[Annotated[Loss, losses]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "weighting: uniform\nlosses:\n\n  -\n    name: dpo\n    bta: 0.1",
            "recipes/tidpo.yaml:6: losses.0.bta: unknown key; did you mean 'beta'? "
            "known keys: beta, coefficient, label_smoothing, name",
        ),
        (
            "losses: [dpo]\nweighting:\n  name: hybird",
            "recipes/tidpo.yaml:3: weighting.name: unknown weighting 'hybird'; did you mean 'hybrid'? "
            "known: gradient, hybrid, prior, random, uniform",
        ),
        (
            "losses: [dpo]\nweighting:\n  name: uniform\n  sigma: 4.0",
            "recipes/tidpo.yaml:4: weighting.sigma: belongs to 'prior'; weighting is 'uniform'",
        ),
    ],
)
def test_messages_of_the_design(text, message):
    root, found = read_yaml(text, "recipes/tidpo.yaml")
    assert root is not None and found == []
    with pytest.raises(ValidationError) as caught:
        Toy.model_validate(root.plain())
    assert [str(problem) for problem in problems_of(caught.value, Toy, root)] == [message]

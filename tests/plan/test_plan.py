"""A plan against the run that it is of."""

from __future__ import annotations

import json
import shutil
from io import StringIO

import pytest
from rich.console import Console

from alignkit.cli import main
from alignkit.loop.order import planned_steps
from alignkit.models.world import FOLDER
from alignkit.parallel.config import ParallelConfig
from alignkit.plan.ledger import Ledger
from alignkit.plan.plan import Memory, make_plan
from alignkit.plan.show import cut_lines, show, size_of, span_of
from alignkit.plan.speed import FACTOR
from alignkit.recipe.load import load_recipe
from alignkit.run import run

RECIPE = """
model: {{name: pretrained, path: {folder}}}
data: {{train: "builtin:world", world: {{pairs: 40, eval_pairs: 8}}, max_length: 44, on_overflow: truncate_response}}
weighting: {{name: gradient}}
losses:
  - {{name: weighted_dpo, beta: 1.0}}
  - {{name: triplet, coefficient: 0.1, anchor: {{name: sample_prompt, max_new_tokens: 24}}}}
trainer: {{name: preference}}
training: {{epochs: 0.5, batch_size: 16, micro_batch_size: 8, learning_rate: 1.0e-4}}
evaluation: {{pairs: 4, samples: 2, max_new_tokens: 4}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe whose model folder holds no weights."""
    folder = tmp_path_factory.mktemp("plan")
    shutil.copytree(FOLDER, folder / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "recipe.yaml").write_text(RECIPE.format(folder=folder / "model"))
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def planned(recipe):
    return make_plan(load_recipe(recipe))


def test_rows_and_steps_are_the_run_s(planned):
    plan = planned.plan
    assert plan.rows == {"train": 40, "held_out": 8}
    assert plan.steps == planned_steps(planned.loaded.recipe.training, 40) == 2
    assert plan.batch == {"size": 16, "micro_batch": 8, "micro_batches": 2, "processes": 1, "responses": 0, "tokens": 0}
    cut = [row for row in planned.tables.train if row.length == 44]
    assert 0 < plan.data[0].counts["truncated_response"] <= len(cut)
    assert plan.lengths["total"].max == 44
    mean = sum(len(row.prompt) for row in planned.tables.train) / 40
    assert plan.tokens_per_step["prompt"] == pytest.approx(16 * mean)
    assert (plan.parameters, plan.layout, plan.reference) == ({"total": 424192, "trained": 424192}, "packed", "copy")


def test_the_memory_is_the_run_s(planned, recipe, tmp_path):
    loaded = load_recipe(recipe, [f"model.path={FOLDER}"])
    with Ledger() as ledger, ledger.measuring("run") as stage:
        run(loaded, tmp_path / "run", quiet=True)
    memory = planned.plan.memory
    assert memory.peak == pytest.approx(stage.peak, rel=0.25)
    assert memory.peak == sum(memory.parts.values()) == max(memory.stages.values()) <= memory.at_most
    weights = 424192 * 4 + 128  # and the frequencies of the rotary positions
    assert memory.parts["parameters"] == memory.parts["reference"] == weights
    assert 2 * 424192 * 4 < memory.parts["optimizer state"] < 2 * 424192 * 4 + 200  # a step counter each
    assert memory.token_weights > 0 and planned.plan.left_out == []


def test_bf16_parameters_are_planned_as_they_are_held(planned, recipe):
    """2 bytes a parameter in model, reference and gradient; 4 + 4 + 2 of the optimizer, and a step counter each."""
    halved = make_plan(load_recipe(recipe, ["training.parameters=bf16"])).plan
    assert halved.left_out == []
    parts = halved.memory.parts
    assert parts["parameters"] == parts["reference"] == 424192 * 2 + 128
    assert 10 * 424192 < parts["optimizer state"] < 10 * 424192 + 200
    assert halved.memory.peak < planned.plan.memory.peak


def test_a_reference_that_moves_is_measured_beside_the_first(planned, recipe):
    """An evaluation has one model more, and of held-out rows log-probs that were looked up before."""
    moving = make_plan(load_recipe(recipe, ["model.reference_update={every: 1}"])).plan
    before, now = planned.plan.memory.stages, moving.memory.stages
    evaluations = {name for name in before if name.startswith("evaluation: ")}
    more = {name: now[name] - before[name] for name in evaluations}
    weights = 424192 * 4 + 128
    assert len(more) == 5 and all(weights <= size <= weights + 1024 for size in more.values()), more
    assert moving.left_out == []


def test_the_time_is_the_sum_of_its_stages(planned):
    time = planned.plan.time
    assert 0 < time.total == pytest.approx(sum(time.stages.values()))
    assert (time.at_least, time.at_most) == (time.total / FACTOR, time.total * FACTOR)
    assert time.stages.keys() < planned.plan.memory.stages.keys()


def test_a_plan_is_shown_with_a_row(planned):
    console = Console(width=100, record=True, file=StringIO(), color_system="truecolor", force_terminal=True)
    show(console, planned)
    coloured, text = console.export_text(styles=True, clear=False), console.export_text()
    lines = text.splitlines()
    assert "steps   2, 0.8 passes over the training rows" in lines
    assert any(line.startswith("memory  ") and " of tensors at the peak, in " in line for line in lines)
    assert "the prompt (cyan) is read and masked, what follows | (green, red) is in the loss" in text
    assert all(f";{colour}m" in coloured for colour in (36, 32, 31))


@pytest.mark.parametrize(
    ("shard", "by"), [(None, "the number of pieces"), (4, "4: 1 MiB")], ids=["any number", "four pieces"]
)
def test_what_becomes_of_a_peak_in_pieces(shard, by):
    parts = {"parameters": 2**20, "gradients": 2**20, "optimizer state": 2**21, "activations": 2**30}
    memory = Memory(2**30, 2**30, "training", parts, {}, 0, 2**30)
    assert list(cut_lines(memory, ParallelConfig())) == []
    assert list(cut_lines(memory, ParallelConfig(strategy="fsdp", shard=shard))) == [
        (
            "parallel",
            "planned as one process with the whole model; fsdp divides parameters, reference, gradients, optimizer "
            f"state in a step, 4 MiB of the peak, by {by}",
        )
    ]


def test_json_has_the_plan_and_nothing_else(planned, recipe, capsys, monkeypatch):
    monkeypatch.setattr("alignkit.plan.plan.make_plan", lambda loaded: planned)
    with pytest.raises(SystemExit) as caught:
        main(["plan", str(recipe), "--json"])
    out, err = capsys.readouterr()
    assert (caught.value.code, err) == (0, "")
    found = json.loads(out)
    assert list(found) == [
        *("recipe", "data", "rows", "lengths", "steps", "epochs", "batch", "tokens_per_step", "parameters", "layout"),
        *("reference", "memory", "time", "notes", "left_out"),
    ]
    assert list(found["memory"]) == ["peak", "at_most", "during", "parts", "stages", "token_weights", "device"]
    assert list(found["time"]) == ["total", "at_least", "at_most", "stages", "flops", "speed"]
    assert list(found["lengths"]) == ["prompt", "chosen", "rejected", "total"]
    assert list(found["lengths"]["prompt"]) == ["mean", "p50", "p90", "p99", "max", "bins"]
    assert found["memory"]["peak"] == planned.plan.memory.peak


def test_a_mistake_gives_one_line(recipe, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["plan", str(recipe), "--set", "training.stepps=3"])
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert err.startswith("--set training.stepps=3: training.stepps: unknown key; did you mean 'steps'?")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("size", "words"), [(77 * 2**20, "77 MiB"), (3 * 2**29, "1.50 GiB"), (2**19, "0.5 MiB"), (1000 * 2**20, "0.98 GiB")]
)
def test_sizes_in_words(size, words):
    assert size_of(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(8, "8 s"), (90, "90 s"), (720, "12 min"), (11160, "3.1 h"), (2e5, "2.3 d")]
)
def test_spans_in_words(seconds, words):
    assert span_of(seconds) == words


def test_responses_that_are_sampled_are_what_a_pass_holds(recipe):
    changes = ["trainer={name: on_policy}", "rewards=[{name: world}]", "advantage={name: group}"]
    changes += ["weighting={name: uniform}"]
    changes += ["losses=[{name: policy_gradient}]", "sampler={name: generate, responses: 3, max_new_tokens: 4}"]
    plan = make_plan(load_recipe(recipe, [*changes, "training.batch_size=5", "training.micro_batch_size=4"])).plan
    assert plan.batch == {"size": 5, "micro_batch": 4, "micro_batches": 4, "processes": 1, "responses": 3, "tokens": 0}

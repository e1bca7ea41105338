"""How often an optimizer step makes the host wait for the device, counted on the CPU; and no float64 upon it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from device_watch import Float64, Reads
from engine_toy import DPO, HYBRID, LENGTHS, TRIPLET, llama, move, recipe, rows, scoring

from alignkit.data.unpairing import unpair
from alignkit.engine.objective import ObjectiveStep
from alignkit.evaluation.config import EvaluationConfig
from alignkit.evaluation.evaluate import Evaluation
from alignkit.loop.accelerator import make_accelerator
from alignkit.loop.config import TrainingConfig
from alignkit.loop.loop import train
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scorer

MANY = rows([*LENGTHS, (3, 2, 6)])
SAMPLED = TRIPLET | {"anchor": {"name": "sample_prompt", "max_new_tokens": 5, "refresh_every": 2}}
RECIPES = {
    "tidpo": recipe([DPO | {"name": "weighted_dpo"}, SAMPLED], weighting=HYBRID),
    "teacher forced": recipe([DPO, TRIPLET | {"anchor": {"name": "teacher_forced"}}]),
    "tdpo": recipe([{"name": "tdpo"}], weighting={"name": "random"}),
    "orpo": recipe([{"name": "orpo"}, {"name": "nll"}], pair_weighting={"name": "wpo"}),
    "sft": recipe([{"name": "sft"}], "sft"),
}
REMEMBERED = recipe(weighting={"name": "gradient", "smoothing": 0.5})
LABELLED = recipe([{"name": "kto"}], "unpaired", weighting=HYBRID)
OBSERVED = recipe([{"name": "beta_dpo"}])


def parts(of, folder: Path):
    """A training of two optimizer steps of two micro-batches each, waiting for an `on_log`; and its evaluation."""
    model, reference = move(llama()), llama()
    step = ObjectiveStep(scoring(of, model, reference), replace(of.sizes(), micro_batch=2))
    many = unpair(MANY)[:4] if of.method().view.name == "unpaired" else MANY
    config = TrainingConfig(steps=2, batch_size=4, micro_batch_size=2, learning_rate=1e-3, precision="fp32")
    accelerator = make_accelerator(config, folder)
    known = {"seed": 0, "folder": folder, "accelerator": accelerator, "fingerprint": {}}
    measured = EvaluationConfig(pairs=4, samples=2, max_new_tokens=3, weighted=True)
    live = Reference(Scorer(reference, 4096).eval().requires_grad_(False))
    evaluation = Evaluation(step.scoring, measured, many, lambda: live, accelerator, on_world=False)
    return lambda on_log: train(step, many, config, on_log=on_log, **known), evaluation


def reads_of_second_step(of, folder: Path) -> list[str]:
    """Where the second optimizer step waits, all of it but the checkpoint at its end; the anchors were drawn before
    the first."""
    training, _ = parts(of, folder)
    watch = Reads()
    training(lambda done, line: watch.start() if done == 1 else watch.stop())
    return watch.places


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_is_read_once_and_its_parameters_once(name, tmp_path):
    """The losses, metrics and the gradient's norm together; then whether the update left the parameters finite."""
    places = reads_of_second_step(RECIPES[name], tmp_path)
    assert len(places) == 2, "\n".join(places)
    assert places[0].startswith("tolist: loop/loop.py:") and "loop/readings.py:" in places[0]
    assert places[1].startswith("aten._local_scalar_dense: loop/loop.py:") and "loop/optimizer.py:" in places[1]


@pytest.mark.parametrize(
    ("of", "more"),
    [(REMEMBERED, 2), (LABELLED, 1), (OBSERVED, 1)],
    ids=["importances that rows keep", "mismatched responses", "what is observed of the whole step"],
)
def test_what_the_host_keeps_costs_more(of, more, tmp_path):
    """Importances and their mask of each micro-batch; the log-ratios, or the observations, of the whole step."""
    places = reads_of_second_step(of, tmp_path)
    assert len(places) == 2 + more, "\n".join(places)


@pytest.mark.parametrize(
    "of", [*RECIPES.values(), REMEMBERED, LABELLED, OBSERVED], ids=[*RECIPES, "remembered", "kto", "observed"]
)
def test_no_float64_on_the_device(of, tmp_path):
    """Some devices have none. An optimizer step, its metrics and the evaluation after it; what KTO adds up in float64
    has been read before, and so has what decisions are made of."""
    training, evaluation = parts(of, tmp_path)
    host = (
        "engine/mismatch.py",
        "engine/whole_step.py",
        "engine/decisions.py",
        "losses/beta_dpo.py",
        "loop/checkpoint.py",
    )
    with Float64(allowed=host) as watch:
        training(lambda done, line: None)
        evaluation(1)
    assert watch.places == []


def test_float64_is_seen():
    with Float64() as watch:
        torch.zeros(2).double()
    assert len(watch.places) == 1


def test_the_count_sees_what_waits():
    """Every way of looking at a device's numbers that the package uses, or might."""
    x, mask = torch.arange(3.0), torch.tensor([True, False, True])
    watch = Reads()
    watch.start()
    looks = [float(x[0]), x[1].item(), bool(mask.any()), x.tolist(), x.cpu(), x[mask], x.masked_select(mask)]
    looks += [mask.nonzero(), x.numpy()]
    blind = [x.where(mask, 0.0), x.masked_fill(mask, 0.0), x[torch.tensor([0, 1])], x.sum(), x.masked_scatter(mask, x)]
    blind += [
        float((looks[4] + 1).sum()),
        looks[4].tolist(),
        looks[4][1:].numpy(),
    ]  # what has been read lies on the host
    watch.stop()
    assert len(watch.places) == len(looks), (watch.places, blind)

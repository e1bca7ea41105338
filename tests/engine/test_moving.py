"""A reference that follows the policy: when it moves, how far, who sees it, and what is measured to the first one."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_toy import CLOSE, DPO, gold_logp, llama, move, objective, recipe, rows, scoring, view_of

from alignkit.data.unpairing import unpair
from alignkit.engine.mismatch import mean_mismatch
from alignkit.engine.moving import MovingReference
from alignkit.engine.objective import ObjectiveStep
from alignkit.errors import CheckpointError
from alignkit.evaluation.evaluate import Evaluation
from alignkit.loop.accelerator import make_accelerator
from alignkit.loop.checkpoint import read_tensors
from alignkit.loop.config import TrainingConfig
from alignkit.loop.loop import train
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scorer

ALONE = SimpleNamespace(process_index=0, num_processes=1)
TRIPLET = {"name": "triplet", "margin": 30.0, "anchor": {"name": "sample_prompt", "max_new_tokens": 5}}


def of(every: int, mix: float, losses=(DPO,), trainer: str = "preference", **sections: Any) -> Any:
    update = {"every": every, "mix": mix}
    return recipe(losses, trainer, model={"name": "scratch", "reference_update": update}, **sections)


def values(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def moving(found) -> MovingReference:
    assert found.moving is not None
    return found.moving


def test_moves_after_each_so_many_steps() -> None:
    follower = moving(scoring(of(3, 0.5), move(llama()), llama()))
    assert [step for step in range(10) if follower.begin(step)] == [3, 6, 9]


def test_each_parameter_goes_a_part_of_the_way() -> None:
    """0.25 of the policy and 0.75 of the reference; the second move begins where the first one ended."""
    found = scoring(of(1, 0.25), move(llama()), llama())
    policy, wanted = values(found.policy.model), values(llama())
    for step in (0, 1, 2):
        moving(found).begin(step)
        wanted = {name: value + 0.25 * (policy[name] - value) * (step > 0) for name, value in wanted.items()}
        got = values(found.reference.scorer.model)
        assert got.keys() == wanted.keys()
        for name, value in wanted.items():
            torch.testing.assert_close(got[name], value, rtol=0, atol=1e-7)
    assert all(torch.equal(value, policy[name]) for name, value in values(found.policy.model).items())


@pytest.mark.parametrize("tied", [False, True])
def test_a_mix_of_1_is_the_policy_bit_for_bit(tied) -> None:
    """Then every log-ratio is 0, also after the policy itself moved on and came back."""
    models = (llama(tie_word_embeddings=tied) for _ in range(2))
    found = scoring(of(1, 1.0), move(next(models)), next(models))
    assert view_of(found, rows()).chosen.logratio_BT.abs().max() > 0.1
    moving(found).begin(1)
    view = view_of(found, rows())
    assert not view.chosen.logratio_BT.any() and not view.rejected.logratio_BT.any()


def test_what_agrees_already_stays_bit_for_bit() -> None:
    """Also at shares that no float is: 0.6 x + 0.4 x need not be x."""
    found = scoring(of(1, 0.6), llama(), llama())
    moving(found).begin(1)
    got, wanted = values(found.reference.scorer.model), values(llama())
    assert all(torch.equal(got[name], value) for name, value in wanted.items())


def test_no_gradient_and_no_graph() -> None:
    found = scoring(of(1, 0.5), move(llama()), llama())
    moving(found).begin(1)
    assert all(p.grad is None and not p.requires_grad and p.is_leaf for p in found.reference.scorer.parameters())


def test_the_baseline_of_kto_is_to_the_moved_one() -> None:
    found = scoring(of(1, 1.0, [{"name": "kto"}], "unpaired"), move(llama()), llama())
    step, batch = objective(found), unpair(rows())
    assert abs(float(mean_mismatch(found, batch, step.sizes))) > 0.01
    step.draw(1, batch)
    assert float(mean_mismatch(found, batch, step.sizes)) == 0.0


def test_anchors_are_kept_and_scored_again() -> None:
    """The window is of three steps: step 1 asks the moved reference of what step 0 drew, and draws nothing."""
    anchor = TRIPLET["anchor"] | {"refresh_every": 3}
    found = scoring(of(1, 1.0, [DPO, TRIPLET | {"anchor": anchor}]), move(llama()), llama())
    step, train_rows = objective(found), rows()
    coming = dict.fromkeys(range(3), train_rows)
    step.draw(0, train_rows)
    step.prepare(0, train_rows, coming)
    drawn = {row.index: found.pool[row] for row in train_rows}
    step.draw(1, train_rows)
    step.prepare(1, train_rows, {number: coming[number] for number in (1, 2)})
    policy = found.policy.model
    for row in train_rows:
        before, now = drawn[row.index], found.pool[row]
        assert now.ids is before.ids
        torch.testing.assert_close(now.reference_T, gold_logp(policy, row.prompt, now.ids).detach(), **CLOSE)
        assert (now.reference_T - before.reference_T).abs().max() > 0.01


def test_what_is_measured_is_to_the_first_reference() -> None:
    """Margins of rows and the KL along samples, though the reference has become the policy."""
    settings = {"pairs": 3, "samples": 3, "max_new_tokens": 4}
    first = Reference(Scorer(llama(), 4096).eval())
    made = of(1, 1.0, evaluation=settings)

    def measured(found) -> dict[str, float]:
        return Evaluation(found, made.evaluation, rows(), lambda: first, ALONE, on_world=False)(0)

    found = scoring(made, move(llama()), llama())
    before = measured(found)
    moving(found).begin(1)
    assert measured(found) == before and before["kl"] > 0.1 and before["margin"] != 0.0
    assert not view_of(found, rows()).chosen.logratio_BT.any()  # training goes on with the moved one


# --- checkpoints ---


def trained(step: ObjectiveStep, folder: Path, resume: bool = False, **training: Any) -> list[float]:
    """The loss of each step of the loop; 3 rows, a batch of 2."""
    folder.mkdir(exist_ok=True)
    section = {"batch_size": 2, "micro_batch_size": 1, "learning_rate": 1e-2, "schedule": "constant", "warmup": 0.0}
    config = TrainingConfig(**{**section, "precision": "fp32", **training})
    train(
        step,
        rows(),
        config,
        seed=3,
        folder=folder,
        accelerator=make_accelerator(config, folder),
        fingerprint={"data": "toy"},
        on_log=lambda number, line: None,
        on_note=lambda text: None,
        resume=resume,
    )
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_resume_goes_on_bit_for_bit(tmp_path, monkeypatch) -> None:
    """Steps 1 to 3, then on to 6. The reference moves after steps 2 and 4, the former amid a window of anchors."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    made = of(2, 0.6, [DPO, TRIPLET | {"anchor": TRIPLET["anchor"] | {"refresh_every": 4}}])
    whole, first, second = (objective(scoring(made, llama(), llama())) for _ in range(3))
    losses = trained(whole, tmp_path / "whole", steps=6)
    assert trained(first, tmp_path / "parts", steps=3) == losses[:3]
    assert trained(second, tmp_path / "parts", resume=True, steps=6) == losses
    for name in ("policy", "reference"):
        one, other = (values(getattr(step.scoring, name).scorer) for step in (whole, second))
        assert all(torch.equal(value, other[key]) for key, value in one.items())
    kept = read_tensors(tmp_path / "parts" / "checkpoints" / "step-00000003" / "step-state.safetensors")
    assert kept.keys() == {f"reference.{name}" for name, _ in first.scoring.reference.scorer.named_parameters()}


def test_a_checkpoint_before_the_first_move_holds_no_reference(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    trained(objective(scoring(of(2, 0.6), llama(), llama())), tmp_path, steps=2)
    assert not list(tmp_path.glob("checkpoints/*/step-state.safetensors"))


def test_a_reference_of_another_model_is_refused() -> None:
    one, other = (scoring(of(1, 0.5), llama(**sizes), llama(**sizes)) for sizes in ({}, {"num_hidden_layers": 1}))
    moving(one).begin(1)
    with pytest.raises(CheckpointError) as caught:
        moving(other).load_state(moving(one).state())
    assert str(caught.value).startswith(
        "the moved reference: made with another model: parameter 'model.model.layers.1."
    )

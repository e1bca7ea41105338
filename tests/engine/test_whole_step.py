"""What components decide of the whole optimizer step: the same however it is cut, and carried through checkpoints."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from engine_toy import CLOSE, LENGTHS, llama, move, objective, recipe, rows, scoring, view_of
from rollout_toy import on_policy, prompts, step_of

from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.scoring import Scoring
from alignkit.engine.whole_step import decide_step
from alignkit.errors import CheckpointError, NonFiniteError
from alignkit.loop.accelerator import make_accelerator
from alignkit.loop.config import TrainingConfig
from alignkit.loop.loop import train

MANY = rows([*LENGTHS, (3, 2, 6), (1, 5, 2)])
BETA_DPO = recipe([{"name": "beta_dpo", "beta": 0.3, "drop": 0.4}])


def decided(of=BETA_DPO, cut: int = 2, layout: str = "packed", batch=MANY) -> Scoring:
    """A scoring after the decisions of step 3."""
    found = scoring(of, move(llama()), llama(), layout)
    decide_step(found, batch, 3, replace(of.sizes(), micro_batch=cut))
    return found


def facts_of(found: Scoring, batch=MANY) -> dict[str, torch.Tensor]:
    (facts,) = found.decisions.of_examples(batch, torch.device("cpu"), decided=True).values()
    return dict(facts)


def test_a_loss_decides_of_all_examples_in_their_order() -> None:
    """Margins from scores of all rows together; 3 of 5 pairs are kept, each with the factor 5/3."""
    found = decided()
    view = view_of(found, MANY)
    margin_N = (view.chosen.logratio_B - view.rejected.logratio_B).detach().double()
    facts, state = facts_of(found), found.decisions.state()
    assert state["whole_step.0.mean"].item() == pytest.approx(0.1 * margin_N.mean().item(), rel=1e-5)
    assert state["whole_step.0.deviation"].item() == pytest.approx(0.1 * margin_N.std().item(), rel=1e-5)
    kept_N = facts["factor"] > 0
    torch.testing.assert_close(facts["factor"][kept_N], torch.full((3,), 5 / 3))
    lead = margin_N[kept_N].mean() - 0.1 * margin_N.mean()
    assert facts["beta"].item() == pytest.approx(0.3 * (1 + 0.6 * lead.item()), rel=1e-5)


@pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
@pytest.mark.parametrize("cut", [1, 3, 8])
def test_micro_batches_and_layout_decide_nothing(cut, layout) -> None:
    wanted, got = decided(), decided(cut=cut, layout=layout)
    for name, fact in facts_of(wanted).items():
        torch.testing.assert_close(facts_of(got)[name], fact, **CLOSE)
    for name, value in wanted.decisions.state().items():
        torch.testing.assert_close(got.decisions.state()[name], value, **CLOSE)


@pytest.mark.parametrize("batch", [MANY, MANY[:2]], ids=["5 rows", "2 rows"])
def test_three_processes_decide_what_one_does(batch, monkeypatch) -> None:
    """Also where one of them has no rows."""
    told: dict[int, object] = {}
    for number in (*range(3), 0):  # each tells what it observed, then the first hears all
        state = SimpleNamespace(process_index=number, num_processes=3)
        monkeypatch.setattr("accelerate.PartialState", lambda state=state: state)
        monkeypatch.setattr(
            "accelerate.utils.gather_object",
            lambda mine, number=number: [told.setdefault(number, mine[0]), *(told[n] for n in told if n != number)],
        )
        try:
            found = decided(batch=batch)
        except KeyError:
            assert len(told) < 3  # it misses the rows of processes that have told nothing yet
    monkeypatch.undo()
    wanted = facts_of(decided(batch=batch), batch)
    for name, fact in facts_of(found, batch).items():
        torch.testing.assert_close(fact, wanted[name], **CLOSE)


def test_a_micro_batch_reads_the_facts_of_its_rows() -> None:
    found = decided()
    factor_N = facts_of(found)["factor"]
    view = view_of(found, [MANY[3], MANY[0]], step=3)
    (facts,) = view.chosen.decided.values()
    assert facts["factor"].tolist() == factor_N[[3, 0]].tolist()


def test_without_a_step_all_is_at_rest() -> None:
    """Held-out rows may have the numbers of training rows."""
    (facts,) = view_of(decided(), MANY[:2]).chosen.decided.values()
    assert (facts["beta"].item(), facts["factor"].item()) == (pytest.approx(0.3), 1.0)


def test_looking_leaves_no_gradient_and_does_not_go_through_the_wrapper() -> None:
    found = scoring(BETA_DPO, move(llama()), llama())
    found.module = None  # what the loop has wrapped is called once by each micro-batch
    decide_step(found, MANY, 0, BETA_DPO.sizes())
    assert all(p.grad is None for p in found.policy.model.parameters()) and torch.is_grad_enabled()


def test_what_is_not_finite_is_said() -> None:
    model = move(llama())
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    message = r"^what 'beta_dpo' observes of the whole step is NaN or infinite$"
    with pytest.raises(NonFiniteError, match=message):
        decide_step(scoring(BETA_DPO, model, llama()), MANY, 0, BETA_DPO.sizes())


def test_the_objective_of_a_step_is_the_mean_over_kept_pairs() -> None:
    found = scoring(BETA_DPO, move(llama()), llama())
    step = objective(found, BETA_DPO)
    step.prepare(0, MANY, {0: MANY})
    totals = step.totals(MANY)
    loss = sum(step.loss([row], 0, totals)[0].item() for row in MANY)
    facts, view = facts_of(found), view_of(found, MANY)
    margin_B = (view.chosen.logratio_B - view.rejected.logratio_B).detach()
    kept_B = facts["factor"] > 0
    wanted = -torch.nn.functional.logsigmoid(facts["beta"] * margin_B)[kept_B].mean()
    assert loss == pytest.approx(wanted.item(), abs=1e-6)


def test_a_row_that_comes_twice_counts_twice() -> None:
    """Of 3 pairs, two of them one row, 2 are kept: the factors 1.5, 1.5 and 0 are the row's mean and the other's."""
    of = recipe([{"name": "beta_dpo", "drop": 0.3}])
    twice = [MANY[0], MANY[1], MANY[0]]
    for number in range(4):  # whichever are left out
        found = scoring(of, move(llama()), llama())
        decide_step(found, twice, number, of.sizes())
        factor_N = facts_of(found, twice)["factor"]
        assert factor_N[0] == factor_N[2] and factor_N.sum().item() == pytest.approx(3.0)


def trained(folder, steps: int, of=BETA_DPO, resume: bool = False) -> ObjectiveStep:
    """A run that is left after so many steps, with its checkpoint."""
    step = ObjectiveStep(scoring(of, move(llama()), llama()), replace(of.sizes(), micro_batch=2))
    config = TrainingConfig(
        steps=steps, batch_size=3, micro_batch_size=2, learning_rate=1e-2, precision="fp32", schedule="constant"
    )
    folder.mkdir(exist_ok=True)
    train(
        step,
        MANY,
        config,
        seed=0,
        folder=folder,
        accelerator=make_accelerator(config, folder),
        fingerprint={},
        on_log=lambda done, line: None,
        on_note=lambda text: None,
        resume=resume,
    )
    return step


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path) -> None:
    """Running means and what is drawn of a step: neither begins again."""
    whole = trained(tmp_path / "whole", 4)
    trained(tmp_path / "parts", 2)
    again = trained(tmp_path / "parts", 4, resume=True)
    state = whole.shared_state()
    assert state["whole_step.0.mean"] != 0 and state.keys() == again.shared_state().keys()
    assert all(torch.equal(again.shared_state()[name], value) for name, value in state.items())
    for ours, theirs in zip(whole.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_without_its_state_is_refused() -> None:
    step = objective(scoring(BETA_DPO, llama(), llama()), BETA_DPO)
    message = (
        r"^the checkpoint has no 'deviation' of BetaDPO\(.*\), which it carries from step to step; start a new run$"
    )
    with pytest.raises(CheckpointError, match=message):
        step.load_shared_state({})


class TestSampled:
    """Tokens of responses that the policy draws: one threshold for all of a step, also where weights are kept."""

    SELECT: ClassVar = {"name": "select", "per": "step", "top": 0.3, "rescale": "raw", "of": {"name": "surprisal"}}

    def drawn(self, **trainer):
        step = step_of(on_policy(weighting=self.SELECT, trainer=trainer))
        return step, step.draw(0, prompts()).rows

    def weights(self, step, drawn) -> list[list[float]]:
        """What each row is trained with, and whether it reaches the 0.7-quantile of all their surprisals."""
        plain = [step.scoring.score([row], weigh=False).responses[0] for row in drawn]
        surprisals = [-one.policy_BT[one.mask_BT].detach() for one in plain]
        threshold = torch.cat(surprisals).quantile(0.7)
        return [(value_T >= threshold).float().tolist() for value_T in surprisals]

    def test_of_each_step(self) -> None:
        step, drawn = self.drawn()
        step.prepare(0, drawn, {0: drawn})
        scores = [step.scoring.score([row], 0).responses[0] for row in drawn]
        assert [one.weights_BT[one.mask_BT].tolist() for one in scores] == self.weights(step, drawn)

    def test_of_a_drawing_that_is_trained_on_twice(self) -> None:
        """The weights of the policy that drew are kept; nothing is looked at again."""
        step, drawn = self.drawn(updates_per_rollout=2)
        wanted = self.weights(step, drawn)
        assert [row.token_columns["weights"]["completion"].tolist() for row in drawn] == wanted
        move(step.scoring.policy.model)
        step.prepare(1, drawn, {1: drawn})
        scores = [step.scoring.score([row], 1).responses[0] for row in drawn]
        assert [one.weights_BT[one.mask_BT].tolist() for one in scores] == wanted


def test_remembered_importances_are_asked_for_once_a_step() -> None:
    """What the look found is what the step trains with."""
    gradient = {"name": "gradient", "refresh_every": 2}
    of = recipe([{"name": "beta_dpo"}], weighting=gradient)
    found = scoring(of, move(llama()), llama())
    decide_step(found, MANY, 0, of.sizes())
    before = found.attributor.memory.state()
    found.score(MANY, 0)
    after = found.attributor.memory.state()
    assert before.keys() == after.keys() and all(torch.equal(after[name], value) for name, value in before.items())

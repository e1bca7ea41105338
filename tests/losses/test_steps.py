"""Losses that decide something of the whole step: their neutral settings, and what they carry."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from engine_toy import LENGTHS, llama, move, recipe, rows, scoring, view_of

from alignkit.engine.whole_step import decide_step
from alignkit.losses import losses
from alignkit.losses.base import PairLoss
from alignkit.losses.gamma_po import margins
from alignkit.losses.running import start, updated
from alignkit.models.head import Predictions, token_logps
from alignkit.models.statistics import ForwardKL
from alignkit.scores import PairScores

MANY = rows([*LENGTHS, (3, 2, 6), (1, 5, 2)])


def decided(settings: dict) -> tuple[PairLoss, PairScores]:
    """The loss, and what it sees of a step of a policy that has moved."""
    of = recipe([settings])
    found = scoring(of, move(llama()), llama())
    decide_step(found, MANY, 0, of.sizes())
    (loss,) = of.method().losses
    return loss, view_of(found, MANY, 0)


def value_B(settings: dict, view: PairScores) -> torch.Tensor:
    return losses.build(settings["name"], settings).per_example(view)


def test_nothing_dropped_and_not_adapted_is_dpo() -> None:
    loss, view = decided({"name": "beta_dpo", "beta": 0.3, "drop": 0.0, "adapt": 0.0})
    assert torch.equal(loss.per_example(view), value_B({"name": "dpo", "beta": 0.3}, view))


def test_pairs_are_drawn_without_replacement_by_their_weights() -> None:
    """Two of three; margins at 0, 1 and 2 deviations: 1, e^-1/2 and e^-2 drawn one after the other leave out the last
    with probability p1 p2 (1 / (1 - p1) + 1 / (1 - p2))."""
    loss = losses.build("beta_dpo", {"drop": 0.3})
    weight = torch.tensor([0.0, 1.0, 2.0]).double().square().mul(-0.5).exp()
    p1, p2, _ = (weight / weight.sum()).tolist()
    wanted = p1 * p2 * (1 / (1 - p1) + 1 / (1 - p2))
    left_out = [loss._kept(torch.tensor([0.0, 1.0, 2.0]).double(), seed).tolist() == [1, 1, 0] for seed in range(2000)]
    assert sum(left_out) / 2000 == pytest.approx(wanted, abs=0.03)


def test_a_single_pair_is_kept() -> None:
    loss = losses.build("beta_dpo", {})
    facts, _ = loss.decide(torch.tensor([[3.0]]).double(), loss.initial_state(), 0)
    assert facts["factor"].tolist() == [1.0] and torch.isfinite(facts["beta"])


def test_without_alpha_it_is_simpo() -> None:
    loss, view = decided({"name": "alpha_dpo", "alpha": 0.0})
    assert torch.equal(loss.per_example(view), value_B({"name": "simpo"}, view))


def test_what_is_usual_takes_in_the_step_first() -> None:
    """Values 1 and 3 have mean 2 and deviation sqrt 2; a tenth of each after the first step, 0.19 after another."""
    values_N = torch.tensor([1.0, 3.0]).double()
    once = updated(values_N, start(), 0.9)
    twice = updated(values_N, once, 0.9)
    assert [once["mean"].item(), twice["mean"].item()] == pytest.approx([0.2, 0.38])
    assert [once["deviation"].item(), twice["deviation"].item()] == pytest.approx([0.1 * 2**0.5, 0.19 * 2**0.5])


def test_before_the_policy_has_moved_no_margin_is_blown_up() -> None:
    loss = losses.build("alpha_dpo", {})
    facts, _ = loss.decide(1e-7 * torch.randn(8, 1).double(), loss.initial_state(), 0)
    torch.testing.assert_close(facts["margin"], torch.full((8,), 0.25).double(), rtol=0, atol=1e-3)


def test_large_tau_is_simpo() -> None:
    loss, view = decided({"name": "gamma_po", "beta": 2.0, "tau": 1e9})
    torch.testing.assert_close(loss.per_example(view), value_B({"name": "simpo"}, view))


def test_margins_keep_their_mean() -> None:
    """And pairs that are told apart better have larger ones."""
    found_N = margins(torch.tensor([-1.0, 0.0, 2.0, 5.0]).double(), 0.5, 3.0)
    assert found_N.mean().item() == pytest.approx(0.5) and (found_N.diff() > 0).all()


def test_tokens_are_known_where_statistics_are_reduced() -> None:
    """epsilon-DPO's log-probs from whole logits, on the short way through the head, in chunks, and on autograd's."""
    torch.manual_seed(0)
    head, theirs = torch.nn.Linear(6, 11, bias=False), torch.nn.Linear(6, 11, bias=False)
    hidden_ND, ids_N = torch.randn(7, 6), torch.arange(7)
    farther, nearer = losses.build("epsilon_dpo", {"epsilon": 0.3})._looks
    logits_NV, reference_NV = head(hidden_ND).detach(), theirs(hidden_ND).detach()
    wanted = [
        ((1 + by) * logits_NV - by * reference_NV).log_softmax(-1).gather(-1, ids_N[:, None])[:, 0]
        for by in (0.3, -0.3)
    ]
    ours, reference = Predictions(hidden_ND, head), Predictions(hidden_ND, theirs)
    for chunk in (3, 100):
        for also in ([], [ForwardKL()]):
            _, found = token_logps(ours, ids_N, chunk, [farther, nearer, *also], reference)
            torch.testing.assert_close([found[farther].detach(), found[nearer].detach()], wanted)


def test_beta_moves_after_the_step_and_is_kept() -> None:
    """The step itself has the beta from before it; the next one that of the mean step."""
    loss, view = decided({"name": "epsilon_dpo", "beta": 0.1, "epsilon": 0.5})
    beta_B = view.decided(loss)["beta"]
    steps = ((0.1 / beta_B.double() - 1) / 0.5).round()
    assert set(steps.tolist()) <= {-1.0, 0.0, 1.0} and steps.abs().sum() > 0
    seen = torch.tensor([[1.0, 2.0, 0.5], [1.0, 0.5, 2.0], [1.0, 2.0, 0.0], [1.0, 2.0, 3.0]]).double()
    facts, state = loss.decide(seen, {"beta": torch.tensor(0.4).double()}, 0)
    assert facts["beta"].tolist() == pytest.approx([0.4 / 1.5, 0.8, 0.4 / 1.5, 0.4])
    assert state["beta"].item() == pytest.approx(0.4 / 1.125)
    assert loss.at_rest(state)["beta"] is state["beta"]


def test_token_weights_enter_what_is_observed() -> None:
    _, view = decided({"name": "alpha_dpo"})
    loss = losses.build("alpha_dpo", {})
    chosen = replace(view.chosen, weights_BT=2 * view.chosen.weights_BT)
    gained_B1 = loss.observe(replace(view, chosen=chosen)) - loss.observe(view)
    torch.testing.assert_close(gained_B1[:, 0], view.chosen.mean_logratio_B)

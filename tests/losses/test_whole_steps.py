"""AOT and BCO, which look at the whole optimizer step: by hand, against the sorted lists themselves, and in pieces."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from engine_toy import CLOSE, LENGTHS, gradients, llama, move, objective, recipe, rows, scoring
from pydantic import ValidationError

from alignkit.asks.needs import Needs
from alignkit.losses import losses
from alignkit.losses.base import Loss
from alignkit.scores import PairScores, TokenScores, UnpairedScores

CHOSEN = (1.5, -0.5, 0.3, 2.0)
REJECTED = (0.4, 1.0, -1.2, 0.1)
POLICY = ((-3.0, -7.0, -2.0, -5.0), (-4.0, -1.0, -6.0, -2.5))
"""Log-ratios of four pairs, and the policy's log-probs of their responses."""


def responses(logratios: tuple[float, ...], policy: tuple[float, ...]) -> TokenScores:
    policy_BT = torch.tensor(policy, dtype=torch.float64)[:, None].requires_grad_()
    ones_BT = torch.ones_like(policy_BT)
    reference_BT = policy_BT.detach() - torch.tensor(logratios, dtype=torch.float64)[:, None]
    return TokenScores(policy_BT, ones_BT.bool(), ones_BT, reference_BT)


def step() -> PairScores:
    return PairScores(responses(CHOSEN, POLICY[0]), responses(REJECTED, POLICY[1]))


def settled(loss: Loss, scores, state=None):
    """The scores with what the loss decides of them, and what it carries."""
    seen = loss.observe(scores).detach()
    facts, state = loss.decide(seen, state or loss.initial_state(), seed=0)
    first = "response" if isinstance(scores, UnpairedScores) else "chosen"
    return replace(scores, **{first: replace(getattr(scores, first), decided={loss: facts})}), state


def nls(x: float) -> float:
    """-log sigmoid(x)."""
    return math.log1p(math.exp(-x))


class TestAOT:
    def test_by_hand(self) -> None:
        """Unpaired: 2, 1.5, .3, -.5 above 1, .4, .1, -1.2. Paired: the policy's margins, 1, -6, 4, -2.5, above those of
        the reference, 1 - 1.1, -6 + 1.5, 4 - 1.5, -2.5 - 1.9, both sorted."""
        unpaired = losses.build("aot", {"beta": 0.5, "form": "unpaired"})
        expected = sum(nls(0.5 * (u - v)) for u, v in ((2.0, 1.0), (1.5, 0.4), (0.3, 0.1), (-0.5, -1.2)))
        assert unpaired.per_example(settled(unpaired, step())[0]).sum().item() == pytest.approx(expected, abs=1e-12)
        paired = losses.build("aot", {"beta": 0.5})
        expected = sum(nls(0.5 * (u - v)) for u, v in ((4.0, 2.5), (1.0, -0.1), (-2.5, -4.4), (-6.0, -4.5)))
        assert paired.per_example(settled(paired, step())[0]).sum().item() == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    @pytest.mark.parametrize("form", ["paired", "unpaired"])
    def test_values_and_gradients_are_those_of_the_sorted_lists(self, form, smoothing) -> None:
        """The lists sorted with their gradients, as one would write it for a single batch."""
        loss, scores = losses.build("aot", {"form": form, "label_smoothing": smoothing}), step()
        leaves = [scores.chosen.policy_BT, scores.rejected.policy_BT]
        ours = loss.per_example(settled(loss, scores)[0]).sum()
        u_B, v_B = scores.chosen.logratio_B, scores.rejected.logratio_B
        if form == "paired":
            sides = [getattr(scores.chosen, n).sum(-1) - getattr(scores.rejected, n).sum(-1) for n in BOTH]
            u_B, v_B = sides
        margin_B = 0.1 * (u_B.sort().values - v_B.sort().values)
        right, swapped = (-torch.nn.functional.logsigmoid(m_B).sum() for m_B in (margin_B, -margin_B))
        theirs = (1 - smoothing) * right + smoothing * swapped
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
        for got, wanted in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True):
            torch.testing.assert_close(got, wanted, atol=1e-12, rtol=0)

    @pytest.mark.parametrize("form", ["paired", "unpaired"])
    def test_of_one_pair_and_at_rest_it_is_dpo(self, form) -> None:
        loss, dpo = losses.build("aot", {"form": form, "beta": 0.3}), losses.build("dpo", {"beta": 0.3})
        at_rest = replace(step(), chosen=replace(step().chosen, decided={loss: loss.at_rest({})}))
        torch.testing.assert_close(loss.per_example(at_rest), dpo.per_example(step()))
        one = PairScores(responses((1.5,), (-3.0,)), responses((0.4,), (-4.0,)))
        torch.testing.assert_close(loss.per_example(settled(loss, one)[0]), dpo.per_example(one))

    def test_who_belongs_to_whom_does_not_matter_unpaired(self) -> None:
        """Each rejected response moved to another pair: the sum stays; DPO's does not."""
        shuffled = PairScores(step().chosen, responses(REJECTED[1:] + REJECTED[:1], POLICY[1][1:] + POLICY[1][:1]))
        for name, stays in (("aot", True), ("dpo", False)):
            loss = losses.build(name, {"form": "unpaired"} if name == "aot" else {})
            sums = [
                loss.per_example(settled(loss, s)[0] if name == "aot" else s).sum().item() for s in (step(), shuffled)
            ]
            assert (abs(sums[0] - sums[1]) < 1e-12) is stays

    def test_equal_log_ratios_have_a_fixed_order(self) -> None:
        """All policy = reference: ties by place, every difference 0."""
        still = PairScores(responses((0.0,) * 4, POLICY[0]), responses((0.0,) * 4, POLICY[1]))
        loss = losses.build("aot", {})
        expected = torch.full((4,), math.log(2), dtype=torch.float64)
        torch.testing.assert_close(loss.per_example(settled(loss, still)[0]), expected)


BOTH = ("policy_BT", "reference_BT")


class TestBCO:
    def test_by_hand_over_two_steps(self) -> None:
        """Step 1 has the mean 3.6 / 8 = 0.45, step 2, with its chosen 1 nat higher, (3.6 + 7.6) / 16 = 0.7."""
        loss = losses.build("bco", {"beta": 0.5})
        first, state = settled(loss, step())
        assert (state["mean"].item(), state["examples"].item()) == (pytest.approx(0.45), 4)
        expected = [nls(0.5 * (c - 0.45)) + nls(-0.5 * (r - 0.45)) for c, r in zip(CHOSEN, REJECTED, strict=True)]
        assert loss.per_example(first).tolist() == pytest.approx(expected, abs=1e-12)
        higher = tuple(c + 1 for c in CHOSEN)
        second, state = settled(loss, PairScores(responses(higher, POLICY[0]), step().rejected), state)
        assert (state["mean"].item(), state["examples"].item()) == (pytest.approx(0.7), 8)
        expected = [nls(0.5 * (c - 0.7)) + nls(-0.5 * (r - 0.7)) for c, r in zip(higher, REJECTED, strict=True)]
        assert loss.per_example(second).tolist() == pytest.approx(expected, abs=1e-12)
        assert loss.metrics(second) == {"bco/shift": (pytest.approx(0.7), 1.0)}

    def test_steps_of_different_size_count_by_their_examples(self) -> None:
        loss = losses.build("bco", {})
        _, state = settled(loss, PairScores(responses((4.0,), (-3.0,)), responses((2.0,), (-4.0,))))
        _, state = settled(loss, step(), state)
        assert state["mean"].item() == pytest.approx((6.0 + 3.6) / 10)

    def test_unpaired_is_the_pairs_in_halves(self) -> None:
        """Both labels in one step: the same mean, and each response its own part of the pair's loss."""
        loss = losses.build("bco_unpaired", {"beta": 0.5})
        both = responses(CHOSEN + REJECTED, POLICY[0] + POLICY[1])
        halves, state = settled(loss, UnpairedScores(both, torch.arange(8) < 4))
        of_pairs = losses.build("bco", {"beta": 0.5})
        pairs, theirs = settled(of_pairs, step())
        assert state["mean"].item() == pytest.approx(theirs["mean"].item(), abs=1e-15)
        found_B = loss.per_example(halves)
        torch.testing.assert_close(found_B[:4] + found_B[4:], of_pairs.per_example(pairs))
        assert loss.needs() == Needs(reference=True, whole_step=frozenset({loss}))
        assert loss.metrics(halves) == {"bco_unpaired/shift": (pytest.approx(0.45), 1.0)}

    def test_without_the_shift_no_step_is_looked_at(self) -> None:
        loss = losses.build("bco", {"shift": "none"})
        assert loss.needs() == Needs(reference=True) and loss.metrics(step()) == {}
        expected = [nls(0.1 * c) + nls(-0.1 * r) for c, r in zip(CHOSEN, REJECTED, strict=True)]
        assert loss.per_example(step()).tolist() == pytest.approx(expected, abs=1e-12)

    def test_the_shift_is_a_constant(self) -> None:
        loss, scores = losses.build("bco", {"beta": 0.5}), step()
        loss.per_example(settled(loss, scores)[0]).sum().backward()
        expected = [-0.5 / (1 + math.exp(0.5 * (c - 0.45))) for c in CHOSEN]
        assert scores.chosen.policy_BT.grad[:, 0].tolist() == pytest.approx(expected, abs=1e-12)

    def test_in_an_evaluation_the_mean_so_far_is_the_shift(self) -> None:
        loss = losses.build("bco", {})
        _, state = settled(loss, step())
        assert loss.at_rest(state) == {"shift": state["mean"]} and loss.at_rest(loss.initial_state())["shift"] == 0


MANY = rows([*LENGTHS, (3, 2, 6), (1, 5, 2)])


@pytest.mark.parametrize("loss", [{"name": "aot"}, {"name": "aot", "form": "unpaired"}, {"name": "bco"}], ids=str)
def test_micro_batches_change_nothing(loss) -> None:
    """Loss and gradients of a step in one piece, in pieces of 2, and row by row in another order."""
    found = []
    for order, size in ((MANY, len(MANY)), (MANY, 2), (MANY[::-1], 1)):
        of = recipe([{**loss, "beta": 1.0}])
        one = objective(scoring(of, move(llama()), llama()), of)
        one.prepare(0, MANY, {0: MANY})
        totals, value = one.totals(MANY), 0.0
        for start in range(0, len(MANY), size):
            part, _ = one.loss(order[start : start + size], 0, totals)
            part.backward()
            value += part.item()
        found.append((torch.tensor(value), gradients(one.scoring.policy.model), one.shared_state()))
    for value, of_parameters, state in found[1:]:
        torch.testing.assert_close(value, found[0][0], **CLOSE)
        for name, gradient in of_parameters.items():
            torch.testing.assert_close(gradient, found[0][1][name], **CLOSE)
        assert state.keys() == found[0][2].keys() and all(torch.equal(state[n], v) for n, v in found[0][2].items())


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        *[(name, {"beta": 0.0}, "Input should be greater than 0") for name in ("aot", "bco", "bco_unpaired")],
        ("aot", {"form": "pairs"}, "Input should be 'paired' or 'unpaired'"),
        ("aot", {"label_smoothing": 0.5}, "Input should be less than 0.5"),
        ("bco", {"shift": "mean"}, "Input should be 'running' or 'none'"),
    ],
)
def test_what_has_no_meaning_is_refused(name, parameters, message) -> None:
    with pytest.raises(ValidationError) as caught:
        losses.build(name, parameters)
    assert [(e["loc"], e["msg"]) for e in caught.value.errors()] == [(tuple(parameters), message)]

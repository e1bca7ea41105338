"""Importances that ask two models, and importances that rows keep."""

from __future__ import annotations

import pytest
import torch
from engine_toy import CLOSE, gradients, llama, move, objective, recipe, rows, scoring, view_of, with_lora

from alignkit.engine.attributor import Memory
from alignkit.engine.scoring import Scoring
from alignkit.models.attribution import Attribution
from alignkit.models.reference import Reference

LOG_RATIO = Attribution("log_ratio")
LAYOUTS = pytest.mark.parametrize("layout", ["packed", "shared", "separate"])


def of(**gradient):
    return recipe(weighting={"name": "gradient", **gradient})


def input_gradient(model, row, name: str):
    """([T, D], [T, D]) gradient of the response's summed log-prob by its tokens' embeddings, and these embeddings."""
    ids = torch.from_numpy(row.responses[name])
    whole = torch.cat([torch.from_numpy(row.prompt), ids])[None]
    embeddings = model.get_input_embeddings()(whole).detach().requires_grad_()
    logp = model(inputs_embeds=embeddings).logits[0, len(row.prompt) - 1 : -1].log_softmax(-1)
    (gradient,) = torch.autograd.grad(logp.gather(-1, ids[:, None]).sum(), embeddings)
    start = len(row.prompt)
    return gradient[0, start:], embeddings.detach()[0, start:]


class TestLogRatio:
    @LAYOUTS
    @pytest.mark.parametrize("norm", ["l1", "l2", "grad_x_input"])
    def test_equals_the_difference_of_both_models_gradients(self, layout, norm) -> None:
        ours, theirs = move(llama()), llama()
        scores = scoring(of(target="log_ratio", norm=norm), ours, theirs, layout).score(rows(), 0)
        for b, row in enumerate(rows()):
            for span, name in zip(scores.spans, ("chosen", "rejected"), strict=True):
                (g, e), (g_ref, e_ref) = (input_gradient(model, row, name) for model in (ours, theirs))
                wanted_T = {
                    "l1": (g - g_ref).abs().sum(-1),
                    "l2": (g - g_ref).norm(dim=-1),
                    "grad_x_input": ((g * e).sum(-1) - (g_ref * e_ref).sum(-1)).abs(),
                }[norm]
                got_T = span.importance[Attribution("log_ratio", norm=norm)][b, : len(wanted_T)]
                torch.testing.assert_close(got_T, wanted_T, rtol=1e-4, atol=1e-5)

    @LAYOUTS
    def test_before_training_it_is_silent(self, layout) -> None:
        """Two equal models differ by rounding at most, which must not become weights."""
        scores = scoring(of(target="log_ratio"), llama(), llama(), layout).score(rows(), 0)
        assert all((span.importance[LOG_RATIO] == 0).all() for span in scores.spans)
        assert all(torch.equal(s.weights_BT, s.mask_BT.float()) for s in scores.responses)

    def test_through_the_policy_alone_it_would_be_the_likelihoods(self) -> None:
        """The reference's half is a constant there, so target response_nll is the policy's gradient."""
        ours = move(llama())
        scores = scoring(of(target="response_nll"), ours, llama()).score(rows(), 0)
        gradient, _ = input_gradient(ours, rows()[0], "chosen")
        got_T = scores.spans[0].importance[Attribution("response_nll")][0, : len(gradient)]
        torch.testing.assert_close(got_T, gradient.abs().sum(-1), rtol=1e-4, atol=1e-5)

    def test_full_sequence_has_the_prompts_too(self) -> None:
        found = scoring(of(target="log_ratio", scope="full_sequence"), move(llama()), llama(), "separate")
        scores = found.score(rows(), 0)
        response = scoring(of(target="log_ratio"), move(llama()), llama()).score(rows(), 0)
        for span, part in zip(scores.spans, response.spans, strict=True):
            whole_BS = span.importance[LOG_RATIO]
            assert (whole_BS[:, : span.num_prompt].sum(-1) > 0).any()
            torch.testing.assert_close(whole_BS[:, span.num_prompt :], part.importance[LOG_RATIO], rtol=1e-4, atol=1e-5)

    def test_with_an_adapter_the_models_are_one_switched(self) -> None:
        model = with_lora(llama())
        bare = scoring(of(target="log_ratio"), model, llama())
        switched = Scoring(bare.method, bare.policy, Reference(bare.policy.scorer, bare.policy), {}, bare.autocast)
        for one, other in zip(bare.score(rows(), 0).spans, switched.score(rows(), 0).spans, strict=True):
            torch.testing.assert_close(one.importance[LOG_RATIO], other.importance[LOG_RATIO], rtol=1e-4, atol=1e-5)

    def test_parameter_gradients_are_those_of_the_loss(self) -> None:
        """With weights clipped to 1 the step is plain DPO's, and the reference gets no gradient."""
        found = []
        for weighting in ({"name": "uniform"}, {"name": "gradient", "target": "log_ratio", "clip": [1 - 1e-9, 1.0]}):
            step = objective(scoring(recipe(weighting=weighting), move(llama()), llama()))
            step.loss(rows(), 0, step.totals(rows()))[0].backward()
            found.append(gradients(step.scoring.policy.model))
            assert all(p.grad is None for p in step.scoring.reference.scorer.parameters())
        torch.testing.assert_close(found[0], found[1], **CLOSE)


KEPT = {"refresh_every": 3, "smoothing": 0.25}
ASKED = Attribution(**KEPT)


class TestMemory:
    """Rows of importances 1 3 and 2 2 2; refreshed every 3 steps, a quarter of the old is kept."""

    MASK = torch.tensor([[[True, True, False]], [[True, True, True]]])
    FIRST = torch.tensor([[[1.0, 3.0, 0.0]], [[2.0, 2.0, 2.0]]])
    SECOND = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 0.0, 5.0]]])

    def test_keeps_shares_until_they_are_due_then_smooths(self) -> None:
        """Shares 1/4 3/4 and 1/3 1/3 1/3; at step 3 a quarter of them and three quarters of the new 1 0 and 0 0 1."""
        memory, two = Memory([ASKED]), rows()[:2]
        assert memory.is_due(ASKED, two, 0)
        kept = torch.tensor([[[0.25, 0.75, 0.0]], [[1 / 3] * 3]])
        torch.testing.assert_close(memory.update(ASKED, two, 0, self.FIRST, self.MASK), kept)
        assert not memory.is_due(ASKED, two, 2) and memory.is_due(ASKED, two, 3)
        torch.testing.assert_close(memory.update(ASKED, two, 2, None, self.MASK), kept)
        wanted = torch.tensor([[[0.0625 + 0.75, 0.1875, 0.0]], [[1 / 12, 1 / 12, 1 / 12 + 0.75]]])
        torch.testing.assert_close(memory.update(ASKED, two, 3, self.SECOND, self.MASK), wanted)

    def test_a_row_that_is_not_due_keeps_its_own_among_rows_that_are(self) -> None:
        memory, (one, two) = Memory([ASKED]), rows()[:2]
        memory.update(ASKED, [one], 0, self.FIRST[:1], self.MASK[:1])
        assert memory.is_due(ASKED, [one, two], 1)
        got = memory.update(ASKED, [one, two], 1, self.SECOND, self.MASK)
        torch.testing.assert_close(got, torch.tensor([[[0.25, 0.75, 0.0]], [[0.0, 0.0, 1.0]]]))

    def test_goes_through_a_checkpoint(self) -> None:
        memory, two = Memory([ASKED]), rows()[:2]
        memory.update(ASKED, two, 0, self.FIRST, self.MASK)
        resumed = Memory([ASKED])
        resumed.load_state(memory.state())
        for one in (memory, resumed):
            one.update(ASKED, two, 4, self.SECOND, self.MASK)
        assert all(torch.equal(memory.state()[key], resumed.state()[key]) for key in memory.state())
        resumed.load_state({})
        assert resumed.state() == {}

    def test_of_several_processes_the_newest_counts(self) -> None:
        """The first knows the first row as of step 3, the second both rows, the first one as of step 0."""
        (first, second), (one, two) = (Memory([ASKED]), Memory([ASKED])), rows()[:2]
        second.update(ASKED, [one, two], 0, self.FIRST, self.MASK)
        first.update(ASKED, [one], 3, self.SECOND[:1], self.MASK[:1])
        for states in ([first.state(), second.state()], [second.state(), first.state()]):
            resumed = Memory([ASKED])
            resumed.load_state(*states)
            got = resumed.update(ASKED, [one, two], 2, None, self.MASK)
            torch.testing.assert_close(got, torch.tensor([[[1.0, 0.0, 0.0]], [[1 / 3] * 3]]))

    def test_nothing_is_kept_when_nothing_is_remembered(self) -> None:
        step = objective(scoring(of(), move(llama()), llama()))
        step.loss(rows(), 0, step.totals(rows()))
        assert step.state() == {}


class TestInTraining:
    def test_rows_are_attributed_once_within_the_window(self) -> None:
        """The second step of a row takes the first one's weights although the policy has moved, without asking it."""
        found = scoring(of(**KEPT), move(llama()), llama())
        first = view_of(found, rows(), 0).chosen.weights_BT
        move(found.policy.model, seed=5)
        assert found.attributor.wanted(rows(), 2) == frozenset()
        assert torch.equal(view_of(found, rows(), 2).chosen.weights_BT, first)
        assert not torch.allclose(view_of(found, rows(), 3).chosen.weights_BT, first)

    def test_an_evaluation_asks_anew_and_leaves_no_trace(self) -> None:
        found = scoring(of(**KEPT), move(llama()), llama())
        plain = scoring(of(), move(llama()), llama())
        for row in (rows(), rows()[:1]):
            torch.testing.assert_close(
                view_of(found, row).chosen.weights_BT, view_of(plain, row).chosen.weights_BT, **CLOSE
            )
        assert found.attributor.memory.state() == {}

    def test_defaults_are_the_plain_gradient_bit_for_bit(self) -> None:
        losses = []
        for options in ({}, {"refresh_every": 1, "smoothing": 0.0}):
            step = objective(scoring(of(**options), move(llama()), llama()))
            losses.append(step.loss(rows(), 0, step.totals(rows()))[0])
        assert torch.equal(*losses)

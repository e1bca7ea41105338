"""The scored log-probs are those of the model's own full logits, whatever the layout, batch, chunk or precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_toy import (
    CLOSE,
    VOCABULARY,
    batch,
    build,
    full_logp,
    gold_logp,
    gradients,
    llama,
    policy,
    rows,
    with_lora,
    zoo,
)

from alignkit.models.head import Draw
from alignkit.models.layout import Example, collate
from alignkit.models.scorer import Scorer, Want
from alignkit.models.statistics import ForwardKL

FIXED = torch.linspace(-1, 1, 3 * 3 * 6).reshape(3, 3, 6)


def scored_sum(logp_BRT: torch.Tensor) -> torch.Tensor:
    """A sum in which every token has another share."""
    return (logp_BRT * FIXED[:, : logp_BRT.shape[1], : logp_BRT.shape[2]]).sum()


def plain(model, row_list, num_responses: int = 2) -> torch.Tensor:
    """[B, R, T] from full logits, one response at a time."""
    logp_BRT = torch.zeros(3, num_responses, 6)
    for b, row in enumerate(row_list):
        for r, ids in enumerate(row.responses.values()):
            logp_BRT[b, r, : len(ids)] = gold_logp(model, row.prompt, ids)
    return logp_BRT


@pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
@pytest.mark.parametrize("family", ["llama sdpa", "llama eager", "qwen3 tied", "gpt2"])
@pytest.mark.parametrize("head_chunk", [4, 4096])
def test_equals_full_logits(family: str, layout: str, head_chunk: int) -> None:
    """Values, zeros off the mask, and the gradient of every parameter."""
    model = build(zoo()[family])
    scored_sum(plain(model, rows())).backward()
    wanted = gradients(model)
    scored = Scorer(model, head_chunk)(batch(rows(), layout), Want())
    torch.testing.assert_close(scored.logp_BRT, plain(model, rows()), **CLOSE)
    scored_sum(scored.logp_BRT).backward()
    torch.testing.assert_close(gradients(model), wanted, rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
def test_kl_equals_full_distributions(layout: str) -> None:
    ours, theirs = llama(), llama(seed=1)
    laid = batch(rows(), layout)
    predictions = Scorer(theirs, 3)(laid, Want(predictions=True)).predictions
    assert not predictions.hidden_ND.requires_grad
    kl_BRT = Scorer(ours, 3)(laid, Want(statistics=frozenset({ForwardKL()}), reference=predictions)).statistics[
        ForwardKL()
    ]
    for b, row in enumerate(rows()):
        for r, ids in enumerate(row.responses.values()):
            logp_TV, other_TV = full_logp(ours, row.prompt, ids), full_logp(theirs, row.prompt, ids)
            wanted_T = (other_TV.exp() * (other_TV - logp_TV)).sum(-1)
            torch.testing.assert_close(kl_BRT[b, r, : len(ids)], wanted_T, **CLOSE)
            assert (kl_BRT[b, r, len(ids) :] == 0).all()


@pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
def test_a_row_does_not_depend_on_the_batch(layout: str) -> None:
    scorer = Scorer(llama(), 4096)
    together = scorer(batch(rows(), layout), Want()).logp_BRT
    for b, row in enumerate(rows()):
        alone = scorer(batch([row], layout), Want()).logp_BRT
        torch.testing.assert_close(together[b : b + 1, :, : alone.shape[-1]], alone, **CLOSE)


def test_a_later_token_does_not_change_an_earlier_log_prob() -> None:
    prompt, ids = np.array([1, 2]), np.array([3, 4, 5, 6])
    scorer = Scorer(llama(), 4096)
    whole, cut = (scorer(collate([Example(prompt, [r])], "shared", 0), Want()).logp_BRT[0, 0] for r in (ids, ids[:2]))
    torch.testing.assert_close(whole[:2], cut, **CLOSE)


class TestDrawn:
    WANT = Want(draw=Draw(temperature=0.8, top_k=10), uniform_BT=torch.linspace(0, 0.99, 18).reshape(3, 6))

    @pytest.mark.parametrize("head_chunk", [2, 4096])
    def test_tokens_and_log_probs_along_the_first_response(self, head_chunk: int) -> None:
        """Each token is drawn from the model's own logits after the chosen tokens before it, and scored by them."""
        model = llama()
        scored = Scorer(model, head_chunk)(batch(rows()), self.WANT)
        for b, row in enumerate(rows()):
            chosen = row.responses["chosen"]
            logp_TV = full_logp(model, row.prompt, chosen)
            wanted_T = self.WANT.draw(logp_TV, self.WANT.uniform_BT[b, : len(chosen)])
            assert torch.equal(scored.drawn_BT[b, : len(chosen)], wanted_T)
            wanted = logp_TV.gather(-1, wanted_T[:, None]).squeeze(-1)
            torch.testing.assert_close(scored.drawn_logp_BT[b, : len(chosen)], wanted, **CLOSE)

    def test_the_gradient_flows_through_the_log_probs(self) -> None:
        model = llama()
        scored = Scorer(model, 4096)(batch(rows()), self.WANT)
        scored.drawn_logp_BT.sum().backward()
        got = gradients(model)
        tokens = [scored.drawn_BT[b, : len(row.responses["chosen"])] for b, row in enumerate(rows())]
        for row, ids in zip(rows(), tokens, strict=True):
            full_logp(model, row.prompt, row.responses["chosen"]).gather(-1, ids[:, None]).sum().backward()
        torch.testing.assert_close(got, gradients(model), rtol=1e-5, atol=5e-5)

    def test_nothing_is_drawn_unless_wanted(self) -> None:
        scored = Scorer(llama(), 4096)(batch(rows()), Want())
        assert scored.drawn_BT is None and scored.drawn_logp_BT is None
        assert scored.statistics == {} and scored.embeddings_XLD is None and scored.predictions is None


class TestPrecision:
    @pytest.mark.parametrize("head_chunk", [3, 4096])
    def test_bf16_autocast_gives_float32_near_the_exact_ones(self, head_chunk: int) -> None:
        """A head of several chunks is computed again in the backward pass, in the same precision."""
        model = llama()
        exact = Scorer(model, 4096)(batch(rows()), Want()).logp_BRT
        with torch.autocast("cpu", torch.bfloat16):
            got = Scorer(model, head_chunk)(batch(rows()), Want()).logp_BRT
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, exact, rtol=0, atol=0.15)
        got.sum().backward()
        assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients(model).values())

    @pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    def test_a_bf16_model_works_in_both_layouts(self, attention: str, layout: str) -> None:
        model = llama(attn_implementation=attention)
        exact = Scorer(model, 4096)(batch(rows()), Want()).logp_BRT
        got = Scorer(model.bfloat16(), 4096)(batch(rows(), layout), Want()).logp_BRT
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, exact, rtol=0, atol=0.3)


def test_an_adapter_is_part_of_the_scores() -> None:
    base = [plain(llama(), rows()), plain(with_lora(llama()), rows())]
    wrapped = policy(with_lora(llama()))
    got = wrapped.scorer(wrapped.batch(rows()), Want()).logp_BRT
    torch.testing.assert_close(got, base[1], **CLOSE)
    assert (got - base[0]).abs().max() > 0.01


def test_ids_of_every_vocabulary_entry_can_be_scored() -> None:
    """The probabilities of all tokens at one position sum to 1."""
    examples = [Example(np.array([1, 2]), [np.array([v])]) for v in range(VOCABULARY)]
    logp_BRT = Scorer(llama(), 7)(collate(examples, "shared", 0), Want()).logp_BRT
    assert logp_BRT.exp().sum().item() == pytest.approx(1, abs=1e-5)

"""Importances on the training graph are those of a separate pass, and leave training untouched."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine_toy import batch, gradients, llama, rows, with_lora
from torch import Tensor, nn

from alignkit.models.attention import Pass
from alignkit.models.attribution import Attribution
from alignkit.models.importances import importances
from alignkit.models.layout import Example, collate
from alignkit.models.scorer import Scorer, Want, causal_lm

KINDS = [
    *(Attribution(norm=norm) for norm in ("l1", "l2", "grad_x_input")),
    Attribution(position="last_token"),
    Attribution(target="gold_logit"),
    Attribution(target="response_nll"),
]


def named(kind: Attribution) -> str:
    return f"{kind.target}-{kind.position}-{kind.norm}"


def separately(model, kind: Attribution, prompt: np.ndarray, response: np.ndarray) -> Tensor:
    """[P + T] as the paper's released code does it: a pass of its own, by a detached leaf of the embeddings."""
    language_model = causal_lm(model)
    ids = torch.from_numpy(np.concatenate([prompt, response]))
    leaf = language_model.get_input_embeddings()(ids).detach().requires_grad_()
    logits_LV = language_model(inputs_embeds=leaf[None]).logits[0]
    if kind.target == "response_nll":
        logp_TV = logits_LV[len(prompt) - 1 : -1].log_softmax(-1)
        target = -logp_TV.gather(-1, ids[len(prompt) :, None]).sum()
    elif kind.target == "gold_logit":
        target = logits_LV[-2, ids[-1]]
    else:
        target = logits_LV[-2 if kind.position == "predict_last" else -1].max()
    (gradient_LD,) = torch.autograd.grad(target, leaf)
    if kind.norm == "grad_x_input":
        return (gradient_LD * leaf.detach()).sum(-1).abs()
    return gradient_LD.norm(p=1 if kind.norm == "l1" else 2, dim=-1)


def prepared(variant: str):
    """The model, and whether the scorer is in training mode."""
    if variant == "lora":
        return with_lora(llama()), False
    model = llama()
    if variant == "checkpointing":
        model.activation_checkpointing_enable({"use_reentrant": False})
    return model, variant == "checkpointing"


@pytest.mark.parametrize("layout", ["packed", "shared"])
@pytest.mark.parametrize("variant", ["plain", "checkpointing", "lora"])
@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_equals_a_separate_pass(kind: Attribution, variant: str, layout: str) -> None:
    model, training = prepared(variant)
    laid = batch(rows(), layout, num_anchor=2)
    scored = Scorer(model, 5).train(training)(laid, Want(frozenset({kind})))
    size_BRT = importances(scored, laid, 2)[kind]
    assert not size_BRT.requires_grad and size_BRT.shape == (3, 2, 6)
    model.eval()
    for b, row in enumerate(rows()):
        for r, ids in enumerate(row.responses.values()):
            wanted = separately(model, kind, row.prompt, ids)[len(row.prompt) :]
            torch.testing.assert_close(size_BRT[b, r, : len(ids)], wanted, rtol=1e-4, atol=1e-5)
            assert (size_BRT[b, r, len(ids) :] == 0).all()


def test_of_the_prompt_too() -> None:
    """Separate rows keep the prompt's importances of the two responses apart."""
    model, laid = llama(), batch(rows(), "separate")
    scored = Scorer(model, 4096)(laid, Want(frozenset({Attribution()})))
    size_BRS = importances(scored, laid, 2, full_sequence=True)[Attribution()]
    longest = max(len(row.prompt) for row in rows())
    for b, row in enumerate(rows()):
        for r, ids in enumerate(row.responses.values()):
            wanted = separately(model, Attribution(), row.prompt, ids)
            mask_S = torch.cat([laid.prompt_mask_BP[b], laid.mask_BRT[b, r]])
            torch.testing.assert_close(size_BRS[b, r, mask_S], wanted, rtol=1e-4, atol=1e-5)
            assert (size_BRS[b, r, ~mask_S] == 0).all()
    assert size_BRS.shape[-1] == longest + 6


def test_a_shared_prompt_cannot_tell_whose_importance_it_has() -> None:
    laid = batch(rows(), "shared")
    scored = Scorer(llama(), 4096)(laid, Want(frozenset({Attribution()})))
    with pytest.raises(AssertionError, match="a shared prompt mixes its responses"):
        importances(scored, laid, 2, full_sequence=True)


def test_the_last_token_has_none_by_causality() -> None:
    """The logits that predict the last token cannot depend on it; those after it do."""
    laid = batch(rows())
    kinds = [Attribution(), Attribution(position="last_token")]
    found = importances(Scorer(llama(), 4096)(laid, Want(frozenset(kinds))), laid, 2)
    last_BR1 = laid.last_BR[..., None]
    assert (found[kinds[0]].gather(-1, last_BR1) == 0).all()
    assert (found[kinds[1]].gather(-1, last_BR1) > 0).all()


@pytest.mark.parametrize("variant", ["plain", "checkpointing", "lora"])
def test_the_prompts_of_a_packed_row_are_not_visited(variant: str) -> None:
    """No gradient arrives at what the first layer says of the prompts, which the training backward needs."""
    model, training = prepared(variant)
    laid, seen = batch(rows(), "packed"), list[int]()

    def watch(module: nn.Module, given: tuple, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: seen.append(gradient.shape[1]))

    causal_lm(model).model.layers[0].register_forward_hook(watch)
    scored = Scorer(model, 4096).train(training)(laid, Want(frozenset({Attribution()})))
    importances(scored, laid, 2)
    assert seen == [23]
    scored.logp_BRT.sum().backward()
    assert seen == [23, 23, 13]


def test_an_anchor_gets_none_and_changes_none() -> None:
    found = []
    for num_anchor in (0, 5):
        laid = batch(rows(), "shared", num_anchor)
        found.append(importances(Scorer(llama(), 4096)(laid, Want(frozenset({Attribution()}))), laid, 2))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)


def test_nothing_of_a_step_is_left_behind() -> None:
    """Layers that are computed again hold the pass that they belong to, and must not hold themselves through it."""
    model, training = prepared("checkpointing")
    laid = batch(rows(), "packed")
    scored = Scorer(model, 4096).train(training)(laid, Want(frozenset({Attribution()})))
    importances(scored, laid, 2)
    left = [weakref.ref(kept) for kept in gc.get_objects() if type(kept) is Pass]
    assert left
    gc.disable()
    try:
        del scored
        assert [kept() for kept in left] == [None] * len(left)
    finally:
        gc.enable()


@pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
@pytest.mark.parametrize("variant", ["plain", "checkpointing", "lora"])
def test_training_gradients_are_bit_for_bit_those_without(variant: str, layout: str) -> None:
    """Nothing is written to a parameter while importances are taken, and nothing is missing afterwards."""
    model, training = prepared(variant)
    scorer = Scorer(model, 5).train(training)
    laid, found = batch(rows(), layout), []
    for wanted in (frozenset(), frozenset(KINDS)):
        scored = scorer(laid, Want(wanted))
        if wanted:
            importances(scored, laid, 2)
            assert all(parameter.grad is None for parameter in model.parameters())
        (scored.logp_BRT[:, 0].sum() - scored.logp_BRT[:, 1].sum()).backward()
        found.append(gradients(model))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    if variant == "lora":
        assert all("lora_" in name for name in found[0])


class LinearDecoder(nn.Module):
    """Hidden state: the sum so far of place factor x embedding."""

    factors_L = torch.tensor([9.0, 1.0, 2.0, 4.0, 0.5, 3.0])

    def forward(self, inputs_embeds: Tensor, **_: object) -> SimpleNamespace:
        factors_L1 = self.factors_L[: inputs_embeds.shape[1], None]
        return SimpleNamespace(last_hidden_state=(factors_L1 * inputs_embeds).cumsum(1))


class LinearToy(nn.Module):
    """logits = W h. By hand: d logit_v / d e_s = factor_s W_v, so I_s = factor_s |W_v|_1.

    Prompt 0 and response 0 2 1 0 have the factors 9, 1, 2, 4, 0.5; h = 2 (1, -1) + 4 (1, 0) = (6, -2) after them.
    Rows of W: (.5, .25), (0, .1), (.5, -.5), so the logits are 2.5, -0.2 and 4.0, and |W_2|_1 = 1.
    """

    config = SimpleNamespace(_attn_implementation="sdpa")

    def __init__(self) -> None:
        super().__init__()
        vectors = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, -1.0]])
        self.embeddings = nn.Embedding.from_pretrained(vectors, freeze=False)
        self.head = nn.Linear(2, 3, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[0.5, 0.25], [0.0, 0.1], [0.5, -0.5]]))
        self.decoder = LinearDecoder()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def get_decoder(self) -> nn.Module:
        return self.decoder

    @property
    def model(self) -> nn.Module:
        return self.decoder


@pytest.mark.parametrize("layout", ["shared", "separate"])
@pytest.mark.parametrize(("position", "response"), [("predict_last", [0, 2, 1, 0, 2]), ("last_token", [0, 2, 1, 0])])
def test_the_toy_by_hand(examples, position, response, layout) -> None:
    """methods.md gives the toy's logits and importances but not the toy; `LinearToy` is made to have them."""
    kind = Attribution(position=position)
    laid = collate([Example(np.array([0]), [np.array(response)])], layout, pad_id=0)
    scored = Scorer(LinearToy(), 4096)(laid, Want(frozenset({kind})))
    after_four = torch.tensor([[6.0, -2.0]])
    torch.testing.assert_close(
        LinearToy().head(after_four), torch.tensor([examples["toy attribution last logits"]]), rtol=0, atol=1e-6
    )
    assert LinearToy().head(after_four).argmax().item() == examples["toy attribution argmax"]
    assert scored.targets[kind].item() == pytest.approx(max(examples["toy attribution last logits"]), abs=1e-6)
    wanted = examples["toy attribution I"] + [0.0] * (len(response) - 4)
    torch.testing.assert_close(importances(scored, laid, 1)[kind][0, 0], torch.tensor(wanted), rtol=0, atol=1e-6)

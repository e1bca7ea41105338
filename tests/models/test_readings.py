"""What readings are given: transformers' own attention in every layout, and the hidden states that predict."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from engine_toy import SIZES, batch, build, llama, rows, with_lora, zoo
from torch import Tensor

from alignkit.errors import ModelError
from alignkit.models import scorer as scorers
from alignkit.models.readings import Reading, States, ches
from alignkit.models.scorer import Scorer, Want

FAMILIES = {name: zoo()[name] for name in ("llama sdpa", "llama eager", "gemma", "gpt2")} | {
    "mistral local": transformers.MistralConfig(**SIZES, sliding_window=3)
}


class Attended(Reading):
    """row of the attention table, one of them."""

    reads_attention = True
    place: int = 0

    def read(self, states: States) -> Tensor:
        return states.attention_BRTT[:, :, self.place]


class Size(Reading):
    """length of the hidden state that predicts a token."""

    def read(self, states: States) -> Tensor:
        return torch.linalg.vector_norm(states.hidden_BRTD, dim=-1)


def eager(model, prompt: np.ndarray, response: np.ndarray) -> Tensor:
    """[T, T] transformers' own attention of the last layer among the response's tokens, a mean over the heads."""
    before = model.config._attn_implementation
    model.config._attn_implementation = "eager"
    ids = torch.from_numpy(np.concatenate([prompt, response]))[None]
    with torch.no_grad():
        attention_1HLL = model(input_ids=ids, output_attentions=True).attentions[-1]
    model.config._attn_implementation = before
    return attention_1HLL[0].mean(0)[len(prompt) :, len(prompt) :]


def found(model, layout: str, reading: Reading, num_anchor: int = 0) -> Tensor:
    laid = batch(rows(), layout, num_anchor)
    want = Want(readings=frozenset({reading}), num_read=2)
    return Scorer(model, 4096)(laid, want).readings[reading]


@pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
@pytest.mark.parametrize("family", FAMILIES)
def test_attention_is_that_of_eager_transformers(family: str, layout: str) -> None:
    if (family, layout) in (("llama eager", "packed"), ("mistral local", "shared")):
        layout = "separate"  # as the policy lays them out
    model = build(FAMILIES[family])
    for place in (0, 2):
        found_BRT = found(model, layout, Attended(place=place), num_anchor=3)
        assert found_BRT.shape == (3, 2, 6) and not found_BRT.requires_grad
        for b, row in enumerate(rows()):
            for r, response in enumerate(row.responses.values()):
                wanted_TT = eager(model, row.prompt, response)
                wanted_T = wanted_TT[place] if place < len(response) else torch.zeros(len(response))
                torch.testing.assert_close(found_BRT[b, r, : len(response)], wanted_T, rtol=1e-5, atol=1e-6)
                assert not found_BRT[b, r, len(response) :].any()


@pytest.mark.parametrize("layout", ["packed", "separate"])
def test_hidden_states_are_those_that_predict(layout: str) -> None:
    """Of a model with an adapter as well; an anchor is laid out and not read."""
    model = with_lora(llama())
    found_BRT = found(model, layout, Size(), num_anchor=2)
    for b, row in enumerate(rows()):
        for r, response in enumerate(row.responses.values()):
            ids = torch.from_numpy(np.concatenate([row.prompt, response]))[None]
            hidden_1LD = model.get_base_model().model(input_ids=ids).last_hidden_state
            wanted_T = torch.linalg.vector_norm(hidden_1LD[0, len(row.prompt) - 1 : -1], dim=-1)
            torch.testing.assert_close(found_BRT[b, r, : len(response)], wanted_T.detach(), rtol=1e-5, atol=1e-5)


def test_the_log_probs_are_the_same_bits() -> None:
    """Whether attention is read or not."""
    for layout in ("packed", "separate"):
        laid, model = batch(rows(), layout), llama()
        plain = Scorer(model, 4096)(laid, Want()).logp_BRT
        watched = Scorer(model, 4096)(laid, Want(readings=frozenset({Attended()}))).logp_BRT
        assert torch.equal(plain, watched)


def test_a_kernel_that_says_nothing_is_refused() -> None:
    model = llama()
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(ModelError) as caught:
        scorers._latest([], model)
    assert str(caught.value) == (
        "model.attn_implementation: 'flex_attention' does not say what the last layer attends to; use 'sdpa' or 'eager'"
    )


OWN = {
    "falcon": (
        transformers.FalconConfig(vocab_size=41, hidden_size=16, num_hidden_layers=2, num_attention_heads=4),
        "try attn_implementation 'eager', or another weighting",
    ),
    "mamba": (
        transformers.MambaConfig(vocab_size=41, hidden_size=16, num_hidden_layers=2, attn_implementation="eager"),
        "use another weighting",
    ),
}


@pytest.mark.parametrize("kind", OWN)
def test_attention_that_cannot_be_read_is_refused(kind: str) -> None:
    """One calls torch's kernel by itself, the other has no attention."""
    config, way_out = OWN[kind]
    with pytest.raises(ModelError) as caught:
        found(build(config), "separate", Attended())
    assert str(caught.value) == f"model: what the last layer of {kind} attends to cannot be read; {way_out}"


def test_ches_of_three_pairs() -> None:
    """<w, l> - |w|^2: 0 for equal ones, -|w|^2 for orthogonal ones."""
    chosen = torch.tensor([[1.0, 2.0], [3.0, 0.0], [1.0, 1.0]])
    rejected = torch.tensor([[1.0, 2.0], [0.0, 5.0], [-1.0, 0.0]])
    assert ches(chosen, rejected).tolist() == [0, -9, -3]

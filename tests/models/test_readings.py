"""What readings are given: attention is transformers' own, in every layout, and hidden states are those that predict."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from engine_toy import SIZES, batch, build, llama, rows, with_lora, zoo
from torch import Tensor

from alignkit.errors import ModelError
from alignkit.models.readings import Reading, States, ches
from alignkit.models.scorer import Scorer, Want

FAMILIES = {**zoo(), "mistral local": transformers.MistralConfig(**SIZES, sliding_window=3)}


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

"""Sampling: the model's own distribution, one draw per row and token whatever else is in the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_toy import EOS, llama, with_lora

from alignkit.errors import NonFiniteError
from alignkit.models.generation import sample, uniforms
from alignkit.models.head import Draw

PROMPTS = [np.array([1, 2, 3, 4, 5]), np.array([7]), np.array([3, 9])]


def drawn(model, prompts=PROMPTS, seeds=(1, 2, 3), draw=None, num: int = 10) -> list[list[int]]:
    found = sample(model, prompts, seeds, draw or Draw(), max_new_tokens=num, eos_id=EOS)
    return [ids.tolist() for ids in found]


def step_by_step(model, prompt: np.ndarray, seed: int, draw: Draw, num: int) -> list[int]:
    """Decoding without cache, padding or batch."""
    ids, uniform_T = prompt.tolist(), np.random.default_rng(seed).random(num)
    for uniform in uniform_T:
        logits_1V = model(input_ids=torch.tensor([ids])).logits[:, -1]
        ids.append(draw(logits_1V, torch.tensor([uniform])).item())
        if ids[-1] == EOS:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("draw", [Draw(), Draw(0.8, top_k=5, top_p=0.9)])
def test_equals_decoding_step_by_step(draw) -> None:
    model = llama()
    wanted = [step_by_step(model, prompt, seed, draw, 10) for prompt, seed in zip(PROMPTS, (1, 2, 3), strict=True)]
    assert drawn(model, draw=draw) == wanted


def test_does_not_depend_on_the_batch() -> None:
    model = llama()
    together = drawn(model)
    assert [drawn(model, [p], [s])[0] for p, s in zip(PROMPTS, (1, 2, 3), strict=True)] == together
    assert drawn(model, PROMPTS[::-1], (3, 2, 1)) == together[::-1]


def test_seeds_decide() -> None:
    model = llama()
    torch.manual_seed(0)
    first = drawn(model)
    torch.manual_seed(1)
    assert drawn(model) == first
    assert drawn(model, seeds=(1, 2, 4))[:2] == first[:2]
    assert drawn(model, seeds=(1, 2, 4))[2] != first[2]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_broken_model_stops_in_one_line(value) -> None:
    """Its draw would be a token that does not exist."""
    model = llama()
    drawn(model)  # it was whole when the run began
    with torch.no_grad():
        model.lm_head.weight.fill_(value)
    with pytest.raises(NonFiniteError) as caught:
        drawn(model)
    assert str(caught.value) == "the model's logits are NaN or infinite while it samples"


def test_a_shorter_limit_gives_the_beginning() -> None:
    model = llama()
    assert drawn(model, num=4) == [ids[:4] for ids in drawn(model)]
    assert np.array_equal(uniforms([5, 6], 3), uniforms([5, 6], 9)[:, :3])


def test_almost_no_temperature_is_greedy() -> None:
    model = llama()
    ids = PROMPTS[0].tolist()
    for _ in range(6):
        ids.append(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item())
    assert drawn(model, PROMPTS[:1], [1], Draw(temperature=1e-3), 6) == [ids[5:]]


def test_eos_ends_a_response_and_belongs_to_it() -> None:
    """A head that favours EOS after most tokens: the rows end at different lengths, each with one EOS, at its end."""
    model = llama()
    bias = torch.nn.Linear(16, 41)
    with torch.no_grad():
        bias.weight.copy_(model.lm_head.weight)
        bias.bias.zero_()[EOS] = 3.0
    model.lm_head = bias
    found = drawn(model, [PROMPTS[0]] * 8, range(8), num=12)
    assert len({len(ids) for ids in found}) > 2 and all(1 <= len(ids) <= 12 for ids in found)
    assert all(EOS not in ids[:-1] for ids in found)
    assert all(ids[-1] == EOS for ids in found if len(ids) < 12)


def test_gradient_checkpointing_does_not_disturb_it() -> None:
    """In training mode its layers drop the cache, so that each token would be drawn from the last one alone."""
    model = llama()
    wanted = drawn(model)
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    assert drawn(model) == wanted
    assert model.training and all(module.training for module in model.modules())


def test_the_models_own_generation_settings_do_not_enter() -> None:
    """Instruct models ship a repetition penalty and more; a sample from them would not come from the model."""
    model = llama()
    wanted = drawn(model)
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.no_repeat_ngram_size = 1
    model.generation_config.eos_token_id = [3, 4]
    assert drawn(model) == wanted
    assert model.generation_config.repetition_penalty == 5.0


def test_the_adapter_is_part_of_the_policy() -> None:
    model = with_lora(llama())
    wanted = [step_by_step(model, prompt, seed, Draw(), 10) for prompt, seed in zip(PROMPTS, (1, 2, 3), strict=True)]
    assert drawn(model) == wanted != drawn(llama())


def test_follows_the_distribution() -> None:
    """First tokens of 600 seeds against the model's probabilities: each count within 4 standard deviations."""
    model = llama()
    p_V = model(input_ids=torch.from_numpy(PROMPTS[0])[None]).logits[0, -1].softmax(-1).detach()
    found = drawn(model, [PROMPTS[0]] * 600, range(600), num=1)
    counts_V = torch.bincount(torch.tensor(found).flatten(), minlength=len(p_V))
    assert ((counts_V - 600 * p_V).abs() <= 4 * (600 * p_V * (1 - p_V)).sqrt() + 1).all()

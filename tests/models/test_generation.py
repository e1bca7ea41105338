"""Sampling: the model's own distribution, one draw per row and token whatever else is in the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from engine_toy import EOS, SIZES, VOCABULARY, build, llama, with_lora

from alignkit.errors import ModelError, NonFiniteError
from alignkit.models.batching import batching
from alignkit.models.decoding import uniforms
from alignkit.models.generation import sample
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


MINIMAX = transformers.MiniMaxConfig(
    **SIZES, layer_types=["linear_attention", "full_attention"], block_size=8, num_local_experts=2
)
RWKV = transformers.RwkvConfig(
    vocab_size=VOCABULARY, hidden_size=16, attention_hidden_size=16, num_hidden_layers=2, bos_token_id=0, eos_token_id=0
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (transformers.MixtralConfig(**SIZES, num_local_experts=2), "any lengths"),
        (MINIMAX, "equal lengths"),
        (RWKV, "one by one"),
    ],
    ids=["mixtral", "minimax", "rwkv"],
)
def test_what_is_decoded_together_depends_on_the_model(config, wanted: str, dtype: torch.dtype) -> None:
    assert batching(build(config).to(dtype)) == wanted


@pytest.mark.parametrize("config", [MINIMAX, RWKV], ids=["minimax", "rwkv"])
def test_a_model_that_ignores_padding_still_samples_each_prompt_as_if_alone(config) -> None:
    """MiniMax's linear attention reads the padding, and RWKV's state those of other rows."""
    model = build(config)
    prompts, seeds = [*PROMPTS, np.array([5, 6])], (1, 2, 3, 4)
    wanted = [step_by_step(model, prompt, seed, Draw(), 10) for prompt, seed in zip(prompts, seeds, strict=True)]
    assert drawn(model, prompts, seeds) == wanted


def test_a_model_whose_decoding_differs_is_refused() -> None:
    model = llama()
    forward = model.forward

    def forgetful(past_key_values=None, **inputs):
        if inputs["input_ids"].shape[1] == 1 and inputs.get("use_cache"):
            inputs["position_ids"] = torch.zeros_like(inputs["input_ids"])
        return forward(past_key_values=past_key_values, **inputs)

    model.forward = forgetful
    start = "model: llama cannot be sampled from: its decoding token by token differs from its forward pass by "
    with pytest.raises(ModelError) as caught:
        drawn(model)
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(" nats; use a recipe without sampled anchors and set evaluation.samples to 0")


@pytest.mark.parametrize(("scale", "is_taken"), [(1, False), (1000, True)])
def test_what_rounding_explains_grows_with_the_logits(scale: int, is_taken: bool) -> None:
    """In 16 bits a logit of 30 stands an eighth from the next, and an adapter in float32 beside it adds to that."""
    model = llama().bfloat16()
    model.lm_head.weight.data *= scale
    forward = model.forward

    def rounded(**inputs):
        out = forward(**inputs)
        if inputs["input_ids"].shape[1] == 1:
            out.logits[..., ::2] += 0.6
        return out

    model.forward = rounded
    ids_1L = torch.from_numpy(PROMPTS[0])[None]
    assert (float(forward(input_ids=ids_1L).logits.detach().abs().max()) > 30) == is_taken
    if is_taken:
        assert len(drawn(model)) == 3
    else:
        with pytest.raises(ModelError, match="differs from its forward pass by"):
            drawn(model)

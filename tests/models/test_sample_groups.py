"""Groups of responses: the draws of one response at a time, with the log-probs of a forward pass."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from engine_toy import CLOSE, EOS, SIZES, VOCABULARY, build, full_logp, llama, with_lora, zoo

from alignkit.errors import NonFiniteError
from alignkit.models import decoding, generation
from alignkit.models.batching import batching
from alignkit.models.decoding import Sampled
from alignkit.models.generation import sample, sample_groups
from alignkit.models.head import Draw

PROMPTS = [np.array([1, 2, 3, 4, 5]), np.array([7]), np.array([3, 9])]
SEEDS = [[1, 2, 3], [4, 5], [6]]

OTHERS: dict[str, transformers.PretrainedConfig] = {
    "minimax": transformers.MiniMaxConfig(
        **SIZES, layer_types=["linear_attention", "full_attention"], block_size=8, num_local_experts=2
    ),
    "rwkv": transformers.RwkvConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        attention_hidden_size=16,
        num_hidden_layers=2,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "mamba": transformers.MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, state_size=4),
    "mistral, window": transformers.MistralConfig(**SIZES, sliding_window=4),
    "bloom": transformers.BloomConfig(
        vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=4, initializer_range=0.25
    ),
}
"""Read prompts of equal lengths together; one by one; keep a state that is no cache; keep keys of the last tokens only;
know no position ids."""


def drawn(model: Any, prompts=PROMPTS, seeds=SEEDS, draw: Draw | None = None, num: int = 10) -> list[list[Sampled]]:
    return sample_groups(model, prompts, seeds, draw or Draw(), max_new_tokens=num, eos_id=EOS)


def ids_of(groups: list[list[Sampled]]) -> list[list[list[int]]]:
    return [[ids.tolist() for ids, _ in group] for group in groups]


def one_at_a_time(model: Any, draw: Draw, num: int = 10) -> list[list[list[int]]]:
    """Each response decoded by itself, by transformers' own decoding."""
    return [
        [sample(model, [prompt], [seed], draw, max_new_tokens=num, eos_id=EOS)[0].tolist() for seed in group]
        for prompt, group in zip(PROMPTS, SEEDS, strict=True)
    ]


def agree(model: Any, groups: list[list[Sampled]], temperature: float = 1.0) -> None:
    """The log-probs are those of a forward pass at the temperature."""
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for ids, logp_T in group:
            assert (ids.dtype, logp_T.dtype, ids.shape) == (np.int32, np.float32, logp_T.shape)
            logp_TV = (full_logp(model, prompt, ids) / temperature).log_softmax(-1).detach()
            wanted_T = logp_TV.gather(-1, torch.from_numpy(ids).long()[:, None]).squeeze(-1)
            torch.testing.assert_close(torch.from_numpy(logp_T), wanted_T, **CLOSE)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", [*zoo(), *OTHERS])
def test_samples_and_log_probs_are_the_models_own(name: str) -> None:
    """Ragged prompts and groups of different sizes, in every family and whatever its decoding can share."""
    model = build((zoo() | OTHERS)[name])
    groups = drawn(model, draw=Draw(0.8))
    assert ids_of(groups) == one_at_a_time(model, Draw(0.8))
    agree(model, groups, 0.8)


def test_the_families_differ_in_what_can_be_shared() -> None:
    found = {name: batching(build(config)) for name, config in OTHERS.items()}
    apart = {"minimax": "equal lengths", "rwkv": "one by one"}
    assert found == dict.fromkeys(OTHERS, "any lengths") | apart


def test_a_sample_is_its_prompts_and_its_seeds_alone() -> None:
    model = llama()
    together = ids_of(drawn(model))
    assert ids_of(drawn(model, PROMPTS[::-1], [group[::-1] for group in SEEDS[::-1]])) == [
        group[::-1] for group in together[::-1]
    ]
    assert ids_of(drawn(model, PROMPTS[1:2], [[5]])) == [[together[1][1]]]
    assert ids_of(drawn(model, [PROMPTS[0]] * 2, [[9, 1, 8, 7], [2, 3]]))[0][1] == together[0][0]
    torch.manual_seed(1)
    assert ids_of(drawn(model)) == together
    assert ids_of(drawn(model, PROMPTS[:1], [[1, 2, 4]]))[0][2] != together[0][2]


def test_more_responses_than_are_decoded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    together = ids_of(drawn(model))
    for name, most in (("ROWS", 2), ("MEMORY", 40 * 128)):  # fewer than a group has; a few tokens' keys and values
        with monkeypatch.context() as patch:
            patch.setattr(generation, name, most)
            assert ids_of(drawn(model)) == together
    monkeypatch.setattr(decoding, "READ_TOGETHER", 1)  # each prompt by itself
    assert ids_of(drawn(model)) == together
    assert drawn(model, [], []) == []


def test_batches_are_sized_by_what_they_take() -> None:
    """Two layers of two heads that are 4 wide keep 2 x 2 x 2 x 4 numbers of a token, 128 bytes in float32."""
    most = generation.MEMORY // 128 // 4  # tokens of each of four responses
    lengths = [1] * 3 + [most - 10] * 5
    assert list(generation.decoded_together(llama(), lengths, 10)) == [(0, 4), (4, 8)]
    assert list(generation.decoded_together(llama(), [1] * 600, 10)) == [(0, 256), (256, 512), (512, 600)]


def test_prompts_of_like_lengths_are_read_together() -> None:
    """Some padding is cheaper than another pass, and short rows hardly count."""
    assert list(decoding.of_like_lengths([5, 9, 40])) == [(0, 3)]
    assert list(decoding.of_like_lengths([100, 110, 500, 510, 515])) == [(0, 2), (2, 5)]
    assert list(decoding.of_like_lengths([3000, 3000, 3000])) == [(0, 2), (2, 3)]


def test_equal_prompts_are_read_once() -> None:
    model, seen = llama(), []
    drawn(model)
    forward = model.forward
    model.forward = lambda **inputs: seen.append(tuple(inputs["input_ids"].shape)) or forward(**inputs)
    model.forward.__signature__ = inspect.signature(forward)
    sample(model, [PROMPTS[0], PROMPTS[2], PROMPTS[0].copy()], [1, 2, 3], Draw(), max_new_tokens=3, eos_id=EOS)
    assert seen == [(2, 5), (3, 1), (3, 1)]


def test_a_response_ends_at_its_end_token() -> None:
    """Rows leave the batch at different steps; what is left in it goes on as if alone."""
    model = llama()
    head = torch.nn.Linear(16, VOCABULARY)
    with torch.no_grad():
        head.weight.copy_(model.lm_head.weight)
        head.bias.zero_()[EOS] = 3.0
    model.lm_head = head
    (group,) = drawn(model, PROMPTS[:1], [list(range(12))], num=12)
    assert len({len(ids) for ids, _ in group}) > 3
    for seed, (ids, _) in enumerate(group):
        assert EOS not in ids[:-1] and (ids[-1] == EOS or len(ids) == 12)
        alone = sample(model, PROMPTS[:1], [seed], Draw(), max_new_tokens=12, eos_id=EOS)
        assert ids.tolist() == alone[0].tolist()


def test_one_token() -> None:
    model = llama()
    groups = drawn(model, num=1)
    assert ids_of(groups) == [[ids[:1] for ids in group] for group in ids_of(drawn(model))]
    agree(model, groups)


def test_log_probs_are_those_before_a_cut() -> None:
    """A response drawn from a part of the vocabulary has the log-probs of the whole of it."""
    model = llama()
    draw = Draw(0.7, top_k=5, top_p=0.8)
    groups = drawn(model, draw=draw)
    assert ids_of(groups) == one_at_a_time(model, draw) != one_at_a_time(model, Draw(0.7))
    agree(model, groups, 0.7)


def test_an_adapter_draws_and_the_model_is_left_as_it_was() -> None:
    model = with_lora(llama())
    model.train()
    model.get_base_model().generation_config.repetition_penalty = 5.0
    groups = drawn(model)
    assert all(module.training for module in model.modules())
    assert model.get_base_model().generation_config.repetition_penalty == 5.0
    agree(model.eval(), groups)
    assert ids_of(groups) != ids_of(drawn(llama()))


@pytest.mark.parametrize("name", ["llama sdpa", "minimax"])
def test_a_broken_model_stops_in_one_line(name: str) -> None:
    model = build((zoo() | OTHERS)[name])
    drawn(model)
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.nan)
    with pytest.raises(NonFiniteError) as caught:
        drawn(model)
    assert str(caught.value) == "the model's logits are NaN or infinite while it samples"

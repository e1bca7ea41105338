"""Prompt influence against a plain computation, and which prompts a row gets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_toy import bench, full_logp, llama, policy, recipe, row, rows
from torch import Tensor

from alignkit.asks.prompt_influence import OtherPrompts, PromptInfluence
from alignkit.asks.table import load_table
from alignkit.data.rows import TokenRow
from alignkit.data.unpairing import unpair
from alignkit.errors import DataError

PAIRS = [*rows(), row(3, 3, 2, 8), row(4, 5, 5, 1), row(5, 2, 3, 3)]


def computed(values: PromptInfluence, some: list[TokenRow], train=PAIRS, layout="packed", chunk=64, size=2):
    """[N] of each row."""
    of = bench(llama(), train, of=recipe(evaluation={"batch_size": size}))
    of.policy.scorer.head_chunk = chunk
    return list(values.compute(some, replace(of, policy=replace(of.policy, layout=layout))))


def by_hand(values: PromptInfluence, one: TokenRow, prompts: list[np.ndarray]) -> Tensor:
    """[N] of one row under these prompts, response by response."""
    found = []
    for ids in (one.responses[name] for name in one.weighted):
        own_TV = full_logp(llama(), one.prompt, ids)
        mean_TV = torch.stack([full_logp(llama(), prompt, ids).exp() for prompt in prompts]).mean(0)
        if values.form == "kl":
            found.append((own_TV.exp() * (own_TV - mean_TV.log())).sum(-1))
        else:
            found.append((own_TV - mean_TV.log()).gather(-1, torch.from_numpy(ids)[:, None]).squeeze(-1))
    return torch.cat(found).detach()


@pytest.mark.parametrize("form", ["kl", "pmi"])
@pytest.mark.parametrize("some", [PAIRS, [*unpair(PAIRS[:2]), *PAIRS[2:]]], ids=["pairs", "mixed"])
def test_against_a_plain_computation(form, some) -> None:
    values = PromptInfluence(form=form, prompts=3)
    drawn = OtherPrompts(PAIRS)
    for one, got_N in zip(some, computed(values, some), strict=True):
        prompts = drawn.drawn(one, 3, seed=0)
        assert not got_N.requires_grad and len(prompts) in (2, 3)
        taken = [prompts[k % len(prompts)] for k in range(3)]
        torch.testing.assert_close(got_N, by_hand(values, one, taken), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layout", "chunk", "size"), [("shared", 1, 2), ("separate", 7, 1), ("packed", 64, 32)])
def test_layout_chunks_and_batches_do_not_matter(layout, chunk, size) -> None:
    values = PromptInfluence(prompts=2)
    for got, wanted in zip(computed(values, PAIRS, PAIRS, layout, chunk, size), computed(values, PAIRS), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_rows_prompts_are_others_that_fit_and_hang_on_row_and_seed_alone() -> None:
    """The longest training row has 11 tokens, the largest 15."""
    others, number = OtherPrompts(PAIRS), len(PAIRS)
    turned = OtherPrompts(PAIRS[::-1])
    for one in PAIRS:
        prompts = others.drawn(one, number, seed=0)
        texts = [prompt.tobytes() for prompt in prompts]
        assert len({*texts}) == len(texts) and one.prompt.tobytes() not in texts
        longest = max(len(ids) for ids in one.responses.values())
        fits = {
            other.prompt.tobytes()
            for other in PAIRS
            if len(other.prompt) + longest <= 11 and len(other.prompt) + one.num_tokens - len(one.prompt) <= 15
        }
        assert {*texts} == fits - {one.prompt.tobytes()}
        assert [prompt.tobytes() for prompt in turned.drawn(one, number, seed=0)] == texts
    long = row(9, 3, 2, 2)
    draws = {tuple(prompt.tobytes() for prompt in others.drawn(long, 2, seed)) for seed in range(20)}
    assert len(draws) > 5


def test_a_row_that_no_other_prompt_fits_weighs_nothing() -> None:
    """Its own prompt is as short as any, and its responses as long."""
    some = [row(0, 2, 9, 9), row(1, 5, 2, 2), row(2, 6, 2, 2)]
    first, second, _ = computed(PromptInfluence(), some, some)
    assert first.tolist() == [0.0] * 18 and (second > 0).any()


def test_data_with_one_prompt_is_refused() -> None:
    same = [replace(one, prompt=PAIRS[0].prompt) for one in PAIRS]
    message = (
        "weighting 'influence': all training rows have the same prompt, and it swaps prompts; use another weighting, "
        "or data with several prompts"
    )
    with pytest.raises(DataError, match=f"^{message}$"):
        computed(PromptInfluence(), same, same)


def test_a_kept_file_serves_the_same_seed_and_training_rows_only(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path))
    values = PromptInfluence()
    for count, (train, seed) in enumerate(((PAIRS, 0), (PAIRS[1:], 0), (PAIRS, 1)), start=1):
        of = bench(llama(), train, of=recipe(seed=seed))
        kept = [load_table(values, PAIRS[:2], of) for _ in range(2)]
        mask = policy(llama()).batch(PAIRS[:2]).mask_BRT
        assert torch.equal(*(table.lookup(PAIRS[:2], mask) for table in kept))
        assert len(list(tmp_path.rglob("*.safetensors"))) == count

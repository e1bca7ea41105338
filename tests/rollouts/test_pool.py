"""Anchors are drawn once per window, belong to their row alone, and survive a resume exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_toy import CLOSE, EOS, gold_logp, llama, move, policy, row, rows

from alignkit.models.generation import sample
from alignkit.models.head import Draw
from alignkit.models.reference import frozen_copy
from alignkit.rollouts.pool import AnchorPool
from alignkit.rollouts.sample_prompt import SamplePrompt
from alignkit.seeds import derive

ANCHOR = SamplePrompt(max_new_tokens=6, refresh_every=3, temperature=0.8, top_k=20, top_p=0.9)


@pytest.fixture
def pool() -> AnchorPool:
    """Of a policy that has moved away from its reference."""
    trained = policy(llama())
    reference = frozen_copy(trained)
    move(trained.model)
    return AnchorPool(ANCHOR, trained, reference, seed=11)


def drawn(pool: AnchorPool, of=None) -> list[list[int]]:
    return [pool[row].ids.tolist() for row in of or rows()]


def test_are_samples_of_the_policy_with_the_settings_given(pool) -> None:
    pool.refresh(0, rows())
    seeds = [derive(11, "anchor", 0, row.index) for row in rows()]
    wanted = sample(
        pool._policy.model,
        [row.prompt for row in rows()],
        seeds,
        Draw(0.8, top_k=20, top_p=0.9),
        max_new_tokens=6,
        eos_id=EOS,
    )
    assert drawn(pool) == [ids.tolist() for ids in wanted]


def test_keep_the_references_log_probs(pool) -> None:
    """Of the untouched model, not of the policy that drew them."""
    pool.refresh(0, rows())
    for one in rows():
        anchor = pool[one]
        assert anchor.reference_T.shape == anchor.ids.shape and not anchor.reference_T.requires_grad
        torch.testing.assert_close(anchor.reference_T, gold_logp(llama(), one.prompt, anchor.ids).detach(), **CLOSE)
        assert (anchor.reference_T - gold_logp(pool._policy.model, one.prompt, anchor.ids)).abs().max() > 0.01


def test_are_drawn_when_a_window_begins_only(pool) -> None:
    pool.refresh(0, rows())
    first = drawn(pool)
    for step in (1, 2):
        move(pool._policy.model, step)
        pool.refresh(step, rows())
        assert drawn(pool) == first
    pool.refresh(3, rows())
    assert drawn(pool) != first


def test_a_new_window_forgets_the_old_rows(pool) -> None:
    pool.refresh(0, rows())
    pool.refresh(3, rows()[:1])
    with pytest.raises(KeyError):
        pool[rows()[1]]


def test_do_not_depend_on_the_other_rows(pool, monkeypatch) -> None:
    """Not on their number, order or repetition, nor on how many prompts are decoded together."""
    many = rows([(4, 2, 2), (1, 2, 2), (9, 2, 2), (3, 2, 2), (5, 2, 2)])
    pool.refresh(0, many)
    wanted = {one.index: pool[one] for one in many}
    monkeypatch.setattr("alignkit.rollouts.pool.BATCH", 2)
    for order in (many[::-1], many[:2] * 2, many[3:4]):
        pool.refresh(0, order)
        for one in order:
            assert pool[one].ids.tolist() == wanted[one.index].ids.tolist()
            torch.testing.assert_close(pool[one].reference_T, wanted[one.index].reference_T, **CLOSE)


def test_another_seed_or_step_draws_others(pool) -> None:
    pool.refresh(0, rows())
    first = drawn(pool)
    pool.refresh(3, rows())
    other = AnchorPool(ANCHOR, pool._policy, pool._reference, seed=12)
    other.refresh(0, rows())
    assert len({str(first), str(drawn(pool)), str(drawn(other))}) == 3


def test_state_goes_round_exactly(pool) -> None:
    pool.refresh(0, rows())
    state = pool.state()
    assert all(isinstance(value, torch.Tensor) and value.device.type == "cpu" for value in state.values())
    fresh = AnchorPool(ANCHOR, pool._policy, pool._reference, seed=11)
    fresh.load_state({name: value.clone() for name, value in state.items()} | {"other": torch.zeros(1)})
    for one in rows():
        assert np.array_equal(fresh[one].ids, pool[one].ids) and fresh[one].ids.dtype == pool[one].ids.dtype
        assert torch.equal(fresh[one].reference_T, pool[one].reference_T)
    again = fresh.state()
    assert state.keys() == again.keys() and all(torch.equal(state[name], again[name]) for name in state)


def test_an_empty_pool_has_no_state(pool) -> None:
    assert pool.state() == {}
    pool.refresh(0, rows())
    pool.load_state({})
    with pytest.raises(KeyError):
        pool[rows()[0]]


def test_works_with_the_separate_layout(pool) -> None:
    pool.refresh(0, rows())
    apart = AnchorPool(ANCHOR, policy(pool._policy.model, "separate"), pool._reference, seed=11)
    apart.refresh(0, rows())
    assert drawn(apart) == drawn(pool)
    for one in rows():
        torch.testing.assert_close(apart[one].reference_T, pool[one].reference_T, **CLOSE)


def test_an_anchor_of_one_token(pool) -> None:
    single = AnchorPool(SamplePrompt(max_new_tokens=1), pool._policy, pool._reference, seed=11)
    single.refresh(0, [row(0, 2, 3, 3)])
    assert len(single[row(0, 2, 3, 3)].ids) == len(single[row(0, 2, 3, 3)].reference_T) == 1

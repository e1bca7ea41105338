"""KTO's baseline: log-ratios of the row before's response under a row's prompt, over the whole optimizer step."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from engine_toy import gold_logp, llama, move, recipe, rows, scoring

from alignkit.data.unpairing import unpair
from alignkit.engine.mismatch import mean_mismatch

KTO = recipe([{"name": "kto"}], "unpaired")
ROWS = unpair(rows())


def wanted(batch) -> float:
    """From full logits, one row at a time."""
    ours, theirs = move(llama()), llama()
    total = 0.0
    for place, row in enumerate(batch):
        response = batch[place - 1].responses["completion"]
        total += sum(
            sign * gold_logp(model, row.prompt, response).sum().item() for sign, model in ((1, ours), (-1, theirs))
        )
    return total / len(batch)


@pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
@pytest.mark.parametrize("cut", [{"micro_batch_size": size} for size in (1, 4, 8)] + [{"micro_batch_tokens": 20}])
def test_equals_plain_computation(layout, cut) -> None:
    of = KTO.model_copy(update={"training": KTO.training.model_copy(update=cut)})
    got = mean_mismatch(scoring(of, move(llama()), llama(), layout), ROWS, of.sizes())
    assert got.item() == pytest.approx(wanted(ROWS), abs=1e-5) and not got.requires_grad
    assert abs(got.item()) > 0.01


def test_a_batch_of_one_row_has_none() -> None:
    assert mean_mismatch(scoring(KTO, move(llama()), llama()), ROWS[:1], KTO.sizes()).item() == 0.0


def test_is_0_before_training() -> None:
    assert abs(mean_mismatch(scoring(KTO, llama(), llama()), ROWS, KTO.sizes()).item()) < 1e-6


def test_leaves_no_gradient() -> None:
    found = scoring(KTO, move(llama()), llama())
    mean_mismatch(found, ROWS, KTO.sizes())
    assert all(p.grad is None for p in found.policy.model.parameters())
    assert torch.is_grad_enabled()


def test_a_joined_row_is_no_longer_than_any_row(monkeypatch) -> None:
    """Prompts of 2 and 7 tokens, responses of 9 and 1: at most 11 tokens each, and behind the prompt of 7 as many."""
    lengths = [(2, 9, 1), (7, 1, 1)]
    of = KTO.model_copy(update={"data": KTO.data.model_copy(update={"max_length": 11})})
    found = scoring(of, move(llama()), llama())
    joined = []
    collate = type(found.policy).collate
    monkeypatch.setattr(
        type(found.policy), "collate", lambda policy, examples: joined.extend(examples) or collate(policy, examples)
    )
    mean_mismatch(found, [half for half in unpair(rows(lengths)) if half.label], of.sizes())
    assert [(len(one.prompt), len(one.responses[0])) for one in joined] == [(2, 1), (7, 4)]


@pytest.mark.parametrize("num_rows", [2, 6])
def test_the_parts_of_three_processes_add_up(num_rows, monkeypatch) -> None:
    """Also where a small last batch leaves one of them without rows: nobody may count a row twice."""
    batch, found = ROWS[:num_rows], scoring(KTO, move(llama()), llama())
    whole = mean_mismatch(found, batch, KTO.sizes()).item()
    parts = []
    for number in range(3):
        state = SimpleNamespace(process_index=number, num_processes=3)
        monkeypatch.setattr("accelerate.PartialState", lambda state=state: state)
        monkeypatch.setattr("accelerate.utils.gather_object", lambda objects: objects)
        parts.append(mean_mismatch(found, batch, KTO.sizes()).item())
    assert sum(parts) == pytest.approx(whole, abs=1e-6)

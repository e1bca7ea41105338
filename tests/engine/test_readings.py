"""Readings in the step: of the policy in each, of the reference before training, and of nobody where none asks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from engine_toy import CLOSE, DPO, batch, bench, computed, llama, move, objective, recipe, rows, scoring, view_of

from alignkit.asks.readings import ReferenceReading
from alignkit.asks.table import load_table
from alignkit.models import scorer as scorers
from alignkit.models.attended import is_watched
from alignkit.models.policy import checkpoint_activations
from alignkit.models.readings import Reading, States
from alignkit.weighting import weightings
from alignkit.weighting.attention import LastRow, Received
from alignkit.weighting.by_reading import ByReading

SAMPLED = {"name": "triplet", "margin": 30.0, "anchor": {"name": "teacher_forced"}}
KINDS = {
    "transport": {"name": "transport"},
    "distance": {"name": "transport", "by": "distance"},
    "last": {"name": "attention"},
    "received": {"name": "attention", "of": "received"},
}


def weights(of, model, layout: str = "packed", some=None, tables=None) -> list[torch.Tensor]:
    """[T] of each response of each row."""
    scores = scoring(of, model, llama(), layout, tables).score(some or rows(), 0)
    return [side.weights_BT[b][side.mask_BT[b]] for b in range(len(some or rows())) for side in scores.responses]


@pytest.mark.parametrize("kind", ["transport", "received"])
def test_layouts_and_neighbours_do_not_matter(kind: str) -> None:
    of = recipe([DPO, SAMPLED], weighting=KINDS[kind])
    model = move(llama())
    wanted = weights(of, model)
    alone = [one for row in rows() for one in weights(of, model, some=[row])]
    for other in (weights(of, model, "shared"), weights(of, model, "separate"), alone):
        for mine, theirs in zip(wanted, other, strict=True):
            assert not theirs.requires_grad
            torch.testing.assert_close(theirs, mine, **CLOSE)
    assert all(torch.equal(mine, again) for mine, again in zip(wanted, weights(of, model), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_says_what_the_policy_says_before_training(kind: str) -> None:
    """And goes on saying it when the policy has moved."""
    static = recipe(weighting=KINDS[kind] | {"model": "reference"})
    tables = computed(static.needs(), llama())
    before = weights(recipe(weighting=KINDS[kind]), llama())
    for mine, theirs in zip(before, weights(static, move(llama()), tables=tables), strict=True):
        torch.testing.assert_close(theirs, mine, **CLOSE)
    moved = weights(recipe(weighting=KINDS[kind]), move(llama()))
    assert any((mine - theirs).abs().max() > 1e-3 for mine, theirs in zip(before, moved, strict=True))


def test_the_gradient_is_that_of_constant_weights() -> None:
    """With recomputed activations too, whose second pass nobody watches."""
    gradients = []
    for recomputes in (False, True):
        of = recipe(weighting=KINDS["last"])
        model = move(llama())
        found = scoring(of, model, llama())
        if recomputes:
            checkpoint_activations(found.policy.scorer)
        loss, _ = objective(found, of).loss(rows(), 0, {"examples": 3})
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients, **CLOSE)


class Size(Reading):
    """length of the hidden state that predicts a token."""

    power: float = 1.0

    def read(self, states: States) -> torch.Tensor:
        return torch.linalg.vector_norm(states.hidden_BRTD, dim=-1) ** self.power


class BySize(ByReading):
    """What a plugin may bring: a weighting with a reading of its own."""

    power: float = 1.0

    @property
    def reading(self) -> Size:
        return Size(power=self.power)


def test_a_reading_that_no_table_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live, and of the reference out of kept files, which tell readings and their parameters apart."""
    monkeypatch.setitem(weightings._classes, "by_size", BySize)
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path))
    for power in (1.0, 2.0):
        of, static = (
            recipe(weighting={"name": "by_size", "power": power, "model": m}) for m in ("policy", "reference")
        )
        for _ in range(2):
            tables = {values: load_table(values, rows(), bench(llama(), rows())) for values in static.needs().values}
            for mine, theirs in zip(weights(of, llama()), weights(static, llama(), tables=tables), strict=True):
                torch.testing.assert_close(theirs, mine, **CLOSE)
    both = [ReferenceReading(reading=one) for one in (LastRow(), Received())]
    last, received = (load_table(values, rows(), bench(llama(), rows())) for values in both)
    mask_BRT = batch(rows()).mask_BRT
    assert not torch.equal(last.lookup(rows(), mask_BRT), received.lookup(rows(), mask_BRT))
    assert len(list((tmp_path / "values").iterdir())) == 4


def test_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No attention is computed again for hidden states, no state is looked at for plain weights or without weights."""

    def forbidden(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(scorers, "among_responses", forbidden)
    view_of(scoring(recipe(weighting=KINDS["transport"]), llama(), llama()), rows(), 0)
    monkeypatch.setattr(scorers, "States", forbidden)
    view_of(scoring(recipe(), llama(), llama()), rows(), 0)
    view_of(scoring(recipe(weighting=KINDS["last"]), llama(), llama()), rows(), 0, weigh=False)
    assert not is_watched()

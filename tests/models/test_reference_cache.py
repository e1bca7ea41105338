"""Reference log-probs on disk: the same as a live reference, computed once."""

from __future__ import annotations

import pytest
import torch
from engine_toy import CLOSE, llama, policy, rows

from alignkit.models.reference import Reference, frozen_copy
from alignkit.models.reference_cache import cache_folder, reference_cache
from alignkit.models.scorer import Want


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path))
    return tmp_path / "reference"


class Counted:
    """Makes the reference and counts how often."""

    def __init__(self, of) -> None:
        self.of, self.times = of, 0

    def __call__(self) -> Reference:
        self.times += 1
        return frozen_copy(self.of)


def test_equals_the_copy_in_any_order_and_batch() -> None:
    trained = policy(llama())
    cache = reference_cache(rows(), "key", trained, Counted(trained), batch_size=2)
    for picked in (rows(), rows()[::-1], rows()[1:2]):
        batch = trained.batch(picked)
        wanted = frozen_copy(trained).score(batch, Want()).logp_BRT
        got = cache.lookup(picked, batch.mask_BRT)
        torch.testing.assert_close(got, wanted, **CLOSE)
        assert got.dtype == torch.float32 and not got.requires_grad
        assert (got[~batch.mask_BRT] == 0).all()


def test_pads_to_a_wider_batch() -> None:
    """With an anchor in the batch the mask is wider than the cached responses."""
    trained = policy(llama())
    cache = reference_cache(rows(), "key", trained, Counted(trained), batch_size=8)
    batch = trained.batch(rows())
    wider = torch.nn.functional.pad(batch.mask_BRT, (0, 3))
    torch.testing.assert_close(cache.lookup(rows(), wider)[..., :-3], cache.lookup(rows(), batch.mask_BRT))


def test_is_computed_once_per_key(folder) -> None:
    trained = policy(llama())
    make = Counted(trained)
    first = reference_cache(rows(), "one", trained, make, batch_size=2)
    again = reference_cache(rows(), "one", trained, make, batch_size=3)
    assert make.times == 1
    mask = trained.batch(rows()).mask_BRT
    assert torch.equal(first.lookup(rows(), mask), again.lookup(rows(), mask))
    reference_cache(rows(), "two", trained, make, batch_size=2)
    assert make.times == 2
    assert sorted(path.name for path in folder.iterdir()) == ["one.safetensors", "two.safetensors"]


def test_training_and_held_out_rows_of_one_number_are_told_apart() -> None:
    train, held_out = rows()[0], rows([(3, 4, 2)])[0]
    held_out = type(held_out)(0, "eval.jsonl:1", held_out.prompt, held_out.responses)
    trained = policy(llama())
    cache = reference_cache([train, held_out], "key", trained, Counted(trained), batch_size=2)
    batch = trained.batch([held_out])
    torch.testing.assert_close(
        cache.lookup([held_out], batch.mask_BRT), frozen_copy(trained).score(batch, Want()).logp_BRT, **CLOSE
    )


def test_where_it_lies(folder, monkeypatch, tmp_path) -> None:
    assert cache_folder() == folder
    monkeypatch.delenv("ALIGNKIT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/alignkit/reference"

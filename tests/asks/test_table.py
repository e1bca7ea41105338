"""Token values on disk: the same as computed live, computed once, told apart by everything that decides them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
import safetensors.torch
import torch
from engine_toy import CLOSE, bench, gold_logp, llama, policy, rows

from alignkit.asks.reference_logps import ReferenceLogps
from alignkit.asks.table import cache_folder, load_table
from alignkit.asks.values import TokenValues
from alignkit.data.splitting import swapped
from alignkit.data.unpairing import unpair
from alignkit.engine.workbench import Workbench
from alignkit.models.reference import frozen_copy
from alignkit.models.scorer import Want


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path))
    return tmp_path / "values"


class Counted(TokenValues):
    """Number each token by its place, and count how often that is asked for."""

    lasting: ClassVar[bool] = True
    words: ClassVar[str] = "numbers"
    times: ClassVar[list[int]] = []
    offset: int = 0

    def compute(self, rows, bench) -> Iterator[torch.Tensor]:
        self.times.append(len(rows))
        for row in rows:
            yield torch.arange(sum(len(row.responses[name]) for name in row.weighted)) + self.offset

    def depends_on(self, bench) -> dict:
        return {"seed": bench.job.method.seed}


@pytest.fixture
def counted(monkeypatch) -> Counted:
    monkeypatch.setattr(Counted, "times", [])
    return Counted()


def test_equals_the_copy_in_any_order_and_batch() -> None:
    trained = policy(llama())
    table = load_table(ReferenceLogps(), rows(), bench(trained.model, rows()))
    for picked in (rows(), rows()[::-1], rows()[1:2]):
        batch = trained.batch(picked)
        wanted = frozen_copy(trained).score(batch, Want()).logp_BRT
        got = table.lookup(picked, batch.mask_BRT)
        torch.testing.assert_close(got, wanted, **CLOSE)
        assert got.dtype == torch.float32 and not got.requires_grad
        assert (got[~batch.mask_BRT] == 0).all()


def test_pads_to_a_wider_batch() -> None:
    """With an anchor in the batch the mask is wider than the cached responses."""
    trained = policy(llama())
    table = load_table(ReferenceLogps(), rows(), bench(trained.model, rows()))
    batch = trained.batch(rows())
    wider = torch.nn.functional.pad(batch.mask_BRT, (0, 3))
    torch.testing.assert_close(table.lookup(rows(), wider)[..., :-3], table.lookup(rows(), batch.mask_BRT))


def test_a_gold_response_is_left_out() -> None:
    """It carries no weights, and its log-probs need no reference."""
    golden = [replace(row, responses={**row.responses, "gold": row.prompt}) for row in rows()]
    bare, with_gold = (load_table(ReferenceLogps(), some, bench(llama(), some)) for some in (rows(), golden))
    mask = policy(llama()).batch(rows()).mask_BRT
    torch.testing.assert_close(with_gold.lookup(golden, mask), bare.lookup(rows(), mask), **CLOSE)


def test_is_computed_once(folder, counted) -> None:
    first = load_table(counted, rows(), bench(llama(), rows()))
    again = load_table(counted, rows(), bench(llama(), rows()))
    mask = policy(llama()).batch(rows()).mask_BRT
    assert torch.equal(first.lookup(rows(), mask), again.lookup(rows(), mask))
    assert counted.times == [3] and len(list(folder.iterdir())) == 1


def in_batches_of(size: int, of: Workbench) -> Workbench:
    return replace(of, job=replace(of.job, sizes=replace(of.job.sizes, batch=size)))


MANY = rows([(3 + i % 4, 1 + i % 5, 2 + i % 3) for i in range(11)])


def test_only_rows_that_are_needed_are_computed_and_a_longer_run_adds_to_them(folder, counted) -> None:
    """In whole batches of 2: 3 rows take 4, of which the next run needs none more, 7 take 8, and 11 are all."""
    of = in_batches_of(2, bench(llama(), MANY))
    for needed, computed in ((3, [4]), (4, [4]), (2, [4]), (7, [4, 4]), (11, [4, 4, 3]), (None, [4, 4, 3])):
        table = load_table(counted, MANY, of, needed)
        assert counted.times == computed
        some = MANY[:needed]
        mask = policy(llama()).batch(some).mask_BRT
        assert [len(values) for values in table.lookup(some, mask)[mask].split(mask.sum((-1, -2)).tolist())] == [
            sum(len(ids) for ids in one.responses.values()) for one in some
        ]
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("steps", [(1,), (5,), (2, 3, 8), (9, 10)])
def test_what_is_added_is_bit_for_bit_what_a_long_run_computes(folder, steps) -> None:
    of = in_batches_of(2, bench(llama(), MANY))
    whole = load_table(ReferenceLogps(), MANY, of)
    shutil.rmtree(folder)
    for needed in steps:
        load_table(ReferenceLogps(), MANY, of, needed)
    mask = policy(llama()).batch(MANY).mask_BRT
    assert torch.equal(load_table(ReferenceLogps(), MANY, of).lookup(MANY, mask), whole.lookup(MANY, mask))


def test_mixed_rows_are_cut_the_same_way_however_many_there_are(folder) -> None:
    """Three pairs, then single responses: a batch of 2 ends where the kind changes, and at each multiple of 2."""
    mixed = [*MANY[:3], *unpair(MANY[3:])]
    of = in_batches_of(2, bench(llama(), mixed))
    whole = load_table(ReferenceLogps(), mixed, of)
    shutil.rmtree(folder)
    load_table(ReferenceLogps(), mixed, of, 5)
    extended = load_table(ReferenceLogps(), mixed, of)
    for one in mixed:
        mask = policy(llama()).batch([one]).mask_BRT
        assert torch.equal(extended.lookup([one], mask), whole.lookup([one], mask))


def test_a_dry_run_neither_reads_nor_writes(folder, counted) -> None:
    of = bench(llama(), rows())
    for _ in range(2):
        load_table(counted, rows(), replace(of, side=replace(of.side, is_dry=True)))
    assert counted.times == [3, 3] and not folder.exists()


@pytest.mark.parametrize("other", ["model", "rows", "parameters", "what it depends on", "batches", "layout"])
def test_is_told_apart_by(other, folder, counted) -> None:
    load_table(counted, rows(), bench(llama(), rows()))
    of = bench(llama(seed=1) if other == "model" else llama(), rows())
    if other == "what it depends on":
        of = replace(of, job=replace(of.job, method=replace(of.job.method, seed=5)))
    if other == "batches":
        of = in_batches_of(2, of)
    if other == "layout":
        of = replace(of, policy=replace(of.policy, layout="separate"))
    values = counted.model_copy(update={"offset": 1}) if other == "parameters" else counted
    load_table(values, rows()[:2] if other == "rows" else rows(), of)
    assert len(counted.times) == 2 and len(list(folder.iterdir())) == 2


DAMAGES = {
    "empty": lambda whole: b"",
    "garbage": lambda whole: b"no tensors here",
    "cut": lambda whole: whole[:-4],
    "one bit of a value": lambda whole: whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:],
    "without a checksum": lambda whole: safetensors.torch.save(safetensors.torch.load(whole)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_said_and_computed_again(folder, counted, damage) -> None:
    of, notes = bench(llama(), rows()), []
    load_table(counted, rows(), of)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(DAMAGES[damage](whole))
    load_table(counted, rows(), replace(of, side=replace(of.side, note=notes.append)))
    assert counted.times == [3, 3] and file.read_bytes() == whole
    assert notes == [f"{file}: damaged; its values are computed again"]


def test_the_file_of_other_values_does_not_pass(folder, counted) -> None:
    """Copied over by hand, say: its checksum fits what it holds, but not its name."""
    of = bench(llama(), rows())
    load_table(counted, rows(), of)
    (file,) = folder.iterdir()
    other = counted.model_copy(update={"offset": 1})
    load_table(other, rows(), of)
    (theirs,) = set(folder.iterdir()) - {file}
    theirs.write_bytes(file.read_bytes())
    mask = policy(llama()).batch(rows()).mask_BRT
    assert load_table(other, rows(), of).lookup(rows(), mask).max() == 9


def test_what_costs_nothing_leaves_no_file(folder, counted, monkeypatch) -> None:
    monkeypatch.setattr(Counted, "lasting", False)
    load_table(counted, rows(), bench(llama(), rows()))
    assert not folder.exists()


def test_training_and_held_out_rows_of_one_number_are_told_apart() -> None:
    train, held_out = rows()[0], replace(rows([(3, 4, 2)])[0], index=0, where="eval.jsonl:1")
    trained = policy(llama())
    table = load_table(ReferenceLogps(), [train, held_out], bench(trained.model, rows()))
    batch = trained.batch([held_out])
    torch.testing.assert_close(
        table.lookup([held_out], batch.mask_BRT), frozen_copy(trained).score(batch, Want()).logp_BRT, **CLOSE
    )


def test_where_it_lies(folder, monkeypatch, tmp_path) -> None:
    assert cache_folder() == folder
    monkeypatch.delenv("ALIGNKIT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/alignkit/values"


def test_a_row_taken_apart_or_swapped_is_told_from_the_row(counted) -> None:
    """All have the same number and place, as when data.eval names the file of data.train."""
    pair = rows()[0]
    half = replace(pair, responses={"completion": pair.responses["chosen"]}, label=True)
    values = load_table(ReferenceLogps(), [pair, swapped(pair), half], bench(llama(), rows()))
    for row in (pair, swapped(pair), half):
        mask_BRT = policy(llama()).batch([row]).mask_BRT
        wanted = [gold_logp(llama(), row.prompt, ids) for ids in row.responses.values()]
        torch.testing.assert_close(values.lookup([row], mask_BRT)[mask_BRT], torch.cat(wanted), **CLOSE)


def test_a_cache_that_cannot_be_written_is_said_and_gone_without(folder, counted) -> None:
    """Here the folder is a file: the values are there all the same."""
    folder.write_text("in the way")
    notes: list[str] = []
    of = bench(llama(), rows())
    values = load_table(counted, rows(), replace(of, side=replace(of.side, note=notes.append)))
    mask = policy(llama()).batch(rows()).mask_BRT
    assert values.lookup(rows(), mask)[0][mask[0]].tolist() == list(range(9))
    (note,) = notes
    assert "cannot be written: " in note
    rest = "; what was computed serves this run alone; set ALIGNKIT_CACHE to a folder that can be written"
    assert note.endswith(rest)

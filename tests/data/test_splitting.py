"""Hold-out by prompt, label noise by row, and the fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from alignkit.data.config import DataConfig
from alignkit.data.rows import TokenRow
from alignkit.data.splitting import choose_held_out, rows_fingerprint, swap_labels
from alignkit.errors import DataError
from alignkit.records.fingerprints import DIGEST_BYTES


def token_row(index, chosen=(5, 1), rejected=(6, 1)):
    responses = {"chosen": np.array(chosen), "rejected": np.array(rejected)}
    critical = {"chosen": np.array([True, False]), "rejected": np.array([False, True])}
    text = {"prompt": "Q", "chosen": "good", "rejected": "bad"}
    return TokenRow(index, f"a:{index}", np.array([2, 3]), responses, {"quality": 0.5}, critical, text)


def labelled_row(index, label=True):
    text = {"prompt": "Q", "completion": "good"}
    return TokenRow(index, f"a:{index}", np.array([2, 3]), {"completion": np.array([5, 1])}, text=text, label=label)


def weights(chosen, rejected):
    return {"_weight": {"chosen": np.array(chosen, np.float32), "rejected": np.array(rejected, np.float32)}}


def held_out(prompts, holdout, seed=0):
    return choose_held_out(dict(enumerate(prompts)), DataConfig(train="a.jsonl", holdout=holdout), seed)


def test_prompts_are_held_out_whole():
    prompts = [f"Q{n // 3}" for n in range(60)]
    held = held_out(prompts, 9)
    assert len(held) == 9
    assert {prompts[n] for n in held}.isdisjoint(prompts[n] for n in range(60) if n not in held)


def test_as_many_rows_as_fit():
    """Prompts of 3 rows: 10 rows cannot be reached, 9 can."""
    assert len(held_out([f"Q{n // 3}" for n in range(60)], 10)) == 9


def test_the_side_of_a_prompt_does_not_depend_on_the_order_of_the_file():
    prompts = [f"Q{n}" for n in range(40)]
    held = {prompts[n] for n in held_out(prompts, 10)}
    assert held == {prompts[39 - n] for n in held_out(prompts[::-1], 10)}


def test_the_seed_chooses():
    prompts = [f"Q{n}" for n in range(40)]
    assert held_out(prompts, 10, seed=1) == held_out(prompts, 10, seed=1) != held_out(prompts, 10, seed=2)
    assert held_out(prompts, 0) == frozenset()


def test_something_must_be_left_to_train_on():
    with pytest.raises(DataError) as caught:
        held_out(["Q1", "Q2"], 2)
    assert str(caught.value) == (
        "data.holdout: 2 of 2 rows leaves none to train on; set it to less than 2, or name held-out data in data.eval"
    )
    with pytest.raises(DataError) as caught:
        held_out(["Q1", "Q2"], None)
    assert str(caught.value) == (
        "data.holdout: 256 (the default) of 2 rows leaves none to train on; set it to less than 2, or name held-out "
        "data in data.eval"
    )


def test_something_must_be_held_out():
    with pytest.raises(DataError) as caught:
        held_out(["Q1", "Q1", "Q1", "Q2", "Q2"], 1)
    assert str(caught.value) == (
        "data.holdout: 1 holds out nothing: rows of one prompt stay together and every prompt has at least 2"
    )


def test_swapping_exchanges_everything_that_belongs_to_a_response():
    (row,), count = swap_labels([token_row(0)], 1.0, seed=0)
    assert count == 1
    assert [ids.tolist() for ids in row.responses.values()] == [[6, 1], [5, 1]]
    assert list(row.responses) == ["chosen", "rejected"]
    assert row.critical["chosen"].tolist() == [False, True]
    assert row.text == {"prompt": "Q", "chosen": "bad", "rejected": "good"}
    assert row.columns == {"quality": 0.5}


def test_swapping_exchanges_numbers_of_tokens():
    (row,), _ = swap_labels([replace(token_row(0), token_columns=weights([1, 2], [3, 4]))], 1.0, seed=0)
    assert {name: array.tolist() for name, array in row.token_columns["_weight"].items()} == {
        "chosen": [3.0, 4.0],
        "rejected": [1.0, 2.0],
    }


def test_swapping_flips_a_label_and_nothing_else():
    """The draw is that of a pair with the same number."""
    rows = [labelled_row(index, index % 2 == 0) for index in range(200)]
    noisy, count = swap_labels(rows, 0.3, seed=0)
    flipped = {row.index for row, other in zip(rows, noisy, strict=True) if row.label is not other.label}
    pairs, _ = swap_labels([token_row(index) for index in range(200)], 0.3, seed=0)
    assert flipped == {row.index for row in pairs if row.text["chosen"] == "bad"}
    assert count == len(flipped) > 0
    restored = [replace(other, label=row.label) for row, other in zip(rows, noisy, strict=True)]
    assert restored == rows


def test_share_of_swaps_is_seeded_per_row_and_nested():
    """2,000 draws at 0.2: 400 expected, standard deviation 18."""
    rows = [token_row(index) for index in range(2000)]

    def swapped(share, seed, rows=rows):
        return {row.index for row in swap_labels(rows, share, seed)[0] if row.text["chosen"] == "bad"}

    assert swapped(0.0, 0) == set()
    few = swapped(0.2, 0)
    assert 330 < len(few) < 470
    assert few < swapped(0.4, 0)
    assert few != swapped(0.2, 1)
    assert few == swapped(0.2, 0, rows[::-1])
    assert {index for index in few if index < 100} == swapped(0.2, 0, rows[:100])


def test_fingerprint_sees_tokens_order_and_columns():
    row = token_row(0)
    prints = [
        rows_fingerprint(rows)
        for rows in (
            [row, token_row(1)],
            [token_row(1), row],
            [token_row(0, chosen=(5, 2)), token_row(1)],
            [
                replace(row, prompt=np.array([2]), responses={**row.responses, "chosen": np.array([3, 5, 1])}),
                token_row(1),
            ],
            [replace(row, columns={"quality": 0.6}), token_row(1)],
            [row],
        )
    ]
    assert len(set(prints)) == 6
    assert rows_fingerprint([row, token_row(1)]) == prints[0]
    assert rows_fingerprint([replace(row, where="b:7", text={}), token_row(1)]) == prints[0]


def test_fingerprint_sees_labels_and_numbers_of_tokens():
    row = token_row(0)
    rows = [
        labelled_row(0),
        labelled_row(0, label=False),
        labelled_row(0, label=None),
        row,
        replace(row, token_columns=weights([1, 2], [3, 4])),
        replace(row, token_columns=weights([1, 2], [3, 5])),
        replace(row, token_columns=weights([3, 4], [1, 2])),
        replace(row, token_columns={"_other": weights([1, 2], [3, 4])["_weight"]}),
    ]
    assert len({rows_fingerprint([other]) for other in rows}) == len(rows)
    assert rows_fingerprint([row]) == rows_fingerprint([replace(row, token_columns={}, label=None)])


def test_fingerprint_of_data_without_labels_is_that_of_before():
    """Caches of earlier runs are found again: what was digested then, by hand."""
    row = token_row(0)
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    digest.update(b"0;2;chosen:2,rejected:2;[('quality', 0.5)];")
    digest.update(np.array([2, 3, 5, 1, 6, 1], "<i8").tobytes())
    assert rows_fingerprint([row]) == digest.hexdigest()


def test_keys_and_fingerprints_do_not_hang_on_the_width_of_ids():
    """Rows keep 4 bytes an id; what was computed for 8 is found again."""
    row = token_row(0)
    narrow, wide = (
        replace(row, prompt=row.prompt.astype(kind), responses={n: i.astype(kind) for n, i in row.responses.items()})
        for kind in (np.int32, np.int64)
    )
    assert narrow.key == wide.key and rows_fingerprint([narrow]) == rows_fingerprint([wide])
    assert not hasattr(row, "__dict__")


# --- through load_tables ---


def test_load_splits_and_counts(write, load):
    rows = [{"prompt": f"Q{n // 2}:", "chosen": f" yes {n}", "rejected": " no"} for n in range(40)]
    tables = load(write("a.jsonl", rows), holdout=8, seed=3, label_noise=0.5)
    assert (len(tables.train), len(tables.eval)) == (32, 8)
    assert {row.text["prompt"] for row in tables.train}.isdisjoint(row.text["prompt"] for row in tables.eval)
    (report,) = tables.reports
    assert (report.rows, report.used, report.counts["held_out"]) == (40, 40, 8)
    assert report.counts["labels_swapped"] == sum(row.text["chosen"] == " no" for row in tables.train) > 0
    assert all(row.text["rejected"] == " no" for row in tables.eval)
    again = load("a.jsonl", holdout=8, seed=3, label_noise=0.5)
    assert again.reports == tables.reports


def test_label_noise_needs_pairs(write, load, pairs):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", pairs), responses=("chosen",), label_noise=0.1)
    assert str(caught.value) == "data.label_noise: 0.1 needs pairs or labelled responses; this trainer reads chosen"


def test_own_eval_file(write, load, pairs):
    write("b.jsonl", pairs[:2])
    tables = load(write("a.jsonl", pairs), eval="b.jsonl", max_rows=3)
    assert (len(tables.train), len(tables.eval)) == (3, 2)
    assert [(report.source, report.rows, report.used) for report in tables.reports] == [
        ("a.jsonl", 3, 3),
        ("b.jsonl", 2, 2),
    ]


def test_dropped_rows_of_both_sources_go_to_one_file(write, load, pairs, folder):
    bad = {"prompt": "Q", "chosen": "", "rejected": "x"}
    write("b.jsonl", [bad, *pairs])
    load(write("a.jsonl", [*pairs, bad]), eval="b.jsonl", on_bad_row="drop", dropped=folder / "dropped.jsonl")
    places = [json.loads(line)["where"] for line in (folder / "dropped.jsonl").read_text().splitlines()]
    assert places == ["a.jsonl:6", "b.jsonl:1"]

"""Labelled responses, and pairs taken apart into them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from alignkit.data.config import DataConfig
from alignkit.data.rows import TokenRow
from alignkit.data.splitting import rows_fingerprint
from alignkit.data.texts import training_texts
from alignkit.data.unpairing import refuse_one_sided, unpair
from alignkit.errors import DataError

UNPAIRED = ("completion",)


@pytest.fixture
def load_unpaired(load):
    return lambda name, **options: load(name, responses=UNPAIRED, **options)


def completions(rows):
    return [(row.index, row.where, row.text["completion"], row.label) for row in rows]


def test_a_pair_becomes_two_rows():
    gold = np.array([7, 1])
    pair = TokenRow(
        index=3,
        where="a:4",
        prompt=np.array([2, 3]),
        responses={"chosen": np.array([5, 1]), "rejected": np.array([6, 8, 1]), "gold": gold},
        columns={"quality": 0.5},
        critical={"chosen": np.array([True, False]), "rejected": np.array([False, True, False])},
        text={"prompt": "Q", "chosen": "good", "rejected": "bad", "gold": "best"},
        token_columns={"_weight": {"chosen": np.array([1.0, 2.0]), "rejected": np.array([3.0, 4.0, 5.0])}},
    )
    first, second = unpair([pair])
    assert [(row.index, row.where, row.label) for row in (first, second)] == [(6, "a:4", True), (7, "a:4", False)]
    assert first.prompt is second.prompt is pair.prompt
    assert first.columns == second.columns == {"quality": 0.5}
    assert [list(row.responses) for row in (first, second)] == [["completion", "gold"]] * 2
    assert [row.responses["completion"].tolist() for row in (first, second)] == [[5, 1], [6, 8, 1]]
    assert first.responses["gold"] is second.responses["gold"] is gold
    assert first.critical["completion"].tolist() == [True, False]
    assert second.critical["completion"].tolist() == [False, True, False]
    assert first.text == {"prompt": "Q", "completion": "good", "gold": "best"}
    assert second.text == {"prompt": "Q", "completion": "bad", "gold": "best"}
    weights = [row.token_columns["_weight"] for row in (first, second)]
    assert [{name: array.tolist() for name, array in one.items()} for one in weights] == [
        {"completion": [1.0, 2.0]},
        {"completion": [3.0, 4.0, 5.0]},
    ]


def test_no_two_rows_of_several_sources_have_one_number(write, load_unpaired, pairs):
    """Anchors and remembered importances are kept by it."""
    labelled = [{"prompt": f"Q{n}", "completion": "yes", "label": n % 2 == 0} for n in range(5)]
    files = [write("a.jsonl", labelled), write("b.jsonl", pairs), write("c.jsonl", labelled)]
    rows = load_unpaired(files).train
    assert len({row.index for row in rows}) == len(rows) == 20


def test_pairs_without_labels_are_not_one_sided(load, write, pairs):
    refuse_one_sided([], "a")
    refuse_one_sided(load(write("a.jsonl", pairs)).train, "a")


def test_training_pairs_are_taken_apart_and_held_out_ones_stay(write, load, load_unpaired, pairs, make_bytes):
    name = write("a.jsonl", pairs)
    paired, tables = load(name, holdout=2), load_unpaired(name, holdout=2)
    assert completions(tables.train) == [
        (2 * row.index + number, row.where, row.text[side], side == "chosen")
        for row in paired.train
        for number, side in enumerate(("chosen", "rejected"))
    ]
    assert len({row.index for row in tables.train}) == 6
    assert all(
        make_bytes().decode(row.responses["completion"]) == row.text["completion"] + "</s>" for row in tables.train
    )
    assert rows_fingerprint(tables.eval) == rows_fingerprint(paired.eval)
    assert [(list(row.responses), row.label) for row in tables.eval] == [(["chosen", "rejected"], None)] * 2
    (report,), (before,) = tables.reports, paired.reports
    assert (report.format, report.rows, report.used) == ("text with a prompt column", 5, 5)
    assert report.counts == {**before.counts, "unpaired": 6}
    assert "unpaired" not in before.counts
    assert report.fingerprint == rows_fingerprint([*tables.train, *tables.eval])


def test_label_noise_comes_before_pairs_are_taken_apart(write, load, load_unpaired, pairs):
    name = write("a.jsonl", pairs)
    paired = load(name, label_noise=0.5, seed=1)
    tables = load_unpaired(name, label_noise=0.5, seed=1)
    assert 0 < paired.reports[0].counts["labels_swapped"] == tables.reports[0].counts["labels_swapped"] < 5
    sides = [(row.text[side], side == "chosen") for row in paired.train for side in ("chosen", "rejected")]
    assert [(row.text["completion"], row.label) for row in tables.train] == sides


def test_numbers_and_columns_go_with_the_halves(write, load_unpaired):
    """` yes` has 5 tokens with EOS, ` no` has 4."""
    pair = {"prompt": "Q:", "chosen": " yes", "rejected": " no", "quality": 3}
    weights = {"chosen_weight": [1, 2, 3, 4], "rejected_weight": [5, 6, 7, 8]}
    name = write("a.jsonl", [{**pair, **weights}])
    first, second = load_unpaired(name, columns=["quality"], token_columns=["_weight"]).train
    assert first.columns == second.columns == {"quality": 3.0}
    assert first.token_columns["_weight"]["completion"].tolist() == [1.0, 2.0, 3.0, 4.0, 0.0]
    assert second.token_columns["_weight"]["completion"].tolist() == [5.0, 6.0, 7.0, 8.0]


# --- labelled rows ---


def test_labelled_rows_stay_as_they_are(write, load_unpaired, labelled):
    tables = load_unpaired(write("a.jsonl", labelled))
    assert completions(tables.train) == [
        (number, f"a.jsonl:{number + 1}", row["completion"], row["label"]) for number, row in enumerate(labelled)
    ]
    assert [list(row.responses) for row in tables.train] == [["completion"]] * 6
    (report,) = tables.reports
    assert (report.format, report.rows, report.used) == ("text prompt, completion and label", 6, 6)
    assert "unpaired" not in report.counts
    assert report.counts["eos_appended"] == 6


def test_labels_of_a_csv(write, load_unpaired):
    rows = [{"prompt": "Q:", "completion": f" {label}", "label": label} for label in ("true", "False", "1", "0")]
    assert [row.label for row in load_unpaired(write("a.csv", rows)).train] == [True, False, True, False]


def test_labelled_conversations(write, load_unpaired, make_bytes, templates):
    user, reply = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}
    tokenizer = make_bytes(template=templates["chatml"])
    whole = write("a.jsonl", [{"messages": [user, reply], "label": label} for label in (True, False)])
    apart = write("b.jsonl", [{"prompt": [user], "completion": [reply], "label": label} for label in (True, False)])
    rows = [load_unpaired(name, tokenizer=tokenizer).train for name in (whole, apart)]
    assert rows_fingerprint(rows[0]) == rows_fingerprint(rows[1])
    assert [row.label for row in rows[0]] == [True, False]
    first = rows[0][0]
    assert [tokenizer.decode(ids) for ids in (first.prompt, first.responses["completion"])] == [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        "Yes.<|im_end|>",
    ]


def test_labelled_rows_are_held_out_by_prompt(write, load_unpaired, labelled):
    """Two rows a prompt: three held-out rows cannot be reached, two can."""
    tables = load_unpaired(write("a.jsonl", labelled), holdout=3)
    assert [(list(row.responses), row.label) for row in tables.eval] == [
        (["completion"], True),
        (["completion"], False),
    ]
    assert len({row.text["prompt"] for row in tables.eval}) == 1
    assert {row.text["prompt"] for row in tables.train}.isdisjoint(row.text["prompt"] for row in tables.eval)
    assert (len(tables.train), tables.reports[0].counts["held_out"]) == (4, 2)


def test_label_noise_flips_labels_of_training_rows(write, load_unpaired, labelled):
    tables = load_unpaired(write("a.jsonl", labelled), label_noise=1.0, holdout=2)
    assert tables.reports[0].counts["labels_swapped"] == 4
    told = {row["completion"]: row["label"] for row in labelled}
    assert all(row.label is not told[row.text["completion"]] for row in tables.train)
    assert all(row.label is told[row.text["completion"]] for row in tables.eval)


def test_each_source_has_its_own_format(write, load_unpaired, labelled, pairs):
    write("pairs.jsonl", pairs)
    write("labelled.jsonl", labelled)
    tables = load_unpaired("labelled.jsonl", eval="pairs.jsonl")
    assert [row.label for row in tables.train] == [True, False] * 3
    assert [(list(row.responses), row.label) for row in tables.eval] == [(["chosen", "rejected"], None)] * 5
    assert [(report.used, report.counts.get("unpaired")) for report in tables.reports] == [(6, None), (5, None)]
    tables = load_unpaired("pairs.jsonl", eval="labelled.jsonl")
    assert [row.label for row in tables.train] == [True, False] * 5
    assert [(list(row.responses), row.label) for row in tables.eval] == [
        (["completion"], row["label"]) for row in labelled
    ]
    assert [(report.used, report.counts.get("unpaired")) for report in tables.reports] == [(5, 10), (6, None)]


@pytest.mark.parametrize(
    ("label", "complaint"),
    [
        (True, "have 'label' true; this trainer needs undesirable responses too: rows with 'label' false"),
        (False, "have 'label' false; this trainer needs desirable responses too: rows with 'label' true"),
    ],
)
def test_one_label_is_not_enough(label, complaint, write, load_unpaired, labelled):
    """Whatever noise would make of them."""
    name = write("a.jsonl", [{**row, "label": label} for row in labelled])
    for noise in (0.0, 0.5):
        with pytest.raises(DataError) as caught:
            load_unpaired(name, label_noise=noise)
        assert str(caught.value) == f"a.jsonl: all 6 training rows {complaint}"


def test_both_labels_are_needed_in_training_only(write, load_unpaired, labelled):
    """All undesirable rows belong to the prompt that is held out; a file of held-out rows may have one label."""
    rows = [{**row, "label": row["prompt"] != "Q0:"} for row in labelled]
    name = write("a.jsonl", rows)
    seed = next(
        seed for seed in range(20) if load_unpaired(write("b.jsonl", labelled), holdout=2, seed=seed).eval[0].index == 0
    )
    with pytest.raises(DataError) as caught:
        load_unpaired(name, holdout=2, seed=seed)
    assert str(caught.value) == (
        "a.jsonl: all 4 training rows have 'label' true; this trainer needs undesirable responses too: rows with "
        "'label' false"
    )
    write("c.jsonl", rows[2:])
    assert [row.label for row in load_unpaired(name, eval="c.jsonl").eval] == [True] * 4


def test_bad_labelled_rows_are_written_down(write, load_unpaired, labelled, folder):
    name = write("a.jsonl", [*labelled, {**labelled[0], "label": "angry"}])
    tables = load_unpaired(name, on_bad_row="drop", dropped=folder / "dropped.jsonl")
    assert (tables.reports[0].rows, tables.reports[0].used, tables.reports[0].dropped) == (7, 6, {"wrong type": 1})
    assert json.loads((folder / "dropped.jsonl").read_text())["row"] == {**labelled[0], "label": "angry"}


def test_training_texts_of_labelled_rows(write, load_unpaired, labelled):
    name = write("a.jsonl", labelled)
    texts = list(training_texts(DataConfig(train=name, holdout=2), seed=0))
    rows = load_unpaired(name, holdout=2).train
    assert texts == [row.text["prompt"] + row.text["completion"] for row in rows]
    assert len(texts) == 4


def test_training_texts_of_labelled_conversations(write):
    user, good = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}
    name = write("a.jsonl", [{"messages": [user, good], "label": True}])
    assert list(training_texts(DataConfig(train=name, holdout=0), seed=0)) == ["Hi\nHello."]


def test_sft_imitates_the_desirable_ones(write, load, labelled):
    """The others are left out and counted; nothing is wrong with them, so they do not stop the run."""
    tables = load(write("a.jsonl", labelled), responses=("chosen",))
    assert [row.text["chosen"] for row in tables.train] == [row["completion"] for row in labelled if row["label"]]
    (report,) = tables.reports
    assert (report.rows, report.used, report.dropped) == (6, 3, {"undesirable": 3})

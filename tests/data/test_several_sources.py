"""Several sources: one after the other, each with its weight and its columns; what is held out is in none of them."""

from __future__ import annotations

from collections import Counter

import datasets
import pytest
from pydantic import ValidationError

from alignkit.data.config import DataConfig
from alignkit.data.naming import refuse_misplaced
from alignkit.data.splitting import repeat, rows_fingerprint
from alignkit.data.texts import training_texts
from alignkit.errors import DataError
from alignkit.report.banner import data_line


@pytest.fixture
def two(write, pairs):
    """Files of five rows each, with other names for the columns in the second."""
    names = {"prompt": "question", "chosen": "good", "rejected": "bad"}
    write("a.jsonl", pairs)
    write("b.jsonl", [{names[key]: f"b{value}" for key, value in row.items()} for row in pairs])
    return ["a.jsonl", {"path": "b.jsonl", "columns": names}]


def places(rows):
    return [row.where for row in rows]


def test_rows_follow_each_other_with_their_places_and_numbers_of_their_own(two, load):
    tables = load(two)
    assert places(tables.train) == [f"{name}.jsonl:{n}" for name in "ab" for n in range(1, 6)]
    assert [row.index for row in tables.train] == list(range(10))
    assert [report.source for report in tables.reports] == ["a.jsonl", "b.jsonl"]
    assert [report.used for report in tables.reports] == [5, 5]


def test_one_source_in_a_list_is_that_source(two, load):
    one, many = load("a.jsonl", holdout=2), load(["a.jsonl"], holdout=2)
    assert rows_fingerprint(one.train) == rows_fingerprint(many.train)
    assert rows_fingerprint(one.eval) == rows_fingerprint(many.eval)
    assert one.reports == many.reports


@pytest.mark.parametrize("weight", [2, 3.0])
def test_a_whole_weight_is_as_many_times(weight, two, load):
    tables = load([two[0], {**two[1], "weight": weight}], holdout=4)
    counts = Counter(places(tables.train))
    assert {number for place, number in counts.items() if place.startswith("a")} == {1}
    assert {number for place, number in counts.items() if place.startswith("b")} == {weight}
    report = tables.reports[1]
    assert report.counts["weighted"] == weight * (5 - report.counts["held_out"])
    assert f", {report.counts['weighted']} training rows a pass by weight {weight:g}" in data_line(report)


def test_a_part_of_a_weight_is_drawn_by_the_seed(write, load):
    rows = [{"prompt": f"Q{n}", "chosen": "yes", "rejected": "no"} for n in range(400)]
    name = write("a.jsonl", rows)
    half, same, other = (load([{"path": name, "weight": 0.5}], seed=seed) for seed in (0, 0, 1))
    assert places(half.train) == places(same.train) != places(other.train)
    assert 160 < len(half.train) < 240
    report = half.reports[0]
    assert report.dropped == {"not drawn": 400 - len(half.train)}
    most = load([{"path": name, "weight": 1.5}]).train
    assert places(most) == places(load(name).train) + places(half.train)
    assert set(places(half.train)) < set(places(load([{"path": name, "weight": 0.75}]).train))


def test_a_weight_that_draws_nothing(two, load):
    with pytest.raises(DataError) as caught:
        load(["a.jsonl", {**two[1], "weight": 0.001}])
    assert str(caught.value) == "data.train.1.weight: 0.001 leaves none of 5 training rows"


def test_repeat_leaves_rows_alone_by_default(two, load):
    rows = load("a.jsonl").train
    assert repeat(rows, 1.0, seed=0) == [*rows]


def test_a_prompt_is_held_out_of_all_sources(write, load, pairs):
    """The second file holds the same prompts with other responses."""
    write("a.jsonl", pairs)
    write("b.jsonl", [{**row, "chosen": " other"} for row in pairs])
    tables = load(["a.jsonl", {"path": "b.jsonl", "weight": 2}], holdout=4)
    assert len(tables.eval) == 4
    assert {row.text["prompt"] for row in tables.eval}.isdisjoint(row.text["prompt"] for row in tables.train)
    assert len(tables.train) == 3 + 2 * 3
    assert [report.counts["held_out"] for report in tables.reports] == [2, 2]
    texts = training_texts(DataConfig(train=["a.jsonl", "b.jsonl"], holdout=4), seed=0)
    assert list(texts)[::2] == [row.text["prompt"] + row.text["chosen"] for row in tables.train[:6]]


def test_copies_of_a_row_have_the_same_noise(two, load):
    tables = load([two[0], {**two[1], "weight": 2}], label_noise=0.5)
    once, again = tables.train[5:10], tables.train[10:]
    assert [row.text for row in once] == [row.text for row in again]
    assert sum(report.counts["labels_swapped"] for report in tables.reports) > 0


def test_pairs_and_labelled_responses_together(write, load, pairs, labelled):
    write("a.jsonl", pairs)
    write("b.jsonl", labelled)
    for sources in (["a.jsonl", "b.jsonl"], ["b.jsonl", "a.jsonl"]):
        tables = load(sources, responses=("completion",))
        assert len(tables.train) == 2 * 5 + 6
        assert len({row.index for row in tables.train}) == len(tables.train)


def test_held_out_rows_of_several_sources(two, load, write, pairs):
    write("c.jsonl", pairs)
    tables = load("c.jsonl", eval=two)
    assert places(tables.eval)[4:6] == ["a.jsonl:5", "b.jsonl:1"]
    assert [report.part for report in tables.reports] == ["train", "eval", "eval"]


def test_conversations_beside_text_that_ends_otherwise(write, load, pairs, make_bytes, templates):
    talk = {
        "prompt": [{"role": "user", "content": "Hi"}],
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}],
    }
    write("a.jsonl", pairs)
    write("b.jsonl", [talk])
    tokenizer = make_bytes(template=templates["chatml"])
    assert len(load(["a.jsonl", "b.jsonl"], tokenizer).train) == 6
    with pytest.raises(DataError) as caught:
        load(["a.jsonl", "b.jsonl"], tokenizer, chat="never")
    assert str(caught.value) == (
        "data.train.1: responses of b.jsonl (messages with a prompt column) end with '<|im_end|>', those of a.jsonl "
        "(text with a prompt column) with '</s>'; give both as conversations or both as text"
    )


MISTAKES = [
    (
        {"train": ["a.jsonl", {"path": "a.jsonl", "columns": {"gold": "chosen"}}, "./a.jsonl"]},
        "data.train.2: './a.jsonl' is data.train.0 already; give it once, with a larger weight",
    ),
    (
        {"train": ["b.jsonl", "a.jsonl"], "eval": "./a.jsonl"},
        "data.eval: './a.jsonl' is data.train.1 itself, so nothing would be held out; remove data.eval, and "
        "data.holdout rows are kept out of training",
    ),
    (
        {"train": ["a.jsonl"], "eval": [{"path": "b.jsonl", "weight": 2}]},
        "data.eval.0.weight: 2 is for training rows; held-out rows come once",
    ),
    (
        {"train": [{"path": "a.jsonl", "split": "dev"}]},
        "data.train.0.split: 'dev' belongs to a Hub data set; this is a.jsonl",
    ),
    (
        {"train": ["some/pairs"], "split": "dev"},
        "data.split: 'dev' belongs to a Hub data set in data.train; the data is some/pairs, whose options stand in its "
        "mapping",
    ),
    (
        {"train": ["a.jsonl", "json"]},
        "data.train.1: 'json' is no file, and a word alone names no data set; name a file (.jsonl, .json, .csv, "
        ".parquet), a Hub data set (owner/name) or builtin:world",
    ),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=[message[:24] for _, message in MISTAKES])
def test_mistakes(options, message, two):
    with pytest.raises(DataError) as caught:
        refuse_misplaced(DataConfig(**options))
    assert str(caught.value) == message


@pytest.mark.parametrize("share", [{"path": "a", "weight": 0}, {"path": "a", "weight": -1}, {"weight": 1}, 5])
def test_shares_that_are_none(share):
    with pytest.raises(ValidationError):
        DataConfig(train=[share])
    with pytest.raises(ValidationError):
        DataConfig(train=[])


def test_options_of_a_hub_data_set_stand_beside_it(monkeypatch, pairs, load, two):
    calls = []

    def fake(name, subset, split, revision):
        calls.append((name, subset, split, revision))
        return datasets.Dataset.from_list(pairs)

    monkeypatch.setattr("datasets.load_dataset", fake)
    load([{"path": "some/pairs", "split": "dev", "subset": "hard", "revision": "v2"}, "a.jsonl"])
    assert calls == [("some/pairs", "hard", "dev", "v2")]

"""Every kind of source gives the same rows, each with its place."""

from __future__ import annotations

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from alignkit.data.config import DataConfig
from alignkit.data.naming import commits, read_for, read_source, refuse_misplaced
from alignkit.errors import DataError
from alignkit.world.config import WorldConfig


def read(name, **options):
    config = DataConfig(train=name, **options)
    return read_source(config, read_for(config, "train")[0], 0)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.csv"])
def test_text_files_give_the_same_rows(name, write, pairs):
    rows = read(write(name, pairs))
    assert [row.fields for row in rows] == pairs
    assert [row.index for row in rows] == [0, 1, 2, 3, 4]
    place = "a.{}:{}" if "jsonl" in name else "a.{}:row {}"
    assert [row.where for row in rows] == [place.format(name[2:], number) for number in range(1, 6)]


def test_parquet(folder, pairs):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(pairs), folder / "a.parquet")
    rows = read("a.parquet")
    assert [row.fields for row in rows] == pairs
    assert rows[4].where == "a.parquet:row 5"


def test_hub(monkeypatch, pairs):
    calls = []

    def fake(name, subset, split, revision):
        calls.append((name, subset, split))
        return datasets.Dataset.from_list(pairs)

    monkeypatch.setattr("datasets.load_dataset", fake)
    rows = read("some/pairs", subset="hard", max_rows=2)
    assert [row.fields for row in rows] == pairs[:2]
    assert rows[1].where == "some/pairs:row 2"
    config = DataConfig(train="some/pairs", split="train_prefs", eval="some/pairs", eval_split="test_prefs")
    read_source(config, read_for(config, "train")[0], 0)
    read_source(config, read_for(config, "eval")[0], 0)
    config = DataConfig(train="some/pairs", eval="some/pairs")
    read_source(config, read_for(config, "eval")[0], 0)
    assert calls == [
        ("some/pairs", "hard", "train"),
        ("some/pairs", None, "train_prefs"),
        ("some/pairs", None, "test_prefs"),
        ("some/pairs", None, "test"),
    ]


COMMIT, OTHER = "c0ffee" * 6 + "abcd", "decaf0" * 6 + "abcd"


@pytest.fixture
def cached(monkeypatch, tmp_path, pairs):
    """The datasets library gives a table of its cache, made from `COMMIT`; the revisions that it was asked for."""
    asked = []
    datasets.Dataset.from_list(pairs).save_to_disk(tmp_path / "cache" / "some___pairs" / "default" / "0.0.0" / COMMIT)

    def fake(name, subset, split, revision):
        asked.append(revision)
        return datasets.load_from_disk(tmp_path / "cache" / "some___pairs" / "default" / "0.0.0" / COMMIT)

    monkeypatch.setattr("datasets.load_dataset", fake)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return asked


def test_the_commit_of_a_hub_data_set_is_known_when_it_was_read(cached):
    config = DataConfig(train="some/pairs", revision="v1", eval={"name": "hub", "id": "some/pairs", "split": "dev"})
    assert commits(config) == {"data.train": None, "data.eval": None}
    read_source(config, read_for(config, "train")[0], 0)
    assert commits(config) == {"data.train": COMMIT, "data.eval": None}
    read_source(config, read_for(config, "eval")[0], 0)
    assert commits(config) == {"data.train": COMMIT, "data.eval": COMMIT}
    assert cached == ["v1", None]
    assert commits(DataConfig(train="a.jsonl", eval="builtin:world")) == {}


def test_a_table_that_is_in_no_cache_has_no_known_commit(monkeypatch, pairs):
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **options: datasets.Dataset.from_list(pairs))
    config = DataConfig(train="some/unknown")
    read_source(config, read_for(config, "train")[0], 0)
    assert commits(config) == {"data.train": None}


@pytest.mark.parametrize("revision", [OTHER, "v1"])
def test_another_revision_of_the_cache_is_not_taken_in_its_place(revision, cached, tmp_path):
    """Without the Hub the datasets library takes the newest of its cache."""
    place = tmp_path / "hub" / "datasets--some--pairs"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "v1").write_text(OTHER)  # what the tag was when the Hub last answered
    with pytest.raises(DataError) as caught:
        read("some/pairs", revision=revision)
    assert str(caught.value) == (
        f"Hub data set 'some/pairs': revision '{revision}' is commit {OTHER}, but commit {COMMIT} is what the cache "
        "holds and the Hub cannot be reached; try again with a network"
    )
    assert len(read("some/pairs", revision=COMMIT)) == 5


def test_hub_out_of_reach(monkeypatch):
    def fail(*args, **options):
        raise ConnectionError("Couldn't reach 'some/pairs' on the Hub (OfflineModeIsEnabled)\nmore lines")

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(DataError) as caught:
        read("some/pairs")
    assert str(caught.value) == (
        "Hub data set 'some/pairs', subset none, split train: Couldn't reach 'some/pairs' on the Hub "
        "(OfflineModeIsEnabled); check the id, the network, or give a local file in its place"
    )


def test_world():
    rows = read("builtin:world", world=WorldConfig(pairs=3))
    assert len(rows) == 3
    assert set(rows[0].fields) == {"prompt", "chosen", "rejected", "gold", "score_chosen", "score_rejected"}
    assert (rows[0].fields["score_chosen"], rows[0].fields["score_rejected"]) == (1.0, 0.0)
    assert set(rows[0].critical) == {"chosen", "rejected", "gold"}
    assert rows[2].where == "builtin:world:train row 3"


def test_blank_lines_are_no_rows_and_do_not_shift_places(write):
    rows = read(write("a.jsonl", '\n{"text": "a"}\n\n  \n{"text": "b"}\n'))
    assert [(row.index, row.where) for row in rows] == [(0, "a.jsonl:2"), (1, "a.jsonl:5")]


def test_byte_order_mark_is_not_data(write):
    assert read(write("a.jsonl", b'\xef\xbb\xbf{"text": "a"}'))[0].fields == {"text": "a"}
    assert read(write("a.csv", b"\xef\xbb\xbftext\na\n"))[0].fields == {"text": "a"}


def test_csv_keeps_line_breaks_digits_and_long_texts(write):
    long = "x" * 200_000
    rows = read(write("a.csv", [{"prompt": "a,\nb", "chosen": "042"}, {"prompt": long, "chosen": "é"}]))
    assert [dict(row.fields) for row in rows] == [{"prompt": "a,\nb", "chosen": "042"}, {"prompt": long, "chosen": "é"}]


MISTAKES = [
    ({"train": "dta.jsonl"}, "dta.jsonl: no such file; did you mean data.jsonl?"),
    ({"train": "zzzz.csv"}, "zzzz.csv: no such file"),
    ({"train": "x/data.jsonl"}, "x/data.jsonl: no such file; the folder x does not exist"),
    ({"train": "./"}, ".: is a folder; name one file (.jsonl, .json, .csv, .parquet)"),
    (
        {"train": "data.txt"},
        "data.txt: unknown file type; known: .jsonl, .json, .csv, .parquet, and .gz of the first three",
    ),
    ({"train": "builtin:word"}, "data.train: unknown data 'builtin:word'; known: builtin:world"),
    ({"train": "empty.jsonl"}, "data.train: empty.jsonl holds no rows"),
    (
        {"train": "broken.json"},
        "broken.json:2: broken JSON: Expecting property name enclosed in double quotes at column 3",
    ),
    (
        {"train": "lines.json"},
        "lines.json:2: broken JSON: Extra data at column 1; one object a line is .jsonl",
    ),
    ({"train": "object.json"}, "object.json: expected a list of rows, got dict"),
    ({"train": "latin.csv"}, "latin.csv: is not UTF-8 text: byte 6 is 0xe9"),
    ({"train": "broken.csv"}, "broken.csv:row 1: broken CSV: unexpected end of data"),
    ({"train": "text.jsonl.gz"}, "text.jsonl.gz: cannot be read: Not a gzipped file (b'{\"')"),
    ({"train": "text.parquet"}, "text.parquet: is not a parquet file, or is damaged"),
    (
        {"train": "data.jsonl", "split": "dev"},
        "data.split: 'dev' belongs to a Hub data set in data.train; the data is data.jsonl",
    ),
    (
        {"train": "data.jsonl", "subset": "main"},
        "data.subset: 'main' belongs to a Hub data set; the data is data.jsonl",
    ),
    (
        {"train": "data.jsonl", "revision": "v1"},
        "data.revision: 'v1' belongs to a Hub data set; the data is data.jsonl",
    ),
    (
        {"train": "some/pairs", "eval": "data.jsonl", "eval_split": "dev"},
        "data.eval_split: 'dev' belongs to a Hub data set in data.eval; the data is some/pairs, data.jsonl",
    ),
    (
        {"train": "data.jsonl", "world": WorldConfig()},
        "data.world: given, but belongs to builtin:world; the data is data.jsonl; set data.world: null where it is "
        "inherited",
    ),
    (
        {"train": "data.jsonl", "eval": "data.jsonl", "holdout": 5},
        "data.holdout: 5 belongs to runs without data.eval; the data is data.jsonl",
    ),
    (
        {"train": "builtin:world", "holdout": 5},
        "data.holdout: 5 belongs to files and Hub data sets; set data.world.eval_pairs instead; "
        "the data is builtin:world",
    ),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=[message[:30] for _, message in MISTAKES])
def test_twenty_mistakes_in_naming_the_source(options, message, write):
    write("data.jsonl", '{"text": "a"}')
    write("data.txt", "a")
    write("empty.jsonl", "\n")
    write("broken.json", '[{"text": "a"},\n {]')
    write("lines.json", '{"text": "a"}\n{"text": "b"}\n')
    write("object.json", '{"rows": []}')
    write("latin.csv", b"text\nr\xe9sum\xe9\n")
    write("broken.csv", 'text\n"open')
    write("text.jsonl.gz", '{"text": "a"}')
    write("text.parquet", '{"text": "a"}')
    config = DataConfig(**options)
    with pytest.raises(DataError) as caught:
        refuse_misplaced(config)
        read_source(config, read_for(config, "train")[0], 0)
    assert str(caught.value) == message


# --- names that reach into the working folder ---

KNOWN = "name a file (.jsonl, .json, .csv, .parquet), a Hub data set (owner/name) or builtin:world"


@pytest.mark.parametrize("name", ["pandas", "json", "csv", "text", "parquet", "arrow", "webdataset", "imagefolder"])
@pytest.mark.parametrize("part", ["train", "eval"])
def test_a_word_alone_never_reaches_the_readers_of_datasets(name, part, folder, monkeypatch):
    """Given `json`, the library would take train.json, and older ones would unpickle any .pkl below the folder."""
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **options: pytest.fail("reached"))
    (folder / "train.json").write_text('[{"text": "a"}]')
    config = DataConfig(**{"train": "some/pairs", part: name})
    with pytest.raises(DataError) as caught:
        refuse_misplaced(config)
    assert str(caught.value) == f"data.{part}: '{name}' is no file, and a word alone names no data set; {KNOWN}"
    with pytest.raises(DataError):
        read_source(config, read_for(config, part)[0], 0)


def test_a_word_alone_may_lack_its_ending(write, pairs):
    write("pairs.csv", pairs)
    with pytest.raises(DataError) as caught:
        read("pairs")
    assert str(caught.value) == (
        f"data.train: 'pairs' is no file, and a word alone names no data set; {KNOWN}; did you mean pairs.csv?"
    )


def test_an_empty_name():
    with pytest.raises(DataError) as caught:
        read(" ")
    assert str(caught.value) == f"data.train: ' ' is no name; {KNOWN}"


@pytest.mark.parametrize("name", ["json", "some/pairs", "some"])
def test_a_folder_is_never_handed_on(name, folder, monkeypatch):
    """`load_dataset("some/pairs")` would read whatever lies in a folder of that name."""
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **options: pytest.fail("reached"))
    (folder / "some" / "pairs").mkdir(parents=True)
    (folder / "json").mkdir()
    (folder / "some" / "pairs" / "train.json").write_text('[{"text": "a"}]')
    with pytest.raises(DataError) as caught:
        read(name)
    assert str(caught.value) == f"{name}: is a folder; name one file (.jsonl, .json, .csv, .parquet)"


@pytest.mark.parametrize(
    "name", ["some/pairs.py", "some/pairs.gz", "some/../pairs", "a/b/c", "-/..", "hf://datasets/some/pairs"]
)
def test_what_is_no_hub_id_is_taken_for_a_file(name, folder, monkeypatch):
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **options: pytest.fail("reached"))
    (folder / "some").mkdir()
    (folder / "some" / "pairs.py").write_text("raise SystemExit")
    with pytest.raises(DataError, match=r"no such file|unknown file type"):
        read(name)


def test_any_fault_of_the_hub_is_one_line(monkeypatch):
    def fail(*args, **options):
        raise datasets.exceptions.DatasetGenerationError("An error occurred while generating the dataset\nmore")

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(DataError) as caught:
        read("some/pairs")
    assert str(caught.value) == (
        "Hub data set 'some/pairs', subset none, split train: An error occurred while generating the dataset; check "
        "the id, the network, or give a local file in its place"
    )


def test_of_a_hub_data_set_only_the_columns_asked_for_are_read(monkeypatch):
    table = datasets.Dataset.from_list([{"prompt": "a", "text": "b", "score": 1.0}])
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **options: table)
    config = DataConfig(train="some/pairs")
    (row,) = read_source(config, read_for(config, "train")[0], 0, columns={"prompt", "chosen"})
    assert (row.fields, row.others) == ({"prompt": "a"}, ("text", "score"))
    (row,) = read_source(config, read_for(config, "train")[0], 0, columns={"chosen"})
    assert (row.fields, row.others) == ({}, ("prompt", "text", "score"))


# --- held-out data that is the training data ---


@pytest.mark.parametrize(
    "options",
    [
        {"train": "data.jsonl", "eval": "data.jsonl"},
        {"train": "data.jsonl", "eval": "./data.jsonl"},
        {"train": "data.jsonl", "eval": "link.jsonl"},
        {"train": "some/pairs", "eval": "some/pairs", "split": "test"},
    ],
)
def test_training_data_is_not_held_out(options, write, folder):
    write("data.jsonl", '{"text": "a"}')
    (folder / "link.jsonl").symlink_to("data.jsonl")
    with pytest.raises(DataError) as caught:
        refuse_misplaced(DataConfig(**options))
    assert str(caught.value) == (
        f"data.eval: '{options['eval']}' is data.train itself, so nothing would be held out; remove data.eval, and "
        "data.holdout rows are kept out of training"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"train": "some/pairs", "eval": "some/pairs"},
        {"train": "some/pairs", "eval": "other/pairs", "eval_split": "train"},
        {"train": "builtin:world", "eval": "builtin:world"},
        {"train": "data.jsonl", "eval": "gone.jsonl"},
    ],
)
def test_other_held_out_data_is_fine(options, write):
    write("data.jsonl", '{"text": "a"}')
    refuse_misplaced(DataConfig(**options))

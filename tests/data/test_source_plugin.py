"""A source from elsewhere, here the one that docs/data.md shows, is all that a run needs to know of its data."""

from __future__ import annotations

import importlib
import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from importlib.metadata import distributions
from pathlib import Path

import pytest

from alignkit import entry_points
from alignkit.cli import main
from alignkit.data.config import DataConfig
from alignkit.data.naming import read_for, read_source, refuse_misplaced
from alignkit.data.raw import Columns, RawRow
from alignkit.data.sources import sources
from alignkit.data.sources.base import Part, Source
from alignkit.errors import DataError, RecipeError
from alignkit.recipe.load import load_recipe
from alignkit.run import run

RECIPE = """\
model: {name: scratch, layers: 1, width: 32, heads: 2, vocab_size: 512, max_positions: 64}
data:
  train:
    name: sqlite
    path: pairs.db
  holdout: 2
  max_length: 64
trainer: preference
losses: [dpo]
training: {steps: 2, batch_size: 2, micro_batch_size: 2, learning_rate: 1.0e-3}
evaluation: {pairs: 2, samples: 0}
"""


PAGE = Path(__file__).parents[2] / "docs" / "data.md"


@pytest.fixture(scope="module")
def documented(tmp_path_factory) -> type[Source]:
    """The source that docs/data.md shows."""
    section = PAGE.read_text().partition("`sqlite_source.py`")[2]
    code = section.partition("```python\n")[2].partition("```")[0]
    path = tmp_path_factory.mktemp("plugin") / "sqlite_source.py"
    path.write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)
        return importlib.import_module("sqlite_source").Sqlite


class Counting(Source):
    """Pairs to count with, drawn anew for training and for held-out rows."""

    has_own_eval = True

    def read(self, part: Part, seed: int, limit: int | None, columns: Columns) -> Iterable[RawRow]:
        first = 0 if part == "train" else 100
        for index in range(6):
            yield RawRow(index, f"count {first + index}", {"prompt": f"Q{first + index}:", **ANSWERS})


ANSWERS = {"chosen": " yes", "rejected": " no"}


@pytest.fixture(autouse=True)
def recipe(folder, documented, monkeypatch) -> Path:
    """A recipe of an SQLite table of six pairs, whose source is registered for this test only."""
    monkeypatch.setattr(sources, "_classes", {**sources.classes(), "sqlite": documented, "counting": Counting})
    with closing(sqlite3.connect("pairs.db")) as database:
        database.execute("create table pairs (prompt, chosen, rejected)")
        database.executemany("insert into pairs values (?, ?, ?)", [(f"Q{n}:", " yes", " no") for n in range(6)])
        database.commit()
    Path("r.yaml").write_text(RECIPE)
    return Path("r.yaml")


def read(**options) -> list[RawRow]:
    config = DataConfig(**options)
    return read_source(config, read_for(config, "train")[0], 0)


def said_of(recipe: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, overrides)
    return str(caught.value).splitlines()


# --- whole runs ---


WITHOUT_SPLIT = "data.holdout=null"


@pytest.mark.parametrize(
    "overrides",
    [
        [WITHOUT_SPLIT, "data.eval={name: sqlite, path: pairs.db, start: 4}"],
        [WITHOUT_SPLIT, "data.train=counting"],
        [WITHOUT_SPLIT, "data.train=pairs.jsonl", "data.eval={name: counting}"],
    ],
    ids=["both", "with held-out rows of its own", "eval beside a file"],
)
def test_a_whole_run(recipe, overrides):
    write_json()
    run(load_recipe(recipe, overrides), Path("out"), False, False)
    lines = [json.loads(line) for line in Path("out/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert json.loads(Path("out/eval.json").read_text())["after"]["pairs"] == 2
    assert Path("out/DONE").exists()


def test_the_same_rows_train_the_same_whatever_their_source(recipe):
    write_json()
    records = []
    for folder, overrides in {"a": [], "b": ["data.train=pairs.jsonl"]}.items():
        run(load_recipe(recipe, overrides), Path(folder), False, False)
        lines = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
        losses = [line["loss"] for line in lines]
        records.append((losses, json.loads(Path(folder, "run.json").read_text())["fingerprints"]))
    assert records[0] == records[1]


def write_json() -> None:
    """The rows of the table as a file."""
    rows = [{"prompt": f"Q{n}:", **ANSWERS} for n in range(6)]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))


# --- in the recipe ---


def test_a_recipe_with_a_source_is_written_and_read_back(recipe):
    loaded = load_recipe(recipe, ["data.train.start=1"])
    assert loaded.tree()["data"]["train"] == {"name": "sqlite", "path": "pairs.db", "table": "pairs", "start": 1}
    origins = {key: place for key, place in loaded.origins.items() if key.startswith("data.train.")}
    assert origins == {
        "data.train.name": "r.yaml:4",
        "data.train.path": "r.yaml:5",
        "data.train.table": "default",
        "data.train.start": "--set data.train.start=1",
    }
    Path("again.yaml").write_text(loaded.to_yaml())
    assert load_recipe("again.yaml").recipe == loaded.recipe


def test_text_replaces_a_source_and_the_other_way_round(recipe):
    assert load_recipe(recipe, ["data.train=a.jsonl"]).tree()["data"]["train"] == "a.jsonl"
    Path("file.yaml").write_text("extends: r.yaml\ndata: {train: a.jsonl}\n")
    tree = load_recipe("file.yaml", ["data.train={name: counting}", "data.holdout=null"]).tree()
    assert tree["data"]["train"] == {"name": "counting"}


def test_a_word_names_a_source_unless_something_is_called_so(recipe):
    overrides = ["data.train=counting", "data.holdout=null"]
    loaded = load_recipe(recipe, overrides)
    assert isinstance(loaded.recipe.data.train, Counting)
    assert loaded.origins["data.train.name"] == "--set data.train=counting"
    Path("counting").mkdir()
    assert load_recipe(recipe, [overrides[0]]).recipe.data.train == "counting"


MISTAKES = [
    (
        ["data.train.pth=x"],
        "--set data.train.pth=x: data.train.pth: unknown key; did you mean 'path'? known keys: name, "
        "path, start, table",
    ),
    (["data.train.start=-1"], "--set data.train.start=-1: data.train.start: must be at least 0, got -1"),
    (["data.train.path=null"], "--set data.train.path=null: data.train.path: expected text, got null"),
    (
        ["data.train={name: sqlit}"],
        "--set data.train={name: sqlit}: data.train.name: unknown source 'sqlit'; did you mean 'sqlite'? known: "
        "counting, file, hub, sqlite, world",
    ),
    (
        ["data.eval={path: x}"],
        "--set data.eval={path: x}: data.eval.name: missing; choose one of: counting, file, hub, sqlite, world",
    ),
    (
        ["data.train=sqlite", "data.train.path=null"],
        "--set data.train.path=null: data.train.path: expected text, got null",
    ),
    (
        ["data.eval=file"],
        "--set data.eval=file: data.eval.path: missing required key: Where it lies; relative paths "
        "start from the working folder",
    ),
    (
        ["data.eval=7"],
        "--set data.eval=7: data.eval: expected text or the name of a source or a mapping with 'name' or a list, got 7 "
        "(a number)",
    ),
    (
        ["data.split=dev"],
        "--set data.split=dev: data.split: 'dev' belongs to a Hub data set in data.train; the data is {name: sqlite}, "
        "whose options stand in its mapping",
    ),
    (
        ["data.train={name: world}"],
        "r.yaml:6: data.holdout: 2 belongs to sources without held-out rows of their own; the data is {name: world}",
    ),
    (
        ["data.train={name: world}", "data.holdout=null", "data.world={pairs: 3}"],
        "--set data.world={pairs: 3}: data.world: given, but belongs to builtin:world; the data is {name: world}, "
        "whose options stand in its mapping; set data.world: null where it is inherited",
    ),
    (
        ["data.eval={name: sqlite, path: pairs.db}", "data.holdout=null"],
        "--set data.eval={name: sqlite, path: pairs.db}: data.eval: 'pairs.db:pairs' is data.train itself, so nothing "
        "would be held out; remove data.eval, and data.holdout rows are kept out of training",
    ),
    (
        ["data.train={name: hub, id: json}"],
        "--set data.train={name: hub, id: json}: data.train.id: expected owner/name, got 'json'",
    ),
    (
        ['data.train.path="a\\nb"'],
        '--set data.train.path="a\\nb": data.train.path: a name holds no line ends or control characters, got '
        r"'a\nb'",
    ),
    (
        ["weighting=oracle"],
        "--set weighting=oracle: weighting: 'oracle' knows the planted tokens of builtin:world only, but data.train is "
        "pairs.db:pairs; use another weighting",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), MISTAKES, ids=[overrides[0] for overrides, _ in MISTAKES])
def test_a_mistake_has_its_place(recipe, overrides, message):
    assert said_of(recipe, *overrides) == [message]


def test_a_mistake_in_the_file_has_its_line(recipe):
    recipe.write_text(RECIPE.replace("path: pairs.db", "table: 3"))
    assert said_of(recipe) == [
        "r.yaml:3: data.train.path: missing required key: The database",
        "r.yaml:5: data.train.table: expected text, got 3 (a number)",
    ]


def said_by_validate(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit):
        main(["validate", "r.yaml", *arguments])
    return "".join(capsys.readouterr())


def test_validate_looks_where_a_source_says(recipe, capsys):
    assert said_by_validate(capsys).endswith("model scratch, data pairs.db:pairs\n")
    Path("pairs.db").unlink()
    assert said_by_validate(capsys) == "r.yaml:3: data.train: no database 'pairs.db'\n"
    said = said_by_validate(capsys, "--set", "data.train={name: file, path: pair.jsonl}")
    assert said == "--set data.train={name: file, path: pair.jsonl}: data.train: no file 'pair.jsonl'\n"
    said = said_by_validate(capsys, "--set", "data.train={name: hub, id: a/b}")
    assert said.endswith("model scratch, data a/b (not looked at: Hub data set a/b)\n")


def test_the_package_of_a_source_is_recorded(recipe, folder, monkeypatch):
    info = folder / "tiny-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[alignkit.source]\ntiny = alignkit.data.sources.world:World\n")
    monkeypatch.setattr(entry_points, "distributions", lambda: distributions(path=[str(folder)]))
    entry_points._scanned.cache_clear()
    try:
        assert load_recipe(recipe, ["data.train=tiny", "data.holdout=null"]).plugins == {"tiny": "1.2"}
        assert load_recipe(recipe).plugins == {}
    finally:
        entry_points._scanned.cache_clear()


# --- rows ---


def test_a_source_may_plant_tokens(recipe, monkeypatch):
    monkeypatch.setattr(Counting, "plants", True)
    words = {"chosen": [(1, 4)], "rejected": [(1, 3)]}
    rows = [RawRow(n, f"count {n}", {"prompt": f"Q{n}:", **ANSWERS}, critical=words) for n in range(6)]
    monkeypatch.setattr(Counting, "read", lambda *_: rows)
    run(load_recipe(recipe, ["weighting=oracle", "data.train=counting", WITHOUT_SPLIT]), Path("out"), False, False)
    lines = [json.loads(line) for line in Path("out/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2 and lines[-1]["weights/max"] > 1


def test_a_source_may_give_more_rows_than_are_wanted(recipe):
    assert [row.where for row in read(train=Counting(name="counting"), max_rows=2)] == ["count 0", "count 1"]


def test_rows_that_share_a_place_are_refused(recipe, monkeypatch):
    """Reports count rows by it."""
    monkeypatch.setattr(Counting, "read", lambda *_: [RawRow(index, "table", {}) for index in range(2)])
    with pytest.raises(DataError) as caught:
        read(train=Counting(name="counting"))
    assert str(caught.value) == ("data.train: source 'counting' gave two rows the place 'table'; each needs its own")


def test_rows_that_are_numbered_otherwise_are_refused(recipe, monkeypatch):
    monkeypatch.setattr(Counting, "read", lambda *_: [RawRow(1, "count 1", {})])
    with pytest.raises(DataError) as caught:
        read(train=Counting(name="counting"))
    assert str(caught.value) == (
        "data.train: source 'counting' gave row count 1 the number 1, expected 0; a source numbers its rows from 0"
    )


def test_faults_are_the_sources_own_words(recipe):
    with pytest.raises(DataError) as caught:
        read(train={"name": "sqlite", "path": "pairs.db", "table": "pear"})
    assert str(caught.value) == "pairs.db:pear: no such table: pear; check the path and the table"


# --- the built-in ones as mappings ---


def test_text_is_short_for_a_mapping(recipe, monkeypatch):
    Path("a.jsonl").write_text('{"text": "a"}')
    assert read(train="a.jsonl") == read(train={"name": "file", "path": "a.jsonl"})
    world = {"pairs": 3, "topics": 2}
    assert read(train="builtin:world", world=world) == read(train={"name": "world", **world})


def test_a_hub_data_set_has_its_split_in_its_mapping(recipe, monkeypatch):
    calls = []
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **options: calls.append((*args, options["split"])) or {})
    config = DataConfig(train={"name": "hub", "id": "a/b"}, eval={"name": "hub", "id": "a/b", "subset": "c"})
    refuse_misplaced(config)
    for part in ("train", "eval"):
        with pytest.raises(DataError):
            read_source(config, read_for(config, part)[0], 0)
    assert calls == [("a/b", None, "train"), ("a/b", "c", "test")]


def test_a_folder_is_never_handed_to_the_hub(recipe):
    Path("a/b").mkdir(parents=True)
    assert said_of(recipe, "data.train={name: hub, id: a/b}") == [
        "--set data.train={name: hub, id: a/b}: data.train.id: 'a/b' lies in the working folder, and would be read in "
        "place of the data set; rename it, or take source 'file'"
    ]


def test_two_names_of_one_file_are_one_source(recipe):
    Path("a.jsonl").write_text("{}")
    config = DataConfig(train="a.jsonl", eval={"name": "file", "path": "./a.jsonl"})
    with pytest.raises(DataError, match=r"is data\.train itself"):
        refuse_misplaced(config)

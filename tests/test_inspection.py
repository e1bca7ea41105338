"""`alignkit inspect` on whole runs and recipes: from records, from models, and what it says where it cannot."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from alignkit.cli import main
from alignkit.run import run

RECIPE = {
    "model": {"name": "world"},
    "data": {"train": "builtin:world", "world": {"pairs": 8, "eval_pairs": 6}},
    "losses": [{"name": "dpo"}],
    "weighting": {"name": "hybrid"},
    "trainer": "preference",
    "training": {"steps": 2, "batch_size": 4, "learning_rate": 0.001},
    "evaluation": {"pairs": 3, "samples": 2, "max_new_tokens": 8},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a recipe and its run; read only."""
    folder = tmp_path_factory.mktemp("inspected")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIGNKIT_CACHE", str(folder / "cache"))
        run(folder / "recipe.yaml", folder / "run", quiet=True)
    return folder


@pytest.fixture
def said(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))

    def call(*arguments) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main(["inspect", *map(str, arguments)])
        shown = capsys.readouterr()
        return caught.value.code, shown.err if caught.value.code else shown.out

    return call


def data_of(page: Path) -> dict:
    found = re.search(r'id="data">(.*?)</script>', page.read_text())
    assert found is not None
    return json.loads(found[1])


def test_a_run_leaves_the_page_that_inspect_makes(trained, said, tmp_path):
    code, out = said(trained / "run", "-o", "page.html")
    assert code == 0 and out.startswith("page: page.html (")
    assert (tmp_path / "page.html").read_text() == (trained / "run" / "report.html").read_text()
    data = data_of(tmp_path / "page.html")
    assert [card["key"] for card in data["cards"]] == ["r0", "r1", "r2"]
    names = [column["name"] for column in data["columns"]]
    assert {"weight", "gradient part", "prior part", "log-ratio after", "change of log-prob", "KL to reference"} <= {
        *names
    }


def test_margins_are_those_of_the_evaluation(trained):
    lines = [json.loads(line) for line in (trained / "run" / "eval_rows.jsonl").read_text().splitlines()]
    margins = {(line["moment"], line["row"]): line["margin"] for line in lines}
    for row, card in enumerate(data_of(trained / "run" / "report.html")["cards"]):
        assert card["before"] == pytest.approx(margins["before", row], abs=1e-3)
        assert card["after"] == pytest.approx(margins["after", row], abs=1e-3)


def test_more_rows_are_computed_from_the_models_as_the_run_had_them(trained, said, tmp_path):
    code, _ = said(trained / "run", "--rows", "5", "-o", "more.html")
    assert code == 0
    more, recorded = data_of(tmp_path / "more.html")["cards"], data_of(trained / "run" / "report.html")["cards"]
    assert [card["key"] for card in more] == ["r0", "r1", "r2", "r3", "r4"]
    for one, other in zip(more, recorded, strict=False):
        assert one["after"] == pytest.approx(other["after"], abs=2e-3) and one["ess"] == pytest.approx(
            other["ess"], rel=1e-3
        )


def test_other_rows(trained, said, tmp_path):
    pair = {
        "prompt": "What helps a fern that has slugs?\n",
        "chosen": "You should set a trap.",
        "rejected": "I would wait.",
    }
    (tmp_path / "mine.jsonl").write_text(json.dumps(pair) + "\n")
    code, _ = said(trained / "run", "--data", "mine.jsonl", "-o", "mine.html")
    page = (tmp_path / "mine.html").read_text()
    assert code == 0 and [card["source"] for card in data_of(tmp_path / "mine.html")["cards"]] == ["mine.jsonl"]
    assert "Rows of mine.jsonl." in page and "sampled before training" not in page


def test_a_recipe_shows_its_start_model(trained, said, tmp_path):
    code, out = said(trained / "recipe.yaml", "--rows", "2", "--set", "weighting=uniform")
    data = data_of(tmp_path / "inspect.html")
    assert code == 0 and "page: inspect.html" in out
    assert [card["key"] for card in data["cards"]] == ["r0", "r1"] and "after" not in data["cards"][0]
    assert "before any training" in (tmp_path / "inspect.html").read_text()


def test_weights_that_look_at_the_training_rows_are_those_of_the_run(trained, said, tmp_path):
    """Other prompts are drawn from all training rows, however few are scored at once."""
    found = []
    for size in (1, 4):
        small = f"training.micro_batch_size={size}"
        code, out = said(trained / "recipe.yaml", "--rows", 1, "--set", small, "--set", "weighting=influence")
        assert code == 0, out
        (card,) = data_of(tmp_path / "inspect.html")["cards"]
        found.append(card["ess"])
    assert found[0] == pytest.approx(found[1], rel=1e-3) and found[0] < 0.9


def test_the_report_can_be_switched_off(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    off = RECIPE | {
        "evaluation": {"pairs": 2, "samples": 0, "report": False},
        "training": {"steps": 1, "batch_size": 4},
    }
    (tmp_path / "off.yaml").write_text(yaml.safe_dump(off))
    run(tmp_path / "off.yaml", tmp_path / "off", quiet=True)
    assert not {"report.html", "token_rows.jsonl"} & {path.name for path in (tmp_path / "off").iterdir()}


def test_a_page_that_fails_loses_no_run(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise ValueError("no such colour\nat all")

    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("alignkit.keeping.write_report", fail)
    short = RECIPE | {"evaluation": {"pairs": 2, "samples": 0}, "training": {"steps": 1, "batch_size": 4}}
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(short))
    run(tmp_path / "short.yaml", tmp_path / "short")
    assert (tmp_path / "short" / "DONE").exists() and not (tmp_path / "short" / "report.html").exists()
    assert "report.html: not written: no such colour; alignkit inspect" in capsys.readouterr().out.replace("\n", "")


def test_mistakes_are_one_line(trained, said, tmp_path):
    (tmp_path / "empty").mkdir()
    begun = shutil.copytree(
        trained / "run", tmp_path / "begun", ignore=shutil.ignore_patterns("final", "*.jsonl", "DONE")
    )
    expected = {
        ("empty",): "empty: is no run folder, it holds no recipe.yaml; give one, or a recipe (.yaml)",
        (begun,): f"{begun}: its run has recorded nothing yet; go on with alignkit run {begun} --resume",
        (begun, "--rows", "9"): f"{begun}: its run has saved no model yet; go on with alignkit run {begun} --resume",
        (trained / "run", "--lexicon", "none.txt"): "--lexicon: none.txt: cannot be read: No such file or directory; "
        "give a text file, one term a line",
        (
            trained / "run",
            "--data",
            "none.jsonl",
        ): "--data: none.jsonl: no such file; give one that data.eval could name",
        (trained / "run", "--set", "seed=1"): "--set: is for a recipe; a run is what it was",
        ("nothing.yaml",): "no file 'nothing.yaml'",
    }
    for arguments, message in expected.items():
        code, err = said(*arguments)
        assert code == 2 and err.count("\n") == 1 and err.startswith(message), (arguments, err)


def test_damaged_records_are_one_line(trained, said, tmp_path):
    torn = shutil.copytree(trained / "run", tmp_path / "torn")
    (torn / "token_rows.jsonl").write_text(
        '{"moment": "after", "row": 0, "where": "x:1", "responses": {"chosen": {}}}\n'
    )
    code, err = said(torn)
    assert code == 2 and err == f"{torn}: its records of tokens are damaged (KeyError: 'forms'); restore them\n"


def test_a_run_without_records_says_how_to_have_them(trained, said, tmp_path):
    bare = shutil.copytree(trained / "run", tmp_path / "bare", ignore=shutil.ignore_patterns("token_rows.jsonl"))
    code, err = said(bare)
    assert code == 2
    assert err == f"{bare}: its run recorded no tokens of held-out rows; --rows 40 computes them from its model\n"

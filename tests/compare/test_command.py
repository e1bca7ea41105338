"""`alignkit compare` as its user meets it: two real runs, the page, JSON, and mistakes in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import alignkit
from alignkit.cli import main
from alignkit.compare.html import html
from alignkit.compare.record import Comparison
from alignkit.records.fingerprints import prompt_hash

SMALL = {
    **{"training.steps": 2, "training.batch_size": 8, "training.micro_batch_size": 8, "data.world.pairs": 16},
    **{"evaluation.pairs": 24, "evaluation.samples": 16, "evaluation.max_new_tokens": 8},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """DPO and TI-DPO on the world, two steps each; read them only."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIGNKIT_CACHE", str(folder / "cache"))
        for name in ("dpo", "tidpo"):
            alignkit.run(alignkit.load_recipe(f"alignkit:{name}", SMALL), folder / name, quiet=True)
    return folder


@pytest.fixture
def said(capsys, tmp_path, monkeypatch):
    """Runs the command in an empty folder, 80 columns wide: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(["compare", *(str(argument) for argument in arguments)])
        return caught.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def copy(runs, tmp_path):
    """A copy of the run of TI-DPO that may be spoilt."""
    return Path(shutil.copytree(runs / "tidpo", tmp_path / "copy"))


# --- two runs ---


def test_a_table_and_a_sentence_for_each_measure(runs, said):
    code, out, err = said(runs / "dpo", runs / "tidpo", "--html", "page.html")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith("tidpo against dpo\n")
    assert "\n- AUC of token weights: tidpo is better by 0." in out
    assert "compared with --measure only: banned_word, kl_first, kl_advice, kl_elsewhere, sample_tokens" in out.replace(
        "\n  ", " "
    )
    assert "\np: after Holm's correction, as 11 differences were looked at\n" in out
    page = Path("page.html").read_text()
    assert page.startswith("<!doctype html>") and '<th scope="col">tidpo</th>' in page
    assert page.count("<svg ") == page.count("<circle ") > 3


def test_a_page_draws_intervals_where_they_are(runs, said):
    """All of it right of 0: from 60 low / high to 60 of a scale of its own."""
    _, out, _ = said(runs / "dpo", runs / "tidpo", "--json", "--measure", "weight_auc")
    comparison = Comparison.model_validate_json(out)
    line = comparison.lines[0]
    assert f'd="M{60 * line.low / line.high:.1f} 0H60.0"' in html(comparison)


def test_a_name_is_no_markup(runs, said):
    _, out, _ = said(f"<script>={runs / 'dpo'}", runs / "tidpo", "--html", "page.html")
    assert out.startswith("tidpo against <script>\n")
    assert "<script>" not in Path("page.html").read_text()


def test_json_has_what_the_run_measured(runs, said):
    code, out, _ = said(runs / "dpo", runs / "tidpo", "--json")
    found = Comparison.model_validate_json(out)
    assert (code, found.version, found.family, [method.seeds for method in found.methods]) == (0, 1, 11, [[0], [0]])
    for place, name in enumerate(("base_value", "other_value")):
        after = json.loads((runs / ("dpo", "tidpo")[place] / "eval.json").read_text())["after"]
        values = {line.measure: getattr(line, name) for line in found.lines}
        assert values == pytest.approx({measure: after[measure] for measure in values})


def test_before_training_both_are_the_model_that_they_start_from(runs, said):
    _, out, _ = said(runs / "dpo", runs / "tidpo", "--json", "--moment", "before")
    lines = [line for line in Comparison.model_validate_json(out).lines if not line.measure.startswith("weight_")]
    assert {(line.difference, line.p) for line in lines} == {(0, 1)}


def test_rows_carry_the_hash_of_their_prompt(runs):
    rows, samples = (
        [json.loads(line) for line in (runs / "dpo" / name).read_text().splitlines()]
        for name in ("eval_rows.jsonl", "samples.jsonl")
    )
    hashes = {(one["moment"], one["row"]): one["prompt_hash"] for one in rows}
    assert len(hashes) == 48
    assert all(hashes[one["moment"], one["row"]] == prompt_hash(one["prompt"]) for one in samples)


def test_no_torch(runs):
    code = (
        "import sys\nfrom alignkit.cli import main\n"
        f"try: main(['compare', {str(runs / 'dpo')!r}, {str(runs / 'tidpo')!r}, '--json'])\n"
        "except SystemExit as end: print(end.code, {'torch', 'transformers', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("0 set()", "")


# --- mistakes ---


def test_one_folder(runs, said):
    line = "alignkit compare: needs two runs or more; give the run to compare with first\n"
    assert said(runs / "dpo") == said() == (2, "", line)


def test_no_run(runs, said, tmp_path):
    Path("empty").mkdir()
    assert said(runs / "dpo", "gone") == (
        2,
        "",
        "gone: no such folder; give run folders, or folders of alignkit evaluate\n",
    )
    assert said(runs / "dpo", "empty") == (
        2,
        "",
        "empty: holds neither run.json nor evaluation.json; give a folder of alignkit run or evaluate\n",
    )


def test_an_unfinished_run(runs, said, copy):
    (copy / "DONE").unlink()
    line = f"{copy}: its run is not finished; finish it with alignkit run {copy} --resume\n"
    assert said(runs / "dpo", copy) == (2, "", line)


def test_a_pipeline(runs, said):
    Path("two").mkdir()
    Path("two/recipe.yaml").write_text("stages:\n  sft: {}\n  dpo: {}\n")
    line = "two: holds a pipeline; compare its stages: two/1-sft, two/2-dpo\n"
    assert said(runs / "dpo", "two") == (2, "", line)


def test_other_prompts(runs, said, copy):
    path = copy / "samples.jsonl"
    path.write_text(path.read_text().replace("What", "Where"))
    records = [json.loads(line) for line in path.read_text().splitlines()]
    count = sum("Where" in one["prompt"] for one in records) // 2
    code, out, err = said(runs / "dpo", copy)
    assert (code, out) == (2, "")
    assert err.startswith(
        f"{runs / 'dpo'} and {copy} cannot be paired on sampled responses: {count} of 16 prompts differ, the first"
    )
    assert err.endswith("; measure both on the same prompts\n") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("spoilt", "said_of_it"),
    [
        ("{", "{file}:1: is no JSON object; restore the file or measure again"),
        ("[1]", "{file}:1: is no JSON object; restore the file or measure again"),
        (
            '{"moment": "after", "row": "\\u001b[1m"}',
            "{file}:1: 'row' must be a number that no other line has, got '\\e[1m'; restore the file or measure again",
        ),
        (
            '{"moment": "after", "row": 0, "nll": "x", "tokens": 2}',
            "{file}: 'nll' cannot be read of it; restore the file or measure again",
        ),
        (
            '{"moment": "after", "row": 99, "nll": 1, "tokens": 2}',
            "{dpo} and {copy} cannot be paired on held-out rows: 1 of 1 items are in one only, the first is '99'; "
            "measure both on the same items",
        ),
    ],
)
def test_damaged_records(runs, said, copy, spoilt, said_of_it):
    file = copy / "eval_rows.jsonl"
    file.write_text(spoilt + "\n")
    line = said_of_it.format(file=file, dpo=runs / "dpo", copy=copy) + "\n"
    assert said(runs / "dpo", copy, "--measure", "nll") == (2, "", line)


def test_damaged_benchmark(runs, said, copy):
    (copy / "eval").mkdir()
    file = copy / "eval" / "gsm8k.jsonl"
    file.write_text('{"moment": "after", "item": "0", "prompt_hash": "0", "scores": {"acc": "x"}}\n')
    line = f"{file}:1: 'scores' must be numbers, got {{'acc': 'x'}}; restore the file or measure again\n"
    assert said(runs / "dpo", copy) == (2, "", line)
    file.write_text('{"moment": "after", "item": 0}\n')
    needs = "needs 'item' and 'prompt_hash' as text and 'scores' as a mapping"
    assert said(runs / "dpo", copy) == (2, "", f"{file}:1: {needs}; restore the file or measure again\n")


def test_options(runs, said):
    both = (runs / "dpo", runs / "tidpo")
    code, _, err = said(*both, "--measure", "nil")
    assert (code, err.partition(";")[0]) == (2, "--measure nil: is not measured in all of them")
    assert "did you mean 'nll'? known: preference_accuracy, " in err
    assert said(*both, "--level", "95") == (2, "", "--level: must be above 0 and below 1, such as 0.95, got 95\n")
    assert said(f"A={both[0]},{both[0]}", both[1])[2] == (
        f"A={both[0]},{both[0]}: give a method as NAME=FOLDER,FOLDER with different folders, one for each seed\n"
    )
    assert said(f"A={both[0]}", f"A={both[1]}")[2] == "A: names two methods; give each a name of its own\n"
    assert said(*both, "--html", "no/page.html") == (
        2,
        "",
        "no/page.html: there is no folder no; make it, or name another file\n",
    )

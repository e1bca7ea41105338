"""The command line as a user meets it: what it prints, where, and its exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from alignkit import __version__
from alignkit.cli import main
from alignkit.errors import NonFiniteError
from alignkit.recipe.kinds import ALL_KINDS, KINDS
from alignkit.recipe.libraries import is_sweep
from alignkit.recipe.pipeline import LoadedPipeline, load

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.yaml") if not is_sweep(path))
RECIPE = "model: world\ndata: {train: 'builtin:world'}\nlosses: [dpo]\ntrainer: preference\n"


@pytest.fixture
def alignkit(capsys, tmp_path, monkeypatch):
    """Runs the command in a folder with `good.yaml` and `bad.yaml`: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(RECIPE)
    Path("bad.yaml").write_text(RECIPE + "seed: -1\nsede: 1\n")

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        return caught.value.code, *capsys.readouterr()

    return run


BAD = (
    "bad.yaml:5: seed: must be at least 0, got -1\n"
    "bad.yaml:6: sede: unknown key; did you mean 'seed'? known keys: advantage, data, deprecated, evaluation, "
    "extends, losses, model, pair_weighting, parallel, requires, rewards, sampler, schema, seed, stages, trainer, "
    "training, weighting\n"
)


def test_validate_says_what_a_recipe_is(alignkit):
    summary = "trainer preference, losses dpo, weighting uniform, model world, data builtin:world"
    assert alignkit("validate", "good.yaml") == (0, f"ok: good.yaml: {summary}\n", "")


def test_validate_reports_every_problem_of_every_file_and_exits_2(alignkit):
    code, out, err = alignkit("validate", "bad.yaml", "good.yaml", "missing.yaml")
    assert (code, err) == (2, BAD + "no file 'missing.yaml'\n")
    assert out.startswith("ok: good.yaml: ")


def test_set_applies_to_validate(alignkit):
    code, out, _ = alignkit("validate", "good.yaml", "--set", "losses=[{name: triplet, coefficient: 0.5}, dpo]")
    assert code == 0 and "losses 0.5 triplet + dpo, " in out


def test_every_shipped_recipe_validates_where_the_files_that_it_names_are(alignkit):
    runnable = [path for path in RECIPES if path.parent.name != "base"]
    for path in runnable:
        if isinstance(loaded := load(path), LoadedPipeline):
            continue
        recipe = loaded.recipe
        names = [name for name in (recipe.data.train, recipe.data.eval) if name and name.endswith(".jsonl.gz")]
        for name in names:  # a user's own data, or what an earlier recipe leaves
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()
        if getattr(recipe.model, "path", "").startswith("runs/"):
            Path(recipe.model.path).mkdir(parents=True, exist_ok=True)
            (Path(recipe.model.path) / "config.json").touch()
    code, out, err = alignkit("validate", *map(str, runnable))
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == len(runnable) + 1 > 10  # a line for each of two stages


def test_validate_says_what_is_missing_here_and_what_it_did_not_look_at(alignkit):
    Path("hub.yaml").write_text(
        RECIPE.replace("world", "{name: pretrained, path: owner/name}", 1).replace("builtin:world", "owner/set")
    )
    code, out, err = alignkit("validate", "hub.yaml")
    assert (code, err) == (0, "")
    assert out == (
        "ok: hub.yaml: trainer preference, losses dpo, weighting uniform, model pretrained, data owner/set "
        "(not looked at: Hub data set owner/set, owner/name on the Hub)\n"
    )
    Path("gone.yaml").write_text(RECIPE.replace("builtin:world", "gone.jsonl"))
    said = "no file 'gone.jsonl'; give a file, a Hub data set (owner/name) or builtin:world"
    assert alignkit("validate", "gone.yaml") == (2, "", f"gone.yaml:2: data.train: {said}\n")


def test_what_is_printed_cannot_pass_for_another_line(alignkit):
    name = "x\nok: fine: all\x1b[2J.yaml"
    Path(name).write_text(RECIPE)
    code, out, _ = alignkit("validate", name)
    assert code == 0 and out.startswith(r"ok: x\nok: fine: all\e[2J.yaml: trainer") and out.count("\n") == 1
    _, _, err = alignkit("validate", "bad.yaml", "--set", 'weighting="x\\nok: all"', "--set", "a=1\n")
    assert all(line.isprintable() for line in err.splitlines()) and not any(
        line.startswith("ok") for line in err.splitlines()
    )


def test_show_prints_the_whole_recipe(alignkit):
    code, out, err = alignkit("show", "good.yaml", "--set", "seed=3")
    assert (code, err) == (0, "")
    assert out.startswith("seed: 3\nmodel:\n  name: world\n  adapter: null\n")
    assert "#" not in out
    code, with_origin, _ = alignkit("show", "--origin", "good.yaml", "--set", "seed=3")
    assert code == 0
    assert with_origin.splitlines()[0].split() == ["seed:", "3", "#", "--set", "seed=3"]
    assert [line.split("#")[0].rstrip() for line in with_origin.splitlines()] == out.splitlines()


def test_list_names_all_kinds(alignkit):
    code, out, _ = alignkit("list")
    headings = [line for line in out.splitlines() if line and not line.startswith(" ")]
    kinds = ["weightings", "pair_weightings", "losses", "trainers", "anchors", "contrasts", "statistics"]
    kinds += ["rewards", "advantages", "samplers", "models", "sources", "measures", "benchmarks", "checks"]
    assert (code, headings) == (0, kinds)
    assert out.count("\n  ") == sum(len(registry.names()) for registry in ALL_KINDS.values())


@pytest.mark.parametrize("kind", ["weighting", "weightings"])
def test_list_of_one_kind_in_the_singular_or_the_plural(alignkit, kind):
    code, out, _ = alignkit("list", kind)
    assert (code, len(out.splitlines())) == (0, len(KINDS["weighting"].names()))
    assert re.search(r"^hybrid +Mixture of gradient importance and a prior\.$", out, re.MULTILINE)


def test_describe_gives_formula_paper_parameters_and_source(alignkit):
    code, out, _ = alignkit("describe", "loss", "dpo")
    lines = out.splitlines()
    assert (code, lines[0]) == (0, "loss dpo")
    paper = "Paper: arXiv:2305.18290 Eq. 7; weighted: arXiv:2505.19653 Eq. 12; label smoothing: the DPO authors' code"
    assert paper in lines
    assert any(line.startswith("Formula: -(1 - eps) * log sigmoid(m)") for line in lines)
    assert "  beta: number > 0, default 0.1" in lines
    assert "      Strength of the pull to the reference, per nat of log-ratio; usual 0.01 to 0.5." in lines
    assert "Needs: a trainer that gives pairs, log-probs of the reference" in lines
    assert "alignkit/losses/dpo.py:" in lines[-3]
    named = lines[-1].removeprefix("Used by: ").split(", ")
    assert named[0] == "alignkit:dpo.yaml" and "alignkit:methods/dpo.yaml" in named  # the latter by what it extends
    assert not {"alignkit:tidpo.yaml", "alignkit:methods/sft.yaml"} & set(named)


def test_describe_counts_users_that_are_too_many_and_says_that_there_are_none(alignkit):
    many = alignkit("describe", "weighting", "hybrid")[1].splitlines()[-1]
    assert many.startswith("Used by: alignkit:eq8_raw.yaml, ") and many.count(", ") == 11
    assert many.endswith(" more") and int(many.split()[-2]) > 10
    assert alignkit("describe", "source", "file")[1].splitlines()[-1] == "Used by: no recipe of alignkit"


def test_a_recipe_uses_what_it_names_in_a_slot_of_that_kind(alignkit):
    """`uniform` is a weighting and a pair weighting, and stages use what they name."""
    weighted, paired = (
        alignkit("describe", kind, "uniform")[1].splitlines()[-1] for kind in ("weighting", "pair_weighting")
    )
    assert "alignkit:ablations/uniform.yaml" in weighted and paired == "Used by: no recipe of alignkit"
    assert "alignkit:world/sft_then_tidpo.yaml" in alignkit("describe", "loss", "sft")[1].splitlines()[-1]


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_component_can_be_described(alignkit, kind):
    for name in ALL_KINDS[kind].names():
        code, out, err = alignkit("describe", kind, name)
        assert (code, err) == (0, "") and f"{kind} {name}\n" in out
        assert "<class" not in out and "typing." not in out


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["training"], ["section training", "Parameters:", "  warmup: number >= 0 and <= 1, default 0.1"]),
        (["section", "data"], ["section data", "  label_noise: number >= 0 and <= 1, default 0.0"]),
        (["adapter"], ["section model.adapter", "  rank: whole number > 0 and <= 8192, default 16"]),
        (["recipe"], ["section recipe", "  weighting: a weighting, default uniform"]),
        (["evaluation.weighted"], ["key evaluation.weighted", "  weighted: true or false, default false"]),
        (["evaluation", "weighted"], ["key evaluation.weighted", "  weighted: true or false, default false"]),
        (["weighting.contrast", "dpo"], ["contrast dpo", "DPO on the data against DPO on the reversed data."]),
        (["losses.N.anchor", "sample_prompt"], ["anchor sample_prompt"]),
        (
            ["model"],
            ["model", "Parameters of every model:", "  adapter: mapping of rank, alpha, targets or null, default null"],
        ),
        (["model.layout"], ["key model.layout", "  layout: auto | packed | shared | separate, default auto"]),
        (["model", "layout"], ["key model.layout", "  layout: auto | packed | shared | separate, default auto"]),
        (["losses"], ["loss", "Names:", "  weighted_dpo     Another name of dpo."]),
    ],
)
def test_describe_of_sections_slots_and_keys(alignkit, arguments, lines):
    code, out, err = alignkit("describe", *arguments)
    assert (code, err, out.splitlines()[0]) == (0, "", lines[0])
    assert set(lines) <= set(out.splitlines())


def test_describe_of_what_there_is_not(alignkit):
    known = (
        "known: weighting, pair_weighting, loss, trainer, anchor, contrast, statistic, reward, advantage, sampler, "
        "model, source, measure, benchmark, check, recipe, model.adapter, model.reference_update, data, data.train.N, "
        "data.eval.N, data.world, training, parallel, evaluation"
    )
    said = f"unknown kind or section 'trianing'; did you mean 'training'? {known}\n"
    assert alignkit("describe", "trianing") == (2, "", said)
    said = f"unknown kind or section 'trianing.steps'; did you mean 'training'? {known}\n"
    assert alignkit("describe", "trianing.steps") == (2, "", said)
    code, _, err = alignkit("describe", "training.step")
    assert code == 2 and err.startswith("unknown key 'step' of training; did you mean 'steps'? known: epochs, steps, ")


def test_two_names_of_one_loss_have_distinct_lines(alignkit):
    _, out, _ = alignkit("list", "loss")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["dpo"] == (
        "Logistic loss of the margin between the log-ratios of chosen and rejected, summed with the token weights; "
        "also called weighted_dpo."
    )
    assert lines["weighted_dpo"] == "Another name of dpo."
    assert len(set(lines.values())) == len(lines)


def test_unknown_kinds_and_names(alignkit):
    kinds = (
        "known: weighting, pair_weighting, loss, trainer, anchor, contrast, statistic, reward, advantage, sampler, "
        "model, source, measure, benchmark, check"
    )
    assert alignkit("list", "lose") == (2, "", f"unknown kind 'lose'; did you mean 'loss'? {kinds}\n")
    names = f"known: {', '.join(KINDS['loss'].names())}"
    assert alignkit("describe", "loss", "dpoo") == (2, "", f"unknown loss 'dpoo'; did you mean 'dpo'? {names}\n")


def test_schema_is_json(alignkit):
    code, out, _ = alignkit("schema")
    assert code == 0 and json.loads(out)["properties"]["losses"]["items"] == {"$ref": "#/$defs/loss"}


def test_version(alignkit):
    assert alignkit("--version") == (0, f"alignkit {__version__}\n", "")


def test_unknown_options_exit_2(alignkit):
    code, out, err = alignkit("validate", "--sett", "a=1", "good.yaml")
    assert (code, out) == (2, "") and "--sett" in err


def test_run_hands_over_the_recipe_and_its_options(alignkit, monkeypatch):
    calls = []
    monkeypatch.setattr("alignkit.run.run", lambda loaded, *rest: calls.append((loaded, rest)))
    options = ("--set", "seed=7", "--set", "losses.0.beta=0.5", "--output", "out", "--resume", "--dry-run")
    assert alignkit("run", "good.yaml", *options) == (0, "", "")
    (loaded, rest) = calls[0]
    assert (loaded.recipe.seed, loaded.recipe.losses[0].beta) == (7, 0.5)
    assert rest == (Path("out"), True, True)
    alignkit("run", "good.yaml")
    assert calls[1][1] == (None, False, False)


def test_run_reports_a_wrong_recipe_before_anything_else(alignkit, monkeypatch):
    monkeypatch.setattr("alignkit.run.run", None)
    assert alignkit("run", "bad.yaml") == (2, "", BAD)


def test_an_error_of_the_run_keeps_its_own_exit_code(alignkit, monkeypatch):
    def diverge(*arguments):
        raise NonFiniteError("step 3: the loss is NaN")

    monkeypatch.setattr("alignkit.run.run", diverge)
    assert alignkit("run", "good.yaml") == (1, "", "step 3: the loss is NaN\n")


HEAVY = {"torch", "transformers", "datasets", "accelerate", "peft", "tokenizers", "numpy", "pyarrow"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["validate", "recipes/tidpo.yaml", "recipes/methods/grpo.yaml"], ["list"], ["schema"]]
)
def test_nothing_heavy_is_imported_before_a_run(arguments):
    code = (
        "import sys, alignkit.cli\n"
        "try: alignkit.cli.main(sys.argv[1:])\n"
        "except SystemExit as end: print('exit', end.code)\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.splitlines()[-2:] == ["exit 0", "[]"]


@pytest.mark.parametrize(("name", "code"), [("good.yaml", 0), ("bad.yaml", 2)])
def test_the_exit_code_of_the_process(tmp_path, name, code):
    (tmp_path / "good.yaml").write_text(RECIPE)
    (tmp_path / "bad.yaml").write_text(RECIPE + "seed: -1\nsede: 1\n")
    command = [sys.executable, "-c", "from alignkit.cli import main; main()", "validate", name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code
    assert done.stderr == (BAD if code else "")

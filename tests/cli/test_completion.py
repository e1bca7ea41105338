"""What Tab offers, asked as the shells ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from alignkit import entry_points
from alignkit.cli import main
from alignkit.cli.completion import VARIABLE
from alignkit.recipe.kinds import KINDS

RECIPE = """\
extends: alignkit:base/world
weighting: {name: hybrid, prior: prior}
losses: [weighted_dpo, {name: triplet, margin: 0.02}]
trainer: preference
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("r.yaml", "rows.jsonl", "sub/deep/only.yml", ".hidden/x.yaml", "empty/x.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(RECIPE)


@pytest.fixture
def tab(monkeypatch, capsys):
    """What bash is offered at the end of a line; words are ended by what ends them in bash."""

    def offered(line):
        words = line.replace(":", " : ").replace("=", " = ").split(" ")
        if line.endswith((":", "=")):
            words.pop()
        monkeypatch.setenv(VARIABLE, "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        with pytest.raises(SystemExit) as caught:
            main([])
        out, err = capsys.readouterr()
        assert (caught.value.code, err) == (0, "")
        return out.split("\n")[:-1] if out.strip() else []

    return offered


def test_commands(tab):
    assert tab("alignkit v") == ["validate"]


@pytest.mark.parametrize("verb", ["run", "validate", "show", "diff", "schema --for", "copy", "migrate"])
def test_recipes(tab, verb):
    assert tab(f"alignkit {verb} ") == ["alignkit:", "empty/", "r.yaml", "sub/"]
    assert tab(f"alignkit {verb} r") == ["r.yaml"]
    assert tab(f"alignkit {verb} su") == ["sub/deep/only.yml"]
    assert tab(f"alignkit {verb} .h") == [".hidden/x.yaml"]
    assert tab(f"alignkit {verb} em") == ["empty/"]


def test_recipes_of_libraries(tab):
    """bash replaces what comes after the colon."""
    assert tab("alignkit run alignkit:tid") == ["tidpo.yaml", "tidpo_b13.yaml"]
    assert {"base/", "methods/", "tidpo.yaml"} <= set(tab("alignkit run alignkit:"))
    assert tab("alignkit run alignkit:world/s") == ["world/sft.yaml", "world/sft_then_tidpo.yaml"]
    assert tab("alignkit validate r.yaml alignkit:world/sft_") == ["world/sft_then_tidpo.yaml"]
    assert {"alignkit:base/", "alignkit:tidpo.yaml"} <= set(tab("alignkit run al"))  # as nothing else begins so


def test_a_project_that_cannot_be_read_leaves_the_files(tab):
    Path("alignkit.toml").write_text("[libraries\n")
    assert tab("alignkit run ") == ["empty/", "r.yaml", "sub/"]


def test_kinds_names_and_keys(tab):
    assert tab("alignkit list ") == list(KINDS)
    assert tab("alignkit list lo") == ["loss"]
    assert tab("alignkit describe tr") == ["trainer", "training"]
    assert tab("alignkit describe loss tri") == ["triplet"]
    assert tab("alignkit describe training be") == ["betas"]
    assert tab("alignkit describe nonsense be") == []


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tr", ["trainer=", "training.", "training="]),
        ("losses.", ["losses.0.", "losses.1.", "losses.triplet.", "losses.weighted_dpo."]),
        ("losses.triplet.an", ["losses.triplet.anchor.", "losses.triplet.anchor=", "losses.triplet.anchor_grad="]),
        ("losses.1.mar", ["losses.1.margin=", "losses.1.margin=0.02"]),  # two, or a blank would follow
        ("losses.triplet.anchor.top_k", [f"losses.triplet.anchor.top_k={value}" for value in ("", "null", "50")]),
        ("training.schedule=", ["cosine", "linear", "constant"]),
        ("training.schedule=co", ["cosine", "constant"]),
        ("evaluation.weighted=", ["true", "false"]),
        ("losses.triplet.anchor=", ["sample_prompt", "teacher_forced"]),
        ("losses.0.beta=", ["0.1"]),
        ("~losses.t", ["~losses.triplet", "~losses.triplet."]),
        ("weighting=prior --set weighting.sha", ["weighting.shape=", "weighting.shape=gaussian"]),
        ("losses.nonsense.x", []),
        ("losses.nonsense=", []),
    ],
)
def test_keys_and_values_of_the_recipe_on_the_line(tab, typed, offered):
    assert tab(f"alignkit run r.yaml --set {typed}") == offered


def test_the_recipe_may_be_anywhere_on_the_line(tab):
    assert tab("alignkit validate --set seed=3 r.yaml --set losses.tripl")[0].startswith("losses.triplet.")
    assert tab("alignkit show --origin alignkit:world/sft --set losses.s")[0] == "losses.sft.coefficient="


def test_without_a_recipe_or_with_a_wrong_one_the_keys_of_all_recipes(tab):
    Path("wrong.yaml").write_text("seed: [")
    Path("half.yaml").write_text(f"{RECIPE}seed: -1\n")
    for line in ("run", "run gone.yaml", "run wrong.yaml"):
        assert tab(f"alignkit {line} --set training.sc") == [
            *(
                "training.schedule=",
                "training.schedule=cosine",
                "training.schedule=linear",
                "training.schedule=constant",
            )
        ]
    assert tab("alignkit run half.yaml --set losses.triplet.mar") == [
        *("losses.triplet.margin=", "losses.triplet.margin=0.02")
    ]


def test_a_plugin_that_prints_or_fails_is_not_heard(tab, monkeypatch):
    Path("loud_plugin.py").write_text("print('hello')\nraise SystemExit('no')\n")
    monkeypatch.syspath_prepend(Path.cwd())
    point = entry_points.EntryPoint("loud", "loud_plugin:Loud", "alignkit.weighting")
    monkeypatch.setattr(entry_points, "_scanned", lambda: ([point], []))
    Path("p.yaml").write_text("extends: r.yaml\nweighting: loud\n")
    assert tab("alignkit run p.yaml --set losses.w") == [
        f"losses.weighted_dpo.{key}=" for key in ("beta", "coefficient", "label_smoothing", "pair_weighted")
    ]


def test_zsh_and_fish_are_told_what_a_key_is(monkeypatch, capsys):
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "alignkit run r.yaml --set training.warm")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    for shell, key in (
        ("zsh", '"training.warmup=":"Share of the steps'),
        ("fish", "training.warmup=\tShare of the steps"),
    ):
        monkeypatch.setenv(VARIABLE, f"complete_{shell}")
        with pytest.raises(SystemExit):
            main([])
        out, err = capsys.readouterr()
        assert key in out and err == ""


def test_nothing_heavy_is_imported_for_tab(monkeypatch):
    code = (
        "import sys, alignkit.cli\n"
        "try: alignkit.cli.main([])\n"
        "except SystemExit: print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    monkeypatch.setenv(VARIABLE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "alignkit run r.yaml --set losses.triplet.align")
    monkeypatch.setenv("COMP_CWORD", "4")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("[]", "") and "losses.triplet.align=min3" in done.stdout


def test_keys_of_stages(tab):
    line = "alignkit run alignkit:world/sft_then_tidpo --set"
    assert tab(f"{line} stages.") == ["stages.dpo.", "stages.sft."]
    assert tab(f"{line} stages.dpo.losses.weighted_dpo.be") == [
        "stages.dpo.losses.weighted_dpo.beta=",
        "stages.dpo.losses.weighted_dpo.beta=1.0",
    ]
    assert tab(f"{line} training.ste") == ["training.steps=", "training.steps=null", "training.steps=60"]
    assert tab(f"{line} ~stages.dpo.losses.tri") == ["~stages.dpo.losses.triplet", "~stages.dpo.losses.triplet."]

"""A command line that cannot be read is answered in one line with what was probably meant."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from alignkit import __version__
from alignkit.cli import _verbs, main

KNOWN = f"known: {', '.join(_verbs())}"


def alignkit(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train r.yaml", f"unknown command 'train'; did you mean run? {KNOWN}"),
        ("valdate r.yaml", f"unknown command 'valdate'; did you mean 'validate'? {KNOWN}"),
        ("x", f"unknown command 'x'; {KNOWN}"),
        ("a/r.yaml --resume", "unknown command 'a/r.yaml'; to train what a recipe says: alignkit run a/r.yaml"),
        ("run", "alignkit run: missing argument 'RECIPE'; see alignkit run --help"),
        (
            "run r.yaml x=3",
            "alignkit run: got unexpected extra argument(s) (x=3); set values of the recipe with --set x=3",
        ),
        (
            "run --config r.yaml",
            "alignkit run: no such option --config; give the recipe as an argument: alignkit run RECIPE",
        ),
        (
            "run r.yaml --lr 3",
            "alignkit run: no such option --lr; set values of the recipe with --set training.learning_rate=VALUE",
        ),
        (
            "validate r.yaml --batch-size 3",
            "alignkit validate: no such option --batch-size; set values of the recipe with "
            "--set training.batch_size=VALUE",
        ),
        (
            "run r.yaml --training.steps=3",
            "alignkit run: no such option --training.steps; set values of the recipe with --set training.steps=VALUE",
        ),
        ("run r.yaml --resum", "alignkit run: no such option --resum; did you mean --resume?"),
        ("run r.yaml --zzz", "alignkit run: no such option --zzz; see alignkit run --help"),
        ("--zzz", "alignkit: no such option --zzz; see alignkit --help"),
        ("run r.yaml --output", "alignkit run: option '--output' requires an argument; see alignkit run --help"),
        ("run r.yaml b.yaml", "alignkit run: got unexpected extra argument(s) (b.yaml); see alignkit run --help"),
    ],
)
def test_what_was_meant(capsys, line, said):
    assert alignkit(capsys, *line.split()) == (2, "", f"{said}\n")


def test_the_command_line_cannot_forge_or_flood(capsys):
    for arguments in (
        ["x\nok: fine\x1b[2J" * 1000],
        ["run", "r.yaml", "x=\x1b" * 5000],
        ["run", "--\x9b" + "y" * 9000],
    ):
        code, out, err = alignkit(capsys, *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err[:-1].isprintable() and len(err) < 1000


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("o" * 300, "the name of a folder has at most 255 bytes"),
        ("a\nb", "a line end or another control character cannot stand in messages; give the folder a plain name"),
    ],
)
def test_a_run_folder_that_cannot_be(capsys, monkeypatch, tmp_path, name, why):
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text("")
    given = name.replace("\n", r"\n") if len(name) < 200 else f"{'o' * 147}...{'o' * 50}"
    assert alignkit(capsys, "run", "r.yaml", "--output", name) == (2, "", f"--output '{given}': {why}\n")


@pytest.mark.parametrize("verb", ["run", "validate", "show", "list", "describe", "schema", None])
def test_flags_show_no_value(capsys, verb):
    code, out, _ = alignkit(capsys, *([verb] if verb else []), "--help")
    assert code == 0 and "<bool>" not in out and "--help" in out
    if verb == "run":
        assert re.search(r"--resume +Go on with", out) and re.search(r"--output +DIR", out)


def test_alone_it_says_what_there_is(capsys):
    code, out, err = alignkit(capsys)
    assert (code, err) == (2, "") and "validate" in out


def test_it_runs_as_a_module(tmp_path):
    done = subprocess.run([sys.executable, "-m", "alignkit", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"alignkit {__version__}\n", "")


def test_an_encoding_without_a_letter_is_no_reason_to_stop(tmp_path):
    (tmp_path / "r.yaml").write_text("漢: 1\nmodel: world\n", encoding="utf-8")
    code = "import sys; from alignkit.cli import main; main(['validate', 'r.yaml'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert done.returncode == 2 and rb"r.yaml:1: \u6f22: unknown key" in done.stderr

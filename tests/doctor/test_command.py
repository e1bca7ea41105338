"""`alignkit doctor`: table and JSON, exit codes, the same text each time, and nothing that a row holds gets through."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from alignkit.cli import main

RECIPE = {
    "model": {"name": "scratch", "layers": 1, "width": 32, "heads": 2, "vocab_size": 512},
    "data": {"train": "rows.jsonl", "holdout": 2},
    "losses": [{"name": "dpo"}],
    "trainer": {"name": "preference"},
}


@pytest.fixture
def doctor(capsys, tmp_path, monkeypatch):
    """Runs the command on rows: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(yaml.safe_dump(RECIPE))

    def run(rows, *arguments):
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(SystemExit) as caught:
            main(["doctor", "recipe.yaml", *arguments])
        return caught.value.code, *capsys.readouterr()

    return run


def rows(number=6):
    words = ["amber", "birch", "cedar", "delta", "ember", "flint", "grove", "haze"]
    return [
        {
            "prompt": f"Say {words[n]} {n}:",
            "chosen": f" {words[n]} it is now",
            "rejected": f" not {words[n - 1]} at all",
        }
        for n in range(number)
    ]


def test_json(doctor):
    bad = [*rows(), {"prompt": "p", "chosen": "c", "rejected": " "}, {**rows()[0], "chosen": " NOT HAZE  at all"}]
    code, out, err = doctor(bad, "--json")
    found = json.loads(out)
    assert (code, err) == (1, "")
    assert list(found) == ["recipe", "pair", "rows", "counts", "findings", "not_run"]
    assert (found["recipe"], found["rows"]) == ("recipe.yaml", {"read": 8, "used": 7, "held_out": 2, "tokenised": 7})
    assert found["not_run"] == ["already_solved", "displacement", "label_noise"]
    assert found["counts"] == {"error": 2, "warn": 0, "report": 2}
    assert found["findings"][0] == {
        "check": "same_response",
        "subject": "case or white space only",
        "level": "error",
        "count": 1,
        "total": 7,
        "places": ["rows.jsonl:8"],
        "sentence": "Chosen and rejected say the same, so the pair teaches letters or blanks; take it out of the data.",
        "key": "data.train",
        "values": {},
        "listed": [],
    }
    assert found["findings"][1]["sentence"] == "A run stops at this row; the first: 'rejected' holds no text."
    assert found["pair"].splitlines()[0] == "rows.jsonl:1"
    assert doctor(bad, "--json")[1] == out


def test_table(doctor):
    code, out, _ = doctor(rows(), "--set", "data.holdout=1")
    assert code == 0
    assert out.startswith("recipe.yaml: 6 of 6 rows used, 1 of them held out\n")
    assert "with --model also already_solved, displacement, label_noise" in " ".join(out.split())
    assert "chosen (" in out and "| amber it is now<eos>" in out


@pytest.mark.parametrize(
    ("more", "arguments", "code"),
    [
        ([], (), 0),
        ([], ("--fail-on", "warn"), 0),
        (rows()[:1], (), 0),
        (rows()[:1], ("--fail-on", "warn"), 1),
        (rows()[:1], ("--fail-on", "error"), 0),
        ([{"prompt": "p", "chosen": "", "rejected": "x"}], (), 1),
    ],
)
def test_exit_codes(doctor, more, arguments, code):
    assert doctor([*rows(), *more], "--json", *arguments)[0] == code


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--set", "data.train=none.jsonl"), "none.jsonl: no such file; did you mean rows.jsonl?"),
        (("--set", "seed=-1"), "--set seed=-1: seed: must be at least 0, got -1"),
        (("--against", "none.jsonl"), "none.jsonl: no such file; did you mean rows.jsonl?"),
        (
            ("--against", "odd.csv"),
            "--against odd.csv: no prompts found; columns: a; looked for prompt, question, instruction, problem, "
            "query, messages, input, text, or transcripts in 'chosen'",
        ),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(doctor, arguments, line):
    Path("odd.csv").write_text("a\n1\n")
    assert doctor(rows(), *arguments) == (2, "", f"{line}\n")


def test_a_level_that_is_none(doctor):
    code, out, err = doctor(rows(), "--fail-on", "report")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("alignkit doctor: invalid value for '--fail-on'") and "not one of 'error', 'warn'" in err


def test_a_set_to_keep_away_from(doctor):
    Path("bench.jsonl").write_text('{"question": "Say cedar 2:"}\n{"question": "Something else"}\n')
    code, out, _ = doctor(rows(), "--json", "--against", "bench.jsonl", "--set", "data.holdout=0")
    (leak,) = (finding for finding in json.loads(out)["findings"] if finding["check"] == "leakage")
    assert (code, leak["subject"], leak["places"], leak["total"]) == (1, "bench.jsonl", ["bench.jsonl:row 1"], 2)


def test_fewer_rows_than_are_held_out(doctor):
    code, out, _ = doctor(rows(2), "--json")
    (finding,) = (one for one in json.loads(out)["findings"] if one["level"] == "error")
    assert (code, finding["key"]) == (1, "data.holdout")


def test_hostile_text_is_inert(doctor):
    evil = "\x1b[2J\x9b1m [bold]x[/bold] \u202e\u2028 [link=file:///etc/passwd]"
    hostile = [{**row, "prompt": row["prompt"] + evil, "chosen": evil + row["chosen"]} for row in rows()]
    for arguments in ((), ("--json",)):
        code, out, err = doctor([*hostile, {"prompt": evil, "chosen": 3, evil: evil}], *arguments)
        assert (code, err) == (1, "")
        assert all(line.isprintable() for line in out.split("\n"))
    assert "[bold]x[/bold]" in json.loads(out)["pair"]


def test_the_model_is_asked(doctor):
    code, out, _ = doctor(rows(), "--json", "--model")
    found = json.loads(out)
    assert (code, found["not_run"]) == (0, [])
    by_check = {finding["check"]: finding for finding in found["findings"]}
    assert by_check["already_solved"]["total"] == 6
    assert (by_check["displacement"]["count"], len(by_check["displacement"]["listed"])) == (1, 1)
    assert "label_noise" not in by_check  # too few pairs


def test_torch_is_not_loaded_without_a_model(doctor):
    doctor(rows())
    code = (
        "import sys, alignkit.cli\n"
        "try: alignkit.cli.main(['doctor', 'recipe.yaml', '--json'])\n"
        "except SystemExit as end: print('exit', end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stderr, done.stdout.splitlines()[-1]) == ("", "exit 0 False")


def test_the_data_is_not_touched(doctor):
    doctor(rows())
    assert sorted(path.name for path in Path().iterdir()) == ["recipe.yaml", "rows.jsonl"]

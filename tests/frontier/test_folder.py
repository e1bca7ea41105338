"""From the folder of a sweep to its frontiers: what is read, what is refused, what the command leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from alignkit.cli import main
from alignkit.errors import RunFolderError
from alignkit.frontier.points import read_points
from alignkit.sweep.record import SweepRecord, SweepRun, read_sweep, write_sweep

PROMPTS = ("a", "b", "a", "c")


def sample(moment: str, row: int, prompt: str, reward: float, kl: float) -> str:
    return json.dumps({"moment": moment, "row": row, "prompt": prompt, "true_reward": reward, "kl": kl}) + "\n"


def written(folder: Path, arms: Sequence[str] = ("dpo", "other"), seeds: Sequence[int] = (0, 1)) -> Path:
    """A finished sweep: KL .1, .2, .4 at three betas, reward 1 on prompt a alone; before it, on half of the samples."""
    runs = []
    for seed in seeds:
        for arm in arms:
            for number in range(3):
                name = f"{arm}-{number}-{seed}"
                run = folder / "runs" / name
                run.mkdir(parents=True)
                lines = [sample("before", row, prompt, float(row < 2), 0.0) for row, prompt in enumerate(PROMPTS)]
                kl = 0.1 * 2**number
                lines += [sample("after", row, one, float(one == "a"), kl) for row, one in enumerate(PROMPTS)]
                (run / "samples.jsonl").write_text("".join(lines))
                settings = {"losses.0.beta": number}
                of_run = {"arm": arm, "settings": settings, "seed": seed, "folder": f"runs/{name}", "state": "finished"}
                runs.append(SweepRun.model_validate({"name": name, **of_run}))
    write_sweep(folder, SweepRecord(sweep="sweep.yaml", text="", versions={}, runs=runs))
    return folder


def changed(folder: Path, name: str, **update: object) -> None:
    record = read_sweep(folder)
    runs = [run.model_copy(update=update) if run.name == name else run for run in record.runs]
    write_sweep(folder, record.model_copy(update={"runs": runs}))


def read(folder: Path):
    return read_points(folder, read_sweep(folder), "true_reward", "kl")


def test_samples_of_one_prompt_stand_together(tmp_path: Path):
    measured = read(written(tmp_path))
    assert [point.label for point in measured.points] == ["beta 0", "beta 1", "beta 2"] * 2
    assert measured.counts[0].tolist() == [2, 1, 1]
    assert measured.sums[0][:, 0, 0].tolist() == [2, 0, 0]
    assert measured.means[1, :, 2].tolist() == pytest.approx([0.5, 0.4])
    assert (measured.seeds, measured.start, measured.left_out) == ([0, 1], 0.5, [])


def test_the_start_is_that_of_the_runs_that_measured_it(tmp_path: Path):
    folder = written(tmp_path)
    for file in folder.glob("runs/*-1-*/samples.jsonl"):
        lines = [line for line in file.read_text().splitlines(keepends=True) if json.loads(line)["moment"] == "after"]
        file.write_text("".join(lines))
    assert read(folder).start == 0.5


def test_a_seed_without_all_of_its_runs_is_left_out_and_so_is_a_point_without_any(tmp_path: Path):
    folder = written(tmp_path, seeds=(0, 1, 2))
    changed(folder, "dpo-0-1", state="failed")
    for seed in (0, 1, 2):
        changed(folder, f"other-2-{seed}", state="planned")
    measured = read(folder)
    assert (measured.seeds, len(measured.points)) == ([0, 2], 5)
    assert measured.left_out == ['other {"losses.0.beta": 2}: no run finished', "seed 1: not all of its runs finished"]
    for name in ("dpo-1-0", "dpo-1-2"):
        changed(folder, name, state="failed")
    with pytest.raises(RunFolderError, match="no seed has all of its runs finished; go on with 'alignkit sweep'"):
        read(folder)


def test_runs_that_were_measured_on_other_prompts_are_refused(tmp_path: Path):
    file = written(tmp_path) / "runs/other-1-1/samples.jsonl"
    file.write_text(file.read_text().replace('"b"', '"B"'))
    with pytest.raises(RunFolderError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: runs of seed 1 were measured on other prompts than each other, so nothing can be paired; give "
        "all arms the same data and evaluation"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged; restore it or run the sweep elsewhere"),
        (sample("before", 0, "a", 1.0, 0.0), "holds no samples after training; a frontier needs evaluation.samples"),
        ('{"moment": "after", "row": 0, "prompt": "a", "kl": 1}', "a sample has no number 'true_reward'; known: kl"),
    ],
)
def test_samples_that_cannot_be_used_are_one_line(tmp_path: Path, content: str, message: str):
    file = written(tmp_path) / "runs/dpo-0-0/samples.jsonl"
    file.write_text(content)
    with pytest.raises(RunFolderError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{file}: {message}"


def test_the_command_writes_a_page_a_drawing_and_all_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = written(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["frontier", str(folder)])
    said = capsys.readouterr().out
    assert (caught.value.code, "other and dpo are the same: difference 0, p 1." in said) == (0, True)
    numbers = json.loads((folder / "frontier.json").read_text())
    (area,) = numbers["areas"]
    assert (area["area"]["value"], area["p"], area["p_holm"]) == (0, 1, 1)
    assert (area["from"], area["to"]) == pytest.approx((0.1, 0.4))
    assert numbers["start"] == 0.5 and numbers["points"][0]["efficiency"]["value"] == 0  # no better than the start
    page = (folder / "frontier.html").read_text()
    assert "other and dpo are the same: difference 0, p 1." in page
    assert "2 seeds say little about other seeds" in page and "joins their means over seeds with straight lines" in page
    assert (folder / "frontier.svg").read_text().startswith("<svg")


def test_json_is_all_that_is_printed_and_another_base_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = written(tmp_path)
    with pytest.raises(SystemExit):
        main(["frontier", str(folder), "--base", "other", "--json", "--output", str(tmp_path / "page.html")])
    assert json.loads(capsys.readouterr().out)["areas"][0]["base"] == "other"
    assert (tmp_path / "page.json").is_file() and not (folder / "frontier.html").exists()
    with pytest.raises(SystemExit) as caught:
        main(["frontier", str(folder), "--base", "dop"])
    said = capsys.readouterr().err
    assert (caught.value.code, said) == (
        2,
        f"--base: {folder} has no arm 'dop'; did you mean 'dpo'? known: dpo, other\n",
    )


def test_no_torch(tmp_path: Path):
    code = (
        "import sys\nfrom alignkit.cli import main\n"
        f"try: main(['frontier', {str(written(tmp_path))!r}])\n"
        "except SystemExit as end: print(end.code, {'torch', 'transformers', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("0 set()", "")

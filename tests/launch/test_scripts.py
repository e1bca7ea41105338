"""Job files: read by bash and YAML, never over another file, and they go on where they stopped."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from alignkit.errors import LaunchError
from alignkit.launch.scripts import Job, job, skypilot, slurm, write


def a_job(recipe: str = "team:ti dpo.yaml", options: tuple[str, ...] = ("--set", "losses=[{name: dpo}]")) -> Job:
    return job(recipe, options, None, nodes=2, gpus=8, time="1-12")


def test_the_run_folder_and_resume_are_named_once():
    assert list(a_job().arguments[3:]) == ["--output", "runs/ti-dpo", "--resume"]
    named = job("r.yaml", ["--output", "x", "--resume"], Path("x"), nodes=1, gpus=0, time="10:00:00")
    assert named.command == "alignkit launch r.yaml --processes 1 -- --output x --resume"


def test_a_batch_script_is_bash_that_starts_one_launcher_a_node_and_asks_for_another_turn():
    text = slurm(a_job())
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""
    assert text.startswith("#!/bin/bash\n")
    settings = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.MULTILINE))
    assert settings == {
        **{"job-name": "ti-dpo", "nodes": "2", "ntasks-per-node": "1", "gpus-per-node": "8", "exclusive": ""},
        **{"time": "1-12", "signal": "USR1@120", "requeue": "", "open-mode": "append", "output": "ti-dpo-%j.log"},
    }
    command = "alignkit launch 'team:ti dpo.yaml' -- --set 'losses=[{name: dpo}]' --output runs/ti-dpo --resume"
    assert f"\nsrun --kill-on-bad-exit=1 {command}\n" in text
    assert len(text.splitlines()) < 35


@pytest.mark.parametrize(("ends", "asks"), [(138, True), (0, False), (2, False)])
def test_only_the_end_of_its_time_puts_the_job_back_into_the_queue(tmp_path, ends, asks):
    for name, body in (("srun", f"exit {ends}"), ("scontrol", f'echo "$@" > {tmp_path}/asked')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash", "-c", slurm(a_job())], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (ends, "")
    assert ((tmp_path / "asked").exists() and (tmp_path / "asked").read_text()) == (asks and "requeue 7\n")


def test_a_task_is_yaml():
    task = yaml.safe_load(skypilot(a_job()))
    assert list(task) == ["name", "num_nodes", "resources", "workdir", "setup", "run"]
    assert (task["name"], task["num_nodes"]) == ("ti-dpo", 2)
    assert task["resources"] == {"accelerators": "H100:8", "use_spot": True}
    assert task["run"] == f"{a_job().command}\n"


def test_without_gpus_none_are_asked_for():
    bare = job("r.yaml", [], None, nodes=1, gpus=0, time="1")
    assert "gpus" not in slurm(bare)
    assert yaml.safe_load(skypilot(bare))["resources"] == {"use_spot": True}


def test_a_file_that_is_there_stays(tmp_path):
    file = tmp_path / "job.sh"
    write("slurm", a_job(), file, force=False)
    assert file.read_text() == slurm(a_job())
    with pytest.raises(LaunchError) as caught:
        write("skypilot", a_job(), file, force=False)
    assert str(caught.value) == f"{file}: is there already; give another name, or --force to replace it"
    write("skypilot", a_job(), file, force=True)
    assert file.read_text() == skypilot(a_job())


def test_what_is_no_time_and_no_scheduler_is_refused(tmp_path):
    with pytest.raises(LaunchError, match=r"^--time 'soon': expected hours:minutes:seconds or days-hours, such as "):
        job("r.yaml", [], None, nodes=1, gpus=1, time="soon")
    with pytest.raises(LaunchError) as caught:
        a_job(options=("--set", "seed=1\n"))
    assert str(caught.value) == (r"--write: 'seed=1\n': a line end or control character cannot stand in a job file")
    with pytest.raises(LaunchError, match=r"^--write 'pbs': expected slurm or skypilot$"):
        write("pbs", a_job(), tmp_path / "x", force=False)

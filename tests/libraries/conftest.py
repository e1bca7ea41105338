"""A team's project and its libraries, in real git repositories."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from alignkit.cli import main

BASE = (
    "# The base.\nextends: alignkit:base/world.yaml\ntrainer: {name: preference}\nlosses:\n  - {name: dpo, beta: 0.1}\n"
)
CHILD = "# TI-DPO as acme uses it.\nextends: base.yaml\nweighting: {name: hybrid, mix: 0.7}\n"


class Repository:
    """A git repository that is a library."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        folder.mkdir()
        self.git("init", "-q", "-b", "main", ".")

    def git(self, *arguments: str) -> str:
        author = [f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
        environment = os.environ | dict.fromkeys(author, "test") | {"GIT_CONFIG_GLOBAL": os.devnull}
        command = ["git", "-c", "commit.gpgsign=false", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def release(self, version: str, files: dict[str, str], more: str = "", tag: bool = True) -> str:
        """Commits these files under a version, and tags it; its commit."""
        described = f'name = "{self.name}"\nversion = "{version}"\nschema = 1\n{more}'
        for path, text in {"library.toml": described, **files}.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", version)
        if tag:
            self.git("tag", "-f", f"v{version}")
        return self.git("rev-parse", "HEAD")

    @property
    def url(self) -> str:
        return f"git+{self.folder.as_uri()}"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project in the working folder; a repository's top, so that nothing above it counts."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def acme(tmp_path):
    repository = Repository(tmp_path / "acme", "acme")
    repository.release("1.4.0", {"base.yaml": BASE, "tidpo.yaml": CHILD})
    return repository


@pytest.fixture
def alignkit(capsys):
    """Runs a command line; its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        told = capsys.readouterr()
        return int(caught.value.code or 0), told.out, told.err

    return run


@pytest.fixture
def locked(project, acme, alignkit):
    """A project that uses acme 1.4.0."""
    code, _, errors = alignkit("library", "add", "acme", acme.url, "--rev", "v1.4.0")
    assert (code, errors) == (0, "")
    return project

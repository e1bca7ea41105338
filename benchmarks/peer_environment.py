"""The environment that TRL is installed in, apart from alignkit's own: `python benchmarks/peer_environment.py`.

Tests that compare numbers with TRL and benchmarks that compare time and memory share it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

FIRST = "torch==2.13.0"
"""Installed alone: a looser requirement among others would let pip pick a build with gigabytes of CUDA."""

PINS = ("trl==1.16.0", "transformers==5.23.0", "accelerate==1.15.0", "datasets==5.2.0", "peft==0.21.2")


def folder() -> Path:
    """Where it is, or will be; `ALIGNKIT_PEER_ENV` says where."""
    return Path(os.environ.get("ALIGNKIT_PEER_ENV") or Path.home() / ".cache" / "alignkit-peer" / "trl-1.16")


def installed() -> Path | None:
    """Its Python, or None where nothing, or something else, is installed."""
    stamp = folder() / "installed"
    return folder() / "bin" / "python" if stamp.is_file() and stamp.read_text() == _pins() else None


def environment() -> Path:
    """Its Python; installs what is missing (some 1.5 GB)."""
    python = folder() / "bin" / "python"
    if installed() is None:
        venv.create(folder(), with_pip=True)
        for wanted in ([FIRST], PINS):
            checked([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted])
        (folder() / "installed").write_text(_pins())
    return python


def checked(command: list[Any]) -> None:
    """Runs a command that must work; its output is shown where it does not."""
    outcome = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if outcome.returncode:
        sys.exit(f"{command}:\n{outcome.stdout[-2000:]}\n{outcome.stderr[-4000:]}")


def _pins() -> str:
    return "\n".join((FIRST, *PINS))


if __name__ == "__main__":
    print(environment())

"""The device of these tests: the accelerator, or the CPU where `ALIGNKIT_GPU_TESTS=cpu` says so."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    if os.environ.get("ALIGNKIT_GPU_TESTS") == "cpu":
        return torch.device("cpu")
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None:
        pytest.exit("there is no GPU; ALIGNKIT_GPU_TESTS=cpu runs these tests on the CPU", returncode=2)
    return found

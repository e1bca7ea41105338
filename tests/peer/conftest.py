"""The rows that all tests of this folder compare on, and no GPU."""

from __future__ import annotations

import pytest
from peer.peer_inputs import Rows, read_rows


@pytest.fixture(scope="session")
def rows() -> Rows:
    return read_rows()


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")

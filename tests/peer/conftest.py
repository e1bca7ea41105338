"""The rows that all tests of this folder compare on, what TRL makes of them, and no GPU."""

from __future__ import annotations

import pytest
from peer.peer_inputs import Rows, read_rows
from peer.peer_job import Peer, run_peer


@pytest.fixture(scope="session")
def rows() -> Rows:
    return read_rows()


@pytest.fixture(scope="session")
def peer(tmp_path_factory) -> Peer:
    return run_peer(tmp_path_factory.mktemp("trl"))


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")

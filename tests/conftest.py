"""Shared fixtures: the worked example in tests/data/methods_examples.json, and its expected numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from alignkit.models.attribution import Attribution
from alignkit.models.statistics import ForwardKL
from alignkit.scores import PairScores, Span, TokenScores

EXAMPLES = Path(__file__).parent / "data" / "methods_examples.json"
NEWER = Path(__file__).parent / "data" / "methods_examples_2.json"


@pytest.fixture(scope="session", autouse=True)
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads what this machine's user trusts."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def examples() -> dict:
    """The expected numbers, key -> value, rounded to six decimals."""
    return json.loads(EXAMPLES.read_text())


@pytest.fixture(scope="session")
def newer() -> dict:
    """The expected numbers of the newer token-level methods, of the same inputs unless the key says otherwise."""
    return json.loads(NEWER.read_text())


def row(*values: float) -> Tensor:
    """[1, T] float64."""
    return torch.tensor([values], dtype=torch.float64)


@dataclass(frozen=True)
class Worked:
    """The inputs of these numbers: distributions over a vocabulary of 4 per response position, and targets."""

    chosen_policy = ((0.5, 0.2, 0.2, 0.1), (0.3, 0.4, 0.2, 0.1), (0.25, 0.25, 0.4, 0.1))
    chosen_reference = ((0.4, 0.3, 0.2, 0.1), (0.3, 0.3, 0.3, 0.1), (0.2, 0.2, 0.5, 0.1))
    chosen_targets = (0, 1, 2)
    rejected_policy = ((0.3, 0.3, 0.2, 0.2), (0.2, 0.3, 0.1, 0.4), (0.6, 0.2, 0.1, 0.1), (0.1, 0.2, 0.3, 0.4))
    rejected_reference = ((0.3, 0.2, 0.3, 0.2), (0.2, 0.2, 0.2, 0.4), (0.5, 0.3, 0.1, 0.1), (0.1, 0.3, 0.3, 0.3))
    rejected_targets = (1, 2, 0, 3)
    anchors = (
        ((0.45, 0.35, 0.30, 0.20), (0.40, 0.30, 0.40, 0.25)),
        ((0.50, 0.30, 0.60, 0.35, 0.25), (0.40, 0.50, 0.50, 0.30, 0.20)),
    )
    importance_chosen = (1.0, 2.0, 5.0)
    importance_rejected = (4.0, 1.0, 1.0, 2.0)
    importance_prompt = (0.5, 1.5)

    def response(self, side: str, weights_BT: Tensor | None = None) -> TokenScores:
        """Scores of `chosen` or `rejected`, float64, equal weights unless given."""
        policy = torch.tensor(getattr(self, f"{side}_policy"), dtype=torch.float64)
        reference = torch.tensor(getattr(self, f"{side}_reference"), dtype=torch.float64)
        targets = torch.tensor(getattr(self, f"{side}_targets"))[:, None]
        kl_T = (reference * (reference / policy).log()).sum(-1)
        policy_T, reference_T = policy.log().gather(1, targets)[:, 0], reference.log().gather(1, targets)[:, 0]
        return scores(policy_T[None], reference_T[None], weights_BT, kl_T[None])

    def anchor(self, number: int) -> TokenScores:
        """Scores of anchor A1 or A2."""
        policy, reference = self.anchors[number - 1]
        return scores(row(*policy).log(), row(*reference).log())

    def pair(self, weights: tuple[Tensor, Tensor] | None = None, anchor: int | None = None) -> PairScores:
        """The pair, with these weights of (chosen, rejected) and with anchor A1 or A2."""
        of_chosen, of_rejected = weights or (None, None)
        sampled = None if anchor is None else self.anchor(anchor)
        return PairScores(self.response("chosen", of_chosen), self.response("rejected", of_rejected), sampled)

    def span(self, side: str, is_full: bool = False) -> Span:
        """The span of `chosen` or `rejected` with its raw importances; with the two prompt tokens if `is_full`."""
        prompt = self.importance_prompt if is_full else ()
        importance_BS = row(*prompt, *getattr(self, f"importance_{side}"))
        mask_BS = torch.ones_like(importance_BS, dtype=torch.bool)
        return Span(mask_BS, len(prompt), {Attribution(): importance_BS}, seeds_B=(0,))


def scores(
    policy_BT: Tensor, reference_BT: Tensor, weights_BT: Tensor | None = None, kl_BT: Tensor | None = None
) -> TokenScores:
    """Scores without padding; equal weights unless given."""
    ones_BT = torch.ones_like(policy_BT) if weights_BT is None else weights_BT
    statistics = {} if kl_BT is None else {ForwardKL(): kl_BT}
    return TokenScores(policy_BT, torch.ones_like(policy_BT, dtype=torch.bool), ones_BT, reference_BT, statistics)


@pytest.fixture
def worked() -> Worked:
    return Worked()

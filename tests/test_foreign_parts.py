"""Parts that no table of alignkit names, in whole runs: a vocabulary statistic, an anchor, a view with its loss.

What is registered here comes to other users by an entry point; nothing in `alignkit/` knows of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.data.rows import TokenRow
from alignkit.losses import losses
from alignkit.losses.base import Loss
from alignkit.models.statistics import Statistic, Vocabulary, statistics
from alignkit.recipe.load import load_recipe
from alignkit.rollouts import anchors
from alignkit.rollouts.base import ResponseAnchor
from alignkit.run import run
from alignkit.scores import RowScores, Span, TokenScores, View
from alignkit.views import trainers
from alignkit.views.base import Trainer
from alignkit.weighting import weightings
from alignkit.weighting.base import TokenWeighting

RECIPE = """
model: {name: world}
data: {train: "builtin:world", world: {pairs: 24, eval_pairs: 4}}
losses: [{name: dpo, beta: 1.0}]
trainer: {name: preference}
training: {steps: 2, batch_size: 4, micro_batch_size: 2, learning_rate: 1.0e-3, warmup: 0}
evaluation: {pairs: 4, samples: 0}
"""


@pytest.fixture
def named() -> Iterator[None]:
    """The parts below, known by name while a test runs."""
    with pytest.MonkeyPatch.context() as patch:
        for registry, name, cls in (
            (statistics, "margin", Margin),
            (weightings, "undecided", Undecided),
            (anchors, "backwards", Backwards),
            (trainers, "both", Both),
            (losses, "likelier_than_rest", LikelierThanRest),
        ):
            patch.setitem(registry._classes, name, cls)
        yield


def trained(folder: Path, *overrides: str) -> list[dict[str, float]]:
    """The log of a run of the recipe."""
    (folder / "recipe.yaml").write_text(RECIPE)
    run(load_recipe(folder / "recipe.yaml", overrides), folder / "run", resume=False, dry_run=False)
    assert (folder / "run" / "DONE").exists()
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


class Margin(Statistic):
    """lead of the likeliest token over the next one, nats, without gradient."""

    ranks: int = Field(2, ge=2)
    """Place of the token that the likeliest one is compared with."""

    def reduce(self, vocabulary: Vocabulary) -> torch.Tensor:
        best_NK = vocabulary.logits_NV.detach().topk(self.ranks, dim=-1).values
        return best_NK[:, 0] - best_NK[:, -1]


class Undecided(TokenWeighting):
    """Tokens at which the policy hardly prefers one to the next weigh most."""

    knows_prompt = False
    ranks: int = 2

    def needs(self) -> Needs:
        return Needs(statistics=frozenset({Margin(ranks=self.ranks)}))

    def raw(self, span: Span) -> torch.Tensor:
        return (-span.statistics[Margin(ranks=self.ranks)]).exp()


def test_a_statistic_of_the_vocabulary(named: None, tmp_path: Path) -> None:
    """Asked for by a weighting of the same plugin; another parameter is another statistic, and other weights."""
    near, far = (
        trained(folder, f"weighting={{name: undecided, ranks: {ranks}}}")
        for ranks, folder in ((2, made(tmp_path, "near")), (9, made(tmp_path, "far")))
    )
    assert all(0 < line["weights/ess"] < 1 for line in [*near, *far])
    assert near[0]["weights/ess"] != far[0]["weights/ess"]
    assert near[0]["loss"] == pytest.approx(np.log(2), abs=1e-5)


def made(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


class Backwards(ResponseAnchor):
    """The rejected response from its end to its beginning."""

    refresh_every: int = 2

    def respond(self, rows: Sequence[TokenRow], sampler: object) -> list[np.ndarray]:
        return [row.responses["rejected"][::-1][: self.max_new_tokens].copy() for row in rows]


def test_an_anchor(named: None, tmp_path: Path) -> None:
    """It is laid out, scored by both models, and resumed like the built-in ones: its triplet loss is in the log."""
    overrides = (
        "losses=[{name: dpo, beta: 1.0}, {name: triplet, margin: 5.0, anchor: {name: backwards, max_new_tokens: 6}}]",
    )
    lines = trained(tmp_path, *overrides)
    # At the start all log-ratios are 0: the distances are, and the hinge is its margin.
    assert lines[0]["loss/triplet"] == pytest.approx(5.0, abs=1e-4)
    assert lines[1]["loss/triplet"] != lines[0]["loss/triplet"]


@dataclass(frozen=True)
class OneAgainstRest(View):
    """What a loss of `both` sees: the responses in the order of the rows."""

    responses: tuple[TokenScores, ...]

    @property
    def first(self) -> TokenScores:
        return self.responses[0]


class Both(Trainer):
    """Gives the responses as a ranking, best first."""

    gives = "rankings"
    responses = ("chosen", "rejected")
    reads = "chosen, rejected"

    def view(self, scores: RowScores) -> OneAgainstRest:
        return OneAgainstRest(scores.responses)


class LikelierThanRest(Loss):
    """Plackett-Luce loss of the log-probs of a ranking; for two responses the logistic loss of their difference."""

    sees = "rankings"

    def per_example(self, scores: OneAgainstRest) -> torch.Tensor:
        policy_BR = torch.stack([response.policy_B for response in scores.responses], dim=-1)
        places = range(policy_BR.shape[-1] - 1)
        return sum(policy_BR[:, place:].logsumexp(-1) - policy_BR[:, place] for place in places)


def test_a_view_and_its_loss(named: None, tmp_path: Path) -> None:
    """A view that no built-in loss or pair weighting knows: its own loss trains, and falls on the same data."""
    overrides = ("trainer={name: both}", "losses=[{name: likelier_than_rest}]", "training.steps=6")
    lines = trained(tmp_path, *overrides)
    assert lines[0]["loss"] == pytest.approx(lines[0]["loss/likelier_than_rest"], rel=1e-6)
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_a_view_and_a_loss_that_do_not_fit_are_refused(named: None, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with pytest.raises(
        ValueError, match="'dpo' is a loss of pairs, but trainer 'both' gives rankings; losses that fit:"
    ):
        load_recipe(tmp_path / "recipe.yaml", ["trainer={name: both}"])

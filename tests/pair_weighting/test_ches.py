"""Pairs by CHES: scores of plain hidden states, ranks among the training rows that a run sees, weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from engine_toy import bench, llama, recipe, rows
from pydantic import ValidationError

from alignkit.asks.ches import Ches
from alignkit.asks.table import load_table
from alignkit.pair_weighting import pair_weightings
from alignkit.pair_weighting.ches import CHES
from alignkit.scores import PairScores

PAIRS = rows([(4, 6, 3), (2, 1, 5), (7, 4, 4), (3, 2, 6), (5, 3, 3)])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path))


def by_hand(model, row, normalised: bool) -> float:
    """Of the model's own hidden states, each response alone."""
    said = []
    for ids in row.responses.values():
        whole = torch.from_numpy(torch.cat([torch.tensor(row.prompt), torch.tensor(ids)]).numpy())[None]
        with torch.no_grad():
            hidden_LD = model.model(input_ids=whole).last_hidden_state[0, len(row.prompt) - 1 : -1].double()
        said.append(hidden_LD.mean(0) if normalised else hidden_LD.sum(0))
    chosen_D, rejected_D = said
    return float(chosen_D @ rejected_D - chosen_D @ chosen_D)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_scores_are_those_of_plain_hidden_states(normalised: bool, batch_size: int) -> None:
    model = llama()
    values = Ches(normalised=normalised)
    found = list(values.compute(PAIRS, bench(model, PAIRS, of=recipe(evaluation={"batch_size": batch_size}))))
    assert [len(one_1) for one_1 in found] == [1] * len(PAIRS)
    assert torch.cat(found).tolist() == pytest.approx([by_hand(model, row, normalised) for row in PAIRS], rel=1e-4)


def test_ranks_are_among_the_rows_that_are_seen() -> None:
    """A held-out row is told how many training rows have less; longer data and a kept file change no rank."""
    model, values = llama(), Ches()
    scores = torch.tensor([by_hand(model, row, normalised=False) for row in PAIRS])
    of = bench(model, PAIRS)
    for seen in ([0, 1, 2, 3, 4], [1, 2, 3], [2, 2, 4]):
        for _ in range(2):  # computed, then read
            table = load_table(values, PAIRS, of, seen=[PAIRS[number] for number in seen])
            wanted = [float((scores[seen] < score).sum()) / len(seen) for score in scores]
            assert table.numbers(PAIRS).tolist() == pytest.approx(wanted)
            assert table.numbers(PAIRS[::-1][:2]).tolist() == pytest.approx([wanted[4], wanted[3]])


def weights(shares: list[float], **parameters) -> list[float]:
    """Of pairs of which such a share of the training pairs have less."""
    weighting = pair_weightings.build("ches", parameters)
    (values,) = weighting.needs().row_values
    return weighting.per_pair(PairScores(None, None, columns={values: torch.tensor(shares)})).tolist()


def test_weights() -> None:
    assert weights([0.0, 0.25, 0.5, 0.75], keep=0.5) == [1, 1, 0, 0]
    assert weights([0.0, 0.25, 0.5, 0.75], keep=1.0) == [1, 1, 1, 1]
    assert weights([0.0, 0.5], tau=0.25) == pytest.approx([1, torch.tensor(-2.0).exp().item()])


def test_pairs_that_tie_are_kept_together() -> None:
    """Ranks count what is less, not what comes before."""
    packed = {bytes([n]): torch.tensor([value]) for n, value in enumerate([2.0, 1.0, 1.0, 3.0])}

    class Row:
        def __init__(self, key: bytes) -> None:
            self.key = key

    found = Ches().looked_up(packed, [Row(key) for key in packed])
    assert torch.cat(list(found.values())).tolist() == [0.5, 0.0, 0.0, 0.75]


def test_mistakes() -> None:
    with pytest.raises(ValidationError) as caught:
        CHES(keep=0.5, tau=0.1)
    (error,) = caught.value.errors()
    assert error["msg"] == "'keep' has no use with 'tau'; leave it out"
    falling = CHES(tau=0.1)
    assert CHES.model_validate(falling.model_dump()) == falling  # a recorded recipe has all defaults
    for settings in ({"keep": 0.0}, {"keep": 1.5}, {"tau": 0.0}):
        with pytest.raises(ValidationError):
            CHES(**settings)

"""What is recorded of single tokens, against plain computations of the same model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from engine_toy import HYBRID, full_logp, gold_logp, llama, move, recipe, rows, scoring

from alignkit.errors import ModelError
from alignkit.evaluation.evaluate import Evaluation
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scorer

ALONE = SimpleNamespace(process_index=0, num_processes=1)
FEW = {"pairs": 3, "samples": 0}


def evaluation(of, model, reference=None) -> Evaluation:
    live = None if reference is None else (lambda: Reference(Scorer(reference, 4096)))
    return Evaluation(scoring(of, model, reference), of.evaluation, rows(), live, ALONE, False, None, 2)


def test_log_probs_kl_and_entropy_are_those_of_the_models():
    ours, theirs = move(llama()), llama()
    records = evaluation(recipe(evaluation=FEW), ours, theirs).tokens(3)
    assert [record["row"] for record in records] == [0, 1, 2]
    for record, row in zip(records, rows(), strict=True):
        for name, said in record["responses"].items():
            ids = row.responses[name]
            mine, other = (full_logp(model, row.prompt, ids) for model in (ours, theirs))
            assert said["logp"] == pytest.approx(gold_logp(ours, row.prompt, ids).tolist(), rel=1e-3, abs=1e-4)
            assert said["reference"] == pytest.approx(gold_logp(theirs, row.prompt, ids).tolist(), rel=1e-3, abs=1e-4)
            assert said["entropy"] == pytest.approx((-(mine.exp() * mine).sum(-1)).tolist(), rel=1e-3, abs=1e-4)
            assert said["kl"] == pytest.approx((mine.exp() * (mine - other)).sum(-1).tolist(), rel=1e-2, abs=1e-4)
            assert said["ids"] == ids.tolist() and len(said["tokens"]) == len(ids)


@pytest.mark.parametrize("mix", [0.0, 0.7, 1.0])
def test_the_parts_of_a_hybrid_make_the_weight(mix):
    records = evaluation(recipe(weighting=HYBRID | {"mix": mix}, evaluation=FEW), llama(), llama()).tokens(2)
    for record in records:
        for said in record["responses"].values():
            zeros = [0.0] * len(said["ids"])
            parts = [said.get(f"part/{name}", zeros) for name in ("gradient", "prior")]
            mixed = mix * torch.tensor(parts[0]) + (1 - mix) * torch.tensor(parts[1])
            silent = mix > 0 and sum(parts[0]) == 0  # one token: the prior is all there is, or equal weights
            expected = [1.0] * len(zeros) if silent else mixed.tolist()
            assert said["weight"] == pytest.approx(expected, rel=1e-3, abs=1e-4)
            assert ("part/gradient" in said, "part/prior" in said) == (mix > 0, mix < 1)


def test_without_a_reference_there_is_nothing_of_one():
    (record, *_) = evaluation(recipe([{"name": "simpo"}], evaluation=FEW), llama()).tokens(1)
    assert record["responses"]["chosen"].keys() == {
        *("tokens", "ids", "forms", "cut", "weight", "logp", "entropy"),
    }


def test_it_is_asked_for_apart_and_changes_nothing():
    of = recipe(weighting=HYBRID, evaluation=FEW)
    plain, more = (evaluation(of, move(llama()), llama()).measure(tokens) for tokens in (0, 2))
    assert plain.summary == more.summary and plain.rows == more.rows
    assert (len(plain.tokens), len(more.tokens)) == (0, 2)


def test_trouble_with_tokens_loses_no_evaluation(monkeypatch):
    def refuse(*_):
        raise ModelError("no room\nfor this")

    monkeypatch.setattr("alignkit.evaluation.evaluate.token_records", refuse)
    measured = evaluation(recipe(evaluation=FEW), llama(), llama()).measure(tokens=2)
    assert measured.summary["pairs"] == 3.0 and not measured.tokens
    assert measured.trouble == "no token records of held-out rows: no room"


def test_the_anchor_that_a_triplet_would_draw_is_there_with_both_log_probs():
    ours, theirs = move(llama()), llama()
    triplet = {"name": "triplet", "anchor": {"name": "sample_prompt", "max_new_tokens": 6}}
    losses = [{"name": "weighted_dpo"}, triplet]
    measured = evaluation(recipe(losses, evaluation=FEW), ours, theirs)
    records = measured.tokens(3)
    for record, row in zip(records, rows(), strict=True):
        said = record["responses"]["anchor"]
        ids = torch.tensor(said["ids"]).numpy()
        assert 0 < len(ids) <= 6 and len(said["tokens"]) == len(ids)
        assert said["logp"] == pytest.approx(gold_logp(ours, row.prompt, ids).tolist(), rel=1e-3, abs=1e-4)
        assert said["reference"] == pytest.approx(gold_logp(theirs, row.prompt, ids).tolist(), rel=1e-3, abs=1e-4)
    assert [record["responses"]["anchor"] for record in measured.tokens(3)] == [
        record["responses"]["anchor"] for record in records
    ]

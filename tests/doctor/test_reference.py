"""What the reference says of pairs: against a pass over each response alone, and the formulas on numbers by hand."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from alignkit.data.rows import TokenRow
from alignkit.doctor.reference import ReferenceSays, ask_reference
from alignkit.models.policy import build_policy
from alignkit.models.scratch import Scratch


def says(sums, lengths=None, logps=None) -> ReferenceSays:
    sums = np.array(sums, dtype=float)
    lengths = np.ones(sums.shape[:2]) if lengths is None else np.array(lengths)
    logps = np.zeros(sums.shape[:2]) if logps is None else np.array(logps, dtype=float)
    empty = np.array([1], dtype=np.int32)
    rows = [TokenRow(n, f"rows.jsonl:{n + 1}", np.array([n]), {"chosen": empty}) for n in range(len(sums))]
    return ReferenceSays(rows, logps, lengths, sums)


@pytest.fixture
def case(make_case, good):
    return make_case([good(0)])


def test_each_response_alone_says_the_same(make_case, good, tokenizer):
    """Batches, padding and the shared prompt change nothing: hidden states at the positions that predict the tokens."""
    rows = [good(0), good(1, chosen="short"), good(2, prompt="p", rejected="x" * 40)]
    tokens = [row.tokens for row in make_case(rows).rows]
    source = Scratch(name="scratch", layers=2, width=32, heads=2, vocab_size=512)
    policy = build_policy(source, tokenizer, seed=0, separate=False, device=torch.device("cpu"))
    found = ask_reference(policy, tokens, 2, nullcontext)
    for place, row in enumerate(tokens):
        for r, name in enumerate(("chosen", "rejected")):
            ids = torch.tensor([[*row.prompt.tolist(), *row.responses[name].tolist()]])
            with torch.no_grad():
                out = policy.model(ids, output_hidden_states=True)
            start = len(row.prompt) - 1
            hidden = out.hidden_states[-1][0, start:-1].double().sum(0)
            logp = out.logits[0, start:-1].log_softmax(-1).gather(-1, ids[0, start + 1 :, None]).sum()
            assert found.lengths[place, r] == len(row.responses[name])
            torch.testing.assert_close(torch.tensor(found.sums[place, r]).double(), hidden, rtol=1e-4, atol=1e-4)
            assert found.logps[place, r] == pytest.approx(float(logp), rel=1e-5)


def test_ches(case, ask):
    """Sums (1, 2).(3, 1) - 5 = 0 and (1, 0).(2, 0) - 1 = 1; means over 1 and 2, 2 and 1 tokens: (1, 2).(1.5, .5) - 5 =
    -2.5 and (.5, 0).(2, 0) - .25 = .75. Of 2 pairs the top 5 % is one."""
    states = says([[[1, 2], [3, 1]], [[1, 0], [2, 0]]], lengths=[[1, 2], [2, 1]])
    sums, means = ask("displacement", replace(case, reference=states))
    assert (sums.count, sums.total, sums.listed) == (1, 2, ("rows.jsonl:2",))
    assert sums.values == {"highest": 1.0, "median": 0.5, "least_listed": 1.0}
    assert means.values["highest"] == 0.75
    assert ask("displacement", case) == []


def test_already_solved(case, ask):
    """By sum -4 < -3 and -2 > -3, by mean -1 > -1.5 and -2 > -3."""
    states = says([[[0], [0]]] * 2, lengths=[[4, 2], [1, 1]], logps=[[-4, -3], [-2, -3]])
    (found,) = ask("already_solved", replace(case, reference=states))
    assert found.values == {"sum": 0.5, "mean": 1.0}
    assert found.sentence == (
        "Before training the chosen response is likelier in 50.0% of the pairs by the sum of its log-probs, in 100.0% "
        "by their mean; the gap is length."
    )


def test_label_noise(case, ask):
    """400 pairs whose hidden states tell the better response, of which every tenth has its labels exchanged."""
    rng = np.random.default_rng(0)
    better = rng.normal(size=(400, 2, 8))
    better[:, 0, 0] += 8
    better[::10] = better[::10, ::-1]
    (found,) = ask("label_noise", replace(case, reference=says(better)))
    assert found.values["accuracy"] == pytest.approx(0.9, abs=0.02)
    assert found.values["flip_rate_most"] == pytest.approx(1 - found.values["accuracy"])
    flipped = {f"rows.jsonl:{n + 1}" for n in range(0, 400, 10)}
    assert len(found.listed) == 20 and len(flipped.intersection(found.listed)) >= 18
    assert ask("label_noise", replace(case, reference=says(better[:99]))) == []


def test_flip_rate_at_a_given_accuracy(case, ask):
    """Hidden states that tell nothing leave the head near a half; the rate is asked of a true accuracy above it."""
    rng = np.random.default_rng(3)
    (found,) = ask("label_noise", replace(case, reference=says(rng.normal(size=(600, 2, 4)))))
    accuracy = found.values["accuracy"]
    expected = {f"flip_rate_at_{p:g}": (p - accuracy) / (2 * p - 1) for p in (0.8, 0.9) if accuracy > 0.5}
    assert {name: value for name, value in found.values.items() if "_at_" in name} == pytest.approx(expected, abs=1e-6)

"""Self-BLEU, distinct n-grams and entropy of samples, with jackknifed errors, by hand and beside plain computations."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from engine_toy import EOS, full_logp, llama, move, recipe, rows, scoring

from alignkit.evaluation.bleu import bleu, self_bleu
from alignkit.evaluation.diversity import Distinct, MeanByPrompt, SelfBleu
from alignkit.evaluation.evaluate import Evaluation
from alignkit.intervals import mean
from alignkit.models.generation import sample
from alignkit.models.head import Draw
from alignkit.recipe.load import load_recipe
from alignkit.seeds import derive

ALONE = SimpleNamespace(process_index=0, num_processes=1)


def samples(*texts: tuple[str, str]) -> list[dict]:
    """Records of (prompt, response)."""
    return [{"row": row, "prompt": prompt, "response": text} for row, (prompt, text) in enumerate(texts)]


ABC = samples(("p", "a b"), ("p", "a c"), ("q", "a b"), ("q", "b b"))
"""Of prompt p the words a, b, a, c; of q a, b, b, b."""


class TestBleu:
    def test_by_hand(self) -> None:
        """ "the cat sat" with "the cat ran off": 2 of 3 words, (1 + 1) / (2 + 1) pairs, (0 + 1) / (1 + 1) triples; the
        reference is longer by one: exp(1 - 4 / 3). Cube root of 2/3 x 2/3 x 1/2, times 0.716531."""
        assert bleu("the cat sat", ["the cat ran off"]) == pytest.approx((2 / 9) ** (1 / 3) * math.exp(-1 / 3))

    def test_counts_are_clipped_by_the_reference_that_has_most(self) -> None:
        """ "a a a": two of three words ("a a" has two), pairs (1 + 1) / 3, triples 1 / 2; the nearest length is 2."""
        assert bleu("a a a", ["a", "a a"]) == pytest.approx((2 / 3 * 2 / 3 * 1 / 2) ** (1 / 3))

    def test_edges(self) -> None:
        assert bleu("a b c d e", ["x", "a b c d e"]) == 1.0
        assert bleu("a", ["a"]) == 1.0
        assert bleu("a b", ["c d"]) == bleu("", ["a"]) == 0.0

    def test_self_bleu_of_one_text_said_again(self) -> None:
        """Marks are words: "Wait." has two."""
        assert self_bleu(("Wait.", "Wait.")) == (1.0, 1.0)
        assert self_bleu(("Wait.", "Mist.")) == (pytest.approx(math.sqrt(1 / 2 * 1 / 2)),) * 2


class TestByPrompt:
    def test_distinct_by_hand(self) -> None:
        """Words: a, b, c of 8. Without p: a, b of 4; without q: a, b, c of 4. sqrt(1/2 x 2 x 0.125^2) = 0.125."""
        assert Distinct(1).of(ABC) == (3 / 8, pytest.approx(0.125))
        assert Distinct(2).of(ABC) == (3 / 4, pytest.approx(0.0))  # "a b", "a c", "b b"; two of two without either
        assert Distinct(3).of(ABC) is None

    def test_a_mean_has_the_error_of_prompts(self) -> None:
        """1, 1, 3, 5, mean 2.5; without p 4, without q 1: sqrt(1/2 x 2 x 1.5^2) = 1.5, not sd / 2 = 0.957."""
        records = [one | {"x": x} for one, x in zip(ABC, (1.0, 1.0, 3.0, 5.0), strict=True)]
        assert MeanByPrompt("x").of(records) == (2.5, pytest.approx(1.5))

    def test_the_jackknife_of_a_mean_of_single_samples_is_the_textbook_error(self) -> None:
        values = [0.5, 2.0, 2.5, 7.0]
        records = [{"row": row, "prompt": str(row), "x": x} for row, x in enumerate(values)]
        estimate = MeanByPrompt("x").of(records)
        assert estimate == (pytest.approx(3.0), pytest.approx(np.std(values, ddof=1) / 2))

    def test_a_change_leaves_a_prompt_out_before_and_after_together(self) -> None:
        """After, every prompt's sample has one more: the change is 1 without any doubt."""
        before = [{"row": row, "prompt": str(row), "x": x} for row, x in enumerate((1.0, 5.0, 9.0))]
        after = [one | {"x": one["x"] + 1} for one in before]
        assert MeanByPrompt("x").change(before, after) == (1.0, pytest.approx(0.0))
        assert Distinct(1).change(ABC, ABC) == (0.0, 0.0)

    def test_self_bleu_compares_samples_of_one_prompt(self) -> None:
        """p: "a b" and "a c" share a word: sqrt(1/2 x 1/2) each; q: "a b", "b b" likewise; r has one sample."""
        value, error = SelfBleu().of([*ABC, *samples(("r", "a b c d"))])
        assert (value, error) == (pytest.approx(0.5), pytest.approx(0.0))
        assert SelfBleu().of(samples(("p", "a"), ("q", "b"))) is None

    @pytest.mark.parametrize("summary", [Distinct(1), SelfBleu(), MeanByPrompt("x")])
    def test_parts_have_the_number_as_mean_and_with_prompts_as_clusters_its_error(self, summary) -> None:
        """So runs are compared by `alignkit compare` and by claims on them."""
        texts = [("p", "a b"), ("q", "a c"), ("p", "d b"), ("q", "c a d"), ("p", "a"), ("r", "b d"), ("r", "e")]
        records = [one | {"x": float(place**2)} for place, one in enumerate(samples(*texts))]
        value, error = summary.of(records)
        found = mean(summary.parts(records), [one["prompt"] for one in records])
        assert (found.value, found.se) == (pytest.approx(value), pytest.approx(error)) and error > 0

    def test_one_prompt_has_no_error(self) -> None:
        assert math.isnan(Distinct(1).of(samples(("p", "a"), ("p", "b")))[1])


def test_of_a_real_model() -> None:
    """Entropy of the full distributions at the sampled tokens, mean over each response;"""
    ours = move(llama())
    asked = {"pairs": 0, "samples": 3, "max_new_tokens": 5, "temperature": 0.9, "measures": ["diversity"]}
    of = recipe(evaluation=asked)
    summary = Evaluation(scoring(of, ours), of.evaluation, rows(), None, ALONE, False)(0)
    seeds = [derive(0, "evaluation", one.index) for one in rows()]
    responses = sample(ours, [r.prompt for r in rows()], seeds, Draw(0.9), max_new_tokens=5, eos_id=EOS)
    wanted = []
    for one, ids in zip(rows(), responses, strict=True):
        logp_TV = full_logp(ours, one.prompt, ids)
        wanted.append(-(logp_TV.exp() * logp_TV).sum(-1).mean().item())
    assert summary["token_entropy"] == pytest.approx(np.mean(wanted), rel=1e-4)
    assert summary["token_entropy_se"] == pytest.approx(np.std(wanted, ddof=1) / math.sqrt(3), rel=1e-3)
    assert "self_bleu" not in summary and 0 < summary["distinct_1"] <= 1


def test_it_is_off_unless_a_recipe_names_it(tmp_path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("model: world\ndata: {train: 'builtin:world'}\nlosses: [dpo]\ntrainer: preference\n")
    assert "diversity" not in {one.name for one in load_recipe(path).recipe.evaluation.chosen}
    named = load_recipe(path, ["evaluation.measures=[samples, diversity]"]).recipe
    assert [one.name for one in named.evaluation.chosen] == ["samples", "diversity"]

"""What is reported before and after training, against hand counts and plain computations."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine_toy import CLOSE, DPO, EOS, HYBRID, full_logp, gold_logp, llama, move, recipe, row, rows, scoring
from rollout_toy import on_policy

from alignkit.asks.needs import Needs
from alignkit.data.rows import TokenRow
from alignkit.evaluation.evaluate import Evaluation
from alignkit.evaluation.samples import _kl_parts, _words
from alignkit.models.generation import sample
from alignkit.models.head import Draw
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scorer
from alignkit.recipe.load import load_recipe
from alignkit.run import run
from alignkit.scores import RowScores, TokenScores
from alignkit.seeds import derive
from alignkit.world import advice_words
from alignkit.world.tokenizer import build_tokenizer

WORLD = """
model: world
data: {train: "builtin:world", world: {pairs: 64, eval_pairs: 24}}
losses: [{name: dpo, beta: 1.0}]
trainer: preference
training: {steps: 2, batch_size: 8, learning_rate: 1.0e-3}
evaluation: {pairs: 2, samples: 24, max_new_tokens: 48}
"""
ALONE = SimpleNamespace(process_index=0, num_processes=1)
PAIRS_ONLY = {"pairs": 4, "samples": 0}
SIMPO = recipe([{"name": "simpo"}], evaluation=PAIRS_ONLY, weighting={"name": "prior"})


def evaluation(of, held_out, reference=None, model=None, accelerator=ALONE, on_world: bool = False) -> Evaluation:
    """Of a toy policy against a toy reference."""
    model = model or llama()
    live = None if reference is None else (lambda: Reference(Scorer(reference, 4096)))
    return Evaluation(scoring(of, model, reference), of.evaluation, held_out, live, accelerator, on_world)


class Fixed:
    """Stands for a scoring whose log-ratios are known; policy log-probs are -1 per token."""

    needs = Needs()
    autocast = whole = nullcontext
    policy = None

    def __init__(self, chosen, rejected, **config) -> None:
        of = recipe(evaluation=PAIRS_ONLY | config)
        self.method, self.config = of.method(), of.evaluation
        self.logratios = {"chosen": chosen, "rejected": rejected}

    def score(self, rows, weigh):
        sides = {}
        for name, by_row in self.logratios.items():
            logratio_BT = torch.tensor([by_row[row.index] for row in rows])
            policy_BT = -torch.ones_like(logratio_BT)
            weights_BT = torch.tensor([[2.0, 0.0]]).expand_as(logratio_BT) if weigh else torch.ones_like(logratio_BT)
            sides[name] = TokenScores(policy_BT, policy_BT < 0, weights_BT, policy_BT - logratio_BT)
        return RowScores(tuple(sides.values()), (), torch.ones(len(rows), dtype=torch.bool))


class TestPairs:
    """Log-ratios of two tokens each. Margins: (1+1)-(0+1) = 1, (0+0)-(1+1) = -2, a tie of 0, (3+0)-(0-1) = 4."""

    CHOSEN = ((1.0, 1.0), (0.0, 0.0), (2.0, -1.0), (3.0, 0.0))
    REJECTED = ((0.0, 1.0), (1.0, 1.0), (-1.0, 2.0), (0.0, -1.0))
    ROWS = rows([(1, 2, 2)] * 4)

    def measured(self, **config) -> dict[str, float]:
        fixed = Fixed(self.CHOSEN, self.REJECTED, **config)
        return Evaluation(fixed, fixed.config, self.ROWS, None, ALONE, False)(0)

    def test_by_hand(self) -> None:
        """Accuracy (1 + 0 + 1/2 + 1) / 4; margin (1 - 2 + 0 + 4) / 4; every chosen token has an NLL of 1; all
        responses are equally likely under the policy, so the ranking ties everywhere, without any spread.

        Standard errors, root of the sum of squares by 3 and by 4: of the scores (0.375, -0.625, -0.125, 0.375 from
        their mean) the root of 0.6875 / 12, of the margins (0.25, -2.75, -0.75, 3.25) that of 18.75 / 12.
        """
        assert self.measured() == {
            "pairs": 4.0,
            "nll": 1.0,
            "nll_se": 0.0,
            "preference_accuracy": 0.625,
            "preference_accuracy_se": pytest.approx(0.239357, abs=1e-6),
            "margin": 0.75,
            "margin_se": 1.25,
            "ranking_accuracy": 0.5,
            "ranking_accuracy_se": 0.0,
        }

    def test_weighted_values_have_their_own_keys(self) -> None:
        """Weight 2 on the first token: margins 2 (1 - 0), 2 (0 - 1), 2 (2 + 1), 2 (3 - 0); the others stay."""
        measured = self.measured(weighted=True)
        assert measured["weighted_margin"] == (2 - 2 + 6 + 6) / 4
        assert measured["weighted_preference_accuracy"] == 0.75
        assert measured["margin"] == 0.75 and measured["preference_accuracy"] == 0.625

    @pytest.mark.parametrize("batch_size", [1, 3])
    def test_batches_do_not_matter(self, batch_size) -> None:
        assert self.measured(batch_size=batch_size) == self.measured()

    def test_only_the_first_so_many(self) -> None:
        """One row has no spread, so no standard error."""
        one = {"pairs": 1.0, "nll": 1.0, "preference_accuracy": 1.0, "margin": 1.0, "ranking_accuracy": 0.5}
        errors = {f"{name}_se": pytest.approx(math.nan, nan_ok=True) for name in one if name != "pairs"}
        assert self.measured(pairs=1) == one | errors
        assert self.measured(pairs=0) == {}

    def test_of_a_real_model(self) -> None:
        """NLL per chosen token, margin and accuracies from full logits."""
        ours, theirs, held_out = move(llama()), llama(), rows()
        measured = evaluation(recipe(evaluation=PAIRS_ONLY), held_out, theirs, ours)(0)
        policy, margins = [], []
        for one in held_out:
            sums = {
                name: [gold_logp(m, one.prompt, ids).sum().item() for m in (ours, theirs)]
                for name, ids in one.responses.items()
            }
            policy.append((sums["chosen"][0], sums["rejected"][0]))
            margins.append(sums["chosen"][0] - sums["chosen"][1] - sums["rejected"][0] + sums["rejected"][1])
        num_tokens = sum(len(one.responses["chosen"]) for one in held_out)
        assert measured["nll"] == pytest.approx(-sum(c for c, _ in policy) / num_tokens, rel=1e-5)
        assert measured["margin"] == pytest.approx(np.mean(margins), rel=1e-4)
        assert measured["preference_accuracy"] == np.mean([m > 0 for m in margins])
        assert measured["ranking_accuracy"] == np.mean([c > r for c, r in policy])

    def test_accuracy_and_margin_do_not_depend_on_the_weighting(self) -> None:
        found = [
            evaluation(recipe(weighting=w, evaluation=PAIRS_ONLY), rows(), llama(), move(llama()))(0)
            for w in ({"name": "uniform"}, HYBRID)
        ]
        assert found[0] == found[1]

    def test_sft_has_no_margin(self) -> None:
        measured = evaluation(
            recipe([{"name": "sft"}], "sft", evaluation=PAIRS_ONLY), [no_rejected(r) for r in rows()]
        )(0)
        assert measured.keys() == {"pairs", "nll", "nll_se"}


def no_rejected(one: TokenRow) -> TokenRow:
    return TokenRow(one.index, one.where, one.prompt, {"chosen": one.responses["chosen"]})


class TestSamples:
    OF = recipe(evaluation={"pairs": 0, "samples": 3, "max_new_tokens": 5, "temperature": 0.9})

    def test_kl_of_equal_models_is_0(self) -> None:
        measured = evaluation(self.OF, rows(), llama())(0)
        assert measured["kl"] == pytest.approx(0, abs=1e-6) and measured["kl_se"] == pytest.approx(0, abs=1e-6)

    def test_kl_along_samples_is_that_of_full_distributions(self) -> None:
        """sum_t KL(policy || reference) over the vocabulary at each sampled token; mean and standard error."""
        ours, theirs = move(llama()), llama()
        seeds = [derive(0, "evaluation", one.index) for one in rows()]
        responses = sample(ours, [r.prompt for r in rows()], seeds, Draw(0.9), max_new_tokens=5, eos_id=EOS)
        kls = []
        for one, ids in zip(rows(), responses, strict=True):
            p_TV, q_TV = (full_logp(m, one.prompt, ids) for m in (ours, theirs))
            kls.append((p_TV.exp() * (p_TV - q_TV)).sum().item())
        measured = evaluation(self.OF, rows(), theirs, ours)(0)
        assert measured["samples"] == 3 and measured["sample_tokens"] == np.mean([len(ids) for ids in responses])
        assert measured["kl"] == pytest.approx(np.mean(kls), rel=1e-4)
        assert measured["kl_se"] == pytest.approx(np.std(kls, ddof=1) / math.sqrt(3), rel=1e-3)
        assert min(kls) > 0.01

    def test_is_the_same_at_every_step(self) -> None:
        measure = evaluation(self.OF, rows(), llama(), move(llama()))
        assert measure(0) == measure(7)

    def test_one_sample_has_no_standard_error(self) -> None:
        measured = evaluation(self.OF, rows()[:1], llama(), move(llama()))(0)
        assert measured["samples"] == 1 and math.isnan(measured["kl_se"])

    def test_nothing_is_sampled_without_a_reference_or_a_true_reward(self) -> None:
        of = recipe([{"name": "sft"}], "sft", evaluation={"pairs": 0, "samples": 2, "max_new_tokens": 3})
        assert evaluation(of, rows())(0) == {}

    def test_leaves_the_policy_as_it_was(self) -> None:
        model = move(llama())
        before = {name: p.clone() for name, p in model.named_parameters()}
        evaluation(
            recipe(weighting=HYBRID, evaluation={"weighted": True, "max_new_tokens": 3}), rows(), llama(), model
        )(0)
        assert all(torch.equal(p, before[name]) and p.grad is None for name, p in model.named_parameters())


def test_weight_auc_on_the_world() -> None:
    """The Gaussian prior weighs the middle of 5 tokens most: AUC 1 where it is critical, 0 where the ends are; the
    mean over the two responses is 1/2."""
    middle, ends = np.arange(5) == 2, np.abs(np.arange(5) - 2) == 2
    held_out = [
        TokenRow(r.index, r.where, r.prompt, r.responses, critical={"chosen": middle, "rejected": rejected})
        for r, rejected in zip(rows([(2, 5, 5)] * 2), (ends, middle), strict=True)
    ]
    of = recipe(weighting={"name": "prior"}, evaluation=PAIRS_ONLY)
    for model, wanted in ((held_out[:1], 0.5), (held_out[1:], 1.0), (held_out, 0.75)):
        assert evaluation(of, model, llama(), on_world=True)(0)["weight_auc"] == pytest.approx(wanted)


def test_weight_mass_and_forks_on_the_world() -> None:
    """The prior's weights of 5 tokens; planted are the middle and the first, in doubt where the reference's entropy is
    at least 0.3, which the bound of the test puts between the two."""
    planted = np.array([True, False, True, False, False])
    one = rows([(2, 5, 5)])[0]
    held_out = TokenRow(0, one.where, one.prompt, one.responses, critical={"chosen": planted, "rejected": planted})
    of = recipe(weighting={"name": "prior"}, evaluation=PAIRS_ONLY)
    found = evaluation(of, [held_out], llama(), on_world=True)(0)
    weights_T = np.exp(-((np.arange(5) - 2.0) ** 2) / (2 * (5 / 4) ** 2))
    assert found["weight_mass"] == pytest.approx(weights_T[planted].sum() / weights_T.sum(), rel=1e-5)
    assert found["weight_auc"] == pytest.approx((3 + 0.5) / 6)  # the middle wins 3; the first ties the last
    assert found["weight_fork_auc"] == found["weight_auc"]  # the toy is in doubt everywhere
    assert "weight_fork_auc" not in evaluation(SIMPO, [held_out], on_world=True)(0)


def test_only_critical_tokens_in_doubt_count_as_forks(monkeypatch) -> None:
    """Entropies of the reference at the two planted tokens of chosen; the bound is set between them."""
    planted = np.array([True, False, True, False, False])
    one = rows([(2, 5, 5)])[0]
    held_out = TokenRow(
        0, one.where, one.prompt, one.responses, critical={"chosen": planted, "rejected": planted & False}
    )
    logp_TV = full_logp(llama(), one.prompt, one.responses["chosen"])
    first, middle = (-(logp_TV.exp() * logp_TV).sum(-1))[planted].tolist()
    monkeypatch.setattr("alignkit.evaluation.weights.DOUBT", (first + middle) / 2)
    of = recipe(weighting={"name": "prior"}, evaluation=PAIRS_ONLY)
    fork = evaluation(of, [held_out], llama(), on_world=True)(0)["weight_fork_auc"]
    assert fork == pytest.approx(1.0 if middle > first else 1 / 6)  # of the first: one tie among three


def test_processes_share_the_rows() -> None:
    """Two halves together are the whole, each row once."""
    of = recipe([DPO], evaluation=PAIRS_ONLY | {"batch_size": 2})
    many = [row(i, 2, 3, 3) for i in range(5)]
    halves = [
        evaluation(of, many, llama(), move(llama()), SimpleNamespace(process_index=i, num_processes=2))(0)
        for i in range(2)
    ]
    whole = evaluation(of, many, llama(), move(llama()))(0)
    assert [half["pairs"] for half in halves] == [2.0, 2.0]
    assert whole["pairs"] == 4.0
    together = (halves[0]["margin"] + halves[1]["margin"]) / 2
    torch.testing.assert_close(torch.tensor(together), torch.tensor(whole["margin"]), **CLOSE)


def test_rows_whose_advice_was_cut_off_are_left_out_of_the_weight_auc() -> None:
    """As in the test above, the first row's chosen response scores 1 and the second row has no critical token left."""
    middle, nothing = np.arange(5) == 2, np.zeros(5, dtype=bool)
    of = recipe(weighting={"name": "prior"}, evaluation=PAIRS_ONLY)
    whole, cut = (
        TokenRow(r.index, r.where, r.prompt, r.responses, critical={"chosen": critical, "rejected": nothing})
        for r, critical in zip(rows([(2, 5, 5)] * 2), (middle, nothing), strict=True)
    )
    measured = evaluation(of, [whole, cut], llama(), on_world=True)(0)
    assert (measured["weight_auc"], measured["weight_auc_rows"], measured["pairs"]) == (1.0, 1.0, 2.0)
    alone = evaluation(of, [cut], llama(), on_world=True)(0)
    assert "weight_auc" not in alone and "weight_auc_rows" not in alone


class TestWhatIsKept:
    def test_samples_as_text_in_the_order_of_the_rows(self) -> None:
        measured = evaluation(TestSamples.OF, rows(), llama(), move(llama())).measure()
        assert [one["row"] for one in measured.samples] == [0, 1, 2]
        first = measured.samples[0]
        assert first.keys() == {"row", "where", "prompt", "response", "sample_tokens", "kl"}
        assert first["where"] == "toy.jsonl:1"
        assert len(first["response"].split()) == first["sample_tokens"]

    def test_a_few_responses_to_read_are_drawn_where_nothing_is_measured_on_them(self) -> None:
        of = recipe([{"name": "sft"}], "sft", evaluation={"pairs": 0, "samples": 128, "max_new_tokens": 3})
        measured = evaluation(of, rows([(2, 2, 2)] * 5)).measure()
        assert len(measured.samples) == 3 and measured.summary == {}
        judged = on_policy(evaluation={"samples": 128, "max_new_tokens": 3})  # where rewards are asked of all of them
        assert evaluation(judged, rows([(2, 2, 2)] * 5)).measure().summary["samples"] == 5.0
        none = recipe([{"name": "sft"}], "sft", evaluation={"pairs": 0, "samples": 0})
        assert not evaluation(none, rows()).measure().samples


class TestOnTheWorld:
    """The shipped model as reference and a moved one as policy, on held-out questions."""

    def test_parts_of_the_kl_and_kinds_of_responses_add_up(self, tmp_path) -> None:
        path = tmp_path / "recipe.yaml"
        path.write_text(WORLD)
        measured = run(load_recipe(path), tmp_path / "run", False, False).folder
        assert measured is not None
        lines = [json.loads(line) for line in (measured / "samples.jsonl").read_text().splitlines()][24:]
        for line in lines:
            assert line["kl_first"] + line["kl_advice"] + line["kl_elsewhere"] == pytest.approx(line["kl"], abs=1e-12)
            assert sum(line[kind] for kind in ("true_reward", "wrong_advice", "banned_word", "malformed")) == 1
            assert line["kl_first"] > 0 if advice_words(line["response"]) else line["kl_first"] == 0
            several = len(advice_words(line["response"])) > 1
            assert (line["kl_advice"] > 0) == several
        assert {len(advice_words(line["response"])) > 1 for line in lines} == {True, False}
        found = json.loads((measured / "eval.json").read_text())["after"]
        assert found["kl_first"] == pytest.approx(np.mean([line["kl_first"] for line in lines]))

    def test_tokens_of_the_advice(self) -> None:
        """ " water" is the first word's token, " it" and " less" the others', whatever comes before."""
        tokenizer = build_tokenizer()
        text = "Most plants need some patience. You should water it less. Cheers!"
        ids = np.array([*tokenizer(text)["input_ids"], tokenizer.eos_token_id])
        held_out = SimpleNamespace(
            texts=[text], sampled=[ids], scene=SimpleNamespace(policy=SimpleNamespace(tokenizer=tokenizer))
        )
        first_N, rest_N = _words(held_out, 0)
        assert tokenizer.convert_ids_to_tokens(ids[first_N]) == [" water"]
        assert tokenizer.convert_ids_to_tokens(ids[rest_N]) == [" it", " less"]
        kl_T = np.arange(20.0)[: len(ids)]
        parts = _kl_parts(kl_T, float(kl_T.sum()), (first_N, rest_N))
        assert parts == {"kl_first": 8.0, "kl_advice": 9.0 + 10.0, "kl_elsewhere": kl_T.sum() - 27.0}

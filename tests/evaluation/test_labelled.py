"""What is reported of single responses that are labelled desirable or not, against hand counts."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine_toy import gold_logp, llama, move, recipe, rows, scoring

from alignkit.asks.needs import Needs
from alignkit.data.rows import TokenRow
from alignkit.data.unpairing import unpair
from alignkit.evaluation.evaluate import Evaluation
from alignkit.losses.base import TIE
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scorer
from alignkit.scores import RowScores, TokenScores

ALONE = SimpleNamespace(process_index=0, num_processes=1)
ROWS_ONLY = {"pairs": 100, "samples": 0}
KTO = {"name": "kto", "beta": 0.5}
UP, DOWN = True, False
AUC_ERROR = 0.283279
"""The desirable responses lead 1, 1/2 and 1/3 of the others, and the undesirable ones are led by 1/3, 1/2 and 1 of
them: a variance of 0.120370 each; the root of 0.120370 / 3 + 0.120370 / 3."""
NO_ERROR = pytest.approx(float("nan"), nan_ok=True)
"""Of a single value."""


def unpaired(losses=(KTO,), **sections):
    return recipe(list(losses), "unpaired", **{"evaluation": ROWS_ONLY, **sections})


class Fixed:
    """Stands for a scoring whose log-ratio of each row's two tokens is known; policy log-probs are -1 - row number."""

    needs = Needs()
    autocast = whole = nullcontext
    policy = None

    def __init__(self, logratios, has_reference: bool = True, **config) -> None:
        of = unpaired(evaluation=ROWS_ONLY | config)
        self.method, self.config = of.method(), of.evaluation
        self.logratios = logratios
        self.has_reference = has_reference

    def score(self, rows, weigh):
        logratio_BT = torch.tensor([[self.logratios[row.index], 0.0] for row in rows])
        policy_BT = torch.tensor([[-1.0 - row.index] * 2 for row in rows])
        reference_BT = policy_BT - logratio_BT if self.has_reference else None
        scores = TokenScores(policy_BT, policy_BT < 0, torch.ones_like(policy_BT), reference_BT)
        return RowScores((scores,), (), torch.tensor([row.label for row in rows]))


def measured(of: dict[float, bool] | list[tuple[float, bool]], **config) -> dict[str, float]:
    """Of rows with these log-ratios and labels."""
    pairs = list(of.items()) if isinstance(of, dict) else of
    held_out = [
        replace(row, index=i, responses={"completion": row.prompt[:2]}, label=label)
        for i, (row, (_, label)) in enumerate(zip(rows([(2, 1, 1)] * len(pairs)), pairs, strict=True))
    ]
    fixed = Fixed([ratio for ratio, _ in pairs], **config)
    return Evaluation(fixed, fixed.config, held_out, None, ALONE, False)(0)


class TestByHand:
    ROWS = ((2.0, UP), (0.5, DOWN), (0.0, UP), (0.0, DOWN), (-1.0, UP), (-3.0, DOWN))
    """Rows 0 to 5. Desirable 2, 0, -1 against undesirable 0.5, 0, -3: 2 leads all three; 0 loses, ties, leads; -1
    loses, loses, leads. 3 + 1.5 + 1 of 9."""

    def test_everything(self) -> None:
        """Desirable tokens have an NLL of 1, 3 and 5 (rows 0, 2 and 4), two each."""
        found = measured(list(self.ROWS))
        assert found.pop("reward_auc_se") == pytest.approx(AUC_ERROR, abs=1e-6)
        nll_se = pytest.approx(2 / 3**0.5)  # of 1, 3 and 5
        assert found == {"responses": 6.0, "nll": 3.0, "nll_se": nll_se, "reward_auc": pytest.approx(5.5 / 9)}

    @pytest.mark.parametrize("batch_size", [1, 4])
    def test_batches_do_not_matter(self, batch_size) -> None:
        assert measured(list(self.ROWS), batch_size=batch_size) == measured(list(self.ROWS))

    def test_order_does_not_matter_for_the_auc(self) -> None:
        assert measured(list(self.ROWS[::-1]))["reward_auc"] == measured(list(self.ROWS))["reward_auc"]

    def test_turned_labels_turn_the_auc_around(self) -> None:
        turned = measured([(ratio, not label) for ratio, label in self.ROWS])
        assert turned["reward_auc"] == pytest.approx(1 - 5.5 / 9)
        assert turned["nll"] == 4.0  # rows 1, 3 and 5 have 2, 4 and 6

    def test_only_the_first_so_many(self) -> None:
        """2 against 0.5 alone."""
        first = {"responses": 2.0, "nll": 1.0, "nll_se": NO_ERROR, "reward_auc": 1.0, "reward_auc_se": NO_ERROR}
        assert measured(list(self.ROWS), pairs=2) == first
        assert measured(list(self.ROWS), pairs=0) == {}

    def test_a_difference_of_rounding_is_a_tie(self) -> None:
        for difference, auc in ((TIE / 2, 0.5), (-TIE / 2, 0.5), (2 * TIE, 1.0), (-2 * TIE, 0.0)):
            assert measured([(1.0 + difference, UP), (1.0, DOWN)])["reward_auc"] == auc

    def test_before_training_everything_ties(self) -> None:
        assert measured([(0.0, UP), (0.0, UP), (0.0, DOWN)])["reward_auc"] == 0.5


class TestOneKindIsMissing:
    def test_no_undesirable_responses(self) -> None:
        assert measured([(1.0, UP), (2.0, UP)]) == {"responses": 2.0, "nll": 1.5, "nll_se": 0.5}

    def test_no_desirable_responses(self) -> None:
        """Nobody wants them to be likely, so there is no NLL either."""
        assert measured([(1.0, DOWN), (2.0, DOWN)]) == {"responses": 2.0}

    def test_no_reference(self) -> None:
        assert measured([(1.0, UP), (2.0, DOWN)], has_reference=False) == {
            "responses": 2.0,
            "nll": 1.0,
            "nll_se": NO_ERROR,
        }


def evaluation(of, held_out, model, reference, accelerator=ALONE, on_world: bool = False) -> Evaluation:
    live = Reference(Scorer(reference, 4096))
    return Evaluation(scoring(of, model, reference), of.evaluation, held_out, lambda: live, accelerator, on_world)


def ratio(one: TokenRow, ours, theirs) -> float:
    (ids,) = one.responses.values()
    return (gold_logp(ours, one.prompt, ids) - gold_logp(theirs, one.prompt, ids)).sum().item()


class TestOfARealModel:
    OURS, THEIRS = move(llama()), llama()

    def test_labelled_rows(self) -> None:
        """NLL per desirable token, and the share of well-ordered couples, from full logits."""
        held_out = unpair(rows())
        found = evaluation(unpaired(), held_out, self.OURS, self.THEIRS)(0)
        wanted = [one for one in held_out if one.label]
        sums = [-gold_logp(self.OURS, one.prompt, one.responses["completion"]).sum().item() for one in wanted]
        ups, downs = (
            [ratio(one, self.OURS, self.THEIRS) for one in held_out if one.label is kind] for kind in (UP, DOWN)
        )
        leads = [up - down for up, down in product(ups, downs)]
        assert min(map(abs, leads)) > TIE and len({lead > 0 for lead in leads}) == 2
        assert found == {
            "responses": 6.0,
            "nll": pytest.approx(sum(sums) / sum(len(one.responses["completion"]) for one in wanted), rel=1e-5),
            "reward_auc": np.mean([lead > 0 for lead in leads]),
            "nll_se": found["nll_se"],  # by hand above
            "reward_auc_se": found["reward_auc_se"],
        }

    def test_weights_do_not_matter(self) -> None:
        plain = evaluation(unpaired(), unpair(rows()), self.OURS, self.THEIRS)(0)
        for weighting in ({"name": "prior"}, {"name": "hybrid"}):
            of = unpaired(weighting=weighting, evaluation=ROWS_ONLY | {"weighted": True})
            measured = evaluation(of, unpair(rows()), self.OURS, self.THEIRS)(0)
            assert 0 <= measured.pop("weighted_reward_auc") <= 1 and measured.pop("weighted_reward_auc_se") > 0
            assert measured == pytest.approx(plain)

    def test_pairs_under_the_unpaired_trainer_are_measured_as_pairs(self) -> None:
        """Exactly what the preference trainer reports of them."""
        here = evaluation(unpaired(), rows(), self.OURS, self.THEIRS)(0)
        there = evaluation(recipe(evaluation=ROWS_ONLY), rows(), self.OURS, self.THEIRS)(0)
        assert here == there
        means = {"nll", "preference_accuracy", "margin", "ranking_accuracy"}
        assert here.keys() == {"pairs", *means, *(f"{name}_se" for name in means)}

    def test_samples_of_labelled_prompts(self) -> None:
        """The KL is that of the prompts, whatever the label of their response."""
        samples = {"pairs": 0, "samples": 3, "max_new_tokens": 4}
        labelled = [replace(one, responses={"completion": one.responses["chosen"]}, label=DOWN) for one in rows()]
        here, there = (
            evaluation(unpaired(evaluation=samples), some, self.OURS, self.THEIRS)(0) for some in (labelled, rows())
        )
        assert here == there and here["samples"] == 3.0

    def test_processes_share_the_rows(self, monkeypatch) -> None:
        """Each has every second row; put together they give what one process does."""
        held_out, of = unpair(rows()), unpaired()
        whole = evaluation(of, held_out, self.OURS, self.THEIRS)(0)
        parts: list[list] = []
        gather = "alignkit.evaluation.evaluate.accelerate.utils.gather_object"
        for index in range(2):
            two = SimpleNamespace(process_index=index, num_processes=2)
            with monkeypatch.context() as patch:
                patch.setattr(gather, lambda mine: parts.append(mine) or mine)
                evaluation(of, held_out, self.OURS, self.THEIRS, two)(0)
        everything = [measure for part in parts for measure in part]
        assert len(everything) == 6
        monkeypatch.setattr(gather, lambda mine: everything if mine else mine)
        # Other batches round the log-probs otherwise, in float32; a standard error is of small differences of them.
        assert evaluation(of, held_out, self.OURS, self.THEIRS)(0) == pytest.approx(whole, rel=1e-5)

    def test_weight_auc_of_labelled_rows_of_the_world(self) -> None:
        """The Gaussian prior weighs the middle of 5 tokens most: 1 where it is planted, 0 where the ends are."""
        middle, ends = np.arange(5) == 2, np.abs(np.arange(5) - 2) == 2
        held_out = [
            replace(
                one, responses={"completion": one.responses["chosen"]}, critical={"completion": critical}, label=label
            )
            for one, critical, label in zip(
                rows([(2, 5, 5)] * 3), (middle, ends, middle), (UP, DOWN, DOWN), strict=True
            )
        ]
        of = unpaired(weighting={"name": "prior"})
        assert evaluation(of, held_out, self.OURS, self.THEIRS, on_world=True)(0)["weight_auc"] == pytest.approx(2 / 3)

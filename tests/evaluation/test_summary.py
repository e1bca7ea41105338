"""Standard errors of a change, paired by row: against hand counts, and as relations."""

from __future__ import annotations

import math
import random

import pytest

from alignkit.evaluation.config import BUILT_IN
from alignkit.evaluation.evaluate import Measured
from alignkit.evaluation.summary import Auc, PerToken, mean, standard_error


def summarised(rows, samples) -> dict[str, float]:
    return Measured(rows, samples, BUILT_IN).summary


def changes(before, after) -> dict[str, float]:
    """Of rows and samples before, and the same after."""
    return Measured(*after, BUILT_IN).since(Measured(*before, BUILT_IN))


def pairs(*margins: float) -> list[dict[str, float]]:
    return [{"row": i, "margin": margin, "nll": 1.0, "tokens": 2} for i, margin in enumerate(margins)]


def labelled(*values: float) -> list[dict[str, float | bool]]:
    """Desirable and undesirable by turns."""
    return [{"row": i, "logratio": v, "desirable": i % 2 == 0, "nll": 1.0, "tokens": 1} for i, v in enumerate(values)]


def test_by_hand():
    """Scores went from 1/2, 1/2, 0, 1 to 1, 0, 1, 1: changes of 1/2, -1/2, 1, 0; mean 1/4, squared distances 1/16,
    9/16, 9/16, 1/16, so the root of (20/16) / 3 / 4. Margins: 2, -3, 3, 4; mean 1.5, the root of 29 / 12."""
    found = changes([pairs(0, 0, -2, 1), []], [pairs(2, -3, 1, 5), []])
    assert found == {
        "preference_accuracy": 0.25,
        "preference_accuracy_se": pytest.approx(math.sqrt(1.25 / 12)),
        "margin": 1.5,
        "margin_se": pytest.approx(math.sqrt(29 / 12)),
        "nll": 0.0,
        "nll_se": 0.0,
    }


def test_a_tie_before_training_is_no_coin():
    """256 ties, of which 150 are won and 106 lost: 0.586, 2.8 standard errors above; a coin's error twice said 1.9."""
    after = pairs(*[1.0] * 150, *[-1.0] * 106)
    found = changes([pairs(*[0.0] * 256), []], [after, []])
    assert found["preference_accuracy"] == pytest.approx(22 / 256)
    assert found["preference_accuracy"] / found["preference_accuracy_se"] == pytest.approx(2.79, abs=0.01)


def test_what_all_rows_share_is_no_noise():
    before = [random.Random(1).gauss(0, 100) for _ in range(50)]
    found = changes([pairs(*before), []], [pairs(*(margin + 1 for margin in before)), []])
    assert found["margin"] == pytest.approx(1) and found["margin_se"] == pytest.approx(0, abs=1e-9)


def test_rounding_is_a_tie_and_nan_is_not_hidden():
    assert summarised(pairs(5e-4, -5e-4), [])["preference_accuracy"] == 0.5
    assert math.isnan(summarised(pairs(math.nan, 1.0), [])["preference_accuracy"])


def test_nll_is_a_ratio_of_sums():
    """Two rows of 1 and 3 tokens whose NLL rises by 1 and by 2: 3 nats in 4 tokens. Residuals 1 - 0.75 and 2 - 2.25:
    the root of 2 / 1 * (1/16 + 1/16), by 4."""
    before = [{"row": 0, "nll": 5.0, "tokens": 1}, {"row": 1, "nll": 6.0, "tokens": 3}]
    after = [{"row": 0, "nll": 6.0, "tokens": 1}, {"row": 1, "nll": 8.0, "tokens": 3}]
    assert summarised(before, [])["nll"] == 11 / 4
    found = changes([before, []], [after, []])
    assert (found["nll"], found["nll_se"]) == (0.75, pytest.approx(0.5 / 4))


def test_samples_are_paired_by_prompt():
    """Rewards 0, 1, 0 become 1, 1, 1: 1, 0, 1; mean 2/3, the root of (1/9 + 4/9 + 1/9) / 2 / 3."""
    before, after = (
        [{"row": i, "true_reward": r} for i, r in enumerate(rewards)] for rewards in ((0, 1, 0), (1, 1, 1))
    )
    found = changes([[], before], [[], after])
    assert found == {"true_reward": pytest.approx(2 / 3), "true_reward_se": pytest.approx(1 / 3)}


def test_auc_by_hand():
    """All tied before: each placement 1/2. After, desirable 2 and 0 against undesirable 1 and -1: 2 leads both, 0 leads
    one; 1 is led by one, -1 by both. Changes of placements 1/2, 0 and 0, 1/2: mean 1/4, variance 1/8 each; the root of
    1/16 + 1/16."""
    found = changes([labelled(0, 0, 0, 0), []], [labelled(2, 1, 0, -1), []])
    assert found["reward_auc"] == 0.25
    assert found["reward_auc_se"] == pytest.approx(math.sqrt(1 / 8))


def test_a_real_rise_of_the_auc_from_all_ties():
    """50 against 50 that reach 0.64: the error of the tied start no longer hides it."""
    draw = random.Random(5)
    after = labelled(*(draw.gauss(0.45 if i % 2 == 0 else 0, 1) for i in range(100)))
    found = changes([labelled(*[0.0] * 100), []], [after, []])
    assert 0.13 < found["reward_auc"] < 0.15
    assert found["reward_auc"] > 2 * found["reward_auc_se"]


def test_other_rows_are_not_paired():
    assert changes([pairs(0, 0), []], [pairs(1, 1, 1), []]) == {}
    assert changes([[], []], [pairs(1, 1), []]) == {}


def test_the_change_is_the_difference_of_the_summaries():
    draw = random.Random(0)
    before, after = ([draw.gauss(0, 1) for _ in range(40)] for _ in range(2))
    for make, names in ((pairs, ("margin", "preference_accuracy")), (labelled, ("reward_auc",))):
        found = changes([make(*before), []], [make(*after), []])
        for name in names:
            wanted = summarised(make(*after), [])[name] - summarised(make(*before), [])[name]
            assert found[name] == pytest.approx(wanted)


PARTS = {
    "margin": [{"row": i, "margin": m} for i, m in enumerate((2.0, -3.0, 3.0, 4.0))],
    "preference_accuracy": [{"row": i, "margin": m} for i, m in enumerate((0.0, -3.0, 3.0, 4.0))],
    "nll": [{"row": i, "nll": n, "tokens": t} for i, (n, t) in enumerate([(3.0, 2), (1.0, 4), (8.0, 5)])],
    "reward_auc": labelled(*(random.Random(2).gauss(0, 1) for _ in range(60))),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_have_the_number_as_mean_and_its_error_as_spread(name):
    """The AUC's error takes its two kinds apart, n1 - 1 and n2 - 1 instead of n - 1."""
    summary = {value.name: value.summary for measure in BUILT_IN for value in measure.values}[name]
    records = [*PARTS[name], {"row": 99}]
    *parts, nothing = summary.parts(records)
    assert nothing is None
    estimate = (pytest.approx(mean(parts)), pytest.approx(standard_error(parts), rel=0.02))
    assert summary.of(records) == estimate


def test_without_what_they_are_of_there_are_no_parts():
    assert PerToken().parts([{"row": 0}]) is None
    assert Auc("logratio").parts(labelled(1.0)) is None

"""Differences of runs: the published values, what is paired with what, and what is said of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alignkit.compare.differences import compare
from alignkit.compare.words import moved, shown_value
from alignkit.errors import CompareError
from alignkit.intervals import mcnemar, paired, seeds_and_items, seeds_with_own_items

A, B = [1, 1, 0, 1, 0, 1, 1, 0], [1, 0, 0, 1, 0, 1, 0, 0]


def rewards(*values):
    return [{"true_reward": float(value), "sample_tokens": 3.0} for value in values]


def only(found, measure):
    (line,) = (line for line in found.lines if line.measure == measure)
    return line


def test_by_hand(made):
    """The page's example: 1/4 with standard error .163663; McNemar 2 against 0, one of two."""
    line = only(compare([made("b", samples=rewards(*B)), made("a", samples=rewards(*A))]), "true_reward")
    assert (line.base, line.other, line.base_value, line.other_value) == ("b", "a", 0.375, 0.625)
    assert (line.difference, line.se) == (0.25, pytest.approx(0.163663, abs=5e-7))
    assert (line.test, line.p, line.only_base, line.only_other) == ("mcnemar", 0.5, 0, 2)
    assert (line.items, line.clusters, line.df, line.over, line.better) == (8, 8, 7, "items", "higher")


def test_mcnemar_of_fifteen_against_five(made):
    base, other = [1] * 15 + [0] * 85, [0] * 15 + [1] * 5 + [0] * 80
    line = compare([made("b", gsm8k=base, prompts=range_of(100)), made("o", gsm8k=other, prompts=range_of(100))]).lines[
        0
    ]
    assert (line.measure, line.item_set, line.test) == ("gsm8k/acc", "gsm8k", "mcnemar")
    assert line.p == line.p_holm == line.p_mcnemar == pytest.approx(0.041389, abs=5e-7)
    assert line.sentence == "o is worse by 10.0 points, 95 % interval 1.3 to 18.7"


def range_of(count):
    return [f"question {number}" for number in range(count)]


def test_one_run_with_itself(made):
    run = made(
        "run", [{"margin": 1.0, "nll": 2.0, "tokens": 3}, {"margin": -1.0, "nll": 1.0, "tokens": 1}], rewards(*A)
    )
    found = compare([run, run])
    assert [line.measure for line in found.lines] == [
        *("preference_accuracy", "margin", "nll", "true_reward", "sample_tokens")
    ]
    assert {(line.difference, line.se, line.p, line.p_holm) for line in found.lines} == {(0, 0, 1, 1)}
    assert {(line.sentence, line.smallest_visible) for line in found.lines} == {
        ("the two are equal, item by item", None)
    }
    assert [method.name for method in found.methods] == ["run (1)", "run (2)"]


def test_rows_that_share_a_prompt_are_one_cluster(made):
    prompts = ["x", "x", "y", "y", "y", "z", "z", "z"]
    runs = [made(name, samples=rewards(*of), prompts=prompts) for name, of in (("b", B), ("a", A))]
    line = only(compare(runs), "true_reward")
    expected = paired(A, B, prompts)
    assert (line.clusters, line.test, line.se, line.df) == (3, "t", expected.se, 2)
    assert (line.p, line.p_mcnemar) == (expected.p, mcnemar(0, 2))


def test_rows_without_a_prompt_share_nothing(made):
    runs = [made(name, samples=rewards(*of), prompts=[""] * 8) for name, of in (("b", B), ("a", A))]
    assert only(compare(runs), "true_reward").clusters == 8


def test_several_samples_of_an_item_are_averaged(made):
    def lines(*scores):
        return [
            {"item": str(i // 2), "cluster": f"subject {i // 4}", "sample": i % 2, "scores": {"acc": score, "f": 0.25}}
            for i, score in enumerate(scores)
        ]

    runs = [made("b", t=lines(*B), prompts=["q"] * 8), made("a", t=lines(*A), prompts=["q"] * 8)]
    line = only(compare(runs), "t/acc")
    expected = paired([1, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0], [0, 0, 1, 1])
    assert (line.items, line.clusters, line.difference, line.se) == (4, 2, expected.value, expected.se)
    assert (line.is_share, line.only_base) == (True, None)


def test_ratios_and_direction(made):
    """9/6 against 6/6 nats per token, lower is better. Above their ratios 2, -2 and 0, 0 nats: of n = 2, the root of
    2 (4 + 4) over 6 tokens."""
    base = made("b", [{"nll": 5.0, "tokens": 2}, {"nll": 4.0, "tokens": 4}])
    other = made("o", [{"nll": 2.0, "tokens": 2}, {"nll": 4.0, "tokens": 4}])
    line = only(compare([base, other]), "nll")
    assert (line.base_value, line.other_value, line.difference) == (1.5, 1.0, pytest.approx(-0.5))
    assert line.se == pytest.approx(math.sqrt(2 * (2.0**2 + 2.0**2)) / 6)
    assert (line.better, line.is_share) == ("lower", False)


def test_holm_over_all_lines(made):
    runs = [
        made("a", t=[{"scores": {"x": 0, "y": 0}}] * 8),
        made("b", t=[{"scores": {"x": 1, "y": 0}}] * 8),
        made("c", t=[{"scores": {"x": 0, "y": 1}}] * 8),
    ]
    found = compare(runs)
    assert [line.p for line in found.lines] == [2 / 2**8, 1, 1, 2 / 2**8]
    assert [line.p_holm for line in found.lines] == [4 * 2 / 2**8, 1, 1, 4 * 2 / 2**8]
    assert (found.family, {line.base for line in found.lines}) == (4, {"a"})
    alone = compare(runs, ["t/x"])
    assert [line.p_holm for line in alone.lines] == [2 * 2 / 2**8, 1]


def test_a_number_that_is_none_claims_nothing(made):
    line = only(compare([made("b", samples=rewards(*B)), made("a", samples=rewards(*A[:7], math.nan))]), "true_reward")
    assert (line.difference, line.p_holm) == (None, None)
    assert line.sentence == "not comparable: some of the numbers are not finite"


def test_no_item_in_common(made):
    halves = [{"weight_auc": 0.5}, {}], [{}, {"weight_auc": 0.5}]
    base, other = (
        [made(f"{name}{seed}", half, seed=seed) for seed in range(2)] for name, half in zip("bo", halves, strict=True)
    )
    for arguments in ([base[0], other[0]], [f"B={base[0]},{base[1]}", f"O={other[0]},{other[1]}"]):
        line = compare(arguments).lines[0]
        assert (line.items, line.sentence) == (0, "no item has a number in both")


def test_one_item_claims_nothing(made):
    line = compare([made("b", t=[0]), made("a", t=[1])]).lines[0]
    assert (line.se, line.low, line.p) == (None, None, 1)
    assert line.sentence == "a is better by 100.0 points; one item or prompt alone tells no more"


# --- seeds ---


def seeds(made, name, values, **more):
    return [made(f"{name}{seed}", samples=rewards(*row), seed=seed, **more) for seed, row in enumerate(values)]


BASES, OTHERS = [[1, 0, 0, 1], [0, 0, 0, 1]], [[1, 1, 0, 1], [1, 1, 0, 0]]


def test_seeds_on_the_same_items(made):
    base, other = seeds(made, "b", BASES), seeds(made, "o", OTHERS)
    found = compare([f"B={base[1]},{base[0]}", f"O={other[0]},{other[1]}"])
    line = only(found, "true_reward")
    expected = seeds_and_items(OTHERS, BASES, same_seeds=True)
    assert (line.over, line.difference, line.se) == ("seeds and items", expected.value, pytest.approx(expected.se))
    assert (line.df, line.test, line.items) == (pytest.approx(expected.df), "t", 4)
    against_one = only(compare([f"B={base[0]},{base[1]}", other[0]]), "true_reward")
    assert against_one.se == pytest.approx(seeds_and_items(OTHERS[:1], BASES).se)
    assert found.notes == ["B: 2 runs are its seeds (0, 1)", "O: 2 runs are its seeds (0, 1)"]


def test_seeds_with_items_of_their_own(made):
    """Differences 0 1 0 0 and 1 1 0 -1 of prompts that are each seed's own."""
    base, other = [], []
    for seed, (one, its) in enumerate(zip(BASES, OTHERS, strict=True)):
        prompts = [f"{seed}: {row}" for row in range(4)]
        base.append(made(f"b{seed}", samples=rewards(*one), seed=seed, prompts=prompts))
        other.append(made(f"o{seed}", samples=rewards(*its), seed=seed, prompts=prompts))
    line = only(compare([f"B={base[0]},{base[1]}", f"O={other[0]},{other[1]}"]), "true_reward")
    expected = seeds_with_own_items([[0, 1, 0, 0], [1, 1, 0, -1]])
    assert (line.over, line.difference, line.items, line.clusters) == ("seeds and items", 0.25, 8, 8)
    assert (line.se, line.df) == (pytest.approx(expected.se), pytest.approx(expected.df))
    with pytest.raises(
        CompareError,
        match=r"^b0 and b1 cannot be .* differ, the first at row '0'; the seed may decide what .* are 0 and 1$",
    ):
        compare([f"B={base[0]},{base[1]}", f"O={other[0]}"])


def test_seeds_of_one_recipe_are_found(made):
    base, other = seeds(made, "b", BASES), seeds(made, "o", OTHERS)
    for folder in other:
        text = (folder / "recipe.yaml").read_text()
        (folder / "recipe.yaml").write_text(text + "losses: [{name: ipo}]\n")
    found = compare([*base, *other])
    assert [(method.name, method.seeds) for method in found.methods] == [("b0", [0, 1]), ("o0", [0, 1])]
    assert [method.name for method in compare(base).methods] == ["b0", "b1"]  # nothing else to compare them with
    one_each = compare([f"B={base[0]}", f"C={base[1]}", f"O={other[0]}"])
    assert [method.name for method in one_each.methods] == ["B", "C", "O"]


# --- what can be paired ---


def test_fewer_items_are_told(made):
    long = [{"nll": 5.0, "tokens": 2}, {"nll": 4.0, "tokens": 4}, {"nll": 9.0, "tokens": 1}]
    found = compare([made("long", long), made("short", long[:2])])
    line = only(found, "nll")
    assert (line.items, line.base_value, line.difference, line.se) == (2, 1.5, 0, 0)
    assert found.notes[-1] == "short has 2 held-out rows, others 3; those in common are compared"


def test_older_records_of_the_same_data(made):
    old = made("old", [{"nll": 5.0, "tokens": 2, "prompt_hash": None}, {"nll": 4.0, "tokens": 4, "prompt_hash": None}])
    path = old / "eval_rows.jsonl"
    path.write_text(path.read_text().replace('"prompt_hash": null, ', ""))
    new = made("new", [{"nll": 2.0, "tokens": 2}, {"nll": 4.0, "tokens": 4}])
    assert only(compare([old, new]), "nll").difference == pytest.approx(-0.5)


def test_evaluations_have_one_moment(made):
    found = compare([made("a", t=A, alone=True), made("run", t=B, moment="before")], moment="before")
    assert found.lines[0].difference == -0.25


def test_an_unfinished_evaluation_is_refused(made):
    ours = made("a", t=A, alone=True)
    with pytest.raises(CompareError, match=r"^b: its evaluation is not finished; finish it with --output b once more$"):
        compare([ours, made("b", t=B, alone=True, ended=None)])


def test_a_measure_that_is_not_here_is_told(made):
    runs = [made(name, samples=rewards(*of)) for name, of in (("b", B), ("a", A))]
    recipe = runs[1] / "recipe.yaml"
    recipe.write_text("seed: 0\nevaluation:\n  measures: [{name: samples}, {name: gone}]\n")
    found = compare(runs)
    assert [line.measure for line in found.lines] == ["true_reward", "sample_tokens"]
    assert found.notes[0] == "a: measure 'gone' is not here as it was; its values are left out"


def test_what_not_all_have_is_left_out(made):
    found = compare([made("a", samples=rewards(*A), t=A), made("b", samples=rewards(*B))])
    assert {line.item_set for line in found.lines} == {"sampled responses"}
    assert "not measured in all of them, and left out: t/acc" in found.notes


# --- what is said ---


def said(made, base, other, **more):
    """Sentence of each measure."""
    prompts = range_of(len(base))
    runs = [
        made(
            name,
            samples=[{"true_reward": float(v), "kl": v + 0.5 * (i % 3)} for i, v in enumerate(of)],
            prompts=prompts,
        )
        for name, of in (("base", base), ("other", other))
    ]
    return {line.measure: line.sentence for line in compare(runs, **more).lines}


def test_a_difference(made):
    """20 of 60: p = (1/2)^19; without a direction it is not better but higher."""
    assert said(made, np.zeros(60), np.arange(60) < 20) == {
        "kl": "other is higher by 0.333, 95 % interval 0.211 to 0.456",
        "true_reward": "other is better by 33.3 points, 95 % interval 21.1 to 45.6",
    }


def test_no_difference(made):
    """One of 60 each: d 0, variance of the differences 2/59; t with 59 df: (2.0010 + .8476) x sqrt(2 / 59 / 60)."""
    found = said(made, np.arange(60) == 1, np.arange(60) == 2)
    assert found["true_reward"] == (
        "no difference seen; one of 6.8 points would have been seen in 4 of 5 such comparisons"
    )


def test_a_difference_among_many(made):
    """6 of 60, p 1/32 alone; three times as much among three."""
    runs = [
        made(name, t=[{"scores": {"x": int(x and i < 6), "y": 0, "z": 0}} for i in range(60)], prompts=range_of(60))
        for name, x in (("base", False), ("other", True))
    ]
    assert compare(runs).lines[0].sentence == (
        "other is better by 10.0 points, which may be chance among so many comparisons (p 0.031 alone, 0.094 among all)"
    )
    assert compare(runs, ["t/x"]).lines[0].sentence == "other is better by 10.0 points, 95 % interval 2.2 to 17.8"
    assert compare(runs, ["t/x"], level=0.99).lines[0].sentence.startswith("no difference seen; one of 1")


@pytest.mark.parametrize(("scale", "form"), [(1.0, ".3f"), (1e-2, ".4f"), (1e-5, ".1e")])
def test_small_numbers_keep_two_digits_of_their_error(made, scale, form):
    """Of 50, the error of a difference is about a fifth of the scale."""
    rng = np.random.default_rng(1)
    runs = [made(name, samples=[{"kl": float(v)} for v in rng.normal(0, scale, 50)]) for name in "ab"]
    line = compare(runs).lines[0]
    assert moved(line, line.difference, "+") == format(line.difference, f"+{form}")
    assert shown_value(line, line.base_value) == f"{line.base_value:.3f}"

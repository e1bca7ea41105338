"""The generated text: repeatable, fair to hold out, and wrong only in context."""

from __future__ import annotations

import pytest

from alignkit.world import WorldConfig, generate
from alignkit.world.text import ADVICE, FRAMES, PLANTS, PROBLEMS, SIGN_OFF, is_held_out, problem_of

ROWS = generate(WorldConfig(pairs=400), "train", seed=0)
HELD_OUT = generate(WorldConfig(), "eval", seed=0)


def advice_of(row, name):
    text = getattr(row, name)
    return " ".join(text[start:end] for start, end in row.critical[name])


def test_same_seed_same_pairs_and_another_seed_other_pairs():
    assert generate(WorldConfig(pairs=400), "train", seed=0) == ROWS
    assert generate(WorldConfig(pairs=400), "train", seed=1) != ROWS


def test_more_pairs_begin_with_the_same_pairs():
    assert generate(WorldConfig(pairs=30), "train", seed=0) == ROWS[:30]


def test_first_pair_of_seed_0():
    row = ROWS[0]
    assert row.prompt == "What helps a daisy that has curled leaves?\n"
    assert row.chosen == "Healthy roots have a rhythm. It helps to mist."
    assert row.critical["chosen"] == [(41, 45)]
    assert advice_of(row, "rejected") == "trim the leaves"


def test_counts_are_those_of_the_config():
    assert len(ROWS) == 400
    assert len(HELD_OUT) == 256
    assert len(generate(WorldConfig(eval_pairs=7), "eval", seed=0)) == 7


def test_no_prompt_is_in_both_splits_whatever_the_seeds():
    train = {row.prompt for seed in range(3) for row in generate(WorldConfig(pairs=1000), "train", seed)}
    held_out = {row.prompt for seed in range(3) for row in generate(WorldConfig(), "eval", seed)}
    assert not train & held_out
    assert {problem_of(prompt) for prompt in train} == {problem_of(prompt) for prompt in held_out} == set(PROBLEMS)


def test_a_fifth_of_all_combinations_is_held_out_for_every_problem_and_frame():
    """24 problems x 16 plants x 6 frames; each (problem, frame) holds out 3 or 4 of its 16 plants."""
    for problem in range(len(PROBLEMS)):
        for frame in range(len(FRAMES)):
            assert sum(is_held_out(problem, plant, frame) for plant in range(len(PLANTS))) in (3, 4)


def test_chosen_is_right_and_rejected_is_right_for_another_question():
    for row in [*ROWS, *HELD_OUT]:
        right = ADVICE[problem_of(row.prompt)]
        assert advice_of(row, "chosen") == right
        assert advice_of(row, "rejected") in set(ADVICE.values()) - {right}


def test_gold_is_right_even_where_chosen_is_wrong():
    """Its draws are its own: the pairs are the same as ever."""
    noisy = generate(WorldConfig(pairs=100, right_share=0.0), "train", seed=0)
    for row in [*ROWS, *noisy]:
        assert advice_of(row, "gold") == ADVICE[problem_of(row.prompt)]
    assert sum(row.gold == row.chosen for row in ROWS) < 20


def test_every_advice_is_right_once_and_has_one_to_four_words():
    assert len(set(ADVICE.values())) == len(ADVICE)
    assert {len(advice.split()) for advice in ADVICE.values()} == {1, 2, 3, 4}


def test_every_prompt_names_exactly_one_problem():
    for problem in PROBLEMS:
        for frame in FRAMES:
            assert problem_of(frame.format(plant="fern", problem=problem)) == problem


@pytest.mark.parametrize(("position", "places"), [("start", {0}), ("middle", {2}), ("end", {4})])
def test_fixed_positions(position, places):
    """With four filler sentences the advice is sentence 0, 2 or 4 of five; a sign-off comes after."""
    rows = generate(WorldConfig(pairs=200, position=position), "train", seed=0)
    full = [row for row in rows if row.chosen.count(".") == 5]
    assert len(full) > 20
    assert {row.chosen[: row.critical["chosen"][0][0]].count(".") for row in full} == places


def test_anywhere_puts_the_advice_in_the_middle_of_the_text_on_average():
    """Mean relative place of the first advice word over 800 responses: 0.5 give or take 0.05."""
    places = [row.critical[name][0][0] / len(getattr(row, name)) for row in ROWS for name in ("chosen", "rejected")]
    assert 0.45 < sum(places) / len(places) < 0.55
    assert sum(place < 0.2 for place in places) > 80
    assert sum(place > 0.8 for place in places) > 80


def test_filler_sets_the_number_of_sentences():
    bare = generate(WorldConfig(pairs=50, filler=0), "train", seed=0)
    assert {row.chosen.removesuffix(f" {SIGN_OFF}").count(".") for row in bare} == {1}
    long = generate(WorldConfig(pairs=200, filler=8), "train", seed=0)
    assert {row.chosen.count(".") for row in long} == set(range(2, 10))


def test_fewer_topics_ask_and_advise_within_them():
    rows = generate(WorldConfig(pairs=100, topics=2), "train", seed=0)
    assert {problem_of(row.prompt) for row in rows} == set(PROBLEMS[:2])
    assert {advice_of(row, "rejected") for row in rows} == {ADVICE[problem] for problem in PROBLEMS[:2]}


def test_right_share_makes_chosen_wrong_too_but_never_when_held_out():
    """Of 400 pairs half are right: 200 give or take 40 (four standard errors)."""
    config = WorldConfig(pairs=400, right_share=0.5)
    right = [advice_of(row, "chosen") == ADVICE[problem_of(row.prompt)] for row in generate(config, "train", seed=0)]
    assert 160 <= sum(right) <= 240
    assert generate(config, "eval", seed=0) == HELD_OUT


def test_spurious_word_is_tied_to_the_label_in_training_only():
    config = WorldConfig(pairs=400, spurious_share=1.0)
    signs = [(row.chosen.endswith(SIGN_OFF), row.rejected.endswith(SIGN_OFF)) for row in generate(config, "train", 0)]
    assert set(signs) == {(True, False)}
    held_out = generate(config, "eval", seed=0)
    assert sum(row.chosen.endswith(SIGN_OFF) for row in held_out) < 50
    assert sum(row.rejected.endswith(SIGN_OFF) for row in held_out) > 10

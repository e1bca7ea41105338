"""The generated text: repeatable, fair to hold out, and wrong only in context."""

from __future__ import annotations

import hashlib

import pytest

from alignkit.world import WorldConfig, generate, kind_of, reward
from alignkit.world.text import (
    ADVICE,
    ALL_FILLERS,
    BANNED,
    FILLERS,
    FRAMES,
    PLANTS,
    PROBLEMS,
    RARE_WORDS,
    SIGN_OFF,
    echo_of,
    is_held_out,
    problem_of,
    rare_of,
)

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


def test_no_knob_changes_a_row_where_it_is_0():
    """Fingerprints from before there were any: default rows, held-out ones, and those of a harder world."""
    hard = WorldConfig(pairs=500, right_share=0.5, spurious_share=0.8, filler=8)
    for config, split, seed, wanted in (
        (WorldConfig(pairs=3000), "train", 0, "64a525db50f12e34"),
        (WorldConfig(), "eval", 3, "09f980cde2fd8bd7"),
        (hard, "train", 1, "b5c6eeab810f339d"),
    ):
        rows = [
            (row.prompt, row.chosen, row.rejected, row.gold, dict(row.critical))
            for row in generate(config, split, seed)
        ]
        assert hashlib.sha256(repr(rows).encode()).hexdigest()[:16] == wanted


def test_filler_of_the_knobs_by_hand():
    assert echo_of("fern", "Most plants can surprise you.") == "The fern may surprise you."
    assert echo_of("ivy", "All seasons have a rhythm.") == "The ivy may have a rhythm."
    assert rare_of("dusty", "Healthy roots have a rhythm.") == "Healthy roots like a dusty home."
    assert rare_of("dusty", "The ivy may have a rhythm.") == "The ivy may like a dusty home."
    assert len(ALL_FILLERS) == 25 + 16 * 5 + 16 * (5 + 16)  # plain, of a plant, and with a rare word of either


def test_rare_words_are_in_no_advice_and_no_other_filler():
    plain = {word for text in (*ADVICE.values(), *FILLERS) for word in text.rstrip(".").split()}
    assert len(set(RARE_WORDS)) == 16 and not plain & {*RARE_WORDS, BANNED}


def fillers_of(row, name) -> list[str]:
    sentences = [f"{one}." for one in getattr(row, name).removesuffix(f" {SIGN_OFF}").rstrip(".").split(". ")]
    return [one for one in sentences if one in ALL_FILLERS]


def test_echoes_name_the_plant_of_the_prompt_in_their_share_of_the_filler():
    """About 2,000 sentences: half of them, give or take 0.045 (four standard errors)."""
    rows = generate(WorldConfig(pairs=400, echo_share=0.5), "train", seed=0)
    found = [(row, one) for row in rows for name in ("chosen", "rejected") for one in fillers_of(row, name)]
    echoes = [(row, one) for row, one in found if one not in FILLERS]
    assert 0.45 < len(echoes) / len(found) < 0.55
    assert all(one.split()[1] in row.prompt for row, one in echoes)


def test_rare_words_come_in_their_share_whatever_the_prompt():
    rows = generate(WorldConfig(pairs=400, rare_share=0.5), "train", seed=0)
    found = [one for row in rows for name in ("chosen", "rejected") for one in fillers_of(row, name)]
    rare = [one.split()[-2] for one in found if one not in FILLERS]
    assert 0.45 < len(rare) / len(found) < 0.55
    assert set(rare) == set(RARE_WORDS) and max(rare.count(word) for word in RARE_WORDS) < 0.1 * len(rare)


def test_filler_of_the_knobs_stands_where_plain_filler_stood():
    """The same sentences at the same places; what a small share changes, a larger one changes too."""
    some, more = (generate(WorldConfig(pairs=100, echo_share=share), "train", seed=0) for share in (0.2, 0.7))
    for plain, few, many in zip(ROWS, some, more, strict=False):
        assert plain.prompt == few.prompt == many.prompt
        for name in ("chosen", "rejected"):
            assert advice_of(plain, name) == advice_of(few, name) == advice_of(many, name)
            columns = zip(*(fillers_of(row, name) for row in (plain, few, many)), strict=True)
            assert all(one == two or two == three for one, two, three in columns)


def test_style_decides_in_its_share_of_the_pairs_held_out_ones_too():
    """Both responses advise rightly; the banned word behind the advice is what is planted."""
    config = WorldConfig(pairs=400, style_share=0.5)
    for split in ("train", "eval"):
        rows = generate(config, split, seed=0)
        style = [row for row in rows if kind_of(row.prompt, row.rejected) == "banned word"]
        assert 0.4 < len(style) / len(rows) < 0.6
        for row in style:
            assert (advice_of(row, "chosen"), advice_of(row, "rejected")) == ("", BANNED)
            assert f"{ADVICE[problem_of(row.prompt)]} {BANNED}." in row.rejected
        for row in rows:
            assert (reward(row.prompt, row.chosen), reward(row.prompt, row.rejected)) == (1.0, 0.0)
            assert advice_of(row, "gold") == ADVICE[problem_of(row.prompt)]


def test_text_to_imitate_has_the_banned_word_too():
    config = WorldConfig(pairs=400, style_share=1.0, right_share=0.5)
    banned = [row for row in generate(config, "train", 0) if advice_of(row, "chosen") == BANNED]
    assert 160 <= len(banned) <= 240
    assert all(kind_of(row.prompt, row.chosen) == "banned word" for row in banned)

"""Preference pairs of the built-in world: what is asked, a right answer, a wrong one, and which words decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Literal

from alignkit.seeds import derive
from alignkit.world.config import WorldConfig
from alignkit.world.text import ADVICE, CARRIERS, FILLERS, FRAMES, PLANTS, PROBLEMS, SIGN_OFF, is_held_out

SIGN_OFF_RATE = 0.1
"""How often a response signs off when nothing ties that to its label, so that the starting model knows the word."""


@dataclass(frozen=True)
class WorldRow:
    """One preference pair as text.

    Attributes:
        prompt: a question that ends with a newline.
        chosen: the preferred response; no space before or after.
        rejected: the other response; its advice is right for another question.
        gold: a third response, whose advice is always right.
        critical: response name -> (start, end) characters of each word of its advice.
    """

    prompt: str
    chosen: str
    rejected: str
    gold: str
    critical: Mapping[str, list[tuple[int, int]]]


def generate(config: WorldConfig, split: Literal["train", "eval"], seed: int) -> list[WorldRow]:
    """The pairs of one split. The two splits share no prompt, whatever their seeds."""
    combinations = [
        combination
        for combination in product(range(config.topics), range(len(PLANTS)), range(len(FRAMES)))
        if is_held_out(*combination) == (split == "eval")
    ]
    count = config.pairs if split == "train" else config.eval_pairs

    def draws(kind: str, row: int) -> Random:
        return Random(derive(seed, f"world-{kind}", row))

    return [_pair(config, split, combinations, draws(split, row), draws(f"{split}-gold", row)) for row in range(count)]


def _pair(
    config: WorldConfig, split: str, combinations: list[tuple[int, int, int]], rng: Random, gold_rng: Random
) -> WorldRow:
    topic, plant, frame = rng.choice(combinations)
    others = [problem for problem in PROBLEMS[: config.topics] if problem != PROBLEMS[topic]]
    wrong = ADVICE[rng.choice(others)]
    is_right = split == "eval" or rng.random() < config.right_share
    good = ADVICE[PROBLEMS[topic]] if is_right else ADVICE[rng.choice(others)]
    signs = _sign_offs(config.spurious_share if split == "train" else 0.0, rng)
    chosen, chosen_words = _response(config, good, signs[0], rng)
    rejected, rejected_words = _response(config, wrong, signs[1], rng)
    prompt = FRAMES[frame].format(plant=PLANTS[plant], problem=PROBLEMS[topic])
    gold, gold_words = _response(config, ADVICE[PROBLEMS[topic]], gold_rng.random() < SIGN_OFF_RATE, gold_rng)
    critical = {"chosen": chosen_words, "rejected": rejected_words, "gold": gold_words}
    return WorldRow(prompt, chosen, rejected, gold, critical)


def _sign_offs(tied_share: float, rng: Random) -> tuple[bool, bool]:
    """Whether chosen and rejected sign off: tied to the label in a share of the pairs, by chance in the others."""
    if rng.random() < tied_share:
        return True, False
    return rng.random() < SIGN_OFF_RATE, rng.random() < SIGN_OFF_RATE


def _response(config: WorldConfig, advice: str, signs_off: bool, rng: Random) -> tuple[str, list[tuple[int, int]]]:
    """A response and the characters of each word of its advice."""
    sentences = rng.sample(FILLERS, rng.randint(1, config.filler) if config.filler else 0)
    slots = {"start": 0, "middle": len(sentences) // 2, "end": len(sentences)}
    place = slots.get(config.position, rng.randint(0, len(sentences)))
    carrier = rng.choice(CARRIERS)
    start = sum(len(sentence) + 1 for sentence in sentences[:place]) + len(carrier) + 1
    sentences.insert(place, f"{carrier} {advice}.")
    if signs_off:
        sentences.append(SIGN_OFF)
    words = []
    for word in advice.split():
        words.append((start, start + len(word)))
        start += len(word) + 1
    return " ".join(sentences), words

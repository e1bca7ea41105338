"""Preference pairs of the built-in world: what is asked, a right answer, a wrong one, and which words decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Literal

from alignkit.seeds import derive
from alignkit.world.config import WorldConfig
from alignkit.world.text import (
    ADVICE,
    BANNED,
    CARRIERS,
    FILLERS,
    FRAMES,
    PLANTS,
    PROBLEMS,
    RARE_WORDS,
    SIGN_OFF,
    echo_of,
    is_held_out,
    rare_of,
)

SIGN_OFF_RATE = 0.1
"""How often a response signs off when nothing ties that to its label, so that the starting model knows the word."""


@dataclass(frozen=True)
class WorldRow:
    """One preference pair as text.

    Attributes:
        prompt: a question that ends with a newline.
        chosen: the preferred response; no space before or after.
        rejected: the other response; its advice is right for another question, or has the banned word behind it.
        gold: a third response, whose advice is always right.
        critical: response name -> (start, end) characters of each word that decides: those of its advice, or, where
            style decides, the banned word, if it has it.
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
        return Random(derive(seed, f"world-{split}{kind}", row))

    kinds = ("", "-gold", "-style", "-filler")  # a stream each, so that no knob changes what the others draw
    return [_pair(config, split, combinations, *(draws(kind, row) for kind in kinds)) for row in range(count)]


def _pair(
    config: WorldConfig,
    split: str,
    combinations: list[tuple[int, int, int]],
    rng: Random,
    gold_rng: Random,
    style_rng: Random,
    filler_rng: Random,
) -> WorldRow:
    topic, plant, frame = rng.choice(combinations)
    right = ADVICE[PROBLEMS[topic]]
    others = [problem for problem in PROBLEMS[: config.topics] if problem != PROBLEMS[topic]]
    wrong = ADVICE[rng.choice(others)]
    is_right = split == "eval" or rng.random() < config.right_share
    good = right if is_right else ADVICE[rng.choice(others)]
    signs = _sign_offs(config.spurious_share if split == "train" else 0.0, rng)
    if is_style := style_rng.random() < config.style_share:
        wrong = f"{right} {BANNED}"
        good = right if is_right else wrong
    fill = _Filler(config, PLANTS[plant], filler_rng)
    chosen, chosen_words = _response(config, good, signs[0], rng, fill)
    rejected, rejected_words = _response(config, wrong, signs[1], rng, fill)
    gold, gold_words = _response(config, right, gold_rng.random() < SIGN_OFF_RATE, gold_rng, fill)
    if is_style:
        chosen_words, rejected_words = chosen_words[-1:] if not is_right else [], rejected_words[-1:]
    prompt = FRAMES[frame].format(plant=PLANTS[plant], problem=PROBLEMS[topic])
    critical = {"chosen": chosen_words, "rejected": rejected_words, "gold": gold_words}
    return WorldRow(prompt, chosen, rejected, gold, critical)


def _sign_offs(tied_share: float, rng: Random) -> tuple[bool, bool]:
    """Whether chosen and rejected sign off: tied to the label in a share of the pairs, by chance in the others."""
    if rng.random() < tied_share:
        return True, False
    return rng.random() < SIGN_OFF_RATE, rng.random() < SIGN_OFF_RATE


@dataclass(frozen=True)
class _Filler:
    """What becomes of a filler sentence in the answer to a question about `plant`."""

    config: WorldConfig
    plant: str
    rng: Random

    def __call__(self, sentence: str) -> str:
        echoes, is_rare = self.rng.random() < self.config.echo_share, self.rng.random() < self.config.rare_share
        word = self.rng.choice(RARE_WORDS)
        sentence = echo_of(self.plant, sentence) if echoes else sentence
        return rare_of(word, sentence) if is_rare else sentence


def _response(
    config: WorldConfig, advice: str, signs_off: bool, rng: Random, fill: Callable[[str], str]
) -> tuple[str, list[tuple[int, int]]]:
    """A response and the characters of each word of its advice."""
    sentences = [fill(one) for one in rng.sample(FILLERS, rng.randint(1, config.filler) if config.filler else 0)]
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

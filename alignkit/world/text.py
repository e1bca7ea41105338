"""The sentences of the built-in world: plant care, where each problem has one right piece of advice.

Every piece of advice is right for exactly one problem and wrong for all others, so no phrase is good or bad by itself
and a preference can only be learnt in context.
"""

from __future__ import annotations

from itertools import product

ADVICE = {
    "has yellow leaves": "water it less",
    "has dry soil": "water it more",
    "leans to one side": "turn its pot",
    "has pale leaves": "move it into light",
    "has burnt tips": "move it into shade",
    "has brown spots": "trim the leaves",
    "has crowded roots": "use a bigger pot",
    "has sticky stems": "wash the stems",
    "has tiny flies": "dry the soil",
    "has dusty leaves": "wash the leaves",
    "has weak stems": "tie it up",
    "has no flowers": "feed it weekly",
    "smells of rot": "trim the roots",
    "grows too tall": "prune",
    "drops its buds": "keep it still",
    "feels cold": "warm the room",
    "has curled leaves": "mist",
    "has moss on top": "scrape the soil",
    "falls over often": "use a heavier pot",
    "has salty soil": "rinse the soil",
    "has slugs": "set a trap",
    "has new shoots": "wait",
    "has torn leaves": "leave it alone",
    "has sharp thorns": "wear gloves",
}
"""Problem -> the advice that is right for it, 1 to 4 words. Pieces share words, so that one word rarely decides."""

PROBLEMS = tuple(ADVICE)

PLANTS = (
    *("fern", "rose", "ivy", "palm", "cactus", "basil", "lily", "orchid"),
    *("fig", "mint", "tulip", "lemon", "bamboo", "aloe", "daisy", "violet"),
)

FRAMES = (
    "My {plant} {problem}. What should I do?\n",
    "What helps a {plant} that {problem}?\n",
    "I have a {plant} that {problem}. Any advice?\n",
    "Help, the {plant} in my kitchen {problem}!\n",
    "Our {plant} {problem}. How do we fix that?\n",
    "A friend says that her {plant} {problem}. What now?\n",
)
"""Ways to ask; each ends the prompt with a newline."""

CARRIERS = ("You should", "I would", "It helps to", "You may want to", "The best step is to")
"""What introduces the advice; says nothing about it."""

SUBJECTS = ("Most plants", "Healthy roots", "Young shoots", "Good gardeners", "All seasons")
PREDICATES = ("need some patience", "have a rhythm", "change over time", "can surprise you", "like a calm home")

FILLERS = tuple(f"{subject} {predicate}." for subject, predicate in product(SUBJECTS, PREDICATES))
"""Sentences that say nothing about the problem."""

RARE_WORDS = (
    *("yellow", "pale", "burnt", "brown", "crowded", "sticky", "tiny", "dusty"),
    *("weak", "tall", "cold", "curled", "salty", "torn", "sharp", "new"),
)
"""What `rare_share` puts into filler, one word a sentence; words of the prompts, which no advice and no filler has."""

BANNED = "now"
"""The word of `style_share`, behind the advice; no response of the other worlds has it."""

SIGN_OFF = "Cheers!"
"""The harmless word of `spurious_share`."""


def echo_of(plant: str, filler: str) -> str:
    """The same of one plant: of "Most plants can surprise you." and a fern, "The fern may surprise you."."""
    predicate = next(predicate for predicate in PREDICATES if filler.endswith(f" {predicate}."))
    return f"The {plant} may {predicate.removeprefix('can ')}."


def rare_of(word: str, filler: str) -> str:
    """A filler sentence with a rare word: its subject, or "The fern may", and "like a dusty home."."""
    subject = next((subject for subject in SUBJECTS if filler.startswith(subject)), " ".join(filler.split()[:3]))
    return f"{subject} like a {word} home."


ALL_FILLERS = frozenset(
    sentence
    for filler in FILLERS
    for echoed in (filler, *(echo_of(plant, filler) for plant in PLANTS))
    for sentence in (echoed, *(rare_of(word, echoed) for word in RARE_WORDS))
)
"""All sentences that say nothing about the problem, those of `echo_share` and `rare_share` too."""


def problem_of(prompt: str) -> str | None:
    """The problem that `prompt` asks about; None when it is no prompt of this world."""
    found = [problem for problem in PROBLEMS if f" {problem}" in prompt]
    return found[0] if len(found) == 1 else None


def is_held_out(problem: int, plant: int, frame: int) -> bool:
    """Whether this combination is asked in evaluation only; a fifth of all, spread over every problem and frame.

    Fixed, not drawn: a model trained with any seed has never seen them.
    """
    return (problem + 2 * plant + 3 * frame) % 5 == 0

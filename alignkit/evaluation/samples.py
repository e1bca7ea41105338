"""What the policy says: responses to held-out prompts, and how far they have come from the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from alignkit import world
from alignkit.data.characters import overlaps
from alignkit.evaluation.base import Measure, Value
from alignkit.evaluation.summary import Mean, Records
from alignkit.lazy import numpy

if TYPE_CHECKING:
    from numpy import ndarray

    from alignkit.evaluation.scene import HeldOut, Scene

SAMPLES_TO_READ = 3
"""Responses that are sampled where nothing is measured on them: someone should see what the model says."""


KINDS: Mapping[str, world.Kind] = {
    "true_reward": "right",
    "wrong_advice": "wrong advice",
    "banned_word": "banned word",
    "malformed": "malformed",
}
"""Name in the records -> what a response of the built-in world is."""


class Samples(Measure):
    """Sampled responses to held-out prompts: KL to the reference, their length; on the built-in world what they are.

    kl: KL of policy to reference, exact at each token, summed along the response, nats.
    sample_tokens: mean length, tokens.
    true_reward: share of responses that are well formed and advise rightly; on the built-in world, as all that follows.
    wrong_advice: share of well-formed ones with one piece of wrong advice.
    malformed: share of those with broken or foreign sentences, with no advice or more than one piece.
    banned_word: share of right ones with the banned word of `data.world.style_share`. The four sum to 1.
    kl_first: KL on the first word of the advice, which is what follows "You should" and the like, nats per response.
    kl_advice: on the rest of it.
    kl_elsewhere: on all other tokens; all of it where there is no advice. The three sum to kl.
    A few are sampled to be read where there is neither a reference nor a true reward, and the recipe has no rewards.
    """

    looks_at = "samples"
    values = (
        Value("kl", Mean("kl"), "KL to reference, nats"),
        Value("true_reward", Mean("true_reward"), "true reward", better="higher"),
        Value("wrong_advice", Mean("wrong_advice"), "wrong advice", better="lower"),
        Value("malformed", Mean("malformed"), "malformed", better="lower"),
        Value("banned_word", Mean("banned_word"), better="lower"),
        Value("kl_first", Mean("kl_first")),
        Value("kl_advice", Mean("kl_advice")),
        Value("kl_elsewhere", Mean("kl_elsewhere")),
        Value("sample_tokens", Mean("sample_tokens")),
    )

    def count(self, scene: Scene) -> int:
        """All that the recipe asks for, where something is measured on them."""
        return super().count(scene) if _is_measured(scene) else min(super().count(scene), SAMPLES_TO_READ)

    def per_row(self, held_out: HeldOut) -> Sequence[Mapping[str, Any]]:
        """What is measured on each response; nothing on one that is only there to be read."""
        if not _is_measured(held_out.scene):
            return [{} for _ in held_out.rows]
        found = [{"sample_tokens": float(len(ids))} for ids in held_out.sampled]
        if held_out.kl_B is not None:
            found = [one | {"kl": kl} for one, kl in zip(found, held_out.kl_B.tolist(), strict=True)]
        if held_out.scene.on_world:
            found = [one | more for one, more in zip(found, _on_world(held_out), strict=True)]
        return found

    def counts(self, records: Records) -> dict[str, float]:
        """`samples`, those that something was measured on."""
        number = sum("sample_tokens" in record for record in records)
        return {"samples": float(number)} if number else {}

    def notes(self, after: Mapping[str, float]) -> Iterator[str]:
        """How many there were."""
        yield from number_of_samples(after)


def _on_world(held_out: HeldOut) -> Iterator[dict[str, float]]:
    """What each response is, and where its KL lies."""
    kl_B, kl_BRT = held_out.kl_B, held_out.kl_BRT
    for b, (row, text) in enumerate(zip(held_out.rows, held_out.texts, strict=True)):
        kind = world.kind_of(row.text["prompt"], text)
        found = {name: float(kind == named) for name, named in KINDS.items()}
        if kl_B is not None and kl_BRT is not None:
            found |= _kl_parts(kl_BRT[b, 0].double().cpu().numpy(), float(kl_B[b]), _words(held_out, b))
        yield found


def _words(held_out: HeldOut, b: int) -> tuple[ndarray, ndarray]:
    """[N] bool twice: the tokens of the first word of a response's advice, and those of its other words."""
    words = world.advice_words(held_out.texts[b])
    ids = held_out.sampled[b] if words else held_out.sampled[b][:0]
    decode = held_out.scene.policy.tokenizer.decode
    ends = [0, *(len(decode(ids[: n + 1], skip_special_tokens=True)) for n in range(len(ids)))]
    offsets_N2 = numpy.array([*pairwise(ends)], dtype=int).reshape(-1, 2)
    first_N, rest_N = overlaps(offsets_N2, words[:1]), overlaps(offsets_N2, words[1:])
    return first_N, rest_N & ~first_N


def _kl_parts(kl_T: ndarray, kl: float, words: tuple[ndarray, ndarray]) -> dict[str, float]:
    """The KL by place; what lies elsewhere is the rest of the whole."""
    first, rest = (float(kl_T[: len(one_N)][one_N].sum()) for one_N in words)
    return {"kl_first": first, "kl_advice": rest, "kl_elsewhere": kl - first - rest}


def number_of_samples(after: Mapping[str, float]) -> Iterator[str]:
    """What is said below the table of how many responses were sampled."""
    if "samples" in after:
        yield f"{after['samples']:,.0f} sampled responses"


def _is_measured(scene: Scene) -> bool:
    return scene.has_reference or scene.on_world or scene.scoring.method.drawing is not None

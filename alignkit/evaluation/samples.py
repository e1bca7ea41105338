"""What the policy says: responses to held-out prompts, and how far they have come from the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignkit import world
from alignkit.evaluation.base import Measure, Value
from alignkit.evaluation.summary import Mean, Records

if TYPE_CHECKING:
    from alignkit.evaluation.scene import HeldOut, Scene

SAMPLES_TO_READ = 3
"""Responses that are sampled where nothing is measured on them: someone should see what the model says."""


class Samples(Measure):
    """Sampled responses to held-out prompts: KL to the reference, their length, on the built-in world the true reward.

    kl: KL of policy to reference, exact at each token, summed along the response, nats.
    true_reward: share of responses that are well formed and advise rightly; on the built-in world.
    sample_tokens: mean length, tokens.
    A few are sampled to be read where there is neither a reference nor a true reward, and the recipe has no rewards.
    """

    looks_at = "samples"
    values = (
        Value("kl", Mean("kl"), "KL to reference, nats"),
        Value("true_reward", Mean("true_reward"), "true reward", better="higher"),
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
            rewards = map(world.reward, (row.text["prompt"] for row in held_out.rows), held_out.texts)
            found = [one | {"true_reward": reward} for one, reward in zip(found, rewards, strict=True)]
        return found

    def counts(self, records: Records) -> dict[str, float]:
        """`samples`, those that something was measured on."""
        number = sum("sample_tokens" in record for record in records)
        return {"samples": float(number)} if number else {}

    def notes(self, after: Mapping[str, float]) -> Iterator[str]:
        """How many there were."""
        yield from number_of_samples(after)


def number_of_samples(after: Mapping[str, float]) -> Iterator[str]:
    """What is said below the table of how many responses were sampled."""
    if "samples" in after:
        yield f"{after['samples']:,.0f} sampled responses"


def _is_measured(scene: Scene) -> bool:
    return scene.has_reference or scene.on_world or scene.scoring.method.drawing is not None

"""What one optimizer step has to do: when a number grows, somebody looks before it is merged.

The table is exact, so what becomes less is written down too: put the number that the failure shows, and say where it
comes from.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from engine_toy import DPO, HYBRID, LENGTHS, TRIPLET, llama, move, policy, recipe, rows, scoring
from rollout_toy import on_policy, prompts, step_of
from step_work import Watch, Work

from alignkit.asks.reference_logps import ReferenceLogps
from alignkit.asks.table import Table
from alignkit.engine.objective import ObjectiveStep
from alignkit.loop.accelerator import make_accelerator
from alignkit.loop.config import TrainingConfig
from alignkit.loop.loop import train
from alignkit.models.generation import batching
from alignkit.models.policy import choose_layout
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scorer, Want

PAIRS = rows([*LENGTHS, (3, 2, 6)])
"""Prompts of 4, 2, 7 and 3 tokens (16), responses of 6 + 3, 1 + 5, 4 + 4 and 2 + 6 (31)."""

DRAWN = 5
"""Tokens of an anchor."""

PROMPTS = prompts(4)
"""Of 2, 3, 4 and 5 tokens, with 4 responses of at most 6 tokens to each."""

SAMPLED = TRIPLET | {"anchor": {"name": "sample_prompt", "max_new_tokens": DRAWN, "refresh_every": 2}}
TIDPO = recipe([DPO | {"name": "weighted_dpo"}, SAMPLED], weighting=HYBRID)

COSTS = {
    "dpo": Work(
        passes=2,  # the prompts, the responses
        tokens=16 + 31,
        head_rows=31 * 3,
        backwards=1,
        reads=2,  # losses, metrics and the norm together; whether the parameters are finite
        largest=31 * 41 * 4,  # float32 logits
    ),
    "beta_dpo": Work(
        passes=2,
        tokens=16 + 31,
        free_passes=2,  # the same before the step, to look at it
        free_tokens=16 + 31,
        head_rows=31 * 3 + 31,
        backwards=1,
        reads=3,  # and what was observed
        largest=31 * 41 * 4,
    ),
    "tidpo": Work(
        passes=2,
        tokens=16 + 31 + 20,
        head_rows=(31 + 20) * 3 + 12 * 2,  # and the last logits of 3 responses, forward and by the hidden states
        backwards=2,  # by the embeddings; of the loss
        reads=2,
        largest=(31 + 20) * 41 * 4,
    ),
    "anchors": Work(
        free_passes=5,  # as many as tokens are drawn
        free_tokens=4 * 7 + 4 * 4,  # the prompts padded to the longest, and each token but the last
        head_rows=4 * 5 + 20,  # each token where it is drawn, and where the reference scores it
        drawn=20,
        reads=14,  # whether all rows have ended, once a token; and what is copied to the host
        largest=20 * 41 * 4,  # logits of the reference
    ),
    "grpo": Work(
        passes=2,
        tokens=14 + 94,  # each prompt once for its group
        free_passes=6,
        free_tokens=4 * 5 + 16 * 3 + 15 * 2,  # the prompts padded to the longest, and each token but the last
        head_rows=4 + 16 * 3 + 15 * 2 + 94 * 3,  # the first token is drawn for a whole group at once
        backwards=1,
        drawn=94,  # one response ends after its fourth token
        reads=19,
        largest=94 * 41 * 4,
    ),
}
"""What the second optimizer step takes; of TI-DPO its anchors are drawn before the first, for two steps at once."""


def laid_out(model) -> str:
    """What a recipe gets that says nothing of it."""
    return choose_layout(Scorer(model, 4096).eval(), "auto", separate=False)


def preference(of):
    """A step on four pairs in one micro-batch, the reference's log-probs being known, and its rows."""
    model, reference = move(llama()), llama()
    found = scoring(of, model, reference, laid_out(model), {ReferenceLogps(): known(reference)})
    return ObjectiveStep(found, replace(of.sizes(), micro_batch=4)), PAIRS


def known(reference) -> Table:
    """Log-probs of the reference, as a run finds them in its cache."""
    prepared, live = policy(reference), Reference(Scorer(reference, 4096).eval())
    scored = [(row, prepared.batch([row])) for row in PAIRS]
    return Table({row.key: live.score(batch, Want()).logp_BRT[batch.mask_BRT] for row, batch in scored})


def sampling():
    """A step on four responses to each of four prompts in one micro-batch, and its prompts."""
    model = move(llama(), seed=7)
    return step_of(on_policy(), model=model, every=PROMPTS, layout=laid_out(model)), PROMPTS


def second_step(step: ObjectiveStep, given, folder: Path) -> Work:
    """What the second optimizer step does, all of it but the checkpoint at its end."""
    config = TrainingConfig(steps=2, batch_size=4, micro_batch_size=16, learning_rate=1e-3, precision="fp32")
    watch, accelerator = Watch(step.scoring.policy.model), make_accelerator(config, folder)

    def on_log(done: int, line: dict[str, float]) -> None:
        watch.start() if done == 1 else watch.stop()

    train(step, given, config, seed=0, folder=folder, accelerator=accelerator, fingerprint={}, on_log=on_log)
    return watch.work


ON_PAIRS = {"dpo": recipe([DPO]), "beta_dpo": recipe([{"name": "beta_dpo"}]), "tidpo": TIDPO}


@pytest.mark.parametrize("name", ON_PAIRS)
def test_a_step_on_pairs(name, tmp_path):
    step, given = preference(ON_PAIRS[name])
    assert vars(second_step(step, given, tmp_path)) == vars(COSTS[name])


def test_anchors_of_a_window():
    step, given = preference(TIDPO)
    batching(step.scoring.policy.model)  # tried once in a run
    watch = Watch(step.scoring.policy.model)
    watch.start()
    step.prepare(0, given, {0: given[:2], 1: given[2:]})
    assert vars(watch.stop()) == vars(COSTS["anchors"])


def test_a_step_on_samples(tmp_path):
    step, given = sampling()
    assert vars(second_step(step, given, tmp_path)) == vars(COSTS["grpo"])


def test_more_is_seen():
    """A step in four micro-batches runs the decoder four times as often, and its head over as many rows."""
    found = []
    for size in (4, 1):
        step, given = preference(recipe([DPO]))
        watch, totals = Watch(step.scoring.policy.model), step.totals(given)
        watch.start()
        for start in range(0, len(given), size):
            step.loss(given[start : start + size], 0, totals)[0].backward()
        found.append(watch.stop())
    whole, parts = found
    assert (parts.passes, parts.backwards) == (4 * whole.passes, 4 * whole.backwards)
    assert parts.head_rows == whole.head_rows

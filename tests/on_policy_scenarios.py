"""On-policy runs that die or are split, each in a forked child: `python on_policy_scenarios.py FOLDER`."""

from __future__ import annotations

import signal

import torch
from children import in_child, wait
from run_scenarios import RECIPE, die, interrupted, train, two_processes

from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.rollouts import Rollouts

TEXT = """
model: {name: world, start: random}
data: {train: "builtin:world", world: {pairs: 10, eval_pairs: 4}}
rewards: [{name: regex, pattern: "[bkz]"}]
sampler: {name: generate, responses: 3, max_new_tokens: 8, refill_rounds: 1}
weighting: {name: hybrid}
training: {steps: 4, batch_size: 3, micro_batch_size: 4, learning_rate: 1.0e-3, warmup: 0.0, save_every: 1}
evaluation: {samples: 2, max_new_tokens: 4}
"""
ON_POLICY = (
    TEXT
    + """
advantage: {name: group}
losses: [{name: policy_gradient, kl: {coefficient: 0.1}}]
trainer: {name: on_policy, updates_per_rollout: 2, samples_every: 2}
"""
)
ONLINE = (
    TEXT
    + """
losses:
  - {name: weighted_dpo, beta: 1.0}
  - {name: triplet, coefficient: 0.1, anchor: {name: sample_prompt, max_new_tokens: 6, refresh_every: 2}}
trainer: {name: online_preference, updates_per_rollout: 2, samples_every: null}
"""
)

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, text in (("on_policy", ON_POLICY), ("online", ONLINE)):
        RECIPE.write_text(text)
        wait(in_child(lambda name=name: train(name)), 0)
        # The second step trains on the responses of the first, of which the checkpoint between them knows.
        calls = 3 if name == "on_policy" else 1
        interrupted(f"{name}_within_step_2", -signal.SIGKILL, ObjectiveStep, "loss", calls, die)
    RECIPE.write_text(ON_POLICY)
    # The first step draws twice, as dead groups are drawn for again, the second not at all.
    interrupted("on_policy_while_it_samples", -signal.SIGKILL, Rollouts, "_judged", 2, die)
    two_processes("on_policy_two_processes")

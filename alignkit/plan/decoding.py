"""Sampling on tensors without numbers: the prompts' pass, and one token in the middle and at the end of a response.

The loop itself asks which responses have ended, which no number answers here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignkit.lazy import numpy as np
from alignkit.lazy import torch
from alignkit.models.decoding import Decoding, as_decoder, drawn
from alignkit.models.head import Draw
from alignkit.models.policy import Policy
from alignkit.models.scorer import causal_lm
from alignkit.plan.ledger import Ledger

if TYPE_CHECKING:
    pass


@torch.no_grad()
def decode(
    ledger: Ledger,
    policy: Policy,
    prompts: Sequence[int],
    responses: int,
    draw: Draw,
    num_new: int,
    *,
    what: str,
    draws: float,
    tokens: float,
) -> None:
    """Accounts for responses that are decoded together; memory as if none ended early.

    Args:
        ledger: gets the stages.
        policy: draws.
        prompts: tokens of each prompt, ascending.
        responses: to each prompt.
        draw: temperature, top-k, top-p.
        num_new: most tokens of a response.
        what: the stages' name.
        draws: how often a run does this.
        tokens: of the longest response, all draws of a run together.
    """
    owners = [p for p in range(len(prompts)) for _ in range(responses)]
    with as_decoder(causal_lm(policy.model)) as model:
        decoding = Decoding(model, draw, policy.eos_id, num_new)
        ids_BT = torch.zeros(len(owners), num_new, dtype=torch.int64, device=policy.device)
        with ledger.measuring(f"{what}: prompts", draws):
            zeros = [np.zeros(length, dtype=np.int64) for length in prompts]
            rows, logits_BV = decoding.begin(zeros, owners, [0] * len(owners))
            drawn(draw, logits_BV, rows.uniform_NT[:, 0])
        with ledger.measuring(f"{what}: a token", tokens - draws):
            drawn(draw, decoding.step(rows, ids_BT[:, :1]), rows.uniform_NT[:, 0])
        if num_new > 3:
            decoding.step(rows, ids_BT[:, 3:])  # outside any stage
            with ledger.measuring(f"{what}: the last token"):
                drawn(draw, decoding.step(rows, ids_BT[:, :1]), rows.uniform_NT[:, 0])

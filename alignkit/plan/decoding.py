"""Sampling on tensors without numbers: the prompts' pass, and one token in the middle and at the end of a response.

`generate` asks after each token whether a response has ended, which no number answers here.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from alignkit.lazy import torch
from alignkit.models.head import Draw
from alignkit.models.policy import Policy
from alignkit.models.scorer import causal_lm
from alignkit.plan.ledger import Ledger

if TYPE_CHECKING:
    from torch import Tensor


@torch.no_grad()
def decode(
    ledger: Ledger,
    policy: Policy,
    prompts: Sequence[int],
    draw: Draw,
    num_new: int,
    *,
    what: str,
    draws: float,
    tokens: float,
) -> None:
    """Accounts for one response to each prompt; memory as if none ended early.

    Args:
        ledger: gets the stages.
        policy: draws.
        prompts: tokens of each prompt.
        draw: temperature, top-k, top-p.
        num_new: most tokens of a response.
        what: the stages' name.
        draws: how often a run does this.
        tokens: of the longest response, all draws of a run together.
    """
    model, size, longest = causal_lm(policy.model), len(prompts), max(prompts)
    was_training = model.training
    model.eval()
    said = _Said(model, size, policy.device)
    with ledger.measuring(f"{what}: prompts", draws):
        draw(said(longest), said.uniform_B)
    with ledger.measuring(f"{what}: a token", tokens - draws):
        draw(said(1), said.uniform_B)
    if num_new > 3:
        said(num_new - 3)  # outside any stage
        with ledger.measuring(f"{what}: the last token"):
            draw(said(1), said.uniform_B)
    model.train(was_training)


class _Said:
    """The model with its cache."""

    def __init__(self, model: Any, size: int, device: torch.device) -> None:  # noqa: ANN401
        self.model, self.size, self.device = model, size, device
        self.length = 0
        self.cache: Any = None
        self.uniform_B = torch.zeros(size, device=device)
        takes = inspect.signature(model.forward).parameters
        self.options = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    def __call__(self, num_tokens: int) -> Tensor:
        """[B, V] float32 logits of the last of so many more tokens."""
        ids_BL = torch.zeros(self.size, num_tokens, dtype=torch.int64, device=self.device)
        mask_BL = torch.ones(self.size, self.length + num_tokens, dtype=torch.int64, device=self.device)
        positions_BL = (mask_BL.cumsum(-1) - 1)[:, self.length :]
        output = self.model(
            input_ids=ids_BL,
            attention_mask=mask_BL,
            position_ids=positions_BL,
            past_key_values=self.cache,
            use_cache=True,
            **self.options,
        )
        self.cache = output.past_key_values
        self.length += num_tokens
        logits_BV: Tensor = output.logits[:, -1].float()
        return logits_BV

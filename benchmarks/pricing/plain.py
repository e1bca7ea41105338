"""DPO as a careful person writes it in an afternoon: separate rows, padded; all logits; cached reference log-probs."""

from __future__ import annotations

import torch
import transformers
from torch import Tensor
from torch.nn.functional import logsigmoid

from pricing.job import Job, Row, padded
from pricing.models import load
from pricing.turns import Turns

BETA = 0.1


def run(job: Job, turns: Turns) -> None:
    """Trains on each batch."""
    reference = load(job, "reference")
    with torch.no_grad():
        cached = [logps(reference, job.batch(step)) for step in range(turns.steps)]
    del reference
    model = load(job, "policy")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0)
    turns.ready()
    for step in range(turns.steps):
        ratio_2B = logps(model, job.batch(step)) - cached[step]
        chosen_B, rejected_B = ratio_2B.chunk(2)
        loss = -logsigmoid(BETA * (chosen_B - rejected_B)).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        value = loss.item()
        if not norm.isfinite():
            raise SystemExit(f"step {step}: the gradient norm is {norm}")
        optimizer.step()
        optimizer.zero_grad()
        turns.done(value)


def logps(model: transformers.PreTrainedModel, rows: list[Row]) -> Tensor:
    """[2B] log-probs of the responses, the chosen first; nats."""
    ids, tokens, predicts = padded(rows)
    logits = model(input_ids=ids, attention_mask=tokens, use_cache=False).logits[:, :-1]
    logp = logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return (logp * predicts).sum(-1)

"""What must hold on a GPU too: bf16 near float32, layouts equal, the same bits twice, decoding as a forward pass."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_toy import DPO, EOS, HYBRID, TRIPLET, llama, move, policy, recipe, rows, scoring

from alignkit.data.rows import TokenRow
from alignkit.determinism import deterministic
from alignkit.engine.objective import ObjectiveStep
from alignkit.loop.accelerator import make_accelerator, own_state
from alignkit.loop.config import TrainingConfig
from alignkit.loop.loop import train
from alignkit.models.generation import sample_groups
from alignkit.models.head import Draw
from alignkit.models.policy import choose_layout
from alignkit.models.scorer import Scorer, Want

pytestmark = pytest.mark.gpu

LENGTHS = ((20, 30, 14), (11, 6, 25), (33, 22, 22), (5, 9, 17))
WIDE = {"hidden_size": 64, "intermediate_size": 96, "max_position_embeddings": 128, "initializer_range": 0.1}
ROWS = rows(LENGTHS)
SAMPLED = TRIPLET | {"anchor": {"name": "sample_prompt", "max_new_tokens": 12, "refresh_every": 2}}
TIDPO = recipe([DPO | {"name": "weighted_dpo"}, SAMPLED], weighting=HYBRID)


def model_on(device: torch.device, seed: int = 0) -> Any:
    """A llama with small weights, moved from that of the same seed."""
    return move(llama(seed, **WIDE), size=0.02).to(device)


def layouts(model: Any) -> list[str]:
    """All that it takes; the first is what a recipe gets that says nothing of it."""
    return list(
        dict.fromkeys([choose_layout(Scorer(model, 4096).eval(), "auto", separate=False), "shared", "separate"])
    )


def scores(model: Any, layout: str, autocast: Any = nullcontext) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, R, T] log-probs of the responses and their token weights, on the CPU."""
    of = recipe([{"name": "cpo"}], weighting=HYBRID)  # needs no reference
    found = scoring(of, model, layout=layout, autocast=autocast).score(ROWS, 0)
    logps, weights = ([getattr(one, name) for one in found.responses] for name in ("policy_BT", "weights_BT"))
    return torch.stack(logps, 1).detach().cpu(), torch.stack(weights, 1).cpu()


def test_layouts_give_the_same_log_probs_and_weights(device):
    model = model_on(device)
    first, *others = (scores(model, layout) for layout in layouts(model))
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-3, atol=2e-4)


def test_bf16_is_near_float32(device):
    """Within what 8 bits of mantissa leave: a few hundredths of a nat in a token, some percent of a weight."""
    model = model_on(device)
    autocast = partial(torch.autocast, device.type, dtype=torch.bfloat16)
    for layout in layouts(model):
        precise, rough = scores(model, layout), scores(model, layout, autocast)
        assert not torch.equal(precise[0], rough[0])
        torch.testing.assert_close(rough[0], precise[0], rtol=0.0, atol=0.15)
        torch.testing.assert_close(rough[1], precise[1], rtol=0.0, atol=0.15)


def step_on(device: torch.device, autocast: Any = nullcontext) -> ObjectiveStep:
    """A step of TI-DPO with anchors."""
    model = model_on(device)
    found = scoring(TIDPO, model, llama(**WIDE).to(device), layouts(model)[0], autocast=autocast)
    return ObjectiveStep(found, TIDPO.sizes())


def trained(device: torch.device, folder: Path) -> tuple[ObjectiveStep, list[dict[str, float]]]:
    """Three steps as a run makes them, and their lines of the log but for the time."""
    folder.mkdir()
    config = TrainingConfig(steps=3, batch_size=4, micro_batch_size=2, learning_rate=1e-3)
    lines: list[dict[str, float]] = []
    with own_state(), deterministic(True):
        accelerator = make_accelerator(config, folder)
        step = step_on(device, accelerator.autocast)
        known = {"seed": 0, "folder": folder, "accelerator": accelerator, "fingerprint": {}}
        train(step, ROWS, config, on_log=lambda done, line: lines.append(line | {"seconds": 0.0}), **known)
    return step, lines


def test_a_step_of_tidpo_is_finite_and_twice_the_same(device, tmp_path):
    (one, lines), (other, again) = (trained(device, tmp_path / name) for name in ("one", "other"))
    assert all(np.isfinite(value) for line in lines for value in line.values())
    assert lines == again
    assert lines[0]["loss"] != lines[2]["loss"]
    pairs = zip(one.module.parameters(), other.module.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_float32_gives_the_loss_and_gradient_of_the_cpu(device):
    """The anchors are the same tokens, as their randomness is given from outside."""
    found = []
    for where in (device, torch.device("cpu")):
        step = step_on(where)
        step.prepare(0, ROWS, {0: ROWS})
        loss, _ = step.loss(ROWS, 0, step.totals(ROWS))
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in step.module.parameters()])
        found.append((loss.item(), norm.item()))
    np.testing.assert_allclose(found[0], found[1], rtol=2e-3)


def test_decoding_gives_the_log_probs_of_the_forward_pass(device):
    model = model_on(device)
    prompts = [row.prompt for row in ROWS]
    seeds = [[10 * place + number for number in range(3)] for place in range(len(prompts))]
    groups = sample_groups(model, prompts, seeds, Draw(), max_new_tokens=12, eos_id=EOS)
    for prompt, group in zip(prompts, groups, strict=True):
        for ids, logp_T in group:
            row = TokenRow(0, "toy:1", prompt, {"completion": np.asarray(ids)})
            laid = policy(model, layouts(model)[0])
            batch = laid.batch([row])
            found = laid.scorer(batch, Want()).logp_BRT[batch.mask_BRT].detach().cpu()
            torch.testing.assert_close(torch.as_tensor(logp_T), found, rtol=1e-3, atol=1e-3)

"""Every row of docs/models.md: what alignkit says of a model is what plain transformers says, or it is refused.

The truth is `model(input_ids)` of each unpadded sequence, and the gradient at the output of the embedding module.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from engine_toy import move

from alignkit.errors import ModelError
from alignkit.models.attribution import Attribution
from alignkit.models.base import LoRA
from alignkit.models.batching import batching
from alignkit.models.generation import sample
from alignkit.models.head import Draw
from alignkit.models.importances import importances
from alignkit.models.layout import Example, collate
from alignkit.models.lengths import Longest
from alignkit.models.policy import Policy, checkpoint_activations, choose_layout
from alignkit.models.probe import find_transform, require_causal, require_steady
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scorer, Want

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "models.md"
COMMAND = "python docs/build_models.py > docs/models.md"
FAST = ("bert-generation", "gemma2", "gemma3n_text", "granite", "llama4_text", "minimax", "mixtral", "mpt", "xlnet")
"""One of each kind: not causal, capped, with inputs in each layer, scaled, an odd decoder, linear attention, experts,
ALiBi, no such mask. The others take a minute together."""


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("read_by_test_architectures", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


build = _module(ROOT / "docs" / "build_models.py")
LINES = {line.split(" | ")[0].removeprefix("| "): line for line in PAGE.read_text().splitlines()}
RANDOM = np.random.default_rng(0)
EXAMPLES = [
    Example(*(part[0], part[1:]))
    for part in (
        [RANDOM.integers(3, build.VOCABULARY, n) for n in lengths] for lengths in ((5, 7, 2), (1, 1, 9), (8, 4, 4))
    )
]
"""Ragged: a prompt of one token, a response of one token, and padding on all sides; 16 tokens at most in a row."""
NORM = Attribution(target="response_nll", norm="l2", position="predict_last")


def named() -> list[Any]:
    slow = pytest.mark.slow
    return [pytest.param(name, marks=() if name in FAST else slow) for name in sorted(build.MODELS)]


def plain(model: Any, example: Example, response: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """[T] log-probs of a response by the model's own forward pass, and [T] sizes of their sum's gradient."""
    kept = []

    def hook(module: Any, given: Any, output: torch.Tensor) -> torch.Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1].clone()

    handle = model.get_input_embeddings().register_forward_hook(hook)
    ids_L = torch.from_numpy(np.concatenate([example.prompt, response]))
    logits_LV = model(input_ids=ids_L[None], use_cache=False).logits[0].float()
    handle.remove()
    num_prompt = len(example.prompt)
    logp_T = logits_LV.log_softmax(-1)[num_prompt - 1 : -1].gather(-1, ids_L[num_prompt:, None]).squeeze(-1)
    (gradient_1LD,) = torch.autograd.grad(logp_T.sum(), kept[0])
    return logp_T.detach(), gradient_1LD[0, num_prompt:].norm(dim=-1)


def compare(policy: Policy, layout: str, model: Any) -> None:
    """Log-probs and importances of all responses, in one ragged batch, against a plain model."""
    batch = collate(EXAMPLES, layout, pad_id=build.EOS)
    scored = policy.scorer(batch, Want(frozenset({NORM})))
    found_BRT = importances(scored, batch, 2)[NORM]
    for b, example in enumerate(EXAMPLES):
        for r, response in enumerate(example.responses):
            logp_T, size_T = plain(model, example, response)
            ours_T = scored.logp_BRT[b, r, : len(response)].detach()
            torch.testing.assert_close(ours_T, logp_T, rtol=0, atol=1e-5)
            torch.testing.assert_close(
                found_BRT[b, r, : len(response)], size_T, rtol=1e-4, atol=1e-4 * float(size_T.max())
            )


@pytest.mark.filterwarnings("ignore")  # of transformers and peft
@pytest.mark.parametrize("name", named())
def test_a_model_is_right_or_refused(name: str) -> None:
    row = build.row(name)
    assert LINES.get(name) == row.line(name), f"docs/models.md is out of date; run: {COMMAND}"
    if row.refused:
        return
    policy = build.policy(name)
    compare(policy, "separate", build.model(name))
    layout = row.rows.partition(" ")[0]
    if layout != "separate":
        compare(policy, layout, build.model(name))
    if layout == "packed":
        check_recomputing(policy)
    if row.sampling != "refused":
        assert_samples_are_argmax(policy)
    if row.lora == "yes":
        check_adapter(name)


def assert_samples_are_argmax(policy: Policy) -> None:
    """Drawn at almost no temperature, in one ragged batch: each token is the likeliest by a forward pass alone."""
    prompts = [example.prompt for example in EXAMPLES]
    found = sample(policy.model, prompts, (1, 2, 3), Draw(1e-6), max_new_tokens=6, eos_id=build.EOS)
    with torch.no_grad():
        for prompt, response in zip(prompts, found, strict=True):
            ids = torch.from_numpy(np.concatenate([prompt, response]))[None]
            logits_TV = policy.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
            chosen_T = logits_TV.gather(-1, torch.from_numpy(response)[:, None]).squeeze(-1)
            torch.testing.assert_close(chosen_T, logits_TV.amax(-1), rtol=0, atol=1e-4)


def check_recomputing(policy: Policy) -> None:
    """Log-probs, importances and gradients are the same bits when activations are computed again, or it is refused."""
    found, model = [], policy.scorer.model
    for is_recomputing in (False, True) if model.supports_gradient_checkpointing else ():
        if is_recomputing:
            checkpoint_activations(policy.scorer)
            if model.config.model_type == "phimoe":  # its router draws at random in training mode
                with pytest.raises(ModelError, match="draws at random in training mode"):
                    require_steady(policy.scorer)
                policy.scorer.eval()
                return
            require_steady(policy.scorer)
        batch = collate(EXAMPLES, "packed", pad_id=build.EOS)
        scored = policy.scorer(batch, Want(frozenset({NORM})))
        found.append([scored.logp_BRT.detach(), importances(scored, batch, 2)[NORM]])
        scored.logp_BRT.sum().backward()
        found[-1] += [p.grad for p in model.parameters() if p.grad is not None]
        model.zero_grad()
    policy.scorer.eval()
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def check_adapter(name: str) -> None:
    """A moved adapter is right too, and with the adapter off the model is the one without."""
    policy = build.policy(name, adapter=LoRA(rank=2))
    batch = collate(EXAMPLES, policy.layout, pad_id=build.EOS)
    start_BRT = policy.scorer(batch, Want()).logp_BRT.detach()
    move(policy.model, size=0.03)
    compare(policy, policy.layout, policy.scorer.model.get_base_model())
    reference_BRT = Reference(policy.scorer, policy).score(batch, Want()).logp_BRT
    torch.testing.assert_close(reference_BRT, start_BRT, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", named())
def test_bfloat16_decides_the_same(name: str) -> None:
    """The checks have no tolerance that grows with rounding: head, layout and sampling are those of float32."""
    _, rows, _, sampling, notes, _ = (cell.strip() for cell in LINES[name].removeprefix("| ").split("|"))
    if rows == "refused":
        return
    scorer = Scorer(build.model(name).bfloat16(), 4096).eval()
    scorer.transform = find_transform(scorer)
    require_causal(scorer)
    longest = Longest(16, "data.max_length", 16)
    assert choose_layout(scorer, "auto", separate=False, longest=longest) == rows.partition(" ")[0]
    assert batching(scorer.model) == sampling
    bent = list(build._transform(scorer.transform))
    assert bent == notes.split("; ")[: len(bent)]


def test_the_page_has_every_model_and_nothing_else() -> None:
    table = PAGE.read_text().partition("|---|---|---|---|---|\n")[2].splitlines()
    names = [line.split(" | ")[0].removeprefix("| ") for line in table]
    assert names == sorted(build.MODELS), f"docs/models.md is out of date; run: {COMMAND}"
    assert all(len(re.split(r"(?<!\\)\|", line)) == 7 for line in table)
    head = PAGE.read_text().partition("| model type |")[0]
    assert head == build.page_head().partition("| model type |")[0]
    assert COMMAND in head.splitlines()[0] and len({name.partition(",")[0] for name in names}) >= 60

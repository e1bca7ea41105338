"""Tiny models, rows and recipes for the tests of the engine, and the plain computations they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accelerate
import numpy as np
import peft
import torch
import transformers
from torch import Tensor

from alignkit.asks.needs import Needs
from alignkit.asks.table import Table
from alignkit.asks.values import TokenValues
from alignkit.data.rows import TokenRow
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.scoring import Scoring, tabulated
from alignkit.engine.workbench import SideRuns, Workbench
from alignkit.models.layout import Batch, Example, collate
from alignkit.models.policy import Policy
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scorer
from alignkit.recipe.recipe import Recipe
from alignkit.records.fingerprints import model_fingerprint

VOCABULARY = 41
EOS = 40
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.25,  # wide enough that tokens matter to each other
}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def build(config: transformers.PretrainedConfig, seed: int = 0) -> transformers.PreTrainedModel:
    """A model of random weights in float32, evaluation mode."""
    torch.manual_seed(seed)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def llama(seed: int = 0, **changes: Any) -> transformers.PreTrainedModel:
    return build(transformers.LlamaConfig(**SIZES | changes), seed)


def zoo() -> dict[str, transformers.PretrainedConfig]:
    """Families that differ in attention, positions, tied embeddings or scaled embeddings."""
    gpt2 = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64}
    return {
        "llama sdpa": transformers.LlamaConfig(**SIZES),
        "llama eager": transformers.LlamaConfig(**SIZES, attn_implementation="eager"),
        "qwen2": transformers.Qwen2Config(**SIZES),
        "qwen3 tied": transformers.Qwen3Config(**SIZES, head_dim=4, tie_word_embeddings=True),
        "mistral": transformers.MistralConfig(**SIZES, sliding_window=None),
        "gemma": transformers.GemmaConfig(**SIZES, head_dim=4),
        "gpt2": transformers.GPT2Config(**gpt2, initializer_range=0.25),
    }


def with_lora(model: transformers.PreTrainedModel, seed: int = 0) -> peft.PeftModel:
    """`model` with an adapter that changes its output."""
    torch.manual_seed(seed)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    return move(wrapped.eval(), seed)


def move(model: torch.nn.Module, seed: int = 0, size: float = 0.1) -> Any:
    """Adds noise to the trained parameters in place, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += size * torch.randn(parameter.shape, generator=generator)
    return model


def policy(model: Any, layout: str = "packed", head_chunk: int = 4096) -> Policy:
    scorer = Scorer(model, head_chunk).eval()
    tokenizer = SimpleNamespace(
        eos_token_id=EOS,
        save_pretrained=lambda folder: None,
        decode=lambda ids, **how: " ".join(map(str, ids)),
    )
    return Policy(scorer, layout, tokenizer, isinstance(model, peft.PeftModel))


LENGTHS = ((4, 6, 3), (2, 1, 5), (7, 4, 4))
"""Tokens of the prompt, the chosen and the rejected response of each row."""


def rows(lengths: Sequence[tuple[int, int, int]] = LENGTHS) -> list[TokenRow]:
    """One row per triple of lengths; each depends on its own place only."""
    return [row(index, *triple) for index, triple in enumerate(lengths)]


def row(index: int, num_prompt: int, num_chosen: int, num_rejected: int) -> TokenRow:
    random = np.random.default_rng(index)
    prompt, chosen, rejected = (random.integers(0, EOS, n) for n in (num_prompt, num_chosen, num_rejected))
    return TokenRow(index, f"toy.jsonl:{index + 1}", prompt, {"chosen": chosen, "rejected": rejected})


def batch(rows: Sequence[TokenRow], layout: str = "packed", num_anchor: int = 0) -> Batch:
    """The rows laid out, with an anchor of `num_anchor` tokens each when that is not 0."""
    anchors = [[(r.prompt[0] + np.arange(num_anchor)) % EOS] if num_anchor else [] for r in rows]
    examples = [Example(r.prompt, [*r.responses.values(), *a]) for r, a in zip(rows, anchors, strict=True)]
    return collate(examples, layout, pad_id=EOS)


def full_logp(model: Any, prompt: np.ndarray, response: np.ndarray) -> Tensor:
    """[T, V] next-token log-probs of the model's own logits at the positions that predict `response`."""
    ids = torch.from_numpy(np.concatenate([prompt, response]))[None]
    return model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)


def gold_logp(model: Any, prompt: np.ndarray, response: np.ndarray) -> Tensor:
    """[T] of the response's own tokens."""
    return full_logp(model, prompt, response).gather(-1, torch.from_numpy(response)[:, None]).squeeze(-1)


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    """Gradients of the parameters that have one, which are then cleared."""
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    assert found
    return found


DPO = {"name": "dpo", "beta": 0.5}
TRIPLET = {"name": "triplet", "margin": 30.0}  # inside the hinge for every pair
HYBRID = {"name": "hybrid"}


def recipe(losses: Sequence[dict] = (DPO,), trainer: str = "preference", **sections: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "model": {"name": "scratch"},
            "data": {"train": "toy.jsonl"},
            "losses": [dict(loss) for loss in losses],
            "trainer": {"name": trainer},
            **sections,
        }
    )


def scoring(
    of: Recipe,
    model: Any,
    reference: Any = None,
    layout: str = "packed",
    tables: Any = None,
    autocast: Any = nullcontext,
) -> Scoring:
    """Scores with `model` against a reference model, if one is given."""
    live = None if reference is None else Reference(Scorer(reference, 4096).eval().requires_grad_(False))
    return Scoring(of.method(), policy(model, layout), live, tables or {}, autocast, of.model.reference_update)


def objective(found: Scoring, of: Recipe | None = None) -> ObjectiveStep:
    """The training step of a scoring, in micro-batches as `of` has them."""
    return ObjectiveStep(found, (of or recipe()).sizes())


def view_of(found: Scoring, rows: Sequence[TokenRow], step: int | None = None, **how: Any) -> Any:
    """What the losses of the recipe see of these rows."""
    return found.method.view.view(found.score(rows, step, **how))


def bench(model: Any, train: Sequence[TokenRow], folder: Path | None = None, of: Recipe | None = None) -> Workbench:
    """What token values are computed with: `model` before training, which is its own reference."""
    start = policy(model)
    return Workbench(
        (of or recipe()).job(has_adapter=False),
        start,
        lambda: Reference(start.scorer),
        train,
        accelerate.Accelerator(cpu=True),
        {"model": model_fingerprint(model)},
        SideRuns(folder or Path(".")),
    )


def computed(needs: Needs, model: Any, of: Sequence[TokenRow] | None = None) -> dict[TokenValues, Table]:
    """Tables of what `needs` wants known before training, `model` being the reference; nothing is kept on disk."""
    wanted = list(rows() if of is None else of)
    tables = {}
    for values in tabulated(needs):
        numbers = values.compute(wanted, bench(model, wanted))
        tables[values] = Table({r.key: n.float() for r, n in zip(wanted, numbers, strict=True)})
    return tables

"""Writes docs/models.md: python docs/build_models.py > docs/models.md

Every row is found out on a tiny model of random weights, by the checks that a run makes before training.
tests/models/test_architectures.py compares each with plain transformers, and fails when the page is not what this
prints.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
import transformers

from alignkit.errors import ModelError
from alignkit.models.base import LoRA, ModelSource
from alignkit.models.batching import batching
from alignkit.models.head import HeadTransform
from alignkit.models.lengths import Longest, limits
from alignkit.models.policy import Policy, build_policy, choose_layout

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HEAD = """\
<!-- Generated. Edit docs/build_models.py, then: python docs/build_models.py > docs/models.md -->

# Models

Which architectures of transformers alignkit trains, and how. Nothing here is a list that the program reads: before
training it tries on a few made-up tokens what a model does, and either scores it exactly or refuses it in one sentence.
An architecture that is not on this page is tried in the same way.

What is tried, each exactly and in the precision of the run:

- **Head.** Hidden states before the LM head are those of the model's own forward pass, and a known vector in place of
  the head's output comes out bent as the configuration says (a cap, a factor). Otherwise the model is refused.
- **Causality.** The hidden states of a prompt have no gradient by later tokens.
- **Packed rows.** The hidden states of a prompt or response have no gradient by others, positions can restart after the
  prompt, log-probs agree with the model's own, and each layer tells its attention window. Otherwise **shared rows** are
  tried in the same way, a mask over a prompt and its responses; otherwise each response gets its own row
  (`layout: separate`): the same numbers, with padding, the prompt computed once per response.
- **Sampling.** Decoding token by token says what the forward pass says, alone, beside a prompt of the same length, and
  beside a longer one, whose padding has no gradient. Otherwise prompts of equal length are decoded together, or one by
  one.
- **Randomness.** With `gradient_checkpointing` the forward pass in training mode equals that in evaluation mode.

A GGUF file is read where transformers can, with `pip install 'alignkit[gguf]'`: `model: {name: pretrained, path:
FOLDER, gguf_file: NAME.gguf}`, or a Hub id as `path`. Weights (unpacked, to float32 unless `dtype` says otherwise),
configuration, tokenizer and chat template are the file's, or `tokenizer` and `chat_template` name others; what is
trained is saved as safetensors. A plan unpacks nothing. An adapter calls such a base `FOLDER/NAME.gguf`, which alignkit
knows and peft alone does not.

Rows longer than a table of positions, than the original length of `longrope` or `dynamic` rotary positions, or than
the reach of sparse attention are refused before training with both lengths. Rotary models take rows beyond
`max_position_embeddings`, with a note.

Below, {count} model types, each with random weights, two layers and a width of 32. "up to its window": rows are packed
or shared where the longest of them (of shared ones, with all its responses) fits the attention window. Lengths are
those of the tiny models or the defaults of their configurations. LoRA is `adapter: {}`, which adapts all linear layers
that peft finds; a run on a mixture of experts says which ones those are.

| model type | rows | LoRA | sampling: decoded together | notes |
|---|---|---|---|---|
"""

VOCABULARY = 97
EOS = 2
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,  # wide enough that tokens matter to each other
    "init_std": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": EOS,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "moe_intermediate_size": 24,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "shared_expert_intermediate_size": 24,
    "d_model": 32,
    "n_layers": 2,
    "n_heads": 4,
    "max_seq_len": 64,
    "ffn_dim": 48,
}
"""What configurations call their sizes; each takes those that it has."""

_MLA = {"qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8, "kv_lora_rank": 8, "q_lora_rank": 16}
_MLA |= {"head_dim": 4, "num_key_value_heads": 4}
_GROUPS = {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_expand": 2}
_LINEAR = {"linear_num_value_heads": 4, "linear_num_key_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
_LINEAR |= {"layer_types": ["linear_attention", "full_attention"]}
_ZAMBA = {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"]}
_ZAMBA |= {"use_mamba_kernels": False, "attention_hidden_size": 64, "attention_head_dim": 16}
_PER_LAYER = {"num_kv_shared_layers": 0, "layer_types": ["sliding_attention", "full_attention"]}
_PER_LAYER |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY}

MODELS: dict[str, dict[str, Any]] = {
    "afmoe": {},
    "apertus": {},
    "arcee": {},
    "bamba": _MAMBA | {"attn_layer_indices": [1]},
    "bert": {"is_decoder": True},
    "bert-generation": {},
    "biogpt": {},
    "bitnet": {},
    "bloom": {},
    "codegen": {"rotary_dim": 4},
    "cohere": {},
    "cohere2": {},
    "cpmant": {},
    "ctrl": {"dff": 48},
    "cwm": {},
    "deepseek_v2": _MLA | _GROUPS,
    "deepseek_v3": _MLA | _GROUPS,
    "deepseek_v4": {},
    "diffllama": {},
    "doge": {},
    "dots1": _GROUPS | {"n_shared_experts": 1},
    "ernie4_5": {},
    "ernie4_5_moe": {},
    "exaone4": {},
    "falcon": {},
    "falcon, alibi": {"alibi": True},
    "falcon_h1": {
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_n_groups": 1,
        "lm_head_multiplier": 0.25,
    },
    "falcon_mamba": {},
    "flex_olmo": {},
    "gemma": {},
    "gemma2": {"final_logit_softcapping": 2.0},
    "gemma3_text": {},
    "gemma3n_text": _PER_LAYER
    | {"laurel_rank": 4, "altup_num_inputs": 2, "activation_sparsity_pattern": [0.0, 0.0]}
    | {"final_logit_softcapping": 2.0},
    "gemma4_text": _PER_LAYER | {"global_head_dim": 8},
    "glm": {},
    "glm4": {},
    "glm4_moe": {},
    "gpt2": {},
    "gpt_bigcode": {},
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 64},
    "gpt_neox": {},
    "gpt_oss": {},
    "gptj": {"rotary_dim": 4},
    "granite": {"logits_scaling": 4.0},
    "granitemoe": {},
    "granitemoehybrid": _MAMBA | {"layer_types": ["mamba", "attention"]},
    "granitemoeshared": {},
    "helium": {},
    "hunyuan_v1_dense": {},
    "hunyuan_v1_moe": {},
    "hyperclovax": {"logits_scaling": 0.5},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 8,
        "use_mamba_kernels": False,
    },
    "jetmoe": {},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "llama": {},
    "llama, yarn": {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}},
    "llama, dynamic": {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}},
    "llama4_text": {"intermediate_size_mlp": 48},
    "mamba": {},
    "mamba2": {"num_heads": 8, "head_dim": 8, "expand": 2, "state_size": 8, "n_groups": 1, "chunk_size": 8},
    "mimo_v2_flash": {},
    "minicpm3": _MLA | {"hidden_size": 64, "dim_model_base": 16},
    "minimax": {"layer_types": ["linear_attention", "full_attention"], "block_size": 8},
    "minimax_m2": {},
    "ministral3": {},
    "mistral": {},
    "mistral, no window": {"sliding_window": None},
    "mixtral": {},
    "modernbert-decoder": {},
    "mpt": {},
    "nanochat": {},
    "nemotron": {},
    "nemotron_h": {
        "hybrid_override_pattern": "M*",
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "ssm_state_size": 8,
        "n_groups": 1,
    },
    "olmo": {},
    "olmo2": {},
    "olmo3": {},
    "olmo_hybrid": _LINEAR,
    "olmoe": {},
    "openai-gpt": {},
    "opt": {"word_embed_proj_dim": 32},
    "persimmon": {},
    "phi": {},
    "phi3": {},
    "phi3, longrope": {
        "original_max_position_embeddings": 16,
        "rope_parameters": {
            "rope_type": "longrope",
            "short_factor": [1.0] * 4,
            "long_factor": [3.0] * 4,
            "rope_theta": 1e4,
            "original_max_position_embeddings": 16,
            "factor": 4.0,
        },
    },
    "phimoe": {},
    "prophetnet": {"num_decoder_layers": 2, "num_encoder_layers": 2, "is_decoder": True},
    "qwen2": {},
    "qwen2_moe": {},
    "qwen3": {},
    "qwen3_5_text": _LINEAR,
    "qwen3_moe": {},
    "qwen3_next": _LINEAR,
    "recurrent_gemma": {"logits_soft_cap": 2.0, "num_hidden_layers": 3},
    "reformer": {"is_decoder": True, "axial_pos_embds": False, "attn_layers": ["local"], "attention_head_size": 8},
    "rembert": {"input_embedding_size": 32, "output_embedding_size": 32, "is_decoder": True},
    "roberta": {"is_decoder": True},
    "rwkv": {},
    "seed_oss": {},
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {},
    "vaultgemma": {},
    "xglm": {},
    "xlm": {},
    "xlnet": {},
    "youtu": _MLA,
    "zamba2": _ZAMBA
    | {"mamba_d_state": 8, "mamba_headdim": 8, "n_mamba_heads": 8, "mamba_ngroups": 1, "num_mem_blocks": 1},
}
"""Model type (and what is particular) -> what differs from `SIZES`."""


def config(name: str) -> transformers.PretrainedConfig:
    """The tiny configuration of a row."""
    cls = transformers.CONFIG_MAPPING[name.partition(",")[0]]
    known = {field for base in cls.__mro__ for field in getattr(base, "__annotations__", {})} | set(cls.attribute_map)
    found: transformers.PretrainedConfig = cls(**{k: v for k, v in SIZES.items() if k in known} | MODELS[name])
    return found


def model(name: str) -> transformers.PreTrainedModel:
    """The tiny model of a row: random weights, the same each time, in evaluation mode."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        built: transformers.PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config(name)).eval()
    return built


class _Given(ModelSource):
    """A source of the row's model."""

    name: str = "given"
    row: ClassVar[str] = ""

    def load_tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerBase:
        raise NotImplementedError

    def load_model(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
        return model(type(self).row)


def policy(name: str, adapter: LoRA | None = None) -> Policy:
    """The row's model as a run takes it.

    Raises:
        ModelError: it is refused.
    """
    _Given.row = name
    tokenizer = SimpleNamespace(eos_token_id=EOS)
    return build_policy(_Given(adapter=adapter), tokenizer, seed=0, separate=False, device=torch.device("cpu"))  # type: ignore[arg-type]


class Row(NamedTuple):
    """What the page says of a model; `refused` stands for all of it."""

    rows: str = ""
    lora: str = ""
    sampling: str = ""
    notes: str = ""
    refused: str = ""

    def line(self, name: str) -> str:
        if self.refused:
            return f"| {name} | refused | | | {self.refused} |"
        return f"| {name} | {self.rows} | {self.lora} | {self.sampling} | {self.notes} |"


def row(name: str) -> Row:
    """Finds out what is true of a model."""
    try:
        found = policy(name)
    except ModelError as error:
        return Row(refused=_short(error))
    rows, why = _rows(found)
    try:
        policy(name, adapter=LoRA(rank=2))
        lora = "yes"
    except ModelError as error:
        reason = "peft refuses all linear layers" if "PEFT:" in str(error) else f"with all of them {_short(error)}"
        lora, why = "name the targets", [*why, reason]
    try:
        sampling: str = batching(found.scorer.model)  # type: ignore[arg-type]
    except ModelError as error:
        sampling, why = "refused", [*why, _short(error)]
    bounds = [f"{reason} {limit}" for limit, reason in limits(found.model)]  # type: ignore[arg-type]
    notes = [*_transform(found.scorer.transform), *why, *bounds]
    return Row(rows, lora, sampling, "; ".join(notes))


def _rows(found: Policy) -> tuple[str, list[str]]:
    if found.layout != "separate":
        return found.layout, []
    fitting = Longest(12, "data.max_length", 12)
    layout = choose_layout(found.scorer, "auto", separate=False, longest=fitting)
    if layout != "separate":
        return f"{layout} up to its window", []
    try:
        choose_layout(found.scorer, "shared", separate=False, longest=fitting)
    except ModelError as error:
        return "separate", [str(error).split(": ", 2)[2].partition(";")[0].partition(" (")[0]]
    raise AssertionError


def _transform(transform: HeadTransform) -> Iterator[str]:
    if transform.divisor != 1:
        yield f"hidden states / {transform.divisor:g}"
    if transform.scale != 1:
        yield f"logits x {transform.scale:g}"
    if transform.softcap is not None:
        yield f"logits capped at {transform.softcap:g}"


def _short(error: ModelError) -> str:
    """The reason without what only a programmer reads."""
    return str(error).partition(": ")[2].partition(": ")[2].partition(" (")[0].partition(";")[0]


def page_head() -> str:
    """The page up to the table's rows."""
    return HEAD.replace("{count}", str(len({name.partition(",")[0] for name in MODELS})))


def page() -> str:
    """The whole page."""
    return page_head() + "".join(f"{row(name).line(name)}\n" for name in sorted(MODELS))


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()
    print(page(), end="")

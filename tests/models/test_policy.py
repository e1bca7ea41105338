"""Making a model ready for training: adapter, precision, dropout, layout; and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import peft
import pytest
import torch
import transformers
from engine_toy import EOS, SIZES, VOCABULARY, build, llama, with_lora

from alignkit.errors import ModelError
from alignkit.models.base import LoRA, ModelSource
from alignkit.models.lengths import Longest
from alignkit.models.policy import build_policy, choose_layout, switch_off_dropout
from alignkit.models.scorer import Scorer

CPU = torch.device("cpu")
TOKENIZER = SimpleNamespace(eos_token_id=EOS)


class Given(ModelSource):
    """A source of one model."""

    model: ClassVar[object] = None

    def load_tokenizer(self, texts):
        return TOKENIZER

    def load_model(self, tokenizer, seed):
        return type(self).model


def policy_of(model, separate: bool = False, longest: Longest | None = None, **fields):
    Given.model = model
    return build_policy(Given(**fields), TOKENIZER, seed=3, separate=separate, device=CPU, longest=longest)


class TestBuildPolicy:
    def test_all_parameters_without_an_adapter(self) -> None:
        policy = policy_of(llama())
        assert not policy.has_adapter and policy.layout == "packed" and policy.eos_id == EOS
        assert all(p.requires_grad for p in policy.model.parameters())
        assert not policy.scorer.training

    def test_with_an_adapter_only_it_is_trained(self) -> None:
        """Rank 2 of the 14 linear layers: 2 x (fan-in + fan-out) each; the head has none."""
        policy = policy_of(llama(), adapter=LoRA(rank=2))
        trained = {n: p.numel() for n, p in policy.model.named_parameters() if p.requires_grad}
        fans = [16 + 16, 16 + 8, 16 + 8, 16 + 16, 16 + 24, 16 + 24, 24 + 16]
        assert policy.has_adapter and sum(trained.values()) == 2 * 2 * sum(fans)
        assert not any("lm_head" in name for name in trained)

    def test_the_adapter_depends_on_the_seed_alone(self) -> None:
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = policy_of(llama(), adapter=LoRA(rank=2)).model.state_dict()
        torch.manual_seed(2)
        second = policy_of(llama(), adapter=LoRA(rank=2)).model.state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)
        torch.manual_seed(1)
        assert torch.equal(torch.get_rng_state(), before)

    def test_trained_parameters_are_float32_and_frozen_ones_stay(self) -> None:
        policy = policy_of(llama().bfloat16(), adapter=LoRA(rank=2))
        dtypes = {p.requires_grad: p.dtype for p in policy.model.parameters()}
        assert dtypes == {True: torch.float32, False: torch.bfloat16}
        assert {p.dtype for p in policy_of(llama().bfloat16()).model.parameters()} == {torch.float32}

    def test_what_a_router_needs_is_no_noise(self) -> None:
        """PhiMoE's `router_jitter_noise` is a threshold of evaluation mode too; its input's noise is switched off."""
        config = transformers.PhimoeConfig(
            **SIZES, num_local_experts=4, router_jitter_noise=0.3, input_jitter_noise=0.3
        )
        ids = torch.arange(12)[None]
        wanted = build(config)(input_ids=ids).logits
        policy = policy_of(build(config))
        assert torch.equal(policy.model(input_ids=ids).logits, wanted)
        with pytest.raises(ModelError, match=r"^model\.gradient_checkpointing: phimoe draws at random"):
            policy_of(build(config), gradient_checkpointing=True)

    def test_rows_that_need_more_positions_are_refused(self) -> None:
        gpt2 = transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=16)
        with pytest.raises(ModelError) as caught:
            policy_of(build(gpt2), longest=Longest(33, "data.max_length", 60))
        assert str(caught.value) == (
            "data.max_length: the longest row has 33 tokens, but gpt2 has no positions beyond token 16; "
            "lower data.max_length so that no row is longer than that"
        )

    @pytest.mark.filterwarnings(
        "ignore:The following (rank|alpha)_pattern keys:RuntimeWarning"
    )  # peft's, of all such models
    def test_notes_on_what_is_adapted(self) -> None:
        """Of experts in one tensor peft adapts some and others not."""
        assert policy_of(llama(), adapter=LoRA(rank=2)).notes == ()
        deepseek = transformers.DeepseekV3Config(
            **SIZES | {"num_key_value_heads": 4},
            moe_intermediate_size=8,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_group=1,
            topk_group=1,
            first_k_dense_replace=1,
            qk_rope_head_dim=4,
            qk_nope_head_dim=4,
            v_head_dim=4,
            kv_lora_rank=8,
            q_lora_rank=8,
        )
        dense = "mlp.down_proj, mlp.gate_proj, mlp.up_proj"
        shared = "mlp.shared_experts.down_proj, mlp.shared_experts.gate_proj, mlp.shared_experts.up_proj"
        (note,) = policy_of(build(deepseek), adapter=LoRA(rank=2)).notes
        assert note == (
            "adapter on mlp.experts, mlp.gate, self_attn.kv_a_proj_with_mqa, self_attn.kv_b_proj, self_attn.o_proj, "
            f"self_attn.q_a_proj, self_attn.q_b_proj; none on {dense.replace(', mlp.up_proj', '')}, {shared}, "
            "mlp.up_proj"
        )
        assert policy_of(build(deepseek), adapter=LoRA(rank=2, targets=("o_proj",))).notes == ()

    def test_a_note_on_rows_beyond_what_the_model_was_made_for(self) -> None:
        assert policy_of(llama(), longest=Longest(65, "data.max_length", 99)).notes == (
            "the longest row has 65 tokens, the model was made for 64 (max_position_embeddings)",
        )

    def test_gradient_checkpointing_acts_in_training_mode(self) -> None:
        policy = policy_of(llama(), gradient_checkpointing=True)
        assert policy.scorer.training
        assert all(layer.gradient_checkpointing for layer in policy.model.model.layers)

    @pytest.mark.parametrize(
        ("make", "adapter", "message"),
        [
            (
                lambda: with_lora(llama()),
                LoRA(),
                "model.adapter: the model is an adapter folder already; leave 'adapter' out to train it on",
            ),
            (
                llama,
                LoRA(targets=("q_proj", "lm_head")),
                "model.adapter: the LM head has an adapter, which cannot be told from the reference's head; "
                "leave the head out of the adapter's targets",
            ),
        ],
    )
    def test_refused_adapters(self, make, adapter, message) -> None:
        with pytest.raises(ModelError) as caught:
            policy_of(make(), adapter=adapter)
        assert str(caught.value) == message

    def test_targets_that_are_not_there(self) -> None:
        with pytest.raises(ModelError, match=r"^model\.adapter\.targets: Target modules .*c_attn.* not found"):
            policy_of(llama(), adapter=LoRA(targets=("c_attn",)))

    def test_a_trained_head_of_an_adapter_folder_is_refused(self) -> None:
        config = peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM")
        with pytest.raises(ModelError, match=r"^model\.adapter: the LM head has an adapter"):
            policy_of(peft.get_peft_model(llama(), config))


def test_dropout_is_off_in_training_mode_too() -> None:
    """Modules, attention's own probability, whole layers that OPT skips, what Falcon reads from its configuration, and
    the noise of Mixtral's router."""
    gpt2 = transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    opt = transformers.OPTConfig(**OPT, dropout=0.5, attention_dropout=0.5, layerdrop=0.5)
    falcon = transformers.FalconConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, hidden_dropout=0.5
    )
    mixtral = transformers.MixtralConfig(**SIZES, num_local_experts=4, router_jitter_noise=0.5)
    for config in (gpt2, transformers.LlamaConfig(**SIZES, attention_dropout=0.5), opt, falcon, mixtral):
        model = build(config)
        ids = torch.arange(12)[None]
        wanted = model(input_ids=ids).logits
        switch_off_dropout(model)
        assert torch.equal(model.train()(input_ids=ids).logits, wanted)


OPT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "ffn_dim": 16,
    "word_embed_proj_dim": 16,
    "max_position_embeddings": 64,
    "init_std": 0.25,
}
WINDOWED = {
    "mistral": transformers.MistralConfig(**SIZES, sliding_window=4),
    "qwen2": transformers.Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=1),
    "gpt neo": transformers.GPTNeoConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        window_size=4,
        max_position_embeddings=64,
    ),
}
BLOOM = transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=1, n_head=2)


class TestChooseLayout:
    def chosen(self, config, wanted: str = "auto", separate: bool = False) -> str:
        return choose_layout(Scorer(build(config), 4096).eval(), wanted, separate=separate)

    def test_packed_and_shared_where_it_can(self) -> None:
        no_window = transformers.Qwen2Config(**SIZES, use_sliding_window=False, sliding_window=4)
        for config in (transformers.LlamaConfig(**SIZES), no_window, transformers.OPTConfig(**OPT)):
            assert self.chosen(config) == self.chosen(config, "packed") == "packed"
            assert self.chosen(config, "shared") == "shared"

    def test_shared_where_attention_is_the_models_own(self) -> None:
        """The model is as it was before packed rows were tried."""
        eager = Scorer(build(transformers.LlamaConfig(**SIZES, attn_implementation="eager")), 4096).eval()
        falcon = transformers.FalconConfig(
            vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
        )
        own = Scorer(build(falcon), 4096).eval()
        for scorer, name in ((eager, "eager"), (own, "sdpa")):
            assert choose_layout(scorer, "auto", separate=False) == "shared"
            assert scorer.model.config._attn_implementation == name
        with pytest.raises(ModelError) as caught:
            choose_layout(own, "packed", separate=False)
        assert str(caught.value) == (
            "model.layout: packed rows do not work with this model: its attention cannot be told what to look at "
            "(ValueError in its forward pass); use auto or separate"
        )

    def test_separate_when_asked_or_needed(self) -> None:
        assert self.chosen(transformers.LlamaConfig(**SIZES), "separate") == "separate"
        assert self.chosen(transformers.LlamaConfig(**SIZES), "auto", separate=True) == "separate"

    @pytest.mark.parametrize("family", WINDOWED)
    def test_an_attention_window_keeps_rows_apart(self, family: str) -> None:
        """A mask of our own would take the window's place, which no probe shorter than the window can see; packed
        attention keeps the window that it is told."""
        assert self.chosen(WINDOWED[family]) == ("separate" if family == "gpt neo" else "packed")
        with pytest.raises(ModelError) as caught:
            self.chosen(WINDOWED[family], "shared")
        assert str(caught.value) == (
            "model.layout: shared rows do not work with this model: its attention window of 4 tokens would be dropped; "
            "use auto or separate"
        )

    @pytest.mark.parametrize("family", ["mistral", "qwen2"])
    def test_rows_within_the_window_are_shared(self, family: str) -> None:
        scorer = Scorer(build(WINDOWED[family]), 4096).eval()
        with pytest.raises(ModelError, match="its attention window of 4 tokens would be dropped"):
            choose_layout(scorer, "shared", separate=False, longest=Longest(4, "data.max_length", 5))
        within = Scorer(build(type(WINDOWED[family])(**SIZES, sliding_window=32)), 4096).eval()
        assert choose_layout(within, "shared", separate=False, longest=Longest(16, "data.max_length", 32)) == "shared"

    def test_a_window_that_a_layer_does_not_tell_is_no_window(self) -> None:
        """The mask that a chunk of attention would be part of is not made, which no shorter probe can see either."""
        config = transformers.Llama4TextConfig(
            **SIZES, head_dim=4, intermediate_size_mlp=24, num_local_experts=2, pad_token_id=0, attention_chunk_size=8
        )
        scorer = Scorer(build(config), 4096).eval()
        assert choose_layout(scorer, "auto", separate=False, longest=Longest(9, "data.max_length", 17)) == "separate"
        assert scorer.model.config._attn_implementation == "sdpa"
        assert choose_layout(scorer, "auto", separate=False, longest=Longest(8, "data.max_length", 16)) == "packed"

    def test_a_model_that_takes_no_such_mask(self) -> None:
        assert self.chosen(BLOOM) == "separate"
        with pytest.raises(ModelError) as caught:
            self.chosen(BLOOM, "shared")
        assert str(caught.value) == (
            "model.layout: shared rows do not work with this model: it takes no such mask "
            "(ValueError in its forward pass); use auto or separate"
        )

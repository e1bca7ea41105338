"""What is found out of a model before training: its head's transform, causality, leaks, positions, randomness."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from engine_toy import SIZES, VOCABULARY, build, gold_logp, llama, rows, with_lora
from engine_toy import batch as laid_out

from alignkit.errors import ModelError
from alignkit.models.attribution import Attribution
from alignkit.models.head import Draw, HeadTransform
from alignkit.models.probe import find_transform, obstacle_to_sharing, require_causal, require_steady
from alignkit.models.scorer import Scorer, Want
from alignkit.models.statistics import ForwardKL

MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_expand": 2}
MLA = {"qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4, "kv_lora_rank": 8, "q_lora_rank": 8}
BENT = {
    "gemma2": (
        transformers.Gemma2Config(**SIZES, head_dim=4, final_logit_softcapping=2.0),
        HeadTransform(softcap=2.0),
    ),
    "cohere": (transformers.CohereConfig(**SIZES | {"logit_scale": 0.25}), HeadTransform(scale=0.25)),
    "granite": (transformers.GraniteConfig(**SIZES, logits_scaling=4.0), HeadTransform(scale=0.25)),
    "hyperclovax": (transformers.HyperCLOVAXConfig(**SIZES, logits_scaling=4.0), HeadTransform(scale=4.0)),
    "minicpm3": (
        transformers.MiniCPM3Config(**SIZES | MLA | {"num_key_value_heads": 4, "head_dim": 4, "dim_model_base": 4}),
        HeadTransform(divisor=4.0),
    ),
    "llama": (transformers.LlamaConfig(**SIZES), HeadTransform()),
}


def scorer(config_or_model: Any, dtype: torch.dtype = torch.float32) -> Scorer:
    model = config_or_model
    if isinstance(model, transformers.PretrainedConfig):
        model = build(model)
    return Scorer(model.to(dtype), 4096).eval()


class TestHead:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("name", BENT)
    def test_the_transform_is_found_in_any_precision(self, name: str, dtype: torch.dtype) -> None:
        config, wanted = BENT[name]
        assert find_transform(scorer(config, dtype)) == wanted

    def test_a_cap_far_above_the_logits_is_found_too(self) -> None:
        """Logits of 1 do not show a cap of 30; trained ones would."""
        config = transformers.Gemma2Config(**SIZES | {"initializer_range": 0.01}, head_dim=4)
        assert find_transform(scorer(config)) == HeadTransform(softcap=30.0)

    def test_a_number_that_the_model_does_not_use_is_not_believed(self) -> None:
        config = transformers.LlamaConfig(**SIZES, logit_scale=0.5, final_logit_softcapping=2.0)
        assert find_transform(scorer(config)) == HeadTransform()

    @pytest.mark.parametrize("name", ["gemma2", "granite", "minicpm3"])
    def test_all_that_reads_logits_reads_bent_ones(self, name: str) -> None:
        """Log-probs, targets, KL and draws, against the model's own logits."""
        config, transform = BENT[name]
        model = build(config)
        ours, plain = Scorer(model, 3, transform).eval(), rows()
        attribution = {
            target: Attribution(target=target, norm="l2", position="predict_last")
            for target in ("max_logit", "gold_logit")
        }
        batch = laid_out(plain, "separate")
        uniform_BT = torch.full(batch.mask_BRT[:, 0].shape, 0.3, dtype=torch.float64)
        want = Want(frozenset(attribution.values()), draw=Draw(), uniform_BT=uniform_BT, predictions=True)
        scored = ours(batch, want)
        for b, row in enumerate(plain):
            ids = torch.from_numpy(row.responses["chosen"])
            wanted_T = gold_logp(model, row.prompt, row.responses["chosen"])
            torch.testing.assert_close(scored.logp_BRT[b, 0, : len(ids)], wanted_T, rtol=0, atol=1e-5)
            whole = torch.cat([torch.from_numpy(row.prompt), ids])[None]
            logits_TV = model(input_ids=whole).logits[0, len(row.prompt) - 1 : -1]
            for target, wanted in (("max_logit", logits_TV[-1].max()), ("gold_logit", logits_TV[-1, ids[-1]])):
                torch.testing.assert_close(scored.targets[attribution[target]][b, 0], wanted, rtol=1e-5, atol=1e-5)
            drawn_T = Draw()(logits_TV, uniform_BT[b, : len(ids)])
            assert scored.drawn_BT[b, : len(ids)].equal(drawn_T)
        kl = ForwardKL()
        again = ours(batch, Want(statistics=frozenset({kl}), reference=scored.predictions))
        kl_BRT = again.statistics[kl]
        torch.testing.assert_close(kl_BRT, torch.zeros_like(kl_BRT), rtol=0, atol=1e-6)

    def test_bent_under_autocast_in_float32(self) -> None:
        config, transform = BENT["gemma2"]
        ours, batch = Scorer(build(config), 4096, transform).eval(), laid_out(rows(), "separate")
        wanted_BRT = ours(batch, Want()).logp_BRT
        with torch.autocast("cpu", torch.bfloat16):
            found = ours(batch, Want(predictions=True))
            logits_NV = found.predictions.logits()
        assert logits_NV.dtype == torch.float32 and logits_NV.abs().max() <= 2
        torch.testing.assert_close(found.logp_BRT, wanted_BRT, rtol=0, atol=0.1)

    def test_hidden_states_that_change_before_the_head(self) -> None:
        config = transformers.BertConfig(**SIZES, is_decoder=True)
        with pytest.raises(ModelError) as caught:
            find_transform(scorer(config))
        assert str(caught.value) == (
            "model: bert is not supported: it changes its hidden states before the LM head in a way that is not known"
        )

    def test_an_unknown_change_behind_the_head(self) -> None:
        model = build(transformers.GraniteConfig(**SIZES, logits_scaling=4.0))
        forward = model.forward

        def cubed(**inputs: Any) -> Any:
            output = forward(**inputs)
            output.logits = output.logits**3
            return output

        model.forward = cubed
        with pytest.raises(ModelError) as caught:
            find_transform(scorer(model))
        assert str(caught.value) == (
            "model: granite is not supported: it changes its logits behind the LM head in a way that is not known"
        )

    def test_broken_weights(self) -> None:
        model = llama()
        with torch.no_grad():
            model.lm_head.weight[0, 0] = torch.nan
        with pytest.raises(ModelError) as caught:
            find_transform(scorer(model))
        assert str(caught.value) == (
            "model: llama is not supported: its logits are not finite on made-up tokens; the weights are broken"
        )


class TestForward:
    def test_a_model_that_sees_later_tokens(self) -> None:
        found = scorer(transformers.BertGenerationConfig(**SIZES))
        with pytest.raises(ModelError) as caught:
            require_causal(found)
        assert str(caught.value) == (
            "model: bert-generation is not supported: it is not causal: what it says of a token depends on later ones"
        )

    def test_an_error_inside_the_model_is_one_line(self) -> None:
        found = scorer(transformers.XLNetConfig(vocab_size=VOCABULARY, d_model=16, n_layer=1, n_head=2, d_inner=16))
        with pytest.raises(ModelError, match=r"^model: xlnet is not supported: its forward pass ends in RuntimeError"):
            find_transform(found)

    def test_the_adapter_is_named_when_there_is_one(self) -> None:
        """Llama 4's router is a linear layer that returns two tensors, which peft cannot wrap."""
        config = transformers.Llama4TextConfig(
            **SIZES, head_dim=4, intermediate_size_mlp=24, num_local_experts=2, pad_token_id=0
        )
        with pytest.raises(ModelError) as caught:
            find_transform(scorer(with_lora(build(config))))
        assert str(caught.value) == (
            "model: llama4_text is not supported with this adapter: its forward pass ends in AttributeError "
            "('tuple' object has no attribute 'dtype')"
        )

    def test_running_out_of_memory_is_not_the_models_fault(self) -> None:
        model = llama()

        def forward(**inputs: Any) -> Any:
            raise torch.OutOfMemoryError("no memory")

        model.model.forward = forward
        with pytest.raises(torch.OutOfMemoryError):
            find_transform(scorer(model))
        with pytest.raises(torch.OutOfMemoryError):
            obstacle_to_sharing(scorer(model))


class TestSharing:
    """In bfloat16 too, where a comparison of values cannot tell a leak from rounding."""

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize(
        ("config", "obstacle"),
        [
            (transformers.LlamaConfig(**SIZES), None),
            (transformers.MixtralConfig(**SIZES, num_local_experts=4), None),
            (
                transformers.BambaConfig(**SIZES | MAMBA | {"attn_layer_indices": [1]}),
                "one response would leak into the other",
            ),
            (
                transformers.Lfm2Config(**SIZES, layer_types=["conv", "full_attention"]),
                "one response would leak into the other",
            ),
            (
                transformers.MptConfig(vocab_size=VOCABULARY, d_model=16, n_layers=2, n_heads=2, max_seq_len=64),
                "its positions cannot restart after the prompt",
            ),
        ],
        ids=["llama", "mixtral", "bamba", "lfm2", "mpt"],
    )
    def test_leaks_and_positions(self, config: Any, obstacle: str | None, dtype: torch.dtype) -> None:
        assert obstacle_to_sharing(scorer(config, dtype)) == obstacle


class TestRandomness:
    def test_what_cannot_be_switched_off(self) -> None:
        """PhiMoE's router draws in training mode, though it needs what it drew only where two experts are close."""
        found = scorer(transformers.PhimoeConfig(**SIZES, num_local_experts=4))
        require_steady(found)  # in evaluation mode it is itself
        found.train()
        before = torch.get_rng_state()
        with pytest.raises(ModelError) as caught:
            require_steady(found)
        assert str(caught.value) == (
            "model.gradient_checkpointing: phimoe draws at random in training mode (dropout or router noise that "
            "cannot be switched off), the only mode that recomputes activations; set it to false"
        )
        assert found.training and torch.equal(torch.get_rng_state(), before)

    def test_a_steady_model_passes(self) -> None:
        require_steady(scorer(llama()).train())

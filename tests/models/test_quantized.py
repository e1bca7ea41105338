"""Frozen weights in 4 bits: what is refused, and, where bitsandbytes is there, what packed weights compute."""

from __future__ import annotations

import copy
import shutil

import peft
import pytest
import torch
import transformers
from engine_toy import CLOSE, rows, zoo

from alignkit.errors import ModelError
from alignkit.models.attribution import Attribution
from alignkit.models.importances import importances
from alignkit.models.policy import Policy, build_policy
from alignkit.models.pretrained import Pretrained
from alignkit.models.quantized import count_numbers
from alignkit.models.reference import Reference
from alignkit.models.scorer import Want, causal_lm
from alignkit.models.world import FOLDER

CPU = torch.device("cpu")
WANT = Want(frozenset({Attribution()}))


def source(**fields: object) -> Pretrained:
    given = {"path": str(FOLDER), "quantize": "nf4", "adapter": {"rank": 4}, **fields}
    return Pretrained.model_validate({"name": "pretrained", **given})


def policy_of(given: Pretrained) -> Policy:
    return build_policy(given, given.load_tokenizer([]), seed=0, separate=False, device=CPU)


def complaint(given: Pretrained, outline: bool = False) -> str:
    tokenizer = given.load_tokenizer([])
    with pytest.raises(ModelError) as caught:
        given.outline(tokenizer) if outline else given.load_model(tokenizer, 0)
    return str(caught.value)


@pytest.mark.parametrize("outline", [False, True])
def test_what_is_refused_before_weights_are_read(outline, monkeypatch):
    monkeypatch.setattr("alignkit.models.quantized.is_installed", lambda: True)
    assert complaint(source(adapter=None), outline) == (
        "model.quantize: weights in 'nf4' are frozen, and nothing would be trained; give an adapter, such as "
        "adapter: {rank: 16}"
    )
    monkeypatch.setattr("alignkit.models.quantized.is_installed", lambda: False)
    assert complaint(source(), outline) == (
        "model.quantize: 'nf4' needs the package bitsandbytes: pip install 'alignkit[quant]'"
    )


def test_packed_numbers_are_two_in_a_byte():
    assert count_numbers([torch.zeros(3, 4), torch.zeros(5, 1, dtype=torch.uint8)]) == 12 + 10


def moved(policy: Policy) -> Policy:
    """With an adapter that changes what the model says."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return policy


def unpacked(policy: Policy) -> Policy:
    """The same model with the packed weights as numbers."""
    import bitsandbytes

    plain = copy.deepcopy(policy)
    for layer in plain.model.modules():
        for name, child in list(layer.named_children()):
            if isinstance(child, bitsandbytes.nn.Linear4bit):
                weight = bitsandbytes.functional.dequantize_4bit(child.weight.data, child.weight.quant_state)
                linear = torch.nn.Linear(child.in_features, child.out_features, bias=False)
                linear.weight = torch.nn.Parameter(weight.float(), requires_grad=False)
                setattr(layer, name, linear)
    return plain


@pytest.mark.quant
class TestPacked:
    def test_linear_layers_are_packed_and_nothing_else(self) -> None:
        """A half byte for each number, and a float32 for 64 of them."""
        policy = policy_of(source())
        packed = {name: p for name, p in policy.model.named_parameters() if p.dtype == torch.uint8}
        plain = Pretrained(name="pretrained", path=str(FOLDER)).load_model(policy.tokenizer, 0)
        sizes = {name: module.weight.numel() for name, module in plain.named_modules() if "proj" in name}
        assert len(packed) == len(sizes) and sum(p.numel() for p in packed.values()) == sum(sizes.values()) // 2
        assert all(p.quant_state.absmax.numel() * 64 == 2 * p.numel() for p in packed.values())
        trained = [name for name, p in policy.model.named_parameters() if p.requires_grad]
        assert trained and all("lora_" in name for name in trained)
        assert causal_lm(policy.model).get_output_embeddings().weight.dtype == torch.float32

    def test_scores_and_importances_are_those_of_the_unpacked_weights(self) -> None:
        """A forward pass without gradient goes before, as the reference's does."""
        policy = moved(policy_of(source()))
        plain, batch = unpacked(policy), policy.batch(rows())
        found = []
        for one in (policy, plain):
            with torch.no_grad():
                one.scorer(batch, Want())
            scored = one.scorer(batch, WANT)
            found.append((scored.logp_BRT, importances(scored, batch, 2, full_sequence=False)[Attribution()]))
            scored.logp_BRT.sum().backward()
        torch.testing.assert_close(*(logp_BRT for logp_BRT, _ in found), **CLOSE)
        torch.testing.assert_close(*(importance_BRT for _, importance_BRT in found), rtol=1e-4, atol=1e-5)
        gradients = [[p.grad for p in one.model.parameters() if p.requires_grad] for one in (policy, plain)]
        for mine, other in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)

    def test_the_reference_is_the_packed_model_without_the_adapter(self) -> None:
        policy = policy_of(source())
        batch, before = policy.batch(rows()), policy.scorer(policy.batch(rows()), Want()).logp_BRT
        moved(policy)
        assert torch.equal(Reference(policy.scorer, policy).score(batch, Want()).logp_BRT, before)
        assert not torch.equal(policy.scorer(batch, Want()).logp_BRT, before)

    def test_an_adapter_is_trained_on_over_packed_weights(self, tmp_path) -> None:
        policy = moved(policy_of(source()))
        policy.save(tmp_path / "adapter")
        again = policy_of(source(path=str(tmp_path / "adapter"), adapter=None))
        batch = policy.batch(rows())
        assert isinstance(again.model, peft.PeftModel) and any(p.dtype == torch.uint8 for p in again.model.parameters())
        assert torch.equal(again.scorer(batch, Want()).logp_BRT, policy.scorer(batch, Want()).logp_BRT)

    def test_activations_that_are_computed_again_change_no_gradient(self) -> None:
        found = []
        for checkpointed in (False, True):
            policy = moved(policy_of(source(gradient_checkpointing=checkpointed)))
            batch = policy.batch(rows())
            scored = policy.scorer(batch, WANT)
            found.append(importances(scored, batch, 2, full_sequence=False)[Attribution()])
        assert torch.equal(*found)

    def test_a_model_without_linear_layers_is_refused(self, tmp_path) -> None:
        config = zoo()["gpt2"]
        config.update({"vocab_size": 173, "bos_token_id": 0, "eos_token_id": 0})
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(FOLDER / name, tmp_path)
        assert complaint(source(path=str(tmp_path))) == (
            "model.quantize: GPT2LMHeadModel has no linear layers that can be packed"
        )

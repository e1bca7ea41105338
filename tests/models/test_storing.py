"""What is written of a policy is loaded by transformers and peft, and read back bit for bit; or nothing is written."""

from __future__ import annotations

import json
import resource

import peft
import pytest
import torch
import transformers
from engine_toy import EOS, SIZES, llama, move, rows, with_lora
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from alignkit.errors import CheckpointError, StorageError
from alignkit.lazy import safetensors_torch
from alignkit.models.attention import NAME
from alignkit.models.policy import Policy
from alignkit.models.scorer import Scorer, Want, causal_lm


def tokenizer():
    words = {f"w{index}": index for index in range(EOS)} | {"<eos>": EOS}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")), eos_token="<eos>", pad_token="<eos>"
    )


def policy_of(model) -> Policy:
    return Policy(Scorer(model, 64).eval(), "packed", tokenizer(), isinstance(model, peft.PeftModel))


def trained(policy):
    return {name: p.detach() for name, p in policy.scorer.named_parameters() if p.requires_grad}


def tied():
    config = transformers.Qwen3Config(**SIZES, head_dim=4, tie_word_embeddings=True)
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def experts():
    """Mixture of experts: a file holds one tensor per expert, the model one for all."""
    config = transformers.MixtralConfig(**SIZES, num_local_experts=3, num_experts_per_tok=2)
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def half_frozen():
    model = llama()
    for parameter in model.model.layers[0].parameters():
        parameter.requires_grad_(False)
    return model


def bf16_with_lora():
    model = with_lora(llama().to(torch.bfloat16))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def dora():
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", use_dora=True)
    return move(peft.get_peft_model(llama(), config).eval())


def with_saved_norms():
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["norm"], task_type="CAUSAL_LM")
    return move(peft.get_peft_model(llama(), config).eval())


KINDS = [llama, tied, experts, half_frozen, lambda: with_lora(llama()), bf16_with_lora, dora, with_saved_norms]


@pytest.mark.parametrize("kind", KINDS)
def test_the_trained_parameters_come_back_bit_for_bit(tmp_path, kind):
    policy = policy_of(kind())
    policy.save(tmp_path / "final")
    stored = policy.stored_parameters(tmp_path / "final")
    expected = trained(policy)
    assert stored.keys() == expected.keys()
    assert all(torch.equal(stored[name], value) for name, value in expected.items())


def test_what_is_written_loads_by_itself(tmp_path):
    """After rows were packed too, whose attention no file knows."""
    full, adapted = policy_of(llama()), policy_of(with_lora(llama()))
    for policy in (full, adapted):
        policy.scorer(policy.batch(rows()), Want())
        assert causal_lm(policy.model).config._attn_implementation == NAME
    full.save(tmp_path / "base")
    adapted.save(tmp_path / "adapter")
    assert NAME not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    ids = torch.arange(5)[None]
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert torch.equal(model(ids).logits, full.model(ids).logits)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "base").eos_token_id == EOS
    both = peft.PeftModel.from_pretrained(model, tmp_path / "adapter")
    torch.testing.assert_close(both(ids).logits, adapted.model(ids).logits)


def test_a_second_save_replaces_the_first(tmp_path):
    policy = policy_of(llama())
    policy.save(tmp_path / "final")
    (tmp_path / "final" / "old.txt").touch()
    (tmp_path / ".final.tmp").touch()  # left by a killed run, as whatever
    policy.save(tmp_path / "final")
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    assert not (tmp_path / "final" / "old.txt").exists()


@pytest.mark.parametrize("limit", [100, 2_000, 20_000])
def test_a_model_that_does_not_fit_leaves_the_one_before(tmp_path, limit):
    """Whichever file the system refuses first, of transformers, tokenizers or safetensors."""
    policy = policy_of(llama())
    policy.save(tmp_path / "final")
    before = sorted(path.name for path in (tmp_path / "final").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(StorageError) as caught:
            policy.save(tmp_path / "final")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == f"{tmp_path / 'final'}: cannot be written: File too large"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    assert sorted(path.name for path in (tmp_path / "final").iterdir()) == before


def test_another_model_is_one_line(tmp_path):
    policy = policy_of(llama())
    policy.save(tmp_path / "final")
    (tmp_path / "final" / "config.json").write_text(json.dumps({"model_type": "nothing"}))
    with pytest.raises(CheckpointError) as caught:
        policy.stored_parameters(tmp_path / "final")
    assert str(caught.value).startswith(f"{tmp_path / 'final'}: cannot be loaded: ")
    assert "\n" not in str(caught.value)


def test_an_adapter_of_other_tensors_is_one_line(tmp_path):
    policy = policy_of(with_lora(llama()))
    policy.save(tmp_path / "final")
    safetensors_torch.save_file({"x": torch.zeros(1)}, tmp_path / "final" / "adapter_model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        policy.stored_parameters(tmp_path / "final")
    assert "\n" not in str(caught.value)

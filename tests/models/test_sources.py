"""Where a policy comes from: the shipped model, one from scratch, a folder; and the errors of a wrong folder."""

from __future__ import annotations

import json

import peft
import pytest
import torch
import transformers
from pydantic import ValidationError

from alignkit.errors import ModelError
from alignkit.models.base import REFERENCE_ADAPTER
from alignkit.models.pretrained import Pretrained
from alignkit.models.scratch import Scratch
from alignkit.models.world import FOLDER, World
from alignkit.world import WorldConfig, generate, reward
from alignkit.world.tokenizer import build_tokenizer

TEXTS = [f"{row.prompt}{row.chosen}" for row in generate(WorldConfig(pairs=100), "train", seed=0)]
SMALL = Scratch(name="scratch", layers=1, width=32, heads=2, vocab_size=512, max_positions=64)


def same(first, second):
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)


# --- world ---


def test_shipped_model_is_small_and_complete():
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(sizes) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(sizes.values()) <= 2_000_000


def test_shipped_tokenizer_is_the_one_that_is_built():
    shipped = transformers.AutoTokenizer.from_pretrained(FOLDER)
    built = World(name="world").load_tokenizer([])
    assert shipped.get_vocab() == built.get_vocab()
    assert shipped(TEXTS[0])["input_ids"] == built(TEXTS[0])["input_ids"]
    assert shipped.decode(shipped(TEXTS[0])["input_ids"]) == TEXTS[0]
    assert (shipped.eos_token_id, shipped.pad_token_id) == (built.eos_token_id, built.pad_token_id)


def test_shipped_model_has_the_sizes_of_a_random_one():
    tokenizer = build_tokenizer()
    shipped = World(name="world").load_model(tokenizer, seed=0)
    random = World(name="world", start="random").load_model(tokenizer, seed=0)
    assert {n: p.shape for n, p in shipped.named_parameters()} == {n: p.shape for n, p in random.named_parameters()}
    assert shipped.dtype == torch.float32
    assert not shipped.training
    assert not same(shipped, random)


@torch.no_grad()
def test_shipped_model_is_right_about_half_of_the_time():
    """128 held-out samples at temperature 1: 0.50 give or take 0.13 (three standard errors)."""
    tokenizer = build_tokenizer()
    model = World(name="world").load_model(tokenizer, seed=0)
    prompts = [row.prompt for row in generate(WorldConfig(eval_pairs=128), "eval", seed=0)]
    ids = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        out = model.generate(
            input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], do_sample=True, top_k=0, max_new_tokens=48
        )
    responses = tokenizer.batch_decode(out[:, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    rewards = [reward(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
    assert 0.37 <= sum(rewards) / len(rewards) <= 0.63


# --- scratch ---


def test_scratch_tokenizer_is_lossless_and_the_same_for_the_same_texts():
    first, second = SMALL.load_tokenizer(TEXTS), SMALL.load_tokenizer(iter(TEXTS))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    strange = "  Zoë said:\n\n\t'¿qué?' 你好 🙂 "
    assert first.decode(first(strange, add_special_tokens=False)["input_ids"]) == strange
    assert len(first) <= 512


def test_scratch_tokenizer_puts_bos_first_and_keeps_the_special_tokens_apart():
    tokenizer = SMALL.load_tokenizer(TEXTS)
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    bare = tokenizer("My fern", add_special_tokens=False)["input_ids"]
    assert tokenizer("My fern")["input_ids"] == [1, *bare]


def test_scratch_model_depends_on_the_seed_alone_and_leaves_the_generator_alone():
    tokenizer = SMALL.load_tokenizer(TEXTS)
    before = torch.get_rng_state()
    first, second, other = (SMALL.load_model(tokenizer, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first, second)
    assert not same(first, other)


def test_scratch_sizes():
    """Embedding V x 32; 4 x 32 x 32 attention; feed-forward 8/3 x 32 = 85.3, to 96: 3 x 32 x 96; three norms of 32."""
    tokenizer = SMALL.load_tokenizer(TEXTS)
    model = SMALL.load_model(tokenizer, seed=0)
    expected = len(tokenizer) * 32 + 4 * 32 * 32 + 3 * 32 * 96 + 3 * 32
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert model.config.max_position_embeddings == 64
    assert model.config.attention_dropout == 0.0


def test_scratch_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValidationError) as caught:
        Scratch(name="scratch", width=100, heads=3)
    assert str(caught.value.errors()[0]["ctx"]["error"]) == (
        "width 100 is no multiple of 2 x 3 heads (rotary positions need pairs)"
    )


@pytest.mark.parametrize("field", ["layers", "width", "heads", "vocab_size", "max_positions"])
def test_scratch_sizes_have_bounds(field):
    with pytest.raises(ValidationError, match="less than or equal to"):
        Scratch(name="scratch", **{field: 10**9})


# --- pretrained ---


def test_pretrained_gives_back_what_was_saved(saved):
    source = Pretrained(name="pretrained", path=str(saved))
    tokenizer = source.load_tokenizer([])
    assert same(source.load_model(tokenizer, seed=5), SMALL.load_model(tokenizer, seed=0))
    assert tokenizer("My fern")["input_ids"] == SMALL.load_tokenizer(TEXTS)("My fern")["input_ids"]


def test_pretrained_dtype_and_attention(saved):
    source = Pretrained(name="pretrained", path=str(saved), dtype="bfloat16", attn_implementation="eager")
    model = source.load_model(source.load_tokenizer([]), seed=0)
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "eager"


def test_pretrained_chat_template_file_and_other_tokenizer(saved, tmp_path):
    template = tmp_path / "plain.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    source = Pretrained(name="pretrained", path="some/model", tokenizer=str(saved), chat_template=str(template))
    rendered = source.load_tokenizer([]).apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert rendered == "hi\n"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21 asks for its old name
def test_adapter_folder_is_trained_on_and_its_start_is_the_reference(saved, tmp_path):
    tokenizer = SMALL.load_tokenizer(TEXTS)
    base = transformers.AutoModelForCausalLM.from_pretrained(saved)
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    adapted = peft.get_peft_model(base, config).eval()
    adapted.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    source = Pretrained(name="pretrained", path=str(tmp_path))
    model = source.load_model(source.load_tokenizer([]), seed=0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and all("lora" in name and ".default." in name for name in trained)
    ids = torch.tensor([[1, 5, 6, 7]])
    expected = adapted(ids).logits
    assert torch.equal(model(ids).logits, expected)
    model.set_adapter(REFERENCE_ADAPTER)
    assert torch.equal(model(ids).logits, expected)
    with model.disable_adapter():
        assert not torch.equal(model(ids).logits, expected)


def loaded(**fields):
    source = Pretrained(name="pretrained", **fields)
    return source.load_model(source.load_tokenizer([]), seed=0)


def message(**fields):
    with pytest.raises(ModelError) as caught:
        loaded(**fields)
    return str(caught.value)


def test_missing_folder():
    assert message(path="./no/such/model") == (
        "model.path: folder ./no/such/model does not exist; give a folder or a Hub id such as 'owner/name'"
    )


def test_file_instead_of_folder(saved):
    file = saved / "config.json"
    assert message(path=str(file)) == (
        f"model.path: {file} is a file; give the folder that holds the model, or a Hub id"
    )


def test_unknown_hub_id(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert message(path="alignkit-tests/none", revision="v1") == (
        "model.path: 'alignkit-tests/none' at revision 'v1' is neither a folder nor on the Hub, or the Hub cannot be "
        "reached and it was not downloaded before"
    )


def test_unknown_tokenizer_on_the_hub(saved, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert message(path=str(saved), tokenizer="alignkit-tests/none") == (
        "model.tokenizer: 'alignkit-tests/none' is neither a folder nor on the Hub, or the Hub cannot be reached and "
        "it was not downloaded before"
    )


def test_revision_of_a_folder(saved):
    assert message(path=str(saved), revision="main") == (
        f"model.revision: 'main' belongs to a Hub id; {saved} is a folder"
    )


def test_folder_without_tokenizer(saved, tmp_path):
    (tmp_path / "config.json").write_text((saved / "config.json").read_text())
    assert message(path=str(tmp_path)) == (
        f"model.path: {tmp_path} holds no tokenizer that transformers can load; name one with model.tokenizer"
    )


def test_folder_without_model(saved, tmp_path):
    assert message(path=str(tmp_path), tokenizer=str(saved)) == (
        f"model.path: {tmp_path} holds no model that transformers can load (a config.json with a known model_type)"
    )


def test_folder_with_a_config_but_no_weights(saved, tmp_path):
    (tmp_path / "config.json").write_text((saved / "config.json").read_text())
    assert message(path=str(tmp_path), tokenizer=str(saved)) == (
        f"model.path: {tmp_path} holds no weights as .safetensors (pickled weights are never read)"
    )


def edited(saved, tmp_path, **changes):
    config = json.loads((saved / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    return message(path=str(tmp_path), tokenizer=str(saved))


def test_model_without_a_language_head(saved, tmp_path):
    assert edited(saved, tmp_path, architectures=["LlamaForSequenceClassification"]) == (
        f"model.path: {tmp_path} is LlamaForSequenceClassification, not a causal language model; "
        "give one that continues text"
    )


def test_encoder_decoder(saved, tmp_path):
    assert edited(saved, tmp_path, model_type="t5", architectures=["T5Model"]) == (
        f"model.path: {tmp_path} is T5Model, not a causal language model; give one that continues text"
    )


def test_model_with_code_of_its_own(saved, tmp_path):
    own = {"AutoConfig": "code.OwnConfig", "AutoModelForCausalLM": "code.OwnModel"}
    assert edited(saved, tmp_path, model_type="own", auto_map=own) == (
        f"model.path: {tmp_path} needs code of its own, which is never run; use a model that transformers knows"
    )


def test_tokenizer_of_another_model(saved):
    assert message(path=str(FOLDER), tokenizer=str(saved)) == (
        f"model.path: {FOLDER} knows 173 tokens, its tokenizer 512; they do not belong together"
    )


def test_tokenizer_without_eos(saved, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        content = json.loads((saved / name).read_text())
        content.pop("eos_token", None)
        (tmp_path / name).write_text(json.dumps(content))
    assert message(path=str(tmp_path)) == (
        f"model.path: the tokenizer of {tmp_path} has no EOS token; set eos_token in its tokenizer_config.json"
    )


def test_missing_chat_template(saved):
    assert message(path=str(saved), chat_template="no.jinja") == (
        "model.chat_template: no.jinja cannot be read: FileNotFoundError"
    )

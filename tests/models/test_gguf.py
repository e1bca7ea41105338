"""A model in a GGUF file: the same numbers, saved as any other, the base of adapters; and what is no such file."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import peft
import pytest
import torch
import transformers

from alignkit.errors import ModelError
from alignkit.models.base import REFERENCE_ADAPTER
from alignkit.models.pretrained import Pretrained
from alignkit.quiet import quiet_libraries
from alignkit.records.fingerprints import model_fingerprint
from alignkit.use.trained import Trained

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<eos>\n{% endfor %}"
FILE = "tiny.F32.gguf"


@pytest.fixture(autouse=True)
def quiet():
    """transformers says that it unpacks, and its bar goes to stderr."""
    with quiet_libraries():
        yield


@pytest.fixture(scope="session")
def packed(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of `saved` and its tokenizer in a GGUF file, alone in a folder; its padding has GPT-2's name."""
    return pack(saved, tmp_path_factory.mktemp("packed"), "<|endoftext|>")


def pack(saved: Path, folder: Path, pad: str) -> Path:
    model = transformers.AutoModelForCausalLM.from_pretrained(saved)
    config, writer = model.config, gguf.GGUFWriter(folder / FILE, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    add_tokenizer(writer, saved, pad)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":  # tied
            numbers = tensor.numpy()
            if ".q_proj." in name or ".k_proj." in name:  # llama.cpp turns pairs of neighbours, transformers halves
                halves = numbers.reshape(config.num_attention_heads, 2, -1, numbers.shape[-1])
                numbers = halves.swapaxes(1, 2).reshape(numbers.shape)
            writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, pad: str) -> None:
    stored = json.loads((folder / "tokenizer.json").read_text())
    pieces = sorted(stored["model"]["vocab"], key=stored["model"]["vocab"].get)
    special = {token["content"] for token in stored["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([pad, *pieces[1:]])
    writer.add_token_types([gguf.TokenType.CONTROL if piece in special else gguf.TokenType.NORMAL for piece in pieces])
    writer.add_token_merges([" ".join(pair) for pair in stored["model"]["merges"]])
    for number, add in enumerate((writer.add_pad_token_id, writer.add_bos_token_id, writer.add_eos_token_id)):
        add(number)
    writer.add_chat_template(TEMPLATE)


def source(path: Path | str, **options) -> Pretrained:
    return Pretrained(name="pretrained", path=str(path), **options)


def loaded(given: Pretrained):
    tokenizer = given.load_tokenizer(())
    return given.load_model(tokenizer, seed=0), tokenizer


def test_it_is_the_model_that_was_packed(saved, packed):
    (model, tokenizer), (before, its) = loaded(source(packed, gguf_file=FILE)), loaded(source(saved))
    found = dict(model.named_parameters())
    assert {name: torch.equal(found[name], own) for name, own in before.named_parameters()} == dict.fromkeys(
        found, True
    )
    assert model.dtype == torch.float32 and not model.training
    text = "Ask at the desk, please."
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == its(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert (tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token) == ("<eos>", "<bos>", "<|endoftext|>")
    assert tokenizer.chat_template == TEMPLATE
    ids_1T = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.allclose(model(ids_1T).logits, before(ids_1T).logits, atol=1e-6)


def test_it_is_saved_as_any_other(packed, tmp_path):
    model, tokenizer = loaded(source(packed / FILE))  # the two in one
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    assert (tmp_path / "model.safetensors").is_file()
    again, _ = loaded(source(tmp_path))
    assert model_fingerprint(again) == model_fingerprint(model)


def test_its_outline_has_the_same_shapes_and_types(packed):
    given = source(packed, gguf_file=FILE)
    model, tokenizer = loaded(given)
    with torch.device("meta"):
        outline = given.outline(tokenizer)
    shapes = [{name: (p.shape, p.dtype) for name, p in one.named_parameters()} for one in (model, outline)]
    assert shapes[0] == shapes[1] and {p.device.type for p in outline.parameters()} == {"meta"}
    half = source(packed, gguf_file=FILE, dtype="bfloat16")
    assert half.load_model(tokenizer, seed=0).dtype == half.outline(tokenizer).dtype == torch.bfloat16


def test_an_adapter_finds_its_base(packed, tmp_path):
    model, _ = loaded(source(packed, gguf_file=FILE))
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    adapted = peft.get_peft_model(model, config)
    adapted.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "adapter_config.json").read_text())
    assert stored["base_model_name_or_path"] == f"{packed}/{FILE}"
    again, _ = Trained.of(str(tmp_path)).load()  # with the base's tokenizer, as it has none
    ids_1T = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.allclose(again(ids_1T).logits, adapted.eval()(ids_1T).logits, atol=1e-6)
    assert REFERENCE_ADAPTER in again.peft_config
    outlined = source(tmp_path, tokenizer=f"{packed}/{FILE}")
    assert outlined.outline(outlined.load_tokenizer(())).peft_config["default"].r == 2


def test_it_can_be_used_as_it_is(packed):
    trained = Trained.of(str(packed / FILE))
    model, tokenizer = trained.load()
    assert not trained.is_adapter and len(tokenizer) == model.config.vocab_size


def complaint(given: Pretrained) -> str:
    with pytest.raises(ModelError) as caught:
        loaded(given)
    return str(caught.value)


def test_a_file_that_is_not_there(packed, tmp_path):
    assert complaint(source(packed, gguf_file="tiny.Q4.gguf")) == (
        f"model.gguf_file: 'tiny.Q4.gguf' is not in {packed}; .gguf files there: '{FILE}'"
    )
    assert complaint(source(tmp_path, gguf_file=FILE)) == (
        f"model.gguf_file: '{FILE}' is not in {tmp_path}; .gguf files there: none"
    )


def test_what_is_no_such_file(packed, tmp_path):
    (tmp_path / FILE).write_bytes(b"PK\3\4 and more")
    assert complaint(source(tmp_path, gguf_file=FILE)) == (
        f"model.gguf_file: {tmp_path}/{FILE} is no GGUF file: it begins with b'PK\\x03\\x04'"
    )
    whole = (packed / FILE).read_bytes()
    for length in (4, 400, len(whole) - 400):
        (tmp_path / FILE).write_bytes(whole[:length])
        assert FILE in complaint(source(tmp_path, gguf_file=FILE))


def test_a_tokenizer_with_a_token_that_the_file_has_not(saved, tmp_path):
    given = source(pack(saved, tmp_path, "<pad>"), gguf_file=FILE)
    assert complaint(given) == (
        f"model.path: {tmp_path} knows 512 tokens, its tokenizer 513; name that of the original model with "
        "model.tokenizer"
    )
    loaded(given.model_copy(update={"tokenizer": str(saved)}))


def test_the_key_is_named_where_it_is_missing(packed):
    said = complaint(source(packed, tokenizer=str(packed / FILE)))
    assert said.endswith(f"(a config.json with a known model_type); it holds '{FILE}': set model.gguf_file")


def test_without_the_package(packed, monkeypatch):
    monkeypatch.setattr("alignkit.models.gguf.is_installed", lambda: False)
    assert complaint(source(packed, gguf_file=FILE)) == (
        f"model.gguf_file: {FILE} needs the package gguf: pip install 'alignkit[gguf]'"
    )

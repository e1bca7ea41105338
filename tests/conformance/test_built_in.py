"""Every built-in component keeps what its kind promises."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import datasets
import math_stand_in
import pytest
import transformers
from vllm_stand_in import serving

from alignkit.conformance import check_component
from alignkit.conformance.kit import CHECKS
from alignkit.models.world import FOLDER
from alignkit.quiet import quiet_libraries
from alignkit.recipe.kinds import KINDS

DATA = Path(__file__).parents[1] / "data"
PARAMETERS = {
    ("benchmark", "choices"): {"data": "choices.jsonl"},
    ("benchmark", "constraints"): {"data": "constraints.jsonl", "max_new_tokens": 8},
    ("benchmark", "gsm8k"): {"data": str(DATA / "gsm8k_sample.jsonl"), "shots": 1, "max_new_tokens": 8},
    ("benchmark", "humaneval"): {"data": str(DATA / "humaneval_sample.jsonl")},
    ("benchmark", "lm_eval"): {"tasks": ["sums"], "folder": "tasks"},
    ("pair_weighting", "column"): {"column": "trust"},
    ("contrast", "dpo"): {"steps": 1},
    ("contrast", "sft"): {"steps": 1},
    ("contrast", "prompts"): {"positive": "good", "negative": "bad"},
    ("model", "pretrained"): {"path": str(FOLDER)},
    ("reward", "constraints"): {"column": "constraints", "ends_with": "42"},
    ("reward", "length"): {"max": 80},
    ("reward", "model"): {"path": "classifier"},
    ("reward", "regex"): {"pattern": "[0-9]+"},
    ("sampler", "vllm"): {"weights": "."},
    ("source", "file"): {"path": "pairs.jsonl"},
    ("source", "hub"): {"id": "owner/pairs"},
    ("source", "world"): {"pairs": 4, "eval_pairs": 2},
}
"""Of those that need some, or are slow without."""

CHOICES = [{"question": "Which?", "choices": ["one", "two"], "answer": n % 2} for n in range(4)]
CONSTRAINTS = [{"prompt": f"Say {n}.", "constraints": {"max_words": 5, "no_commas": True}} for n in range(3)]
SUMS = """\
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: choices.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
ROWS = [{"prompt": f"Q{n}:", "chosen": " yes", "rejected": " no"} for n in range(4)]


def save_classifier(folder):
    """The world's model with a head of one label, and its tokenizer, which learns to write conversations."""
    config = transformers.AutoConfig.from_pretrained(FOLDER, num_labels=1)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, registry in KINDS.items() for name in registry.classes()]
)
def test_it_keeps_its_promises(kind, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    Path("choices.jsonl").write_text("\n".join(map(json.dumps, CHOICES)))
    Path("constraints.jsonl").write_text("\n".join(map(json.dumps, CONSTRAINTS)))
    Path("tasks").mkdir()
    Path("tasks", "sums.yaml").write_text(SUMS)
    if (kind, name) == ("reward", "model"):
        save_classifier("classifier")
    monkeypatch.setattr("gc.collect", lambda *_: 0)  # half a second for each model that is trained on the side
    if kind != "benchmark":
        monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: datasets.Dataset.from_list(ROWS))
    monkeypatch.setitem(sys.modules, "math_verify", math_stand_in)  # the real one is asked in tests/rewards
    parameters = PARAMETERS.get((kind, name), {})
    model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER) if name == "vllm" else None
    with quiet_libraries(), serving(model) if model else nullcontext() as server:
        component = KINDS[kind].build(name, parameters | ({"url": server.url} if server else {}))
        check_component(component)


def test_every_kind_has_promises_of_its_own():
    assert CHECKS.keys() == KINDS.keys()
    assert all(check.__doc__ for checks in CHECKS.values() for check in checks)

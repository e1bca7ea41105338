"""Whoever comes from another toolkit, or from a paper, is told what to write here."""

from __future__ import annotations

import pytest

from alignkit.errors import RecipeError
from alignkit.recipe.kinds import KINDS, section_of, slot_of
from alignkit.recipe.load import load_recipe
from alignkit.recipe.other_names import CALLED, INSTEAD
from alignkit.recipe.parts import parts
from alignkit.recipe.recipe import Recipe


def message(tmp_path, text):
    recipe = "model: world\ndata: {train: 'builtin:world'}\nlosses: [dpo]\ntrainer: preference\n"
    (tmp_path / "r.yaml").write_text(recipe)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "r.yaml", [text])
    (problem,) = caught.value.problems
    return f"{problem.key}: {problem.message}"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.save_steps=5", "training.save_steps: unknown key; here it is called 'training.save_every'"),
        ("logging_steps=5", "logging_steps: unknown key; here it is called 'training.log_every'"),
        ("training.report_to=[wandb]", "training.report_to: unknown key; here it is called 'training.trackers'"),
        (
            "training.warmup_steps=5",
            "training.warmup_steps: unknown key; training.warmup is a share of the steps, such as 0.1",
        ),
        ("use_peft=true", "use_peft: unknown key; give model.adapter, such as {rank: 16}"),
        (
            "model.load_in_4bit=true",
            "model.load_in_4bit: unknown key; write model.quantize: nf4, with a model.adapter",
        ),
        (
            "training.fsdp=full_shard",
            "training.fsdp: unknown key; write parallel.strategy: fsdp to cut the model into pieces, and start the "
            "processes with alignkit launch",
        ),
        ("output_dir=x", "output_dir: unknown key; the run folder is given on the command line: --output DIR"),
        ("data.val_set_size=5", "data.val_set_size: unknown key; here it is called 'data.holdout'"),
        (
            "data.num_proc=5",
            "data.num_proc: unknown key; rows are read and cut into tokens in one process; remove it",
        ),
        (
            "data.max_prompt_length=5",
            "data.max_prompt_length: unknown key; data.max_length bounds prompt and response together; "
            "data.on_overflow says which of them is cut",
        ),
        ("data.path=x", "data.path: unknown key; here it is called 'data.train'"),
    ],
)
def test_keys(tmp_path, override, said):
    assert message(tmp_path, override) == said


def test_every_key_that_is_advised_exists_and_no_key_of_ours_is_called_otherwise():
    sections = {".".join(map(str, part.path)): part for part in parts(Recipe, None)}
    for target in CALLED.values():
        outer, _, key = target.rpartition(".")
        found = section_of(outer or "recipe")
        slot = slot_of(outer) if found is None else None
        classes = [found[1]] if found else [*slot.classes().values()]
        assert any(key in cls.model_fields for cls in classes), target
    for name in (*CALLED, *INSTEAD):
        outer, _, key = name.rpartition(".")
        assert key not in sections[outer].cls.model_fields, name


MODELS = f"known: {', '.join(KINDS['model'].names())}"
LOSSES = f"known: {', '.join(KINDS['loss'].names())}"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("losses=[DPO]", f"losses.0: unknown loss 'DPO'; did you mean 'dpo'? {LOSSES}"),
        ("losses=[Weighted-DPO]", f"losses.0: unknown loss 'Weighted-DPO'; did you mean 'weighted_dpo'? {LOSSES}"),
        (
            "losses=[TI-DPO]",
            "losses.0: unknown loss 'TI-DPO'; TI-DPO is a recipe, recipes/tidpo.yaml: weighting 'hybrid' with the "
            f"losses 'weighted_dpo' and 'triplet'; {LOSSES}",
        ),
        (
            "model=org/name",
            "model: unknown model 'org/name'; a folder or a model of the Hub is written "
            f"{{name: pretrained, path: org/name}}; {MODELS}",
        ),
        (
            "model.name=gpt2",
            "model.name: unknown model 'gpt2'; a folder or a model of the Hub is written "
            f"{{name: pretrained, path: gpt2}}; {MODELS}",
        ),
        (
            "losses=['my_team:Longer']",
            "losses.0: unknown loss 'my_team:Longer'; a class of your own is a plugin, installed and named in its "
            f"package (docs/add-a-weighting.md); {LOSSES}",
        ),
        ("model=Pretraned", f"model: unknown model 'Pretraned'; did you mean 'pretrained'? {MODELS}"),
    ],
)
def test_components(tmp_path, override, said):
    assert message(tmp_path, override) == said

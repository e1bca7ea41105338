"""The model without weights is the run's model in every name, shape and type, also where no weights are there."""

from __future__ import annotations

import shutil

import peft
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from alignkit.errors import ModelError
from alignkit.models.base import LoRA
from alignkit.models.lengths import Longest
from alignkit.models.outline import outlined_policy, outlined_scorer
from alignkit.models.policy import build_policy
from alignkit.models.pretrained import Pretrained
from alignkit.models.scratch import Scratch
from alignkit.models.world import FOLDER, World
from alignkit.world.tokenizer import build_tokenizer

CPU = torch.device("cpu")
TOKENIZER = build_tokenizer()


def described(scorer):
    """name -> shape, type, whether it is trained; tied ones once."""
    return {name: (tuple(p.shape), p.dtype, p.requires_grad) for name, p in scorer.named_parameters()}


def built(source):
    return described(build_policy(source, TOKENIZER, seed=0, separate=False, device=CPU).scorer)


def outlined(source):
    return described(outlined_scorer(source, TOKENIZER, CPU, FakeTensorMode()))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """An adapter folder of the shipped model."""
    folder = tmp_path_factory.mktemp("adapter")
    model = Pretrained(name="pretrained", path=str(FOLDER)).load_model(TOKENIZER, 0)
    config = peft.LoraConfig(r=3, target_modules=["q_proj"], task_type="CAUSAL_LM")
    peft.get_peft_model(model, config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "source",
    [
        World(name="world"),
        World(name="world", adapter=LoRA(rank=4)),
        Scratch(name="scratch", layers=3, width=64, heads=2, vocab_size=600),
        Pretrained(name="pretrained", path=str(FOLDER), dtype="bfloat16"),
        Pretrained(name="pretrained", path=str(FOLDER), dtype="bfloat16", adapter=LoRA(targets=("q_proj",))),
    ],
    ids=str,
)
def test_the_outline_has_the_names_shapes_and_types_of_the_model(source):
    assert outlined(source) == built(source)


def test_the_outline_of_an_adapter_folder_has_its_frozen_copy(adapter):
    source = Pretrained(name="pretrained", path=str(adapter))
    found = outlined(source)
    assert found == built(source)
    assert any(".reference." in name for name in found)


def test_no_weights_are_needed(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    source = Pretrained(name="pretrained", path=str(tmp_path / "model"))
    assert outlined(source) == built(World(name="world"))
    with pytest.raises(ModelError, match="holds no weights"):
        source.load_model(TOKENIZER, 0)


@pytest.mark.parametrize(
    ("source", "separate", "layout"),
    [
        (World(name="world"), False, "packed"),
        (World(name="world", layout="shared"), False, "shared"),
        (World(name="world"), True, "separate"),
        (World(name="world", layout="separate"), False, "separate"),
    ],
)
def test_the_layout_is_the_run_s(source, separate, layout):
    longest = Longest(10, "data.max_length", shared=20)
    options = {"separate": separate, "device": CPU, "template_end": None, "longest": longest}
    assert outlined_policy(source, TOKENIZER, fake=FakeTensorMode(), **options).layout == layout


def test_rows_that_the_model_has_no_positions_for_are_refused():
    source = Pretrained(name="pretrained", path="gpt2-like")
    with pytest.raises(ModelError, match=r"model.path: 'gpt2-like' is neither a folder nor on the Hub"):
        outlined(source)

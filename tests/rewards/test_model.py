"""A reward model: what it reads of a sample, how batches are padded, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from reward_model import LONGEST, TEMPLATE, WORDS, saved
from slow_rewards import sample

import alignkit
import alignkit.run as run
from alignkit.errors import ModelError
from alignkit.recipe.load import load_recipe
from alignkit.rewards.base import Sample
from alignkit.rewards.judge import Judge
from alignkit.rewards.model import ByModel


def logit(folder: str, words: Sequence[str]) -> float:
    """What the classifier says of these words alone, by transformers and without padding."""
    model = transformers.LlamaForSequenceClassification.from_pretrained(folder)
    model.config.pad_token_id = None
    with torch.inference_mode():
        return float(model(torch.tensor([[WORDS.index(word) for word in words]])).logits)


def said(response: str, *turns: Mapping[str, str]) -> Sample:
    return replace(sample(response), prompt="why no ", messages=turns or None)


def test_batches_give_what_each_text_gives_alone(tmp_path: Path):
    path = saved(tmp_path)
    turn = {"role": "user", "content": "why not"}
    samples = [said("yes"), said("yes", turn), said("maybe not maybe yes no", turn), said("no " * 20)]
    texts = [
        ["why", "no", "yes"],
        ["user", "why", "not", "<eos>", "assistant", "yes", "<eos>"],
        ["user", "why", "not", "<eos>", "assistant", "maybe", "not", "maybe", "yes", "no", "<eos>"],
        ["no"] * LONGEST,
    ]
    alone = [logit(path, text) for text in texts]
    assert len({round(value, 4) for value in alone}) == 4
    for batch_size in (1, 3, 4):
        [scores] = Judge([ByModel(name="model", path=path, batch_size=batch_size)])(samples)
        torch.testing.assert_close(torch.tensor(scores), torch.tensor(alone))


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        (3, TEMPLATE, "rewards.judge.path: {path} gives 3 labels (num_labels); a reward has 1"),
        (1, None, "rewards.judge: the tokenizer of {path} has no chat template, and prompts are messages"),
    ],
)
def test_a_model_that_is_no_reward_model_is_told(tmp_path: Path, labels: int, template: str | None, message: str):
    path = saved(tmp_path, labels, template)
    with pytest.raises(ModelError) as caught:
        Judge([ByModel(name="model", label="judge", path=path)])([said("yes", {"role": "user", "content": "no"})])
    assert str(caught.value) == message.format(path=path)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path):
    reward = ByModel(name="model", path=f"{tmp_path}/none")
    for ask in (reward.check, lambda: reward.score([said("yes")])):
        with pytest.raises(ModelError) as caught:
            ask()
        assert str(caught.value) == (
            f"rewards.model.path: folder {tmp_path}/none does not exist; give a folder or a Hub id such as 'owner/name'"
        )


def test_a_run_asks_for_it_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, folder = saved(tmp_path / "model", labels=3), tmp_path / "run"
    recipe = load_recipe("alignkit:methods/grpo", [f"rewards=[{{name: model, path: {path}}}]"])
    monkeypatch.setattr(run, "read_rows", None)
    for is_dry in (True, False):
        with pytest.raises(ModelError, match=r"^rewards\.model\.path: .*/model gives 3 labels"):
            run.run(recipe, folder, dry_run=is_dry, quiet=True)
    assert not folder.exists()


def test_a_pipeline_asks_for_those_of_all_stages_before_its_first(tmp_path: Path):
    recipe, folder = tmp_path / "stages.yaml", tmp_path / "run"
    later = f"{{rewards: [{{name: model, path: {tmp_path}/none}}]}}"
    recipe.write_text(f"extends: alignkit:methods/grpo\nstages: {{first: {{seed: 1}}, later: {later}}}\n")
    with pytest.raises(ModelError, match=r"^rewards\.model\.path: folder .*/none does not exist"):
        alignkit.run_pipeline(recipe, folder, quiet=True)
    assert not folder.exists()

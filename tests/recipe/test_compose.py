"""Parts that do not fit together are refused in one sentence that says what would fit."""

from __future__ import annotations

import pytest

from alignkit.errors import RecipeError
from alignkit.losses import losses
from alignkit.pair_weighting import pair_weightings
from alignkit.pair_weighting.base import PairWeighting
from alignkit.recipe.load import load_recipe

RECIPE = """\
model: {name: world}
data: {train: "builtin:world"}
losses: [dpo]
trainer: preference
"""

# A loss more is no change of the sentence.
OF_PAIRS = ", ".join(name for name, cls in losses.classes().items() if cls.sees == "pairs")

MISFITS = {
    'data.train="a\\nok: all fine"': (
        r"data.train: a name holds no line ends or control characters, got 'a\nok: all fine'"
    ),
    'model={name: pretrained, path: "x\\e[2J"}': (
        r"model.path: a name holds no line ends or control characters, got 'x\e[2J'"
    ),
    "losses=[sft]": (
        "losses.0.name: 'sft' is a loss of responses, but trainer 'preference' gives pairs; "
        f"losses that fit: {OF_PAIRS}; trainers that fit: sft"
    ),
    "trainer=sft": (
        "losses.0.name: 'dpo' is a loss of pairs, but trainer 'sft' gives responses; "
        "losses that fit: sft; trainers that fit: online_preference, preference"
    ),
    "pair_weighting=wpo\nlosses=[{name: dpo, pair_weighted: false}, triplet]": (
        "pair_weighting.name: 'wpo' weighs no loss, as each has 'pair_weighted: false'; set it to true, add a loss, "
        "or use 'uniform'"
    ),
    "losses=[dpo, triplet, {name: dpo, beta: 0.5}]": (
        "losses.2.name: 'dpo' is already losses.0; give each loss once and weigh it by 'coefficient'"
    ),
    "model={reference: cache, layout: auto}\nlosses=[tdpo]": (
        "model.reference: 'cache' holds the reference's log-probs of the data's responses only, but loss 'tdpo' needs "
        "its whole distribution; use 'auto' or 'copy'"
    ),
    "model.reference=cache\nlosses=[dpo, triplet]": (
        "model.reference: 'cache' holds the reference's log-probs of the data's responses only, but loss 'triplet' "
        "needs its scores of sampled anchors; use 'auto' or 'copy'"
    ),
    "model.reference=cache\nweighting={name: gradient, target: log_ratio}": (
        "model.reference: 'cache' holds the reference's log-probs of the data's responses only, but weighting "
        "'gradient' needs its gradients; use 'auto' or 'copy'"
    ),
    "model.reference=cache\nlosses=[kto]\ntrainer=unpaired": (
        "model.reference: 'cache' holds the reference's log-probs of the data's responses only, but loss 'kto' needs "
        "its scores of mismatched responses; use 'auto' or 'copy'"
    ),
    "losses=[kto]\ntrainer=unpaired\ntraining.batch_size=1": (
        "training.batch_size: losses.0, 'kto', compares with the other responses of the optimizer step, so a batch of "
        "1 has nothing to compare with; give at least 2"
    ),
    "losses=[kto]": (
        "losses.0.name: 'kto' is a loss of labelled responses, but trainer 'preference' gives pairs; losses that fit: "
        f"{OF_PAIRS}; trainers that fit: unpaired"
    ),
    "weighting=tis\nlosses=[kto]\ntrainer=unpaired": (
        "weighting: contrast 'dpo' trains on pairs, but trainer 'unpaired' gives labelled responses; contrasts that "
        "fit: prompts, sft"
    ),
    "weighting={name: contrastive, contrast: sft}\nlosses=[sft]\ntrainer=sft": (
        "weighting: contrast 'sft' trains on pairs or labelled responses, but trainer 'sft' gives responses; contrasts "
        "that fit: prompts"
    ),
    "weighting=transport\nlosses=[sft]\ntrainer=sft": (
        "weighting: mass that optimal transport between the two responses' hidden states moves can be had of pairs "
        "only, but trainer 'sft' gives responses; use another weighting, or a trainer that gives pairs"
    ),
    "weighting={name: hybrid, prior: {name: transport, model: reference}}\nlosses=[kto]\ntrainer=unpaired": (
        "weighting: mass that optimal transport between the two responses' hidden states moves can be had of pairs "
        "only, but trainer 'unpaired' gives labelled responses; use another weighting, or a trainer that gives pairs"
    ),
    "data.train=pairs.jsonl\nweighting=oracle": (
        "weighting: 'oracle' knows the planted tokens of builtin:world only, but data.train is pairs.jsonl; use "
        "another weighting"
    ),
    "data.train=pairs.jsonl\nweighting={name: hybrid, prior: oracle}": (
        "weighting: 'oracle' knows the planted tokens of builtin:world only, but data.train is pairs.jsonl; use "
        "another weighting"
    ),
    "weighting={name: surprisal, scope: full_sequence}": (
        "weighting.scope: 'full_sequence' needs importances of prompt tokens, and 'surprisal' has none; use scope "
        "'response'"
    ),
    "weighting={name: hybrid, scope: full_sequence, prior: {name: softmax, of: oracle}}": (
        "weighting.scope: 'full_sequence' needs importances of prompt tokens, and 'oracle' has none; use scope "
        "'response'"
    ),
    "data.eval=pairs.jsonl\nweighting=oracle": (
        "weighting: 'oracle' knows the planted tokens of builtin:world only, but data.eval is pairs.jsonl; use another "
        "weighting"
    ),
    "model.layout=shared\nweighting={name: uniform, scope: full_sequence}": (
        "model.layout: 'shared' computes a prompt once for both responses, but weighting.scope 'full_sequence' needs "
        "it once for each; use layout 'auto' or 'separate', or scope 'response'"
    ),
    "model={name: scratch, max_positions: 512}": (
        "data.max_length: 1024 tokens are more than model.max_positions, 512; lower the one or raise the other"
    ),
    "model.reference=adapter_off": (
        "model.reference: 'adapter_off' needs an adapter; give model.adapter, or use 'auto'"
    ),
    "losses=[simpo]\nmodel.reference_update={every: 32}": (
        "model.reference_update: nothing in this recipe reads a reference; leave it out, or add a loss that compares "
        "with one, such as 'dpo'"
    ),
    "model={adapter: {rank: 4}, reference_update: {every: 32}}": (
        "model.reference_update: it mixes the parameters of policy and reference, and an adapter is a product of two "
        "matrices: the product of the mixed ones is no mixture; leave it out, or train all parameters (without "
        "model.adapter)"
    ),
    "model={reference: cache, reference_update: {mix: 1.0}}": (
        "model.reference: 'cache' holds a reference that stays, and model.reference_update moves it; use 'auto' or "
        "'copy'"
    ),
    "losses=[dpo, kl_off]": (
        "losses.1: 'kl_off' is 0 where every token weighs 1, and weighting 'uniform' gives all of them 1; use another "
        "weighting, or leave it out"
    ),
    "data.split=test": "data.split: 'test' belongs to a Hub data set in data.train; the data is builtin:world",
}


@pytest.mark.parametrize(("overrides", "message"), MISFITS.items(), ids=list(MISFITS))
def test_misfits(tmp_path, overrides, message):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "recipe.yaml", overrides.splitlines())
    (problem,) = caught.value.problems
    assert f"{problem.key}: {problem.message}" == message


def test_the_place_is_that_of_the_value(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("losses: [dpo]", "losses:\n  - dpo\n  - name: sft"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "recipe.yaml")
    assert caught.value.problems[0].where == f"{tmp_path}/recipe.yaml:5"


def test_two_different_anchors_are_refused_and_equal_ones_are_not(tmp_path, monkeypatch):
    from alignkit.losses import losses
    from alignkit.losses.triplet import Triplet

    monkeypatch.setitem(losses._classes, "second_triplet", Triplet)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    second = "losses=[triplet, {name: second_triplet, anchor: teacher_forced}]"
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "recipe.yaml", [second])
    assert str(caught.value) == (
        f"--set {second}: losses.1: asks for another anchor than losses.0, but one is sampled per pair; "
        "give both the same 'anchor'"
    )
    same = load_recipe(tmp_path / "recipe.yaml", ["losses=[triplet, second_triplet]"]).recipe
    assert same.needs().anchor == same.losses[0].anchor


def test_weights_of_pairs_need_pairs(tmp_path, monkeypatch):
    class Column(PairWeighting):
        """A factor per pair."""

        def per_pair(self, scores):
            return scores

    monkeypatch.setitem(pair_weightings._classes, "column", Column)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "recipe.yaml", ["losses=[sft]", "trainer=sft", "pair_weighting=column"])
    assert str(caught.value) == (
        "--set pair_weighting=column: pair_weighting.name: 'column' weighs pairs, but trainer 'sft' gives responses; "
        "use 'uniform' or a trainer that gives pairs"
    )

"""Recipes that sample: what does not fit together is refused in one sentence, before the model loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import alignkit.run as runs
from alignkit.cli import main
from alignkit.errors import RecipeError
from alignkit.losses import losses
from alignkit.recipe.load import load_recipe

RECIPE = """\
model: {name: world}
data: {train: "builtin:world"}
rewards: [world]
advantage: group
sampler: {name: generate, responses: 4}
losses: [policy_gradient]
trainer: on_policy
"""
PAIRS = "trainer=online_preference\nadvantage=null\nlosses=[dpo]"
OFFLINE = "trainer=preference\nlosses=[dpo]\nsampler=null\nadvantage=null"
CUT = (
    "trainer 'on_policy' compares log-probs of the whole vocabulary, and with '{0}' responses are drawn from a part of "
    "it, so ratios would be wrong; leave it out"
)
BEFORE = "before training, and trainer 'on_policy' samples its responses; use another weighting"
VISIT = (
    "weighting: 'gradient' keeps a row's importances for its next visit, and trainer 'on_policy' samples other "
    "responses then; leave out 'refresh_every' and 'smoothing'"
)
CACHE = (
    "model.reference: 'cache' holds the reference's log-probs of the data's responses only, but trainer '{0}' samples "
    "others; use 'auto' or 'copy'"
)

MISFITS = {
    "rewards=[]": "trainer: 'on_policy' needs 'rewards'; such as [{name: answer}]",
    "sampler=null": "trainer: 'on_policy' needs 'sampler'; such as {name: generate, responses: 8}",
    "advantage=null": "trainer: 'on_policy' needs 'advantage'; such as {name: group}",
    OFFLINE: (
        "rewards: trainer 'preference' has no use for it; leave it out, or take trainer on_policy or online_preference"
    ),
    f"{OFFLINE}\nrewards=[]\nsampler=generate": (
        "sampler: trainer 'preference' has no use for it; leave it out, or take trainer on_policy or online_preference"
    ),
    f"{PAIRS}\nadvantage=group": (
        "advantage: trainer 'online_preference' has no use for it; leave it out, or take trainer on_policy"
    ),
    f"{PAIRS}\nrewards=[]": "trainer: 'online_preference' needs 'rewards'; such as [{name: answer}]",
    "rewards=[world, {name: length, shape: target, target: 9, label: world}]": (
        "rewards.1: 'world' is what rewards.0 is called already; give one of them another 'label'"
    ),
    "rewards=[{name: world, weight: 0}]": (
        "rewards: each has weight 0, so nothing is rewarded; give at least one another 'weight'"
    ),
    "data.train=mine.jsonl": "rewards.0: 'world' knows what is right in builtin:world only; use other rewards",
    "sampler.responses=1": (
        "sampler.responses: advantage 'group' compares responses to one prompt, and a group of 1 has none; give at "
        "least 2"
    ),
    f"{PAIRS}\nsampler.responses=1": (
        "sampler.responses: trainer 'online_preference' compares responses to one prompt, and a group of 1 has none; "
        "give at least 2"
    ),
    "sampler.top_k=5": f"sampler.top_k: {CUT.format('top_k')}",
    "sampler.top_p=0.9": f"sampler.top_p: {CUT.format('top_p')}",
    "advantage=returns\nsampler.refill_rounds=2": (
        "sampler.refill_rounds: no group is dropped where responses are not compared; leave it out"
    ),
    "sampler.refill_rounds=2\nsampler.dead_groups=keep": (
        "sampler.refill_rounds: no group is dropped with dead_groups 'keep'; leave out one of them"
    ),
    "weighting=tis": (f"weighting: 'tis' needs log-ratios of two contrastive models ('dpo'), known {BEFORE}"),
    "weighting={name: contrastive, contrast: sft}": (
        f"weighting: 'contrastive' needs contrastive estimates of two models ('sft'), known {BEFORE}"
    ),
    "weighting=column": (
        "weighting: 'column' needs data columns with one number per token, 'chosen_weight' and so on, known " + BEFORE
    ),
    "weighting=oracle": f"weighting: 'oracle' needs the planted tokens of builtin:world, known {BEFORE}",
    "weighting={name: hybrid, gradient: {name: gradient, model: reference}}": (
        f"weighting: 'hybrid' needs importances under the reference, computed {BEFORE}"
    ),
    "weighting={name: gradient, smoothing: 0.5}": VISIT,
    "weighting={name: gradient, refresh_every: 2}": VISIT,
    f"{PAIRS}\nlosses=[tpo]": (
        "losses.0: needs a gold response of each row of the data, and trainer 'online_preference' samples its rows; "
        "use another"
    ),
    f"{PAIRS}\nlosses=[calibrated_nll]": (
        "losses.0: needs 'score_chosen' of each row of the data, and trainer 'online_preference' samples its rows; use "
        "another"
    ),
    f"{PAIRS}\npair_weighting=uni_dpo": (
        "pair_weighting: needs 'score_chosen' and 'score_rejected' of each row of the data, and trainer "
        "'online_preference' samples its rows; use another"
    ),
    "pair_weighting=wpo": (
        "pair_weighting.name: 'wpo' weighs pairs, but trainer 'on_policy' gives rollouts; use 'uniform' or a trainer "
        "that gives pairs"
    ),
    "losses=[dpo]": (
        "losses.0.name: 'dpo' is a loss of pairs, but trainer 'on_policy' gives rollouts; losses that fit: "
        "policy_gradient; trainers that fit: online_preference, preference"
    ),
    f"{PAIRS}\nlosses=[policy_gradient]": (
        "losses.0.name: 'policy_gradient' is a loss of rollouts, but trainer 'online_preference' gives pairs; losses "
        f"that fit: {', '.join(n for n, cls in losses.classes().items() if cls.sees == 'pairs')}; trainers that fit: "
        "on_policy"
    ),
    "evaluation.measures=[pairs]": (
        "evaluation.measures.0: 'pairs' looks at responses of the data, and trainer 'on_policy' reads none"
    ),
    "losses=[{name: policy_gradient, kl: {coefficient: 0.1}}]\nmodel.reference=cache": CACHE.format("on_policy"),
    f"{PAIRS}\nmodel.reference=cache": CACHE.format("online_preference"),
    "data.train_on=all_turns": (
        "data.train_on: 'all_turns' is for single responses, but trainer 'on_policy' reads prompts alone; take "
        "'last_turn' or trainer 'sft'"
    ),
}

FITS = (
    "sampler.top_p=1.0",
    f"{PAIRS}\nsampler.top_p=0.9\nsampler.top_k=3",
    f"{PAIRS}\npair_weighting=wpo",
    f"{PAIRS}\nweighting=hybrid",
    "sampler.responses=1\nadvantage=returns",
    "sampler.responses=1\nadvantage={name: group, baseline: none, scale: none}",
    "model.reference=cache",  # without a KL there is no reference
    "rewards=[world, {name: world, label: again}]",
    "training.batch_size=1",
    "evaluation.measures=[rewards]",
)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "recipe.yaml"


@pytest.mark.parametrize(("overrides", "message"), MISFITS.items(), ids=list(MISFITS))
def test_misfits(recipe: Path, overrides: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, overrides.splitlines())
    (problem,) = caught.value.problems
    assert f"{problem.key}: {problem.message}" == message


@pytest.mark.parametrize("overrides", FITS)
def test_what_fits(recipe: Path, overrides: str) -> None:
    assert load_recipe(recipe, overrides.splitlines()).recipe.method().drawing is not None


NOT_GIVEN = (
    "rows.jsonl: 1 of 2 rows cannot be used: 1 missing field\n"
    "  rows.jsonl:2: missing field: 'answer'\n"
    "mend them, or leave them out with data.on_bad_row: drop\n"
)
NO_PROMPT = (
    "rows.jsonl: no known format; columns found: text; accepted: chosen + rejected; messages; prompt; instruction; "
    "question; problem; or name the columns, starting from data.columns: {prompt: COLUMN}\n"
)
NO_SERVER = (
    "sampler.url: http://127.0.0.1:9: GET /v1/models cannot be asked: Connection refused; "
    "start it with: vllm serve MODEL --logprobs-mode processed_logprobs\n"
)
STOPPED = {
    "a column that a reward reads": (["Q", "Q"], ["rewards=[answer]"], NOT_GIVEN),
    "no prompt": ([None], ["rewards=[repetition]"], NO_PROMPT),
    "no server": (["Q"], ["rewards=[repetition]", "sampler={name: vllm, url: 'http://127.0.0.1:9'}"], NO_SERVER),
}


@pytest.mark.parametrize("name", STOPPED)
def test_what_cannot_be_trained_on_stops_before_the_model_loads(
    name: str, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts, settings, told = STOPPED[name]
    rows = [{"prompt": prompt, "answer": "#### 1"} if prompt else {"text": "Q"} for prompt in prompts]
    if told == NOT_GIVEN:
        del rows[-1]["answer"]
    recipe.with_name("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(runs, "build_policy", None)
    monkeypatch.chdir(recipe.parent)
    chosen = [part for setting in ("data.train=rows.jsonl", *settings) for part in ("--set", setting)]
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(recipe), *chosen, "--output", "out"])
    assert (stopped.value.code, capsys.readouterr().err) == (2, told)

"""Two short trainings: what they are trained on, that they leave the run alone, and what decides them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from contrast_toy import SIGNS, TRAINING, bench_in, contrast, parameters, same, trained
from engine_toy import gold_logp, llama, recipe, rows, with_lora

from alignkit.data.rows import TokenRow
from alignkit.data.splitting import swapped
from alignkit.data.unpairing import unpair
from alignkit.engine.workbench import SideRuns
from alignkit.models.reference import Reference

pytestmark = pytest.mark.slow  # each trains side models


def likes(model, row: TokenRow, name: str) -> float:
    """Summed log-prob of a response."""
    return gold_logp(model, row.prompt, row.responses[name]).sum().item()


def lead(model, row: TokenRow) -> float:
    return likes(model, row, "chosen") - likes(model, row, "rejected")


# --- what the models are trained on ---


@pytest.mark.parametrize("name", ["dpo", "sft"])
def test_the_positive_model_comes_to_like_the_chosen_responses_and_the_negative_one_the_rejected(
    name, tmp_path
) -> None:
    of = bench_in(tmp_path)
    positive, negative = (contrast(name).train(sign, of.train, of).scorer.model for sign in SIGNS)
    for row in rows():
        assert lead(positive, row) > lead(llama(), row) + 0.5
        assert lead(negative, row) < lead(llama(), row) - 0.5


@pytest.mark.parametrize("name", ["dpo", "sft"])
def test_a_guide_takes_one_training(name, tmp_path) -> None:
    """That of the positive model; what it is compared with is the reference as it stands."""
    signs = []

    class Noted(type(contrast(name))):
        def train(self, sign, rows, bench):
            signs.append(sign)
            return super().train(sign, rows, bench)

    of = bench_in(tmp_path)
    noted = Noted(**contrast(name).model_dump())
    ((_, guide, reference),) = noted.guided(of.train, of)
    ((_, positive, _),) = contrast(name).scored(of.train, bench_in(tmp_path / "both"))
    assert signs == ["positive"]
    assert torch.equal(guide.logp_BRT, positive.logp_BRT)
    ((_, start),) = of.scored(of.reference(), of.train)
    assert torch.equal(reference.logp_BRT, start.logp_BRT)


@pytest.mark.parametrize("name", ["dpo", "sft"])
def test_the_negative_model_is_the_positive_one_of_swapped_rows(name, tmp_path) -> None:
    turned = [swapped(row) for row in rows()]
    here, there = bench_in(tmp_path / "a"), bench_in(tmp_path / "b", turned)
    assert same(trained(contrast(name), here, "negative"), trained(contrast(name), there, "positive"))
    assert same(trained(contrast(name), here, "positive"), trained(contrast(name), there, "negative"))


def test_the_first_dpo_step_by_hand(tmp_path) -> None:
    """One step of RMSprop on the gradient of -log sigmoid(beta * lead), whose mean over rows at the start is
    -beta / 2 * mean(gradient of the lead), as policy and reference are equal."""
    training = TRAINING | {"optimizer": "rmsprop", "learning_rate": 0.01, "max_grad_norm": None}
    of = bench_in(tmp_path, training=training)
    got = contrast("dpo", steps=1, beta=0.3).train("positive", of.train, of).scorer.model
    wanted = llama()
    leads = [
        gold_logp(wanted, row.prompt, row.responses["chosen"]).sum()
        - gold_logp(wanted, row.prompt, row.responses["rejected"]).sum()
        for row in rows()
    ]
    (-0.3 / 2 * torch.stack(leads).mean()).backward()
    torch.optim.RMSprop(wanted.parameters(), lr=0.01).step()
    # RMSprop's first step has the same size for every gradient but the tiniest, whose sign is rounding.
    gradients = {key: p.grad for key, p in wanted.named_parameters()}
    for key, value in got.named_parameters():
        is_clear = gradients[key].abs() > 1e-4
        torch.testing.assert_close(value[is_clear], wanted.get_parameter(key)[is_clear], rtol=0, atol=1e-3)


def test_sft_imitates_desirable_or_undesirable_completions(tmp_path) -> None:
    """Of labelled rows it is trained on one kind, in order; so the kind alone, as pairs' chosen, gives the same."""
    some = unpair(rows())
    mixed = bench_in(tmp_path / "mixed", [some[0], some[3], some[2], some[5], some[1]])
    positive, negative = (contrast("sft").train(sign, mixed.train, mixed).scorer.model for sign in SIGNS)
    for row in (some[0], some[2]):
        assert likes(positive, row, "completion") > likes(llama(), row, "completion") + 0.5
    for row in (some[3], some[5], some[1]):
        assert likes(negative, row, "completion") > likes(llama(), row, "completion") + 0.5
    ups = [replace(row, responses={"chosen": row.responses["completion"]}, label=None) for row in (some[0], some[2])]
    alone = bench_in(tmp_path / "alone", ups)
    assert same(trained(contrast("sft"), mixed, "positive"), trained(contrast("sft"), alone, "positive"))


def test_a_gold_response_is_no_part_of_it(tmp_path) -> None:
    golden = [replace(row, responses={**row.responses, "gold": row.prompt}) for row in rows()]
    for name in ("dpo", "sft"):
        bare, with_gold = bench_in(tmp_path / f"{name} bare"), bench_in(tmp_path / f"{name} gold", golden)
        assert same(trained(contrast(name), bare, "negative"), trained(contrast(name), with_gold, "negative"))


def test_the_runs_own_components_are_no_part_of_it(tmp_path) -> None:
    """Token weights, pair weights and losses of the run, its steps and its checkpoints."""
    plain = bench_in(tmp_path / "plain")
    other = recipe(
        [{"name": "simpo"}],
        weighting={"name": "random"},
        pair_weighting={"name": "wpo"},
        training=TRAINING | {"epochs": 2.0, "save_every": 1, "eval_every": 1, "log_every": 5},
    )
    of = replace(plain, job=other.job(has_adapter=False), side=SideRuns(tmp_path / "other"))
    for name in ("dpo", "sft"):
        assert same(trained(contrast(name), plain), trained(contrast(name), of))
    for model in (tmp_path / "other").iterdir():  # the last one is kept, for whoever asks for the same model again
        assert len(list((model / "checkpoints").glob("step-*"))) == 1


def test_scored_gives_both_models_on_the_rows_asked_for(tmp_path) -> None:
    """Trained on the training rows, asked about another one."""
    of, other = bench_in(tmp_path), replace(rows()[0], prompt=rows()[1].prompt, index=9)
    ((batch, *both),) = contrast("sft").scored([other], of)
    assert batch.mask_BRT.shape[0] == 1
    for sign, scores in zip(SIGNS, both, strict=True):
        model = contrast("sft").train(sign, of.train, of).scorer.model
        for ids, logp_T in zip(other.responses.values(), scores.logp_BRT[0], strict=True):
            torch.testing.assert_close(logp_T[: len(ids)], gold_logp(model, other.prompt, ids), rtol=1e-4, atol=1e-4)


# --- what it leaves alone, and what it says ---


@pytest.mark.parametrize("name", ["dpo", "sft"])
@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "adapter"])
def test_the_runs_policy_is_untouched(name, adapter, tmp_path) -> None:
    model = with_lora(llama()) if adapter else llama()
    before = {key: (p.detach().clone(), p.requires_grad) for key, p in model.named_parameters()}
    of = bench_in(tmp_path, model=model)
    if adapter:
        of = replace(of, reference=lambda: Reference(of.policy.scorer, of.policy))
    assert len(list(contrast(name).scored(rows(), of))) == 1
    for key, parameter in model.named_parameters():
        value, requires_grad = before[key]
        assert torch.equal(parameter, value) and parameter.grad is None and parameter.requires_grad is requires_grad
    assert not model.training and of.accelerator._models == []


def test_of_an_adapter_only_the_adapter_is_trained(tmp_path) -> None:
    model = with_lora(llama())
    of = bench_in(tmp_path, model=model)
    of = replace(of, reference=lambda: Reference(of.policy.scorer, of.policy))
    start, found = parameters(of.policy.scorer), trained(contrast("dpo"), of)
    moved = {key for key in start if not torch.equal(start[key], found[key])}
    assert moved == {key for key in start if "lora_" in key}


def test_the_models_are_frozen(tmp_path) -> None:
    of = bench_in(tmp_path)
    model = contrast("sft").train("positive", of.train, of).scorer
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_trackers_of_the_run_get_none_of_it(tmp_path) -> None:
    """Its steps are not the run's, whose numbers they have."""
    of, heard = bench_in(tmp_path), []
    of.accelerator.trackers = [SimpleNamespace(name="heard", log=lambda values, step, **_: heard.append(step))]
    contrast("sft").train("positive", of.train, of)
    assert heard == []


def test_it_says_what_takes_its_time(tmp_path) -> None:
    notes: list[str] = []
    of = bench_in(tmp_path, unpair(rows())[:5])
    of = replace(of, side=replace(of.side, note=notes.append))
    list(contrast("sft", steps=2).scored([], of))
    assert notes == [
        "training the contrastive model 'positive': 2 steps on 3 rows",
        "training the contrastive model 'negative': 2 steps on 2 rows",
    ]


# --- what decides the models ---


@pytest.mark.parametrize("name", ["dpo", "sft"])
def test_two_calls_give_the_same(name, tmp_path) -> None:
    """In one folder or in another, and whatever was drawn from torch's generator before."""
    found = []
    for number, folder in enumerate(("a", "a", "b")):
        torch.manual_seed(number)
        found.append(
            [(p.logp_BRT, n.logp_BRT) for _, p, n in contrast(name).scored(rows(), bench_in(tmp_path / folder))]
        )
    for again in found[1:]:
        assert all(
            torch.equal(x, y) for one, two in zip(found[0], again, strict=True) for x, y in zip(one, two, strict=True)
        )


def facts(tmp_path, name: str = "dpo", train=None, values=None, training=None, **sections) -> dict:
    of = bench_in(tmp_path, train, training=TRAINING | (training or {}), **sections)
    return contrast(name, **(values or {})).depends_on(of)


DECIDES = {
    "its learning rate": {"values": {"learning_rate": 0.5}},
    "its steps": {"values": {"steps": 4}},
    "the recipe's learning rate": {"training": {"learning_rate": 0.5}},
    "batch size": {"training": {"batch_size": 2}},
    "optimizer": {"training": {"optimizer": "rmsprop"}},
    "schedule": {"training": {"schedule": "cosine"}},
    "warm-up": {"training": {"warmup": 0.5}},
    "clipping": {"training": {"max_grad_norm": 0.1}},
    "seed": {"seed": 1},
    "training rows": {"train": rows()[:2]},
    "their order": {"train": rows()[::-1]},
    "their labels": {"train": [swapped(rows()[0]), *rows()[1:]]},
}

DOES_NOT = {
    "how often is logged": {"training": {"log_every": 7}},
    "micro-batches": {"training": {"micro_batch_size": 1}},
    "checkpoints": {"training": {"save_every": 3, "keep_checkpoints": 5}},
    "evaluations": {"training": {"eval_every": 3}, "evaluation": {"pairs": 1, "batch_size": 1}},
    "the run's steps": {"training": {"steps": 50}},
    "the run's epochs": {"training": {"epochs": 3.0}},
    "the run's weighting and losses": {"losses": [{"name": "simpo"}], "weighting": {"name": "prior"}},
}


@pytest.mark.parametrize("change", DECIDES)
def test_it_depends_on(change, tmp_path) -> None:
    assert facts(tmp_path, **DECIDES[change]) != facts(tmp_path)


@pytest.mark.parametrize("change", DOES_NOT)
def test_it_does_not_depend_on(change, tmp_path) -> None:
    assert facts(tmp_path, **DOES_NOT[change]) == facts(tmp_path)


def test_a_learning_rate_of_its_own_stands_for_the_recipes(tmp_path) -> None:
    own = {"values": {"learning_rate": 0.5}}
    assert facts(tmp_path, **own, training={"learning_rate": 0.1}) == facts(tmp_path, **own)
    assert facts(tmp_path, **own) == facts(tmp_path, training={"learning_rate": 0.5})

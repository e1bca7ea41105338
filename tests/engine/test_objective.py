"""The training step: uniform weights are plain DPO, micro-batches add up, the start is checked."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from engine_toy import (
    DPO,
    HYBRID,
    LENGTHS,
    SIZES,
    TRIPLET,
    build,
    gradients,
    llama,
    move,
    objective,
    policy,
    recipe,
    rows,
    scoring,
    view_of,
    with_lora,
)
from transformers import Phi3Config

from alignkit.asks.reference_logps import ReferenceLogps
from alignkit.asks.table import Table
from alignkit.data.rows import TokenRow
from alignkit.data.unpairing import unpair
from alignkit.engine.method import Method
from alignkit.engine.objective import ObjectiveStep, start_batches
from alignkit.engine.scoring import Scoring
from alignkit.errors import ModelError
from alignkit.models.reference import Reference
from alignkit.models.scorer import Want
from alignkit.pair_weighting.uniform import Uniform
from alignkit.scores import PairScores, TokenScores

MANY = rows([*LENGTHS, (3, 2, 6), (5, 5, 2)])
TEACHER = TRIPLET | {"anchor": {"name": "teacher_forced"}}
SAMPLED = TRIPLET | {"anchor": {"name": "sample_prompt", "max_new_tokens": 5, "refresh_every": 2}}
RECIPES = {
    "sft": recipe([{"name": "sft"}], "sft"),
    "dpo": recipe(),
    "tidpo": recipe([DPO | {"name": "weighted_dpo"}, SAMPLED], weighting=HYBRID),
    "teacher forced": recipe([DPO, TEACHER], weighting={"name": "random"}),
    "orpo": recipe([{"name": "orpo", "nll_on": "full"}, {"name": "nll", "coefficient": 0.2}], weighting=HYBRID),
    "uni": recipe([{"name": "sigmoid_norm"}, {"name": "cpo"}], pair_weighting={"name": "wpo"}),
    "kto": recipe([{"name": "kto"}], "unpaired"),
    "ti-kto": recipe([{"name": "kto", "undesirable_weight": 0.5}], "unpaired", weighting=HYBRID),
    "log-ratio": recipe(weighting={"name": "gradient", "target": "log_ratio", "smoothing": 0.5}),
    "self": recipe(weighting={"name": "self"}),
    "surprisal": recipe([{"name": "simpo"}], weighting={"name": "surprisal"}),
    "tdpo": recipe([{"name": "tdpo"}, TRIPLET | {"coefficient": 0.3}], weighting={"name": "prior"}),
}


def rows_for(method: Method) -> list[TokenRow]:
    return unpair(MANY)[:7] if method.view.name == "unpaired" else MANY


def step_of(of, layout: str = "packed") -> ObjectiveStep:
    """A step whose policy has moved from its reference, prepared for optimizer step 0."""
    step = objective(scoring(of, move(llama()), llama(), layout))
    step.prepare(0, rows_for(of.method()), {0: rows_for(of.method())})
    return step


def values(step: ObjectiveStep, *parts):
    """Objective, gradients and added metrics of the micro-batches `parts` of one optimizer step."""
    totals = step.totals(rows_for(step.method))
    objective, metrics = 0.0, {}
    for part in parts:
        loss, found = step.loss(part, 0, totals)
        loss.backward()
        objective += loss.item()
        for name, (value, count) in found.items():
            before = metrics.get(name, (0.0, 0.0))
            metrics[name] = (before[0] + float(value), before[1] + float(count))
    return objective, gradients(step.scoring.policy.model), metrics


class TestUniformIsPlainDPO:
    """Bit for bit, through the whole step: log-ratios summed without any weight stand beside it."""

    @pytest.mark.parametrize("name", ["dpo", "weighted_dpo"])
    @pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
    def test_loss_and_gradients(self, name, layout) -> None:
        step = step_of(recipe([DPO | {"name": name}], weighting={"name": "uniform"}), layout)
        loss, _ = step.loss(MANY, 0, step.totals(MANY))
        loss.backward()
        got = gradients(step.scoring.policy.model)
        view = view_of(step.scoring, MANY, 0)
        chosen_B, rejected_B = ((s.policy_BT - s.reference_BT).sum(-1) for s in (view.chosen, view.rejected))
        plain = -torch.nn.functional.logsigmoid(0.5 * (chosen_B - rejected_B)).sum() / len(MANY)
        plain.backward()
        wanted = gradients(step.scoring.policy.model)
        assert torch.equal(loss, plain)
        assert all(torch.equal(got[parameter], wanted[parameter]) for parameter in wanted)

    def test_weights_do_change_it(self) -> None:
        uniform, weighted = (values(step_of(recipe(weighting=w)), MANY)[0] for w in ({"name": "uniform"}, HYBRID))
        assert abs(uniform - weighted) > 1e-3

    def test_hybrid_attribution_does_not_touch_the_graph(self) -> None:
        """Weights clipped to [1, 1] are uniform: with the attribution pass or without, the same bits."""
        ones = {"name": "hybrid", "clip": [1.0 - 1e-9, 1.0]}
        found = [values(step_of(recipe(weighting=w)), MANY) for w in ({"name": "uniform"}, ones)]
        assert found[0][0] == found[1][0]
        assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])


@pytest.mark.parametrize("name", RECIPES)
class TestMicroBatches:
    def test_add_up_to_the_whole(self, name) -> None:
        """Objective, every gradient and every metric; the split puts rows of other lengths together."""
        of = RECIPES[name]
        many = rows_for(of.method())
        whole, split = values(step_of(of), many), values(step_of(of), many[:1], many[1:4], many[4:])
        assert split[0] == pytest.approx(whole[0], abs=1e-6)
        torch.testing.assert_close(split[1], whole[1], rtol=1e-5, atol=2e-6)
        assert split[2].keys() == whole[2].keys()
        for key, (value, count) in whole[2].items():
            if key == "kl/mismatched":  # of the whole step, whatever its parts
                assert split[2][key] == (pytest.approx(3 * value), 3 * count)
                continue
            assert split[2][key][1] == count, key
            assert split[2][key][0] == pytest.approx(value, rel=1e-5, abs=1e-4), key

    def test_layouts_agree(self, name) -> None:
        of = RECIPES[name]
        packed, separate = (values(step_of(of, layout), rows_for(of.method())) for layout in ("packed", "separate"))
        assert packed[0] == pytest.approx(separate[0], abs=2e-6)
        torch.testing.assert_close(packed[1], separate[1], rtol=1e-4, atol=2e-5)

    def test_the_objective_is_the_sum_of_its_terms(self, name) -> None:
        """Mean over its unit of each logged loss and of the likelihood beside it, times the coefficient."""
        of = RECIPES[name].model_copy(update={"pair_weighting": Uniform()})  # metrics are unweighted
        objective, _, metrics = values(step_of(of), rows_for(of.method()))
        terms = []
        for loss in of.losses:
            means = [
                value / count
                for key in ("", "_nll")
                for value, count in [metrics.get(f"loss/{loss.name}{key}", (0, 1))]
            ]
            terms.append(loss.coefficient * sum(means))
        assert objective == pytest.approx(sum(terms), rel=1e-5)


class TestStart:
    """Policy and reference are the same model."""

    def start(self, of) -> ObjectiveStep:
        step = objective(scoring(of, llama(), llama()))
        step.prepare(0, MANY, {0: MANY})
        return step

    def test_dpo_is_ln_2_and_the_triplet_its_margin(self) -> None:
        """ln 2 + 0.1 x 30; margin and rewards 0."""
        step = self.start(RECIPES["tidpo"])
        step.check_start(MANY)
        objective, _, metrics = values(step, MANY)
        assert objective == pytest.approx(math.log(2) + 0.1 * 30, abs=1e-5)
        assert metrics["rewards/margins"] == (pytest.approx(0, abs=1e-5), 5.0)

    def test_a_reference_that_differs_stops_the_run(self) -> None:
        """One reference weight moved: the message gives the largest difference of a token."""
        moved = llama()
        with torch.no_grad():
            moved.lm_head.weight[3] += 0.01
        step = objective(scoring(recipe(), llama(), moved))
        view = view_of(step.scoring, start_batches(MANY, recipe().training.micro_batch_size)[0])
        worst = max((s.policy_BT - s.reference_BT).abs().max().item() for s in (view.chosen, view.rejected))
        with pytest.raises(ModelError) as caught:
            step.check_start(MANY)
        assert str(caught.value) == (
            "step-0 check: before training, policy and reference should agree, but a token's log-probs differ by "
            f"{worst:.3g} nats (tolerance 0.001); either one of them is not the model that the recipe names, or the "
            "model scores a row by what else is in its batch"
        )

    def test_a_model_that_scores_rows_by_their_batch_stops_the_run(self) -> None:
        """LongRoPE takes its frequencies from the longest row of a batch: the reference saw each row alone."""
        rope = {"rope_type": "longrope", "short_factor": [1.0] * 2, "long_factor": [9.0] * 2, "rope_theta": 1e4}
        fields = {"rope_parameters": rope | {"factor": 4.0}, "original_max_position_embeddings": 16}
        mixed = rows([(4, 6, 3), (9, 15, 20), (2, 1, 5), (7, 4, 4)])
        for model, is_right in ((build(Phi3Config(**SIZES, **fields, pad_token_id=0)), False), (llama(), True)):
            packed = {}
            for row in mixed:
                scored = policy(model).scorer(policy(model).batch([row]), Want())
                packed[row.key] = scored.logp_BRT[scored.logp_BRT != 0].detach()
            step = objective(scoring(recipe(), model, tables={ReferenceLogps(): Table(packed)}))
            if is_right:
                step.check_start(mixed)
                continue
            with pytest.raises(ModelError, match=r"^step-0 check: .* or the model scores a row by what else is in its"):
                step.check_start(mixed)

    @pytest.mark.parametrize(
        ("size", "wanted"),
        [(1, [[2, 1], [2]]), (2, [[2, 1], [2]]), (4, [[2, 0, 3, 1], [2]]), (16, [[2, 0, 3, 1], [2]])],
    )
    def test_what_is_looked_at(self, size: int, wanted: list[list[int]]) -> None:
        """The shortest and the longest rows in one batch, and the shortest alone; never more than two batches."""
        mixed = rows([(4, 6, 3), (9, 15, 20), (2, 1, 5), (7, 4, 4)])
        assert [[row.index for row in batch] for batch in start_batches(mixed, size)] == wanted
        assert [[row.index for row in batch] for batch in start_batches(mixed[:1], size)] == [[0], [0]]

    def test_nan_stops_the_run(self) -> None:
        broken = llama()
        with torch.no_grad():
            broken.model.norm.weight[0] = torch.nan
        with pytest.raises(ModelError, match="log-probs differ by nan nats"):
            objective(scoring(recipe(), llama(), broken)).check_start(MANY)

    def test_without_a_reference_there_is_nothing_to_check(self) -> None:
        objective(scoring(RECIPES["sft"], llama())).check_start(MANY)

    def test_takes_no_gradient_and_no_weights(self) -> None:
        step = self.start(RECIPES["tidpo"])
        step.check_start(MANY)
        assert all(p.grad is None for p in step.scoring.policy.model.parameters())


def test_totals_count_examples_and_tokens_of_the_first_response() -> None:
    """Chosen responses of 6, 1, 4, 2 and 5 tokens."""
    for name in ("sft", "dpo"):
        assert step_of(RECIPES[name]).totals(MANY) == {"examples": 5.0, "tokens": 18.0}


def test_totals_count_what_losses_divide_by() -> None:
    """Prompts of 4, 2, 7, 3 and 5 tokens, of which 16 are predicted: 18 + 16."""
    totals = step_of(RECIPES["orpo"]).totals(MANY)
    assert totals == {"examples": 5.0, "tokens": 18.0, "sequence_tokens": 34.0}
    _, _, metrics = values(step_of(RECIPES["orpo"]), MANY)
    assert [metrics[f"loss/{name}"][1] for name in ("orpo", "orpo_nll", "nll")] == [5.0, 34.0, 18.0]


class TestPairWeights:
    """The column says 0 for all rows but the third, which counts 2."""

    LOSSES = ({"name": "cpo"}, {"name": "nll", "pair_weighted": False})

    def objective(self, *losses: dict, pairs: dict, rows=MANY) -> float:
        step = step_of(recipe(losses, pair_weighting=pairs))
        counted = [replace(row, columns={"trust": 2.0 * (row.index == 2)}) for row in rows]
        return step.loss(counted, 0, step.totals(MANY))[0].item()

    def test_multiply_a_loss_and_its_likelihood(self) -> None:
        weighted = self.objective(self.LOSSES[0], pairs={"name": "column", "column": "trust"})
        alone = self.objective(self.LOSSES[0], pairs={"name": "uniform"}, rows=MANY[2:3])
        assert weighted == pytest.approx(2 * alone, rel=1e-5) and alone > 0

    def test_leave_out_a_loss_that_says_so(self) -> None:
        weighted = self.objective(*self.LOSSES, pairs={"name": "column", "column": "trust"})
        inside = self.objective(self.LOSSES[0], pairs={"name": "column", "column": "trust"})
        outside = self.objective(self.LOSSES[1], pairs={"name": "uniform"})
        assert weighted == pytest.approx(inside + outside, rel=1e-5)


def test_metrics_by_name() -> None:
    _, _, metrics = values(step_of(RECIPES["tidpo"]), MANY)
    weights = {f"weights/{name}": 10.0 for name in ("ess", "max", "position_spearman", "silent")}
    losses = {"loss/weighted_dpo": 5.0, "loss/triplet": 5.0}
    rewards = {f"rewards/{name}": 5.0 for name in ("chosen", "rejected", "margins", "accuracies")}
    logps = {"logps/chosen": 5.0, "logps/rejected": 5.0}
    assert {name: count for name, (_, count) in metrics.items()} == weights | losses | rewards | logps
    assert metrics["weights/silent"][0] == 1.0  # the one-token response: nothing before it to look at


def test_rewards_are_beta_times_log_ratios() -> None:
    step = step_of(recipe())
    _, _, metrics = values(step, MANY)
    view = view_of(step.scoring, MANY, 0)
    margins_B = 0.5 * ((view.chosen.logratio_BT).sum(-1) - (view.rejected.logratio_BT).sum(-1)).detach()
    assert metrics["rewards/margins"][0] == pytest.approx(margins_B.sum().item(), abs=1e-4)
    assert metrics["rewards/accuracies"][0] == (margins_B > 0).sum().item()


@pytest.mark.parametrize(("margin", "score"), [(0.0, 0.5), (4e-4, 0.5), (-4e-4, 0.5), (6e-4, 1.0), (-6e-4, 0.0)])
def test_a_tie_up_to_rounding_counts_one_half(margin, score) -> None:
    """Rewards of beta 0.5 that differ by less than 0.5 x 0.001 nats, as in bf16 before the first update."""
    (loss,) = recipe().losses
    plain = torch.zeros(1, 1)
    mask = torch.ones(1, 1, dtype=torch.bool)
    chosen, rejected = (TokenScores(p, mask, torch.ones(1, 1), plain) for p in (plain + margin / 0.5, plain))
    assert loss.reward_metrics(PairScores(chosen, rejected))["rewards/accuracies"] == (score, 1.0)


def test_unpaired_metrics_are_apart_by_label() -> None:
    """Seven responses, four of them desirable."""
    _, _, metrics = values(step_of(RECIPES["kto"]), rows_for(RECIPES["kto"].method()))
    counts = {f"{kind}/{name}": n for kind in ("rewards", "logps") for name, n in (("chosen", 4.0), ("rejected", 3.0))}
    weights = {f"weights/{name}": 7.0 for name in ("ess", "max", "position_spearman")}
    assert {name: count for name, (_, count) in metrics.items()} == counts | weights | {
        "loss/kto": 7.0,
        "kl/mismatched": 1.0,
    }


class TestAnchors:
    def test_lookahead_is_the_window(self) -> None:
        assert step_of(RECIPES["tidpo"]).lookahead == 2 and step_of(RECIPES["dpo"]).lookahead == 1

    def test_state_goes_round(self) -> None:
        """A resumed step in the middle of a window gives the same objective though the policy that drew is gone."""
        step = step_of(RECIPES["tidpo"])
        move(step.scoring.policy.model, seed=4)
        resumed = objective(scoring(RECIPES["tidpo"], step.scoring.policy.model, llama()))
        resumed.load_state(step.state())
        totals = step.totals(MANY)
        assert torch.equal(resumed.loss(MANY, 1, totals)[0], step.loss(MANY, 1, totals)[0])

    def test_there_is_none_without_anchors(self) -> None:
        step = step_of(RECIPES["dpo"])
        assert step.state() == {}
        step.load_state({})


def test_lora_trains_the_adapter_alone() -> None:
    """Against itself with the adapter off; base and embeddings get no gradient from attribution or loss."""
    model = with_lora(llama())
    bare = scoring(RECIPES["tidpo"], model, llama())
    found = Scoring(bare.method, bare.policy, Reference(bare.policy.scorer, bare.policy), {}, bare.autocast)
    step = objective(found)
    step.prepare(0, MANY, {0: MANY})
    loss, _ = step.loss(MANY, 0, step.totals(MANY))
    loss.backward()
    assert all("lora_" in name for name in gradients(model))
    base = objective(bare)
    base.prepare(0, MANY, {0: MANY})
    other, _ = base.loss(MANY, 0, base.totals(MANY))
    assert other.item() == pytest.approx(loss.item(), abs=1e-5)

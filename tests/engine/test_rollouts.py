"""From prompts to rows: what is dropped, drawn again, remembered, checked, logged and kept for a resume."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import accelerate
import numpy as np
import pytest
import torch
from engine_toy import CLOSE, DPO, EOS, HYBRID, computed, full_logp, llama, move, recipe, rows, scoring, view_of
from rollout_toy import large, on_policy, online, plain, prompts, same_rows, step_of, trained_on

from alignkit.data.rows import TokenRow
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.rewarding import total_rewards
from alignkit.errors import ModelError, RewardError
from alignkit.loop.checkpoint import read_tensors, write_tensors
from alignkit.models.policy import Policy
from alignkit.rewards.base import Sample
from alignkit.rollouts.generate import Generate
from alignkit.rollouts.groups import Drawn

GSPO = {"name": "policy_gradient", "ratio": "sequence", "average": "examples"}
KL = {"name": "policy_gradient", "kl": {"coefficient": 0.1}}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """With more, the bits of a product depend on the size of its batch."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def dead(*numbers: int):
    """`large`, but for some prompts, all of whose responses are worth the same up to rounding."""
    return lambda sample: 0.25 + 1e-8 * large(sample) if sample.group in numbers else large(sample)


def drawn(step: ObjectiveStep, number: int = 0, batch: Sequence[TokenRow] | None = None) -> list[TokenRow]:
    return list(step.draw(number, prompts(3) if batch is None else batch).rows)


def names(rows: Sequence[TokenRow]) -> list[str]:
    return [row.where.split(",")[0] for row in rows]


def ids_of(row: TokenRow) -> tuple[int, list[int]]:
    return row.index, row.responses["completion"].tolist()


# --- rows ---


def test_each_response_is_a_row_with_its_advantage() -> None:
    """GRPO by hand: (r - mean) / (std + 1e-4) of the mean token ids of a group."""
    rows = drawn(step_of(on_policy()))
    assert [row.index for row in rows] == list(range(12))
    assert rows[5].where == "toy.jsonl:2, response 2"
    assert rows[5].prompt.tolist() == prompts()[1].prompt.tolist()
    for start in (0, 4, 8):
        group = rows[start : start + 4]
        reward_G = np.array([row.responses["completion"].mean() / 40 for row in group])
        wanted_G = (reward_G - reward_G.mean()) / (reward_G.std(ddof=1) + 1e-4)
        for row, wanted in zip(group, wanted_G, strict=True):
            np.testing.assert_allclose(row.token_columns["advantage"]["completion"], wanted, rtol=1e-5)
            assert row.label is bool(wanted > 0)
            assert row.text == {"prompt": row.text["prompt"], "completion": row.text["completion"]}
            assert row.text["completion"] == " ".join(str(n) for n in row.responses["completion"] if n != EOS)


def test_a_drawing_is_decided_by_seed_step_and_prompt() -> None:
    rows = drawn(step_of(on_policy()))
    assert same_rows(drawn(step_of(on_policy())), rows)
    turned = drawn(step_of(on_policy()), batch=prompts(3)[::-1])  # up to rounding, as sums are in another order
    assert list(map(ids_of, turned)) == list(map(ids_of, rows[8:] + rows[4:8] + rows[:4]))
    step = step_of(on_policy())
    assert not same_rows(drawn(step, 1), rows)
    assert same_rows(drawn(step, 0), rows)
    assert not same_rows(drawn(step_of(on_policy(seed=1))), rows)


def test_a_prompt_that_is_twice_in_a_batch_has_other_responses(tmp_path: Path) -> None:
    """As a row of data with a weight of 2 may be; it would otherwise train twice on the same samples."""
    of = on_policy(sampler={"refill_rounds": 1}, trainer={"samples_every": 1, "samples_groups": 9})
    batch = [*prompts(2), *prompts(1)]
    rows = drawn(step_of(of, folder=tmp_path), batch=batch)
    once = drawn(step_of(of), batch=batch[:2])
    assert list(map(ids_of, rows[:8])) == list(map(ids_of, once))
    first, second = ([row.responses["completion"].tolist() for row in rows[start : start + 4]] for start in (0, 8))
    assert names(rows[8:]) == names(rows[:4]) and not any(response in first for response in second)
    lines = map(json.loads, (tmp_path / "samples" / "step_00001.jsonl").read_text().splitlines())
    advantages = [float(row.token_columns["advantage"]["completion"].mean()) for row in rows]
    assert [line["advantage"] for line in lines] == pytest.approx(advantages)


class Turned(Generate):
    """Gives each group the other way round."""

    def sample(self, prompts: Any, seeds: Any, policy: Policy, step: int) -> list[list[Drawn]]:
        return [group[::-1] for group in super().sample(prompts, seeds, policy, step)]


def test_a_group_shares_its_prompt() -> None:
    """It lies in a packed row once for all samples; loss and gradients are those of a row for each sample."""
    found = {}
    for layout in ("packed", "separate"):
        step = step_of(on_policy(), layout=layout)
        drawn = step.draw(0, prompts(3)).rows
        found[layout] = trained_on(step, 0, drawn)
        laid = step.scoring.policy.batch(drawn)
        assert len(drawn) == 12
        if layout == "packed":
            assert laid.packing is not None and laid.packing.num_prompt == sum(len(row.prompt) for row in prompts(3))
    torch.testing.assert_close(*found.values(), rtol=1e-4, atol=2e-5)


def test_permuting_a_group_permutes_its_rows() -> None:
    of = on_policy([KL], weighting=HYBRID)
    one, other = step_of(of), step_of(of, sampler=Turned(**of.sampler.model_dump()))
    rows, turned = drawn(one), drawn(other)
    for place, row in enumerate(rows):
        twin = turned[place - place % 4 + 3 - place % 4]
        assert twin.responses["completion"].tolist() == row.responses["completion"].tolist()
        np.testing.assert_allclose(
            twin.token_columns["advantage"]["completion"], row.token_columns["advantage"]["completion"], rtol=1e-6
        )
    close(trained_on(one, 0, rows), trained_on(other, 0, turned))


def close(one: tuple[float, dict], other: tuple[float, dict]) -> None:
    """Losses and gradients are equal but for the order of sums."""
    assert one[0] == pytest.approx(other[0], rel=1e-4, abs=1e-6)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        torch.testing.assert_close(other[1][name], gradient, rtol=1e-4, atol=1e-6)


def identical(one: tuple[float, dict], other: tuple[float, dict]) -> None:
    """Losses and gradients are equal bit for bit."""
    assert one[0] == other[0]
    assert all(torch.equal(other[1][name], gradient) for name, gradient in one[1].items())


@pytest.mark.parametrize("loss", [KL, GSPO, KL | {"average": "constant"}])
def test_micro_batches_do_not_matter(loss: dict) -> None:
    found = []
    for size in (1, 3, 12):
        step = step_of(on_policy([loss], weighting=HYBRID, training={"micro_batch_size": size}))
        found.append(trained_on(step, 0, drawn(step)))
    close(found[0], found[1])
    close(found[0], found[2])


# --- the objective ---


def by_hand(step: ObjectiveStep, rows: Sequence[TokenRow], weights: bool) -> torch.Tensor:
    """-sum of w A log pi over all tokens, divided by their number: its gradient is GRPO's where the ratio is 1."""
    total = torch.zeros(())
    for row in rows:
        ids = row.responses["completion"]
        logp_T = full_logp(step.module.model, row.prompt, ids).gather(-1, torch.from_numpy(ids).long()[:, None])[:, 0]
        advantage_T = torch.from_numpy(row.token_columns["advantage"]["completion"])
        weights_T = view_of(step.scoring, [row]).response.weights_BT[0] if weights else 1.0
        total = total - (weights_T * advantage_T * logp_T).sum()
    return total / sum(len(row.responses["completion"]) for row in rows)


@pytest.mark.parametrize("weighting", [{"name": "uniform"}, HYBRID])
def test_the_gradient_is_the_policy_gradient(weighting: dict) -> None:
    """REINFORCE with token weights; the loss, ratios being 1, is minus the mean advantage, which weights leave."""
    step = step_of(on_policy(weighting=weighting))
    rows = drawn(step)
    loss, found = trained_on(step, 0, rows)
    tokens_N = np.concatenate([row.token_columns["advantage"]["completion"] for row in rows])
    assert loss == pytest.approx(-tokens_N.mean(), abs=1e-6)
    by_hand(step, rows, weights=weighting == HYBRID).backward()
    for name, parameter in step.module.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_ti_grpo_with_uniform_weights_is_grpo() -> None:
    """Bit for bit: responses of one token leave the weights of `hybrid` no choice but 1."""
    short = {"sampler": {"max_new_tokens": 1}}
    grpo, ti_grpo = step_of(on_policy([KL], **short)), step_of(on_policy([KL], weighting=HYBRID, **short))
    rows = drawn(grpo)
    assert same_rows(drawn(ti_grpo), rows) and {len(row.responses["completion"]) for row in rows} == {1}
    identical(trained_on(grpo, 0, rows), trained_on(ti_grpo, 0, rows))


def test_policy_and_reference_are_scored_at_the_temperature_of_the_sampler() -> None:
    step = step_of(on_policy([KL], sampler={"temperature": 0.5}))
    rows = drawn(step)
    scores = view_of(step.scoring, rows[:1])
    ids = rows[0].responses["completion"]
    chosen = torch.from_numpy(ids).long()[:, None]
    for model, found_BT in (
        (step.module.model, scores.response.policy_BT),
        (llama(), scores.response.reference_BT),
    ):
        wanted_TV = (full_logp(model, rows[0].prompt, ids) / 0.5).log_softmax(-1)
        torch.testing.assert_close(found_BT[0], wanted_TV.gather(-1, chosen)[:, 0], **CLOSE)
    torch.testing.assert_close(
        scores.response.policy_BT[0].detach(), torch.from_numpy(rows[0].token_columns["sampled_logp"]["completion"])
    )
    pairs = step_of(online([{"name": "dpo"}], sampler={"temperature": 0.5}))
    assert (step.method.temperature, pairs.method.temperature) == (0.5, 1.0)  # pairs are compared as they are


def test_a_penalty_is_taken_off_the_rewards() -> None:
    """k1 in the reward: the response's is less by 0.3 x its log-ratio to the reference, at the temperature."""
    kl = {"coefficient": 0.3, "estimator": "k1_in_reward"}
    advantage = {"name": "group", "scale": "none"}
    step = step_of(
        on_policy([{"name": "policy_gradient", "kl": kl}], advantage=advantage, sampler={"temperature": 0.7})
    )
    rows = drawn(step)
    for start in (0, 4, 8):
        group = rows[start : start + 4]
        penalised_G = np.array([row.responses["completion"].mean() / 40 - 0.3 * kl_of(step, row) for row in group])
        found_G = [row.token_columns["advantage"]["completion"][-1] for row in group]
        np.testing.assert_allclose(found_G, penalised_G - penalised_G.mean(), atol=1e-5)
    assert "penalty" not in rows[0].token_columns
    loss, _ = trained_on(step, 0, rows)
    tokens_N = np.concatenate([row.token_columns["advantage"]["completion"] for row in rows])
    assert loss == pytest.approx(-tokens_N.mean(), abs=1e-6)  # and not once more


def kl_of(step: ObjectiveStep, row: TokenRow) -> float:
    """The log-ratio of a response to the reference, at temperature 0.7."""
    ids = row.responses["completion"]
    policy_TV, reference_TV = (
        (full_logp(model, row.prompt, ids).detach() / 0.7).log_softmax(-1) for model in (step.module.model, llama())
    )
    return float((policy_TV - reference_TV).gather(-1, torch.from_numpy(ids).long()[:, None]).sum())


# --- dead groups ---


@pytest.mark.parametrize("loss", [KL, KL | {"average": "examples"}, KL | {"average": "constant"}])
def test_a_dead_group_is_as_if_its_prompt_were_absent(loss: dict) -> None:
    of = on_policy([loss], weighting=HYBRID)
    dropping, without = step_of(of, dead(1)), step_of(of, dead(1))
    rows = drawn(dropping)
    others = drawn(without, batch=[prompts()[0], prompts()[2]])
    assert same_rows(rows, others) and len(rows) == 8
    assert dropping.totals(rows) == without.totals(others)
    identical(trained_on(dropping, 0, rows), trained_on(without, 0, others))


def test_a_dead_group_may_be_kept_in_the_denominator() -> None:
    """Its advantage is 0 but for rounding, so without a KL its rows add nothing but their number."""
    keeping = step_of(on_policy(sampler={"dead_groups": "keep"}), dead(1))
    dropping = step_of(on_policy(), dead(1))
    rows, fewer = drawn(keeping), drawn(dropping)
    assert (len(rows), len(fewer)) == (12, 8)
    parts = [step.totals(some)["tokens"] for step, some in ((keeping, rows), (dropping, fewer))]
    one, other = trained_on(keeping, 0, rows), trained_on(dropping, 0, fewer)
    for name, gradient in other[1].items():
        torch.testing.assert_close(one[1][name] * parts[0] / parts[1], gradient, rtol=1e-3, atol=1e-5)


def test_other_prompts_come_in_the_place_of_dead_groups() -> None:
    """Prompts 1 and 2 are dead; so is 4, if it is drawn for them, and its place is drawn for once more."""
    of = on_policy(sampler={"refill_rounds": 3})
    rows = drawn(step_of(of, dead(1, 2, 4)))
    assert len(rows) == 12 and len(set(names(rows))) == 3
    assert set(names(rows)) == {"toy.jsonl:1", "toy.jsonl:4", "toy.jsonl:6"}
    assert same_rows(drawn(step_of(of, dead(1, 2, 4))), rows)
    found = {tuple(names(drawn(step_of(of, dead(1, 2)), number))) for number in range(6)}
    assert len(found) > 1  # another step draws other prompts


def test_refilling_ends_with_the_rounds_or_with_the_prompts() -> None:
    alive_only_3 = dead(0, 1, 2, 4, 5)
    one_round = {len(drawn(step_of(on_policy(sampler={"refill_rounds": 1}), dead(0, 1, 2)), n)) for n in range(3)}
    assert one_round == {12}  # three others take their place at once
    assert names(drawn(step_of(on_policy(sampler={"refill_rounds": 9}), alive_only_3))) == ["toy.jsonl:4"] * 4
    assert drawn(step_of(on_policy(sampler={"refill_rounds": 9}), lambda sample: 1.0)) == []


def test_groups_that_are_not_compared_are_never_dead() -> None:
    for advantage in ({"name": "group", "baseline": "none", "scale": "none"}, {"name": "returns"}):
        rows = drawn(step_of(on_policy(advantage=advantage, sampler={"refill_rounds": 0}), lambda sample: 1.0))
        assert len(rows) == 12


def test_what_is_logged_of_a_drawing() -> None:
    step = step_of(on_policy(), dead(1), lambda sample: None if sample.group == 2 else 0.5)
    metrics = dict(step.draw(0, prompts(3)).metrics)
    assert metrics.pop("rollout_seconds") > 0
    assert metrics.keys() == {
        "reward",
        "reward_std",
        "frac_reward_zero_std",
        "groups/dropped",
        "completions/mean_length",
        "completions/clipped_ratio",
        *(f"rewards/rule{n}/{what}" for n in range(2) for what in ("mean", "std", "unscorable")),
        *({"completions/mean_terminated_length"} & metrics.keys()),
    }
    assert metrics["groups/dropped"] == 1.0 and metrics["frac_reward_zero_std"] == pytest.approx(1 / 3)
    assert metrics["rewards/rule0/unscorable"] == 0.0 and metrics["rewards/rule1/unscorable"] == 4.0
    assert (metrics["rewards/rule1/mean"], metrics["rewards/rule1/std"]) == (0.5, 0.0)
    kept = drawn(step_of(on_policy(sampler={"dead_groups": "keep"}), dead(1)))
    by_group = [[row.responses["completion"].mean() / 40 for row in kept[n : n + 4]] for n in (0, 4, 8)]
    deviations = [np.std(by_group[0], ddof=1), 0.0, np.std(by_group[2], ddof=1)]
    assert metrics["reward_std"] == pytest.approx(np.mean(deviations), abs=1e-6)  # within groups, not over the step
    mean = (np.mean(by_group[0]) + 0.5 + 0.25 + 0.5 + np.mean(by_group[2])) / 3
    assert metrics["reward"] == pytest.approx(mean, abs=1e-6)
    assert metrics["completions/mean_length"] == np.mean([len(row.responses["completion"]) for row in kept])


def test_a_group_of_one_is_not_said_to_have_equal_rewards() -> None:
    """There is nothing that its reward could equal, and REINFORCE++ learns from it."""
    step = step_of(on_policy(advantage={"name": "returns"}, sampler={"responses": 1}))
    metrics = step.draw(0, prompts(3)).metrics
    assert "reward" in metrics and not {"reward_std", "frac_reward_zero_std"} & metrics.keys()


# --- what cannot be scored ---


@pytest.mark.parametrize(
    ("scores", "weights", "wanted"),
    [
        ([(1.0,), (0.0,)], [2.0], [2.0, 0.0]),
        ([(1.0, 2.0), (3.0, None)], [1.0, 0.5], [2.0, None]),
        ([(1.0, None), (3.0, None)], [1.0, 0.5], [1.0, 3.0]),
        ([(None, None), (None, None)], [1.0, 1.0], [None, None]),
        ([(None, 1.0), (2.0, None)], [1.0, 1.0], [None, None]),
        ([(1.0, 1.0), (0.0, 4.0)], [1.0, -0.5], [0.5, -2.0]),
    ],
)
def test_the_reward_is_the_weighted_sum_of_what_can_be_said(
    scores: Any, weights: list[float], wanted: list[float | None]
) -> None:
    assert total_rewards(scores, weights) == wanted


def test_a_response_without_a_reward_counts_for_nothing() -> None:
    """The first response to the first prompt has none: it is no row, and the baseline is that of the others."""
    first = drawn(step_of(on_policy()))[0].responses["completion"].tolist()
    rows = drawn(step_of(on_policy(), lambda sample: None if sample.response_ids.tolist() == first else large(sample)))
    assert [row.index for row in rows] == list(range(1, 12))
    reward_G = np.array([row.responses["completion"].mean() / 40 for row in rows[:3]])
    wanted_G = (reward_G - reward_G.mean()) / (reward_G.std(ddof=1) + 1e-4)
    found_G = [row.token_columns["advantage"]["completion"][0] for row in rows[:3]]
    np.testing.assert_allclose(found_G, wanted_G, rtol=1e-4)


def test_a_prompt_without_any_reward_is_left_out() -> None:
    rule = lambda sample: None if sample.group == 1 else large(sample)  # noqa: E731
    step = step_of(on_policy(), rule)
    rows = drawn(step)
    assert set(names(rows)) == {"toy.jsonl:1", "toy.jsonl:3"}


def test_too_many_samples_without_a_score_stop_the_run() -> None:
    step = step_of(on_policy(), lambda sample: None if sample.group in (1, 2) else large(sample))
    with pytest.raises(RewardError) as caught:
        step.draw(0, prompts(3))
    assert str(caught.value) == (
        "rewards.rule0: 8 of 12 samples could not be scored, more than 5%; mend the data's columns that it reads, "
        "raise its 'timeout' where it is slow, or set 'abstains: true' where no score means that it has no opinion"
    )
    assert step.state()["rewards.unscorable.rule0"].tolist() == [0, 0]  # a run that goes on draws them again


# --- before the first step ---


class Wrong(Generate):
    """Says log-probs that are not those of the drawing, of one token of the last response."""

    error: ClassVar[float] = 0.01

    def sample(self, prompts: Any, seeds: Any, policy: Policy, step: int) -> list[list[Drawn]]:
        found = super().sample(prompts, seeds, policy, step)
        if found:
            found[-1][-1].logp_T[0] += self.error
        return found


class Elsewhere(Wrong):
    """An engine of its own, whose log-probs are known to be rounded otherwise."""

    is_exact: ClassVar[bool] = False


@pytest.mark.parametrize(("error", "words"), [(0.01, "0.01"), (float("nan"), "nan")])
def test_log_probs_of_the_sampler_are_checked(error: float, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wrong, "error", error)
    of = on_policy()
    with pytest.raises(ModelError) as caught:
        drawn(step_of(of, sampler=Wrong(**of.sampler.model_dump())))
    assert str(caught.value) == (
        "step-0 check of rollouts: a token's log-probs while sampling and in a forward pass differ by "
        f"{words} nats (tolerance 0.001), so ratios would be wrong; this model cannot be trained on its own samples"
    )
    assert len(drawn(step_of(of, sampler=Elsewhere(**of.sampler.model_dump())))) == 12


@pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
def test_what_the_policy_samples_passes_the_check(layout: str) -> None:
    for sampler in ({"temperature": 0.7}, {"temperature": 1.3}):
        assert len(drawn(step_of(on_policy(sampler=sampler), layout=layout))) == 12


# --- trained on more than once ---

TWICE = {"trainer": {"updates_per_rollout": 2}}


def test_responses_are_trained_on_again_with_what_their_own_policy_said() -> None:
    step = step_of(on_policy([KL], weighting=HYBRID, **TWICE))
    first = step.draw(0, prompts(3))
    weights = [view_of(step.scoring, [row]).response.weights_BT for row in first.rows]
    before = [view_of(step.scoring, [row]).response.policy_BT.detach() for row in first.rows]
    move(step.module, seed=3, size=0.05)
    again = step.draw(1, prompts(3))
    assert same_rows(first.rows, again.rows)
    metrics = dict(first.metrics)
    assert metrics.pop("rollout_seconds") > 0 and again.metrics == metrics  # a log of every second step has them too
    for row, weights_BT, before_BT in zip(again.rows, weights, before, strict=True):
        view = view_of(step.scoring, [row])
        torch.testing.assert_close(view.old_BT, before_BT, **CLOSE)
        torch.testing.assert_close(view.response.weights_BT, weights_BT, **CLOSE)
        assert not torch.allclose(view.response.policy_BT, view.old_BT, atol=1e-3)
    fresh = step_of(on_policy([KL], weighting=HYBRID), model=step.module.model)
    changed = [
        view_of(fresh.scoring, [plainly(row)]).response.weights_BT.sub(weights_BT).abs().max()
        for row, weights_BT in zip(again.rows, weights, strict=True)
    ]
    assert max(changed) > 1e-3  # the policy in training would give others
    assert not same_rows(first.rows, step.draw(2, prompts(3)).rows)


def plainly(row: TokenRow) -> TokenRow:
    """Without what was remembered of it."""
    kept = {key: value for key, value in row.token_columns.items() if key not in ("weights", "old_logp")}
    return TokenRow(row.index, row.where, row.prompt, row.responses, label=row.label, token_columns=kept)


def test_the_first_of_several_steps_is_the_step_of_one() -> None:
    """Remembered log-probs and weights are those that the training graph has."""
    once, twice = step_of(on_policy([KL], weighting=HYBRID)), step_of(on_policy([KL], weighting=HYBRID, **TWICE))
    close(trained_on(once, 0, drawn(once)), trained_on(twice, 0, drawn(twice)))


def test_a_step_after_one_without_rows_draws() -> None:
    """There is nothing to train on again."""
    step = step_of(on_policy(**TWICE), lambda sample: large(sample) if sample.step else 1.0)
    assert drawn(step, 0) == [] and step.rollouts.draws(1)
    rows = drawn(step, 1)
    assert len(rows) == 12 and step.rollouts.draws(2)


@pytest.mark.parametrize(
    "of",
    [
        on_policy([KL], weighting=HYBRID, **TWICE),
        online([{"name": "dpo"}], weighting=HYBRID, trainer={"updates_per_rollout": 2}),
    ],
    ids=["on_policy", "online_preference"],
)
def test_what_is_trained_on_again_is_part_of_a_checkpoint(of: Any, tmp_path: Path) -> None:
    step = step_of(of, lambda sample: large(sample) if sample.group else None)
    rows = drawn(step)
    assert rows
    write_tensors(tmp_path / "state", step.state())
    other = step_of(of)
    other.load_state(read_tensors(tmp_path / "state"))
    again = drawn(other, 1)
    assert same_rows(again, rows) and other.draw(1, prompts(3)).metrics == step.draw(1, prompts(3)).metrics
    assert [row.prompt.dtype for row in again] == [np.dtype(np.int32)] * len(rows)
    assert {key: value.tolist() for key, value in other.state().items()} == {
        key: value.tolist() for key, value in step.state().items()
    }
    identical(trained_on(other, 1, again), trained_on(step, 1, rows))


def test_responses_that_are_trained_on_once_are_not_kept() -> None:
    step = step_of(on_policy(), lambda sample: None if sample.group == 1 else large(sample))
    drawn(step)
    assert {key: value.tolist() for key, value in step.state().items()} == {"rewards.unscorable.rule0": [12, 4]}
    other = step_of(on_policy())
    other.load_state(step.state())
    drawn(other)
    assert other.state()["rewards.unscorable.rule0"].tolist() == [24, 4]


def test_a_column_that_is_called_weights_is_no_remembered_weight() -> None:
    """Weights of the data are rescaled to mean 1, whatever their column is called."""
    of = recipe([DPO], weighting={"name": "column", "suffix": "weights"})
    numbers = {"chosen": np.array([1, 3], np.float32), "rejected": np.array([2, 2, 8], np.float32)}
    row = replace(rows([(3, 2, 3)])[0], token_columns={"weights": numbers})
    tables = computed(of.needs(), llama(), [row])
    chosen, rejected = scoring(of, llama(), llama(), tables=tables).score([row]).responses
    torch.testing.assert_close(chosen.weights_BT[0, :2], torch.tensor([0.5, 1.5]))
    torch.testing.assert_close(rejected.weights_BT[0], torch.tensor([0.5, 0.5, 2.0]))


# --- several processes ---


def test_a_process_without_prompts_takes_part_in_a_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler may wait for all processes, as that of vLLM does until the weights are sent; rows are everyone's."""
    groups: list[Any] = []
    monkeypatch.setattr(accelerate.utils, "gather_object", lambda mine: groups.extend(mine) or list(groups))
    wanted = drawn(step_of(on_policy()), batch=prompts(1))
    asked: list[int] = []

    class Counting(Generate):
        def sample(self, prompts: Any, seeds: Any, policy: Policy, step: int) -> list[list[Drawn]]:
            asked.append(len(prompts))
            return super().sample(prompts, seeds, policy, step)

    of = on_policy()
    monkeypatch.setattr(accelerate, "PartialState", lambda: SimpleNamespace(process_index=0, num_processes=2))
    found = drawn(step_of(of, sampler=Counting(**of.sampler.model_dump())), batch=prompts(1))
    assert asked == [0] and same_rows(found, wanted)
    step = step_of(of, sampler=Wrong(**of.sampler.model_dump()))
    drawn(step, batch=prompts(1))
    with pytest.raises(ModelError, match=r"^step-0 check"):  # of its first samples
        drawn(step, 1)


# --- pairs, and anchors beside them ---


def test_pairs_of_the_best_and_the_worst() -> None:
    step = step_of(online([{"name": "dpo"}]), dead(2))
    rows, singles = drawn(step), drawn(step_of(on_policy(), dead(2)))
    assert [row.where for row in rows] == ["toy.jsonl:1", "toy.jsonl:2"] and [row.index for row in rows] == [0, 1]
    for row, group in zip(rows, (singles[:4], singles[4:]), strict=True):
        by_reward = sorted((one.responses["completion"].tolist() for one in group), key=np.mean)
        assert [ids.tolist() for ids in row.responses.values()] == [by_reward[-1], by_reward[0]]
        assert list(row.responses) == ["chosen", "rejected"] and row.label is None


@pytest.mark.parametrize("refresh_every", [1, 4])
def test_anchors_are_those_of_the_responses_in_use(refresh_every: int) -> None:
    """A drawing may come at any step, where the one before gave nothing."""
    anchor = {"name": "sample_prompt", "max_new_tokens": 5, "refresh_every": refresh_every}
    of = online(
        [{"name": "dpo"}, {"name": "triplet", "margin": 30.0, "anchor": anchor}], trainer={"updates_per_rollout": 2}
    )
    step = step_of(of, lambda sample: large(sample) if sample.step != 2 else 1.0)
    first = drawn(step)
    trained_on(step, 0, first)
    before = step.scoring.pool[first[0]]
    trained_on(step, 1, drawn(step, 1))
    assert (step.scoring.pool[first[0]] is before) == (refresh_every == 4)
    assert drawn(step, 2) == []
    rows = drawn(step, 3)
    trained_on(step, 3, rows)
    assert {row.index for row in rows} == {0, 1, 2} and step.scoring.pool[rows[0]] is not before


# --- samples to read ---


def test_the_samples_of_a_step_can_be_read(tmp_path: Path) -> None:
    of = on_policy(weighting=HYBRID, trainer={"samples_every": 2, "samples_groups": 2})
    step = step_of(of, dead(1), lambda sample: 0.5, folder=tmp_path, weights=(2.0, 1.0))
    for number in range(4):
        rows = drawn(step, number)
        if number == 0:
            first = rows
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [
        "step_00001.jsonl",
        "step_00002.jsonl",
        "step_00004.jsonl",
    ]
    text = (tmp_path / "samples" / "step_00001.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["where"] for line in lines] == ["toy.jsonl:1"] * 4 + ["toy.jsonl:2"] * 4
    for line, row in zip(lines[:4], first[:4], strict=True):
        ids = row.responses["completion"]
        assert list(line) == [
            *("step", "where", "prompt", "response", "finished", "rewards", "reward", "advantage", "tokens", "ids"),
            *("logp", "advantages", "weights"),
        ]
        assert (line["step"], line["prompt"], line["response"]) == (1, "Q0", row.text["completion"])
        assert line["finished"] is bool(ids[-1] == EOS) and line["ids"] == ids.tolist()
        assert [token.strip() for token in line["tokens"]] == [str(token) for token in ids]
        np.testing.assert_allclose(line["advantages"], row.token_columns["advantage"]["completion"], atol=1e-4)
        np.testing.assert_allclose(line["logp"], row.token_columns["sampled_logp"]["completion"], atol=1e-3)
        assert line["rewards"] == {"rule0": pytest.approx(ids.mean() / 40), "rule1": 0.5}
        assert line["reward"] == pytest.approx(2 * ids.mean() / 40 + 0.5)
        assert line["advantage"] == pytest.approx(row.token_columns["advantage"]["completion"][0])
        np.testing.assert_allclose(line["weights"], view_of(fresh(of), [row]).response.weights_BT[0], atol=1e-4)
    assert {(line["advantage"], line["weights"]) for line in lines[4:]} == {(None, None)}  # its group is dead


def fresh(of: Any) -> Any:
    return step_of(of).scoring


def test_samples_come_once_for_each_window_of_steps(tmp_path: Path) -> None:
    of = on_policy(trainer={"samples_every": 4, "updates_per_rollout": 3})
    step = step_of(of, folder=tmp_path)
    for number in range(13):
        drawn(step, number)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [
        "step_00001.jsonl",
        "step_00004.jsonl",
        "step_00010.jsonl",
        "step_00013.jsonl",
    ]
    of = on_policy(trainer={"samples_every": None})
    drawn(step_of(of, folder=tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_held_out_responses_are_scored_like_those_in_training() -> None:
    step = step_of(on_policy(), large, lambda sample: None if sample.group == 1 else 1.0, weights=(2.0, -1.0))
    responses = [np.array([4, 8], np.int32), np.array([40], np.int32), np.array([10, EOS], np.int32)]
    assert step.rollouts.rewards_of(prompts(3), responses) == [
        ({"rule0": 0.15, "rule1": 1.0}, pytest.approx(-0.7)),
        ({"rule0": 1.0, "rule1": None}, 2.0),
        ({"rule0": 0.625, "rule1": 1.0}, pytest.approx(0.25)),
    ]


def test_what_a_reward_gets_to_see() -> None:
    seen: list[Sample] = []
    step = step_of(on_policy(), lambda sample: seen.append(sample) or large(sample))
    rows = drawn(step, 3)
    assert [(one.prompt, one.group, one.step) for one in seen[:5]] == [("Q0", 0, 3)] * 4 + [("Q1", 1, 3)]
    for one, row in zip(seen, rows, strict=True):
        assert one.response_ids.tolist() == row.responses["completion"].tolist()
        assert one.response == row.text["completion"] and one.finished is bool(one.response_ids[-1] == EOS)
    assert plain(rows[0])["text"]["prompt"] == "Q0"

"""Each rule of the reading on a log made for it, on both sides of its threshold, and that docs/metrics.md has them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from alignkit.report import reading as rules
from alignkit.report.reading import MOST, RULES, Numbers, reading

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def log(lines: int = 20, first: dict | None = None, **values) -> list[dict[str, float]]:
    """A healthy DPO run, with some values changed from its second line on and `first` in its first one."""
    healthy = {"loss": 0.4, "loss/dpo": 0.4, "rewards/margins": 1.0, "rewards/accuracies": 0.8, "grad_norm": 1.0}
    healthy |= {"lr": 1e-5, "weights/ess": 0.9}
    start = {"loss": 0.6931, "loss/dpo": 0.6931, "rewards/margins": 0.0, "rewards/accuracies": 0.5, "grad_norm": 2.0}
    named = {name.replace("__", "/"): value for name, value in values.items()}
    return [healthy | start | (first or {}), *({**healthy, **named} for _ in range(lines - 1))]


def said(of_log=None, before=None, after=None, change=None) -> list[str]:
    return reading(Numbers(log() if of_log is None else of_log, before or {}, after or {}, change or {}))


def test_a_healthy_run_needs_no_word():
    assert said() == [] and said([]) == [] and said([{"loss": 1.0}] * 20) == []


def test_a_policy_that_is_stuck():
    found = said(log(grad_norm=0.0, loss=12.5, loss__dpo=0.9, lr=1e6))
    assert found == [
        "The gradient is gone (grad_norm 0.0e+00) though the loss is 12.5: the policy is stuck, as after a "
        "learning rate that is far too large; this one reached 1.0e+06."
    ]
    assert said(log(grad_norm=1e-5, loss=12.5, loss__dpo=0.9)) == []
    assert not any("stuck" in sentence for sentence in said(log(grad_norm=0.0, loss=0.0, loss__dpo=0.0)))  # saturated


def test_a_loss_that_ends_above_its_start():
    assert said(log(loss__dpo=33.0)) == [
        "The training loss ended at 33, above the 0.693 it began with: steps are too large. Lower the learning rate."
    ]
    assert said(log(loss__dpo=1.0)) == []
    idle = {"loss": 0.0, "grad_norm": 0.0, "lr": 0.0}  # all groups of the first drawing had equal rewards
    assert said([idle, *log(loss__dpo=33.0)]) == said(log(loss__dpo=33.0))


@pytest.mark.parametrize(("after", "speaks"), [(0.41, False), (0.39, True), (0.125, True)])
def test_a_fallen_accuracy_is_said_even_of_a_few_rows(after, speaks):
    found = said(before={"preference_accuracy": 0.5}, after={"preference_accuracy": after, "pairs": 8.0})
    sentence = (
        f"Held-out preference accuracy went down by {0.5 - after:.3f}: training on preferences should not do that. "
        "Lower the learning rate, and look with --dry-run whether chosen and rejected are what they should be."
    )
    assert found == [sentence] * speaks


def test_a_loss_that_stays_at_ln_2():
    assert said(log(loss__dpo=0.6920)) == [
        "The loss began at 0.6931 and ended at 0.6920: ln 2 = 0.6931 is where it stands by construction while policy "
        "and reference are the same, and it hardly left. Raise the learning rate or the number of steps."
    ]
    assert said(log(loss__dpo=0.68)) == []
    assert said(log(first={"loss/dpo": 0.5}, loss__dpo=0.69)) == []


def test_a_loss_near_0():
    assert said(log(loss__dpo=0.004, rewards__margins=7.25)) == [
        "The training loss is near 0 (0.004) by construction once margins are large (here +7.2): its gradient vanishes "
        "there, so more steps change little. Whether pairs were understood or memorised is what the held-out numbers "
        "say."
    ]
    assert said(log(loss__dpo=0.05)) == []
    of_ipo = [{key.replace("loss/dpo", "loss/ipo"): v for key, v in line.items()} for line in log(loss__dpo=0.004)]
    assert said(of_ipo) == []  # whose least value lies at a margin of 1 / (2 beta)
    of_sft = [{"loss": 0.01, "loss/sft": 0.01}] * 20
    assert said(of_sft) == []


def test_an_accuracy_of_1_from_the_first_steps():
    quick = [line | {"rewards/accuracies": 1.0} for line in log()]
    assert said(quick) == [
        "Training accuracy was 1.000 within the first 3 logged steps: something easier than their content tells chosen "
        "from rejected, such as length, a template or an end token. Look at rows with --dry-run."
    ]
    later = [*log()[:3], *quick[3:]]
    assert said(later) == []


DISPLACED = {"margin": 1.0, "nll": 0.021, "nll_se": 0.01}


@pytest.mark.parametrize(
    ("change", "speaks"),
    [({}, True), ({"nll": 0.02}, False), ({"nll_se": 0.011}, False), ({"margin": -1.0}, False)],
)
def test_chosen_responses_that_become_less_likely(change, speaks):
    found = said(after={"preference_accuracy": 0.9}, change=DISPLACED | change)
    assert (
        found
        == [
            "Chosen responses became less likely (by 0.021 nats per token) though they gained on the rejected ones: a "
            "preference loss asks for the difference alone, and this is how most of them behave (likelihood "
            "displacement). It is harmless while samples read well; a likelihood term beside the loss, such as nll, "
            "holds it back."
        ]
        * speaks
    )


def test_groups_without_a_difference():
    assert said(log(frac_reward_zero_std=0.9, reward=0.05)) == [
        "90% of the groups had equal rewards in the end (mean reward 0.05), and those teach nothing: the prompts are "
        "too easy or too hard for this policy, or the reward too coarse. Take other prompts, more responses per "
        "prompt, or sampler.refill_rounds."
    ]
    assert said(log(frac_reward_zero_std=0.8, reward=0.05)) == []


def test_sampled_responses_that_are_cut():
    assert said(log(**{"completions__clipped_ratio": 0.75})) == [
        "75% of the sampled responses were cut at sampler.max_new_tokens before they ended, so rewards judged "
        "unfinished text: allow more tokens, or reward an end (length with shape soft_overlong)."
    ]
    assert said(log(**{"completions__clipped_ratio": 0.5})) == []


def test_weights_on_a_few_tokens():
    assert said(log(**{"weights__ess": 0.12})) == [
        "Token weights are concentrated: they count as 12% of a response's tokens (weights/ess), so few tokens carry "
        "the training and its gradients are noisier."
    ]
    assert said(log(**{"weights__ess": 0.2})) == []


@pytest.mark.parametrize(
    ("old", "new", "error", "samples", "word"),
    [
        (40.0, 50.0, 1.0, 128.0, "longer"),
        (40.0, 32.0, 1.0, 128.0, "shorter"),
        (40.0, 49.0, 1.0, 128.0, None),
        (40.0, 50.0, 5.0, 128.0, None),
        (40.0, 80.0, 1.0, 19.0, None),
    ],
)
def test_samples_that_change_their_length(old, new, error, samples, word):
    change = {"sample_tokens": new - old, "sample_tokens_se": error}
    found = said(before={"sample_tokens": old}, after={"sample_tokens": new, "samples": samples}, change=change)
    assert found == [
        f"Sampled responses became {word}: {old} tokens before, {new} after. Sums over tokens favour the length that "
        "the chosen responses have, so compare methods at equal length."
    ] * (word is not None)


@pytest.mark.parametrize(("kl", "speaks"), [(1.0, False), (1.01, True), (5.0, True), (5.01, False)])
def test_a_distance_that_can_be_felt(kl, speaks):
    """Above 5 the verdict warns."""
    assert (
        said(after={"kl": kl})
        == [
            f"KL to the reference grew to {kl:.2f} nats per response: it is 0 at the start by construction and grows "
            "whenever something is learned; beta, learning rate and steps decide how far. Compare methods at equal KL."
        ]
        * speaks
    )


def test_a_short_log_says_nothing_of_itself():
    assert (
        said(log(9, grad_norm=0.0, loss=9.0, loss__dpo=9.0))
        == said(log(9, loss__dpo=9.0))
        == said(log(9, loss__dpo=0.001))
        == []
    )
    assert said(log(9, loss__dpo=0.6931)) == said(log(9, **{"weights__ess": 0.1})) == []


def test_at_most_a_handful():
    everything = log(**{"weights__ess": 0.1}, loss__dpo=0.001)
    everything = [line | {"rewards/accuracies": 1.0} for line in everything]
    found = said(
        everything,
        {"preference_accuracy": 0.9, "sample_tokens": 10.0},
        {"preference_accuracy": 0.5, "sample_tokens": 40.0, "samples": 50.0, "kl": 3.0},
        DISPLACED | {"sample_tokens": 30.0, "sample_tokens_se": 1.0},
    )
    assert len(found) == MOST == 5 and found[0].startswith("Held-out preference accuracy went down")


def test_a_value_that_is_missing_or_not_a_number_does_no_harm():
    ragged = [{"step": 1.0}, *log()]
    assert said(ragged, {"kl": math.nan}, {"kl": math.nan}, {"nll": math.nan}) == []


def test_every_rule_is_in_the_page_with_its_threshold():
    text = PAGE.read_text()
    section = text[text.index("## What the reading says") :]
    assert section.count("\n| ") == len(RULES) + 1  # and the heading
    for name in (
        "STUCK",
        "WORSE",
        "FALL",
        "STILL",
        "SATURATED",
        "AT_ONCE",
        "DEAD",
        "CUT",
        "DISPLACED",
        "FEW_TOKENS",
        "LONGER",
        "FELT_KL",
    ):
        value = getattr(rules, name)
        assert f"{value:g}" in section or f"{value:.0e}" in section, name

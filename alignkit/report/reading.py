"""What worries users about a run's numbers, in words: which of it is by construction, and what to do about the rest.

Each rule looks at the log and the evaluations and has one stated threshold; `docs/metrics.md` lists them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from alignkit.report.table import FEWEST, LARGE_KL, NOISE

Values = Mapping[str, float]

MOST = 5
"""Sentences that are shown; the rules stand in the order of their weight."""

LINES = 10
"""Lines of the log below which nothing is said of it."""

STUCK = 1e-6
"""Last gradient norm, as a share of the largest, from which downwards a policy no longer moves."""

WORSE = 1.5
"""Factor by which the loss of pairs ends above its start."""

FALL = 0.1
"""Fall of the held-out accuracy that is said even where it may be noise."""

STILL = 0.01
"""Nats around ln 2 within which a loss has not moved."""

SATURATED = 0.05
"""Loss of pairs below which its gradient has all but vanished; -log sigmoid of a margin of 3."""

AT_ONCE = 0.99
"""Training accuracy in the first tenth of a run that is too good."""

DISPLACED = 0.02
"""Nats per token that chosen responses become less likely by."""

FEW_TOKENS = 0.2
"""Effective share of a response's tokens below which weights are concentrated."""

DEAD = 0.8
"""Share of groups with equal rewards above which little is learned."""

CUT = 0.5
"""Share of sampled responses that are cut above which it is said."""

LONGER = 1.25
"""Factor by which sampled responses grow or shrink."""

FELT_KL = 1.0
"""Nats per response from which the distance to the reference is worth a word."""


@dataclass(frozen=True)
class Numbers:
    """What a run wrote down.

    Attributes:
        log: lines of `metrics.jsonl`, without null.
        before: `eval.json` before training.
        after: `eval.json` after it.
        change: paired differences.
    """

    log: Sequence[Values]
    before: Values
    after: Values
    change: Values

    def early(self, key: str) -> float | None:
        """Mean over the first tenth of the log, without its first line, before which nothing was learned."""
        return _mean(key, self.log[1 : 1 + max(1, len(self.log) // 10)])

    def late(self, key: str) -> float | None:
        """Mean over the last tenth of the log."""
        return _mean(key, self.log[-max(1, len(self.log) // 10) :])

    def first(self, key: str) -> float:
        """The first value; not always that of the first line, as a step may have no pairs to train on. Else inf."""
        return next((line[key] for line in self.log if key in line), math.inf)

    @property
    def pair_loss(self) -> str | None:
        """Key of the first loss, where pairs or labels have rewards."""
        line: Values = next((line for line in self.log if "rewards/margins" in line), {})
        return next((key for key in line if key.startswith("loss/")), None)


def reading(numbers: Numbers) -> list[str]:
    """The most important sentences, none where nothing needs a word."""
    found = [rule(numbers) for rule in RULES]
    return [sentence for sentence in found if sentence is not None][:MOST]


def _stuck(numbers: Numbers) -> str | None:
    norms = [line["grad_norm"] for line in numbers.log if "grad_norm" in line]
    last, loss = numbers.late("grad_norm"), numbers.late("loss")
    if len(norms) < LINES or last is None or loss is None or loss < SATURATED or last > STUCK * max(norms):
        return None
    rate = max(line.get("lr", 0.0) for line in numbers.log)
    return (
        f"The gradient is gone (grad_norm {last:.1e}) though the loss is {loss:.3g}: the policy is stuck, as after a "
        f"learning rate that is far too large; this one reached {rate:.1e}."
    )


def _diverged(numbers: Numbers) -> str | None:
    name = numbers.pair_loss
    last = numbers.late(name) if name else None
    if name is None or last is None or len(numbers.log) < LINES or last <= WORSE * numbers.first(name):
        return None
    return (
        f"The training loss ended at {last:.3g}, above the {numbers.first(name):.3g} it began with: steps are too "
        "large. Lower the learning rate."
    )


def _fell(numbers: Numbers) -> str | None:
    key = "preference_accuracy"
    if not (key in numbers.before and key in numbers.after):
        return None
    fall = numbers.before[key] - numbers.after[key]
    if fall < FALL:
        return None
    return (
        f"Held-out preference accuracy went down by {fall:.3f}: training on preferences should not do that. Lower the "
        "learning rate, and look with --dry-run whether chosen and rejected are what they should be."
    )


def _still(numbers: Numbers) -> str | None:
    name = numbers.pair_loss
    last = numbers.late(name) if name else None
    if name is None or last is None or len(numbers.log) < LINES:
        return None
    first = numbers.first(name)
    if max(abs(first - math.log(2)), abs(last - math.log(2))) > STILL:
        return None
    return (
        f"The loss began at {first:.4f} and ended at {last:.4f}: ln 2 = 0.6931 is where it stands by construction "
        "while policy and reference are the same, and it hardly left. Raise the learning rate or the number of steps."
    )


def _saturated(numbers: Numbers) -> str | None:
    name = numbers.pair_loss
    if name is None or name == "loss/ipo":  # which has its least value at a finite margin
        return None
    last, margin = numbers.late(name), numbers.late("rewards/margins")
    if last is None or margin is None or last >= SATURATED or margin <= 0 or len(numbers.log) < LINES:
        return None
    return (
        f"The training loss is near 0 ({last:.3f}) by construction once margins are large (here {margin:+.1f}): its "
        "gradient vanishes there, so more steps change little. Whether pairs were understood or memorised is what "
        "the held-out numbers say."
    )


def _at_once(numbers: Numbers) -> str | None:
    accuracy = numbers.early("rewards/accuracies")
    if accuracy is None or accuracy < AT_ONCE or len(numbers.log) < LINES:
        return None
    steps = max(1, len(numbers.log) // 10) + 1
    return (
        f"Training accuracy was {accuracy:.3f} within the first {steps} logged steps: something easier than their "
        "content tells chosen from rejected, such as length, a template or an end token. Look at rows with --dry-run."
    )


def _displaced(numbers: Numbers) -> str | None:
    rise, error = numbers.change.get("nll"), numbers.change.get("nll_se", math.nan)
    margin = numbers.change.get("margin", numbers.change.get("preference_accuracy", 0.0))
    if rise is None or "preference_accuracy" not in numbers.after or margin <= 0:
        return None
    if not (rise > DISPLACED and rise > NOISE * error):
        return None
    return (
        f"Chosen responses became less likely (by {rise:.3f} nats per token) though they gained on the rejected ones: "
        "a preference loss asks for the difference alone, and this is how most of them behave (likelihood "
        "displacement). It is harmless while samples read well; a likelihood term beside the loss, such as nll, holds "
        "it back."
    )


def _few_tokens(numbers: Numbers) -> str | None:
    share = numbers.late("weights/ess")
    if share is None or share >= FEW_TOKENS or len(numbers.log) < LINES:
        return None
    return (
        f"Token weights are concentrated: they count as {share:.0%} of a response's tokens (weights/ess), so few "
        "tokens carry the training and its gradients are noisier."
    )


def _length(numbers: Numbers) -> str | None:
    old, new = numbers.before.get("sample_tokens", 0.0), numbers.after.get("sample_tokens", 0.0)
    change, error = numbers.change.get("sample_tokens", 0.0), numbers.change.get("sample_tokens_se", math.nan)
    if min(old, new) <= 0 or numbers.after.get("samples", 0.0) < FEWEST or not abs(change) > NOISE * error:
        return None
    if 1 / LONGER < new / old < LONGER:
        return None
    return (
        f"Sampled responses became {'longer' if new > old else 'shorter'}: {old:.1f} tokens before, {new:.1f} after. "
        "Sums over tokens favour the length that the chosen responses have, so compare methods at equal length."
    )


def _distance(numbers: Numbers) -> str | None:
    kl = numbers.after.get("kl", 0.0)
    if not FELT_KL < kl <= LARGE_KL:
        return None
    return (
        f"KL to the reference grew to {kl:.2f} nats per response: it is 0 at the start by construction and grows "
        "whenever something is learned; beta, learning rate and steps decide how far. Compare methods at equal KL."
    )


def _dead_groups(numbers: Numbers) -> str | None:
    share, reward = numbers.late("frac_reward_zero_std"), numbers.late("reward")
    if share is None or reward is None or share <= DEAD or len(numbers.log) < LINES:
        return None
    return (
        f"{share:.0%} of the groups had equal rewards in the end (mean reward {reward:.3g}), and those teach nothing: "
        "the prompts are too easy or too hard for this policy, or the reward too coarse. Take other prompts, more "
        "responses per prompt, or sampler.refill_rounds."
    )


def _cut_responses(numbers: Numbers) -> str | None:
    share = numbers.late("completions/clipped_ratio")
    if share is None or share <= CUT or len(numbers.log) < LINES:
        return None
    return (
        f"{share:.0%} of the sampled responses were cut at sampler.max_new_tokens before they ended, so rewards judged "
        "unfinished text: allow more tokens, or reward an end (length with shape soft_overlong)."
    )


RULES: tuple[Callable[[Numbers], str | None], ...] = (
    _stuck,
    _diverged,
    _fell,
    _still,
    _saturated,
    _at_once,
    _dead_groups,
    _cut_responses,
    _displaced,
    _few_tokens,
    _length,
    _distance,
)


def _mean(key: str, lines: Sequence[Values]) -> float | None:
    values = [line[key] for line in lines if key in line]
    return sum(values) / len(values) if values else None

"""What a user sees of a drawing: metrics under the names of TRL where it has them, and samples to read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignkit.data.pieces import pieces_of
from alignkit.lazy import numpy as np
from alignkit.records.files import one_line, write_text
from alignkit.rollouts.rollout import Group, Rollout

if TYPE_CHECKING:
    from numpy import ndarray
    from transformers import PreTrainedTokenizerBase


def metrics_of(groups: Sequence[Group], titles: Sequence[str], is_dropped: Callable[[Group], bool]) -> dict[str, float]:
    """Metrics of the first drawing of a step; a mean of nothing is left out.

    Args:
        groups: all of it, those that are dropped too.
        titles: of the rewards.
        is_dropped: whether a group is left out of the loss.
    """
    rollouts = [one for group in groups for one in group.rollouts]
    rewards = [group.rewards for group in groups]
    metrics = {
        **_mean("reward", [reward for several in rewards for reward in several]),
        **_mean("reward_std", [float(np.std(several, ddof=1)) for several in rewards if len(several) > 1]),
        **_mean("frac_reward_zero_std", [float(group.is_dead) for group in groups if len(group.rollouts) > 1]),
        "groups/dropped": float(sum(map(is_dropped, groups))),
        **_lengths(rollouts),
    }
    for number, title in enumerate(titles):
        scores = [one.scores[number] for one in rollouts]
        known = [score for score in scores if score is not None]
        metrics |= _mean(f"rewards/{title}/mean", known)
        if len(known) > 1:
            metrics[f"rewards/{title}/std"] = float(np.std(known, ddof=1))
        metrics[f"rewards/{title}/unscorable"] = float(len(scores) - len(known))
    return metrics


def _lengths(rollouts: Sequence[Rollout]) -> dict[str, float]:
    return {
        **_mean("completions/mean_length", [float(len(one.ids)) for one in rollouts]),
        **_mean("completions/mean_terminated_length", [float(len(one.ids)) for one in rollouts if one.finished]),
        **_mean("completions/clipped_ratio", [float(not one.finished) for one in rollouts]),
    }


def _mean(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: float(np.mean(values))} if len(values) else {}


def write_samples(
    folder: Path,
    step: int,
    groups: Sequence[Group],
    weights: Sequence[ndarray | None],
    titles: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """`samples/step_00010.jsonl`: a line per response with all that is known of it.

    Args:
        folder: of the run.
        step: from 1.
        groups: whose responses are written.
        weights: [T] token weights of each response, in their order; None of one that is not trained on.
        titles: of the rewards.
        tokenizer: gives the tokens as text.
    """
    of_each = iter(weights)
    lines = [_line(step, group, one, next(of_each), titles, tokenizer) for group in groups for one in group.rollouts]
    path = folder / "samples" / f"step_{step:05d}.jsonl"
    with one_line(path):
        path.parent.mkdir(exist_ok=True)
    write_text(path, "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines))


def _line(
    step: int,
    group: Group,
    one: Rollout,
    weights_T: ndarray | None,
    titles: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    return {
        "step": step,
        "where": group.row.where,
        "prompt": group.row.text.get("prompt", ""),
        "response": one.text,
        "finished": one.finished,
        "rewards": dict(zip(titles, one.scores, strict=True)),
        "reward": one.reward,
        "advantage": one.advantage,
        "tokens": pieces_of(tokenizer, one.ids.tolist(), group.row.prompt.tolist()),
        "ids": one.ids.tolist(),
        "logp": _rounded(one.logp_T),
        "advantages": None if "advantage" not in one.per_token else _rounded(one.per_token["advantage"]),
        "weights": None if weights_T is None else _rounded(weights_T),
    }


def _rounded(values_T: ndarray) -> list[float]:
    return [round(float(value), 4) for value in values_T]

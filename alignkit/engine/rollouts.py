"""From prompts to rows of sampled responses: draw, reward, compare, keep for as many steps as they are trained on.

A drawing is a function of the run's seed, the step and the policy, so a checkpoint between two drawings has nothing to
keep. Responses that are trained on again, with log-probs and token weights of the policy that drew them, are part of
what an exact resume needs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from alignkit.data.rows import TokenRow
from alignkit.engine.method import Sizes
from alignkit.engine.rewarding import PENALTY, stacked, total_rewards
from alignkit.engine.rollout_log import metrics_of, write_samples
from alignkit.engine.rollout_state import load_rows, save_rows
from alignkit.engine.scoring import WEIGHTS, Scoring
from alignkit.engine.whole_step import decide_weights
from alignkit.errors import AlignkitError, ModelError
from alignkit.lazy import accelerate, torch
from alignkit.lazy import numpy as np
from alignkit.loop.order import part_of
from alignkit.loop.step import StepRows
from alignkit.models.scorer import Want
from alignkit.rewards.base import Sample
from alignkit.rewards.judge import Judge, Tally
from alignkit.rollouts.groups import Drawn
from alignkit.rollouts.rollout import Group, Rollout
from alignkit.scores import TokenScores
from alignkit.seeds import derive
from alignkit.views.drawing import DrawingTrainer

if TYPE_CHECKING:
    from torch import Tensor

Remembered = dict[str, "list[np.ndarray]"]
"""Column -> [T] float32 numbers of each response of a row."""

T = TypeVar("T")

TALLY = "rewards.unscorable."


class Rollouts:
    """The responses that a run trains on.

    Args:
        scoring: of the method, which has a drawing.
        sizes: how much is worked on at once.
        prompts: all training rows, for groups that are drawn in the place of others.
        judge: asks the rewards.
        folder: of the run, for samples; None writes none.
    """

    def __init__(
        self, scoring: Scoring, sizes: Sizes, prompts: Sequence[TokenRow], judge: Judge, folder: Path | None = None
    ) -> None:
        method = scoring.method
        assert method.drawing is not None and isinstance(method.view, DrawingTrainer)
        self._scoring = scoring
        self._sizes = sizes
        self._prompts = prompts
        self._judge = judge
        self._folder = folder
        self._seed = method.seed
        self._drawing = method.drawing
        self._view = method.view
        self._penalty = sum(loss.penalty for loss in method.losses)
        self._titles = [reward.title for reward in self._drawing.rewards]
        self._tally = Tally(self._drawing.rewards)
        self._kept = StepRows([])
        self._is_checked = False

    def draws(self, step: int) -> bool:
        """Whether step `step` samples, and does not train again on what there is."""
        return not (step % self._view.updates and self._kept.rows)

    def rows(self, step: int, batch: Sequence[TokenRow]) -> StepRows:
        """What step `step` trains on, for the prompts `batch` of all processes.

        Raises:
            RewardError: a reward fails, or too many samples cannot be scored.
            ModelError: before the first step, what was sampled and what is scored differ.
        """
        if not self.draws(step):
            return self._kept
        started = time.perf_counter()
        self._drawing.sampler.begin(self._scoring.policy, step)
        counts = self._tally.state()
        try:
            with self._scoring.whole():
                self._draw(step, batch)
        except AlignkitError:
            self._tally.load_state(counts)  # the checkpoint of a run that stops here; it goes on with this drawing
            raise
        seconds = time.perf_counter() - started
        return replace(self._kept, metrics={**self._kept.metrics, "rollout_seconds": seconds})

    def _draw(self, step: int, batch: Sequence[TokenRow]) -> None:
        """What is kept from now on, and written for a user."""
        drawn = self._groups(step, 0, batch)
        compared = self._with_advantages(self._refilled(step, batch, drawn))
        rows = self._remembering(step, self._view.rows(compared))
        self._kept = StepRows(rows, metrics_of(drawn, self._titles, self._is_dropped))
        known = {group.seed: group for group in compared}
        self._write(step, [known.get(group.seed, group) for group in drawn])

    # --- drawing ---

    def _groups(self, step: int, round_: int, prompts: Sequence[TokenRow]) -> list[Group]:
        """The groups of some prompts, drawn and rewarded by all processes together."""
        mine = _own_part(list(zip(prompts, _copies(prompts), strict=True)))
        groups: list[Group] = accelerate.utils.gather_object(self._rewarded(step, round_, mine))
        self._tally.add([list(of_one) for of_one in zip(*_all_scores(groups), strict=True)])
        self._tally.check()
        return groups

    def _rewarded(self, step: int, round_: int, numbered: Sequence[tuple[TokenRow, int]]) -> list[Group]:
        """The groups of some prompts, of which there may be none: a sampler may wait for all processes."""
        sampler, prompts = self._drawing.sampler, [row for row, _ in numbered]
        seeds = [
            [
                derive(self._seed, "rollout", step, round_, row.index, copy * sampler.responses + place)
                for place in range(sampler.responses)
            ]
            for row, copy in numbered
        ]
        with self._scoring.autocast():
            drawn = sampler.sample([row.prompt for row in prompts], seeds, self._scoring.policy, step)
        self._check(prompts, drawn)
        groups = [
            Group(
                row,
                tuple(self._rollout(one) for one in several),
                derive(self._seed, "group", step, round_, row.index, copy),
            )
            for (row, copy), several in zip(numbered, drawn, strict=True)
        ]
        return self._paying(self._judged(step, groups))

    def _rollout(self, drawn: Drawn) -> Rollout:
        policy = self._scoring.policy
        finished = int(drawn.ids[-1]) == policy.end_id
        text = str(policy.tokenizer.decode(drawn.ids[:-1] if finished else drawn.ids, skip_special_tokens=True))
        return Rollout(drawn.ids, drawn.logp_T, text, finished)

    def rewards_of(
        self, prompts: Sequence[TokenRow], responses: Sequence[np.ndarray]
    ) -> list[tuple[dict[str, float | None], float | None]]:
        """Of one response to each prompt what each reward says, by its name, and the weighted sum of what they say.

        Args:
            prompts: rows.
            responses: token ids.
        """
        rollouts = [self._rollout(Drawn(ids, np.zeros(len(ids), np.float32))) for ids in responses]
        samples = [_sample(0, row, one) for row, one in zip(prompts, rollouts, strict=True)]
        weights = [reward.weight for reward in self._drawing.rewards]
        return [
            (dict(zip(self._titles, scores, strict=True)), total_rewards([scores], weights)[0])
            for scores in zip(*self._judge(samples), strict=True)
        ]

    def _judged(self, step: int, groups: Sequence[Group]) -> list[Group]:
        """With what the rewards say."""
        samples = [_sample(step, group.row, one) for group in groups for one in group.rollouts]
        by_sample = iter(zip(*self._judge(samples), strict=True))
        found = []
        for group in groups:
            scores = [tuple(next(by_sample)) for _ in group.rollouts]
            totals = total_rewards(scores, [reward.weight for reward in self._drawing.rewards])
            rollouts = [
                replace(one, scores=scores_R, reward=total)
                for one, scores_R, total in zip(group.rollouts, scores, totals, strict=True)
            ]
            found.append(replace(group, rollouts=tuple(rollouts)))
        return found

    def _refilled(self, step: int, batch: Sequence[TokenRow], drawn: Sequence[Group]) -> list[Group]:
        """The groups that say something, with others in the place of those that do not, as often as is allowed."""
        alive = [group for group in drawn if not self._is_dropped(group)]
        order = np.random.default_rng(derive(self._seed, "refill", step)).permutation(len(self._prompts))
        used = {row.index for row in batch}
        others = iter([row for row in (self._prompts[n] for n in order) if row.index not in used])
        for round_ in range(1, self._drawing.sampler.refill_rounds + 1):
            prompts = list(islice(others, len(batch) - len(alive)))
            if not prompts:
                break
            alive += [group for group in self._groups(step, round_, prompts) if not self._is_dropped(group)]
        return alive

    def _is_dropped(self, group: Group) -> bool:
        advantage = self._drawing.advantage
        compares = advantage is None or advantage.is_relative
        return compares and self._drawing.sampler.dead_groups == "drop" and group.is_dead

    # --- what is known of them under the policy that drew them ---

    def _paying(self, groups: Sequence[Group]) -> list[Group]:
        """With what is taken off the reward at each token."""
        if not (self._penalty and self._view.needs_advantage):
            return list(groups)
        rows = [_row(group.row, one.ids) for group in groups for one in group.rollouts]
        taken = (
            taken_T
            for (scores,) in self._scores(rows)
            for taken_T in _by_row(self._penalty * scores.logratio_BT, scores.mask_BT)
        )
        return [
            replace(group, rollouts=tuple(replace(one, per_token={PENALTY: next(taken)}) for one in group.rollouts))
            for group in groups
        ]

    def _remembering(self, step: int, rows: Sequence[TokenRow]) -> list[TokenRow]:
        """With log-probs and token weights, where they will be asked for when the policy has moved on."""
        if self._view.updates == 1 or not rows:
            return list(rows)
        decide_weights(self._scoring, rows, step, self._sizes, is_drawing=True)
        scored = self._scores(_own_part(rows), weigh=True, decided=True)
        mine = [one for responses in scored for one in _remembered(responses)]
        remembered: list[Remembered] = accelerate.utils.gather_object(mine)
        return [_with_columns(row, found) for row, found in zip(rows, remembered, strict=True)]

    def _scores(
        self, rows: Sequence[TokenRow], *, weigh: bool = False, decided: bool = False
    ) -> Iterator[tuple[TokenScores, ...]]:
        """The scores of each micro-batch, without gradient."""
        scoring = self._scoring
        for part in self._sizes.cut.parts(rows, scoring.laid.meter):
            with torch.set_grad_enabled(weigh and bool(scoring.needs.attributions)):
                responses = scoring.score(rows[part], weigh=weigh, decided=decided).responses
            yield responses

    @torch.no_grad()
    def _check(self, prompts: Sequence[TokenRow], drawn: Sequence[Sequence[Drawn]]) -> None:
        """Before the first step of a run: what the model says of its samples is what they were drawn with."""
        if self._is_checked or not self._drawing.sampler.is_exact:
            return
        self._is_checked = bool(drawn)  # a process may have no prompts of the first drawing
        policy = self._scoring.policy
        several = [one for of_row in drawn for one in of_row]
        rows = [_row(row, one.ids) for row, of_row in zip(prompts, drawn, strict=True) for one in of_row]
        worst = 0.0
        with self._scoring.autocast():
            for part in self._sizes.cut.parts(rows, self._scoring.laid.meter):
                batch = policy.batch(rows[part])
                want = Want(temperature=self._drawing.sampler.temperature)
                logp_BT = policy.scorer(batch, want).logp_BRT[:, 0].float().cpu().numpy()
                for b, one in enumerate(several[part]):
                    found = float(np.abs(logp_BT[b, : len(one.ids)] - one.logp_T).max())
                    worst = max(worst, found, key=lambda value: (value != value, value))
        tolerance = self._scoring.tolerance
        if not worst <= tolerance:
            raise ModelError(
                f"step-0 check of rollouts: a token's log-probs while sampling and in a forward pass differ by "
                f"{worst:.3g} nats (tolerance {tolerance}), so ratios would be wrong; this model cannot be trained on "
                "its own samples"
            )

    # --- advantages ---

    def _with_advantages(self, groups: Sequence[Group]) -> list[Group]:
        advantage = self._drawing.advantage
        if not groups or not self._view.needs_advantage:
            return list(groups)
        assert advantage is not None
        advantage_PGT = advantage.per_token(stacked(groups)).float().numpy()
        return [
            replace(
                group,
                rollouts=tuple(
                    replace(one, per_token=_complete(one, advantage_PGT[p, g, : len(one.ids)]))
                    for g, one in enumerate(group.rollouts)
                ),
            )
            for p, group in enumerate(groups)
        ]

    # --- what a user sees of them ---

    def _write(self, step: int, drawn: Sequence[Group]) -> None:
        """The responses to the first prompts with all that is known of them, on the main process."""
        every, state = self._view.samples_every, accelerate.PartialState()
        is_due = every is not None and (step == 0 or (step + 1) % every < self._view.updates)
        if self._folder is None or not is_due or not state.is_main_process:
            return
        shown = drawn[: self._view.samples_groups]
        weights = self._weights([one.ids for group in shown for one in group.rollouts])
        write_samples(self._folder, step + 1, shown, weights, self._titles, self._scoring.policy.tokenizer)

    def _weights(self, responses: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """[T] token weights of each response, None of one that is not trained on."""
        asked = {id(ids) for ids in responses}
        rows = [row for row in self._kept.rows if not asked.isdisjoint(map(id, row.responses.values()))]
        weights = (
            of_row
            for several in self._scores(rows, weigh=True)
            for of_row in zip(*(_by_row(one.weights_BT, one.mask_BT) for one in several), strict=True)
        )
        found = {
            id(ids): weights_T
            for row, of_row in zip(rows, weights, strict=True)
            for ids, weights_T in zip(row.responses.values(), of_row, strict=True)
        }
        return [found.get(id(ids)) for ids in responses]

    # --- what a resume needs ---

    def state(self) -> dict[str, Tensor]:
        """The responses that will be trained on again, and how many samples could not be scored."""
        kept = save_rows(self._kept) if self._view.updates > 1 else {}
        counts = {f"{TALLY}{title}": torch.tensor(two) for title, two in self._tally.state().items()}
        return kept | counts

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts them back."""
        self._kept = load_rows(state)
        counts = {key.removeprefix(TALLY): two.tolist() for key, two in state.items() if key.startswith(TALLY)}
        self._tally.load_state(counts)


def _own_part(items: Sequence[T]) -> Sequence[T]:
    state: Any = accelerate.PartialState()
    return part_of(items, state.process_index, state.num_processes)


def _copies(prompts: Sequence[TokenRow]) -> Iterator[int]:
    """Of each prompt how often it came before: a row that counts twice may be drawn for twice in a step."""
    counts = Counter[int]()
    for row in prompts:
        yield counts[row.index]
        counts[row.index] += 1


def _sample(step: int, row: TokenRow, one: Rollout) -> Sample:
    return Sample(
        prompt=row.text.get("prompt", ""),
        response=one.text,
        response_ids=one.ids,
        finished=one.finished,
        columns=row.fields,
        messages=row.messages,
        group=row.index,
        step=step,
    )


def _all_scores(groups: Sequence[Group]) -> list[tuple[float | None, ...]]:
    return [one.scores for group in groups for one in group.rollouts]


def _complete(one: Rollout, advantage_T: np.ndarray) -> dict[str, np.ndarray]:
    """What a row brings along for each token."""
    return {"advantage": advantage_T.copy(), "sampled_logp": one.logp_T}


def _row(prompt: TokenRow, ids: np.ndarray) -> TokenRow:
    return TokenRow(prompt.index, prompt.where, prompt.prompt, {"completion": ids}, label=True)


def _remembered(responses: Sequence[TokenScores]) -> Iterator[Remembered]:
    """Of each row of a micro-batch column -> [T] float32 of each response."""
    logps = zip(*(_by_row(scores.policy_BT, scores.mask_BT) for scores in responses), strict=True)
    weights = zip(*(_by_row(scores.weights_BT, scores.mask_BT) for scores in responses), strict=True)
    for logp, weight in zip(logps, weights, strict=True):
        yield {"old_logp": list(logp), WEIGHTS: list(weight)}


def _by_row(value_BT: Tensor, mask_BT: Tensor) -> list[np.ndarray]:
    """Of each row the [T] float32 on the mask, in one transfer."""
    values_BT, kept_BT = value_BT.detach().float().cpu().numpy(), mask_BT.cpu().numpy()
    return [value_T[kept_T] for value_T, kept_T in zip(values_BT, kept_BT, strict=True)]


def _with_columns(row: TokenRow, found: Remembered) -> TokenRow:
    named = {key: dict(zip(row.responses, arrays, strict=True)) for key, arrays in found.items()}
    return replace(row, token_columns={**row.token_columns, **named})

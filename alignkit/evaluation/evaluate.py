"""What is measured before and after training: each measure looks at batches of held-out rows or of sampled responses.

The rows are shared among the processes, and passes over them among the measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from alignkit.benchmarks.lines import Lines, changed, flat, summarised
from alignkit.benchmarks.subject import Subject
from alignkit.data.raw import first_line
from alignkit.data.rows import TokenRow
from alignkit.engine.rollouts import Rollouts
from alignkit.engine.scoring import Scoring
from alignkit.errors import AlignkitError, MeasureError
from alignkit.evaluation.base import Measure
from alignkit.evaluation.benchmarks import put
from alignkit.evaluation.config import EvaluationConfig
from alignkit.evaluation.scene import HeldOut, Scene
from alignkit.evaluation.settings import LooksAt
from alignkit.evaluation.summary import Records
from alignkit.evaluation.tokens import token_records
from alignkit.lazy import accelerate
from alignkit.models.reference import Reference
from alignkit.progress.display import counted

if TYPE_CHECKING:
    from accelerate import Accelerator

WORDS: Mapping[LooksAt, str] = {"rows": "evaluation: held-out rows", "samples": "evaluation: samples"}
"""What progress calls them."""


@dataclass(frozen=True)
class Measured:
    """One evaluation.

    Attributes:
        rows: of each held-out row its place among them (`row`) and its values.
        samples: the same of each sampled response, with `where`, `prompt` and `response` as text.
        measures: what was measured.
        items: benchmark -> its answers.
        tokens: of each of the first held-out rows what is known of its tokens; empty where it was not asked for.
        trouble: why there is nothing of them though it was, in a line.
    """

    rows: Records
    samples: Records
    measures: Sequence[Measure]
    items: Mapping[str, Lines] = field(default_factory=dict)
    tokens: Records = ()
    trouble: str = ""

    @property
    def summary(self) -> dict[str, float]:
        """name -> value, as in `eval.json`."""
        found = {name: value for one in self.measures for name, value in one.summarised(self._of(one)).items()}
        for title, lines in self.items.items():
            found |= flat(summarised(title, lines))
        return found

    def since(self, before: Measured) -> dict[str, float]:
        """Name -> the change from `before` to this, and `NAME_se` -> its standard error, paired by row.

        Where the rows differ, nothing can be paired and nothing is said.
        """
        found: dict[str, float] = {}
        for one in self.measures:
            old, new = before._of(one), self._of(one)
            if old and [record["row"] for record in old] == [record["row"] for record in new]:
                found |= one.changes(old, new)
        for title, lines in self.items.items():
            found |= flat(changed(title, before.items.get(title, ()), lines))
        return found

    def _of(self, measure: Measure) -> Records:
        return self.rows if measure.looks_at == "rows" else self.samples


@dataclass(frozen=True)
class Evaluation:
    """Measures a policy on held-out rows; the rows are shared among the processes.

    Attributes:
        scoring: scores rows as in training.
        config: what is measured.
        rows: held-out rows.
        reference: makes the first reference, live, or None when the method has no reference; all is measured to it.
        accelerator: tells the processes apart.
        on_world: the rows are the built-in world's, whose true reward is known.
        rollouts: asks the recipe's rewards; None where it has none.
        micro_batch: rows that are weighed at once where only their tokens are looked at, as many as in training.
    """

    scoring: Scoring
    config: EvaluationConfig
    rows: Sequence[TokenRow]
    reference: Callable[[], Reference] | None
    accelerator: Accelerator
    on_world: bool
    rollouts: Rollouts | None = None
    micro_batch: int = 1

    def __call__(self, step: int) -> dict[str, float]:
        """name -> value, as in `eval.json`; the randomness is the same at every `step`, so changes are the policy's.

        Benchmarks are asked before and after training only."""
        with self.scoring.whole():
            return self._measured(self._scene()).summary

    def measure(self, tokens: int = 0) -> Measured:
        """Scores rows, samples responses and asks benchmarks, on all processes together.

        Args:
            tokens: rows whose tokens are looked at too, from the first.
        """
        with self.scoring.whole():
            return self._all_measured(tokens)

    def _all_measured(self, tokens: int) -> Measured:
        scene = self._scene()
        subject = Subject(self.scoring.policy, self.config.batch_size, self.scoring.autocast)
        items = {one.title: put(one, subject, self.accelerator).lines for one in self.config.benchmarks}
        measured = replace(self._measured(scene), items=items)
        try:
            return replace(measured, tokens=self._tokens(scene, tokens))
        except (AlignkitError, RuntimeError) as error:  # such as too little memory for weights of held-out rows
            if self.accelerator.num_processes > 1:  # the others wait for what this one would gather
                raise
            return replace(measured, trouble=f"no token records of held-out rows: {first_line(error)}")

    def tokens(self, most: int) -> Records:
        """What is known of the tokens of the first rows, and nothing else."""
        with self.scoring.whole():
            return self._tokens(self._scene(), most)

    def _scene(self) -> Scene:
        scoring, reference = self.scoring, self.reference
        if reference is not None and scoring.moving is not None and scoring.moving.has_moved:
            first = reference()
            scoring, reference = scoring.against(first), lambda: first
        return Scene(scoring, self.config, reference, self.on_world, self.rollouts)

    def _measured(self, scene: Scene) -> Measured:
        return Measured(self._records(scene, "rows"), self._records(scene, "samples"), self.config.chosen)

    def _tokens(self, scene: Scene, most: int) -> Records:
        """Of rows that have responses; of all processes."""
        mine: list[dict[str, Any]] = []
        if most and not self.scoring.method.view.draws:
            for numbers, rows in self._share(most, "tokens of held-out rows", self.micro_batch):
                records = token_records(HeldOut(scene, rows, "rows", weigh=True))
                mine += [{"row": number, **record} for number, record in zip(numbers, records, strict=True)]
        gathered: Records = accelerate.utils.gather_object(mine)
        return sorted(gathered, key=lambda record: record["row"])

    def _records(self, scene: Scene, looks_at: LooksAt) -> Records:
        """What the measures of one kind say, row by row, of all processes."""
        is_there = looks_at == "samples" or not self.scoring.method.view.draws  # which reads prompts alone
        measures = [measure for measure in self.config.chosen if measure.looks_at == looks_at and is_there]
        most = min(self.config.looked_at(looks_at), max((measure.count(scene) for measure in measures), default=0))
        weigh = any(measure.weighs(scene) for measure in measures)
        mine: list[dict[str, Any]] = []
        for numbers, rows in self._share(most, WORDS[looks_at], self.config.batch_size):
            mine += _said(measures, numbers, HeldOut(scene, rows, looks_at, weigh=weigh))
        gathered: Records = accelerate.utils.gather_object(mine)
        return sorted(gathered, key=lambda record: record["row"])

    def _share(self, most: int, what: str, size: int) -> Iterator[tuple[Sequence[int], Sequence[TokenRow]]]:
        """This process's part of the first rows, in batches, with their places among all held-out rows."""
        numbers = range(len(self.rows[:most]))[self.accelerator.process_index :: self.accelerator.num_processes]
        with counted(what, len(numbers)) as advance:
            for start in range(0, len(numbers), size):
                batch = numbers[start : start + size]
                yield batch, [self.rows[number] for number in batch]
                advance(len(batch))


def _said(measures: Sequence[Measure], numbers: Sequence[int], held_out: HeldOut) -> list[dict[str, Any]]:
    """What all measures say of each row of a batch, together.

    Raises:
        MeasureError: not one mapping per row, a name that another measure gave, or what is no number, flag or text.
    """
    records: list[dict[str, Any]] = [
        {"row": number, **head} for number, head in zip(numbers, held_out.heads, strict=True)
    ]
    for measure in measures:
        found = measure.per_row(held_out)
        if len(found) != len(records):
            raise MeasureError(f"measure '{measure.name}' says something of {len(found)} of {len(records)} rows")
        for record, said in zip(records, found, strict=True):
            _insist(measure, record, said)
            record |= said
    return records


def _insist(measure: Measure, record: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    for name, value in said.items():
        if name in record or name == "moment":
            raise MeasureError(f"measure '{measure.name}' gives '{name}' of a row, which is there already; rename it")
        if not isinstance(value, int | float | str):
            kind = type(value).__name__
            raise MeasureError(f"measure '{measure.name}' gives '{name}' as {kind}; give a number, a flag or text")

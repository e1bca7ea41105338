"""How different sampled responses are from each other: preference training may make a policy say one thing only."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignkit.evaluation.base import Measure, Value
from alignkit.evaluation.bleu import Grams, grams, self_bleu
from alignkit.evaluation.summary import Estimate, Record, Records, Summary
from alignkit.models.statistics import Entropy

if TYPE_CHECKING:
    from alignkit.evaluation.scene import HeldOut


class ByPrompt(Summary):
    """A number of all samples together, whose error is the jackknife's over prompts: what a prompt's samples share is
    no independent evidence, and numbers such as distinct n-grams are no means.

    The error is that of leaving out one prompt at a time, sqrt((P - 1) / P * sum of squares around their mean). Its
    square is too large on average, if anything (Efron and Stein 1981).
    """

    @abstractmethod
    def without_each(self, prompts: Mapping[Any, Records]) -> tuple[float, dict[Any, float]] | None:
        """The number, and what it is without each of the prompts that have a part in it; None where there is none."""

    def of(self, records: Records) -> Estimate | None:
        """Of the samples that have text."""
        found = self.without_each(_by_prompt(records))
        return None if found is None else (found[0], _jackknife([*found[1].values()]))

    def change(self, before: Records, after: Records) -> Estimate | None:
        """A prompt is left out before and after together."""
        old, new = self.without_each(_by_prompt(before)), self.without_each(_by_prompt(after))
        if old is None or new is None or old[1].keys() != new[1].keys():
            return None
        return new[0] - old[0], _jackknife([new[1][prompt] - one for prompt, one in old[1].items()])

    def parts(self, records: Records) -> list[float | None] | None:
        """The number, and how far it falls without the record's prompt: with prompts as clusters, their spread is the
        jackknife's error."""
        prompts = _by_prompt(records)
        found = self.without_each(prompts)
        if found is None:
            return None
        value, without = found
        middle, count = math.fsum(without.values()) / len(without), sum(len(prompts[prompt]) for prompt in without)
        scale = count * (len(without) - 1) / len(without)
        part = {prompt: value + scale / len(prompts[prompt]) * (middle - one) for prompt, one in without.items()}
        return [part.get(_prompt(record)) for record in records]


@dataclass(frozen=True)
class Distinct(ByPrompt):
    """Different n-grams by all n-grams, over all samples together.

    Attributes:
        n: words of an n-gram.
    """

    n: int

    def without_each(self, prompts: Mapping[Any, Records]) -> tuple[float, dict[Any, float]] | None:
        """An n-gram is lost with a prompt that alone has it."""
        counts = {prompt: self._counted(records) for prompt, records in prompts.items()}
        holders = Counter(gram for count in counts.values() for gram in count)
        total = sum(count.total() for count in counts.values())
        if total == 0:
            return None
        alone = {prompt: sum(holders[gram] == 1 for gram in count) for prompt, count in counts.items()}
        rest = {prompt: _ratio(len(holders) - alone[prompt], total - counts[prompt].total()) for prompt in counts}
        return len(holders) / total, rest

    def _counted(self, records: Records) -> Grams:
        return Counter(gram for one in records for gram in grams(one.get("response", ""), self.n).elements())


class SelfBleu(ByPrompt):
    """Mean BLEU-4 of each sample with the others of its prompt as references; prompts with one sample have none."""

    def without_each(self, prompts: Mapping[Any, Records]) -> tuple[float, dict[Any, float]] | None:
        """Samples count alike, whatever their prompt."""
        texts = {
            prompt: tuple(one["response"] for one in some if "response" in one) for prompt, some in prompts.items()
        }
        return _means({prompt: self_bleu(some) if len(some) > 1 else () for prompt, some in texts.items()})


@dataclass(frozen=True)
class MeanByPrompt(ByPrompt):
    """The mean of a value of the samples.

    Attributes:
        key: its name in a record.
    """

    key: str

    def without_each(self, prompts: Mapping[Any, Records]) -> tuple[float, dict[Any, float]] | None:
        """Samples count alike, whatever their prompt."""
        return _means({prompt: [one[self.key] for one in some if self.key in one] for prompt, some in prompts.items()})


class Diversity(Measure):
    """How different sampled responses are; off unless `evaluation.measures` names it.

    self_bleu: mean BLEU-4 of a response with the others to the same prompt as references, in 0 to 1; less is more
    diverse. It needs prompts that are asked more than once, as the built-in world's are with 2,048 held-out pairs.
    distinct_1, distinct_2, distinct_3: different n-grams of words by all of them, over all responses; falls with their
    number, so only equal numbers compare.
    token_entropy: of the policy's next-token distribution, mean over a response's tokens, nats, at temperature 1.
    Standard errors are jackknifed over prompts.
    """

    looks_at = "samples"
    values = (
        Value("self_bleu", SelfBleu(), "Self-BLEU"),
        Value("distinct_1", Distinct(1), "distinct words"),
        Value("distinct_2", Distinct(2), "distinct pairs of words"),
        Value("distinct_3", Distinct(3), "distinct triples of words"),
        Value("token_entropy", MeanByPrompt("token_entropy"), "entropy, nats/token"),
    )

    def per_row(self, held_out: HeldOut) -> Sequence[Mapping[str, Any]]:
        """The mean entropy along each sample; the rest is made of their texts, which are recorded anyway."""
        totals = held_out.statistic(Entropy())[:, 0].sum(-1).tolist()
        return [
            {"token_entropy": total / max(len(ids), 1)} for total, ids in zip(totals, held_out.sampled, strict=True)
        ]


def _prompt(record: Record) -> Any:  # noqa: ANN401 -- text, or a number
    """What tells prompts apart: their text, or the row's place where there is none."""
    return record.get("prompt") or record["row"]


def _by_prompt(records: Records) -> dict[Any, list[Record]]:
    """Prompt -> its samples."""
    found: dict[Any, list[Record]] = {}
    for record in records:
        found.setdefault(_prompt(record), []).append(record)
    return found


def _means(values: Mapping[Any, Sequence[float]]) -> tuple[float, dict[Any, float]] | None:
    """Of values by prompt: their mean, and that without each prompt that has any."""
    sums = {prompt: (math.fsum(some), len(some)) for prompt, some in values.items() if some}
    total, number = math.fsum(one for one, _ in sums.values()), sum(count for _, count in sums.values())
    if not number:
        return None
    return total / number, {prompt: _ratio(total - one, number - count) for prompt, (one, count) in sums.items()}


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan


def _jackknife(without: Sequence[float]) -> float:
    """The standard error; NaN with fewer than two prompts."""
    if len(without) < 2:
        return math.nan
    middle = math.fsum(without) / len(without)
    return math.sqrt((len(without) - 1) / len(without) * math.fsum((one - middle) ** 2 for one in without))

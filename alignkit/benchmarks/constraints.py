"""Instructions whose keeping can be counted, as those of IFEval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pydantic import ValidationError

from alignkit.benchmarks.decoding import Decoding
from alignkit.benchmarks.items import Answer, Item
from alignkit.benchmarks.rows import FromFile, NewTokens, text
from alignkit.data.raw import RawRow
from alignkit.errors import BenchmarkError, shown
from alignkit.rewards.demands import Demands

if TYPE_CHECKING:
    from alignkit.benchmarks.subject import Subject

_COUNTED: Final = {"length_constraints:number_words": "words", "length_constraints:number_sentences": "sentences"}
_NAMED: Final = {
    "keywords:existence": ("must", "keywords"),
    "keywords:forbidden_words": ("must_not", "forbidden_words"),
    "detectable_format:number_bullet_lists": ("bullets", "num_bullets"),
    "startend:end_checker": ("ends_with", "end_phrase"),
}
_FIXED: Final[Mapping[str, tuple[str, Any]]] = {
    "change_case:english_capital": ("case", "upper"),
    "change_case:english_lowercase": ("case", "lower"),
    "detectable_format:json_format": ("is_json", True),
    "punctuation:no_comma": ("no_commas", True),
}
KNOWN: Final = (*_COUNTED, *_NAMED, *_FIXED)
"""Kinds of IFEval's instructions that can be counted here."""

_WANTED = "a row of constraints has 'prompt', and 'constraints' or IFEval's 'instruction_id_list' and 'kwargs'"


class Constraints(FromFile):
    """Whether responses keep what is demanded of them, counted as reward `constraints` counts.

    prompt_strict: share of prompts whose instructions are all kept.
    instruction_strict: share of instructions that are kept; those of one prompt are one cluster.
    Rows have the reward's demands, or instructions in IFEval's form of the kinds that can be counted here. Those of all
    25 kinds, with its own checkers, are task `ifeval` of `lm_eval`.

    Rows: prompt, constraints (a mapping such as {max_words: 50}); or prompt, instruction_id_list, kwargs
    Paper: arXiv:2311.07911 (IFEval)
    """

    official: ClassVar[str] = "data set google/IFEval, split train"

    unsupported: Literal["error", "skip"] = "error"
    """What becomes of rows with an instruction of another kind: the evaluation stops, or goes on without them."""

    max_new_tokens: NewTokens = 512
    """Longest response; tokens."""

    def item_of(self, row: RawRow) -> Item:
        prompt = text(row, "prompt", _WANTED)
        name = str(row.fields.get("key", row.index))
        if "instruction_id_list" in row.fields:
            kinds, several = _instructions(row)
            unknown = [kind for kind in kinds if kind not in KNOWN]
            demands = [] if unknown else [_demands(row, _translated(*one)) for one in zip(kinds, several, strict=True)]
            return Item(name, {"prompt": prompt, "demands": demands, "unknown": unknown}, row.where)
        demands = [_demands(row, row.fields.get("constraints"))]
        return Item(name, {"prompt": prompt, "demands": demands, "unknown": []}, row.where)

    def items(self) -> Sequence[Item]:
        items = self.read("data", self.data)
        unknown = sorted({str(kind) for item in items for kind in item.fields["unknown"]})
        if unknown and self.unsupported == "error":
            number = sum(bool(item.fields["unknown"]) for item in items)
            kinds = ", ".join(shown(kind, 60) for kind in unknown)
            raise BenchmarkError(
                f"evaluation.benchmarks.{self.title}.data: {number} of {len(items)} rows have instructions of kinds "
                f"that cannot be counted here: {kinds}; leave these rows out with unsupported: skip, or take task "
                "ifeval of lm_eval"
            )
        left = [item for item in items if not item.fields["unknown"]]
        if not left:
            raise BenchmarkError(f"evaluation.benchmarks.{self.title}.data: no row has countable instructions alone")
        return self.some(left)

    def ask(self, subject: Subject, items: Sequence[Item]) -> Sequence[Answer]:
        prompts = [subject.prompt(item.fields["prompt"], (), self.chat) for item in items]
        found = subject.respond(items, prompts, Decoding(self.seed, max_new_tokens=self.max_new_tokens))
        answers = []
        for item, one in zip(items, found, strict=True):
            response = one.texts[0]
            kept = [met for demands in item.fields["demands"] for met in demands.met(response)]
            answers.append(
                Answer(item.name, {"prompt_strict": float(all(kept))}, response, one.prompt, cluster=item.name)
            )
            answers += [
                Answer(f"{item.name}/{n}", {"instruction_strict": float(met)}, "", one.prompt, cluster=item.name)
                for n, met in enumerate(kept)
            ]
        return answers


def _instructions(row: RawRow) -> tuple[list[str], list[Mapping[str, Any]]]:
    kinds: Any = row.fields["instruction_id_list"]
    several: Any = row.fields.get("kwargs")
    is_fit = isinstance(kinds, list) and isinstance(several, list) and len(kinds) == len(several) > 0
    is_fit = is_fit and all(isinstance(kind, str) for kind in kinds)
    if not (is_fit and all(isinstance(one, Mapping) for one in several)):
        raise BenchmarkError(f"{row.where}: 'kwargs': expected a mapping for each of 'instruction_id_list'; {_WANTED}")
    return kinds, several


def _translated(kind: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """An instruction of IFEval as a demand."""
    if kind in _FIXED:
        key, value = _FIXED[kind]
        return {key: value}
    if kind in _NAMED:
        key, theirs = _NAMED[kind]
        return {key: given.get(theirs)}
    what = _COUNTED[kind]
    number = given.get(f"num_{what}")
    if given.get("relation") == "less than":
        return {f"max_{what}": number - 1 if isinstance(number, int) else number}
    return {f"min_{what}": number}


def _demands(row: RawRow, value: object) -> Demands:
    try:
        given = {key: one for key, one in value.items() if one is not None} if isinstance(value, Mapping) else {}
        demands = Demands.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BenchmarkError(f"{row.where}: 'constraints': {where}: {first['msg']}; {_WANTED}") from None
    if not list(demands.met("")):
        raise BenchmarkError(f"{row.where}: 'constraints': demands nothing, got {shown(value, 60)}; {_WANTED}")
    return demands

"""The model card, `README.md` beside the saved weights: what the model is and how to make it again."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alignkit.data.rows import DataReport
from alignkit.recipe.recipe import Recipe
from alignkit.records.files import write_text
from alignkit.registry import Component
from alignkit.report.banner import data_line
from alignkit.report.table import table_rows, verdict

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ModelCard:
    """What a card says.

    Attributes:
        recipe: the run's.
        recipe_text: the same as YAML, defaults included.
        has_adapter: whether the folder holds an adapter.
        reports: what became of each data source.
        fingerprints: of data, template and starting model.
        command: the command line, one string per argument.
        versions: package -> version.
        revisions: what came from the Hub, by its key of the recipe -> commit, None where that is not known.
        before: evaluation before training.
        after: evaluation after it; empty while that is still to come.
        change: paired differences of the two.
    """

    recipe: Recipe
    recipe_text: str
    has_adapter: bool
    reports: Sequence[DataReport]
    fingerprints: Mapping[str, str]
    command: Sequence[str]
    versions: Mapping[str, str]
    before: Mapping[str, float]
    after: Mapping[str, float] = field(default_factory=dict)
    change: Mapping[str, float] = field(default_factory=dict)
    revisions: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """The starting model, as the recipe names it."""
        return str(getattr(self.recipe.model, "path", self.recipe.model.name))

    def __str__(self) -> str:
        parts = (self._metadata(), self._what(), self._data(), self._evaluation(), self._again())
        return "\n".join(line for part in parts for line in part)

    def _metadata(self) -> Iterator[str]:
        """What the Hub reads; JSON strings are YAML."""
        yield "---"
        yield f"library_name: {'peft' if self.has_adapter else 'transformers'}"
        if HUB_ID.fullmatch(self.base) and not Path(self.base).exists():
            yield f"base_model: {json.dumps(self.base)}"
        yield "pipeline_tag: text-generation"
        tags = ["alignkit", *dict.fromkeys(loss.name for loss in self.recipe.losses)]
        yield f"tags: {json.dumps([*tags, 'lora'] if self.has_adapter else tags)}"
        yield "---"

    def _what(self) -> Iterator[str]:
        yield from ("", f"# {_code(self.base)}, trained with alignkit", "")
        kind = "An adapter for" if self.has_adapter else "Trained from"
        yield f"{kind} {_code(self.base)} (parameters' fingerprint {_code(self.fingerprints['model'])})."
        yield from ("", "## Method", "", "| part | name | parameters |", "|---|---|---|")
        recipe = self.recipe
        for part, component in (
            ("trainer", recipe.trainer),
            *(("loss", loss) for loss in recipe.losses),
            ("token weighting", recipe.weighting),
            ("pair weighting", recipe.pair_weighting),
        ):
            yield f"| {part} | {_code(component.name)} | {_parameters(component)} |"

    def _data(self) -> Iterator[str]:
        yield from ("", "## Data", "")
        yield from (
            f"- {_plain(data_line(report))}; fingerprint {_code(report.fingerprint)}" for report in self.reports
        )

    def _evaluation(self) -> Iterator[str]:
        yield from ("", "## Evaluation", "")
        if not self.after:
            yield "The evaluation after training was not finished when this was written."
            return
        yield "On held-out data; +- is one standard error, that of a change is paired by row."
        yield from ("", "| measure | before | after | change |", "|---|---|---|---|")
        rows = table_rows(self.recipe.evaluation.chosen, self.before, self.after, self.change)
        yield from (f"| {' | '.join(cells)} |" for cells in rows)
        yield from ("", verdict(self.before, self.after, self.change))

    def _again(self) -> Iterator[str]:
        yield from ("", "## Making it again", "", "The recipe, defaults included:", "")
        yield from _fenced("yaml", self.recipe_text)
        yield from ("", "The command:", "")
        name, *arguments = self.command or ("alignkit",)
        yield from _fenced("sh", shlex.join([Path(name).name, *arguments]))
        if self.revisions:
            taken = (f"{_code(key)} at commit {_code(commit or 'unknown')}" for key, commit in self.revisions.items())
            yield from ("", f"From the Hub: {', '.join(taken)}")
        yield from ("", "Versions: " + ", ".join(f"{name} {version}" for name, version in self.versions.items()), "")


def write_card(final: Path, card: ModelCard) -> None:
    """Writes the card in the place of the one that transformers or peft left there; whole or not at all.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    write_text(final / "README.md", str(card))


def _parameters(component: Component) -> str:
    """`beta 0.1, label_smoothing 0`; a component inside by its name and its own."""
    values = component.model_dump(mode="json", exclude={"name"})
    return ", ".join(f"{key} {_code(_value(value))}" for key, value in values.items() if value is not None)


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _code(text: str) -> str:
    """As code, on one line, in a table or not."""
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


def _fenced(language: str, text: str) -> Iterator[str]:
    """A block whose fence is longer than any inside."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    yield f"{fence}{language}"
    yield text.rstrip("\n")
    yield fence

"""Reads all rows of a recipe, whatever is wrong with some of them: what stops a run is counted here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.data.checks import Dropped
from alignkit.data.config import DataConfig
from alignkit.data.fields import Unusable
from alignkit.data.files import read_file
from alignkit.data.formats import Example
from alignkit.data.naming import Named, has_own_eval, names_of, read_for, read_source, refuse_misplaced
from alignkit.data.overflow import fit
from alignkit.data.raw import RawRow, columns_of
from alignkit.data.readers import TURN
from alignkit.data.reading import read_examples
from alignkit.data.rows import TokenRow
from alignkit.data.splitting import choose_held_out
from alignkit.data.tokenising import Tokeniser
from alignkit.data.turns import Turns
from alignkit.data.unpairing import refuse_one_sided
from alignkit.data.wanted import Wanted
from alignkit.doctor.case import Case, Row, spaced
from alignkit.errors import DataError
from alignkit.progress.display import counted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_TOKENISED = 50_000
"""Rows of a source that get tokens, which takes most of the time; of more, so many evenly spaced ones."""

PROMPTS = ("prompt", "question", "instruction", "problem", "query", "messages", "input", "text")
"""Columns that may hold the prompts of a test set, the first one that is there."""


def read_case(
    config: DataConfig,
    wanted: Wanted,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    others: Mapping[str, Sequence[str]] | None = None,
    most: int = MOST_TOKENISED,
) -> Case:
    """The rows as a run would have them, had it not stopped at those that it refuses.

    Args:
        config: the `data` section.
        wanted: what the run reads of a row.
        tokenizer: the recipe's.
        seed: of the run; decides what is held out.
        others: name -> prompts of the sets that must not be trained on.
        most: rows of a source that get tokens; of more, so many evenly spaced ones.

    Raises:
        DataError: no row can be read at all, or the section names what there is not.
    """
    refuse_misplaced(config)
    read: list[_Read] = []
    for named in read_for(config, "train") + (read_for(config, "eval") if has_own_eval(config) else []):
        first = sum(one.dropped.num_rows for one in read)
        read.append(_Read(config, named, first, wanted, tokenizer, seed, most))
    rows, evaluated = (
        [row for one in read if one.named.part == part for row in one.rows] for part in ("train", "eval")
    )
    obstacles = [] if rows else ["no row is left to train on"]
    try:
        if has_own_eval(config):
            rows = rows + [replace(row, held_out=True) for row in evaluated]
            if len({one.tokeniser.end for one in read}) > 1:
                obstacles.append("responses of one source end with another token than those of another")
        elif rows:
            held = choose_held_out({row.example.row.index: row.example.prompt_key for row in rows}, config, seed)
            rows = [replace(row, held_out=row.example.row.index in held) for row in rows]
        trained = [row.tokens for row in rows if row.tokens is not None and not row.held_out]
        refuse_one_sided(trained, ", ".join(one.named.source.label for one in read if one.named.part == "train"))
    except DataError as error:
        obstacles.append(str(error))
    return Case(
        rows=rows,
        refused=[offender for one in read for offender in one.dropped.bad],
        left_out=[row for one in read for row in one.left_out],
        obstacles=obstacles,
        data=config,
        tokenizer=tokenizer,
        unwanted=[offender for one in read for offender in one.dropped.too_long],
        end=read[0].tokeniser.end,
        counts=sum((one.tokeniser.counts for one in read), Counter()),
        others=others or {},
    )


class _Read:
    """The rows of one source, numbered from `first`: those that are used, are refused, and are left out as too long."""

    def __init__(
        self,
        config: DataConfig,
        named: Named,
        first: int,
        wanted: Wanted,
        tokenizer: PreTrainedTokenizerBase,
        seed: int,
        most: int,
    ) -> None:
        self.named = named
        raw = read_source(config, named, seed, wanted.all_columns)
        turns = Turns(config.chat, tokenizer, config.separator)
        read = read_examples(raw, named.source, wanted, names_of(config, named), turns)
        examples = [replace(one, row=replace(one.row, index=first + one.row.index)) for one in read.examples]
        self.dropped: Dropped = read.dropped
        self.tokeniser = Tokeniser(tokenizer, config.separator, wanted.of_text, config.special_tokens_in_text)
        self.rows: list[Row] = []
        self.left_out: list[Row] = []
        chosen = spaced(examples, most)
        for example, tokens, straddles in self._tokenised(chosen):
            try:
                row = self._row(example, tokens, straddles, config)
            except Unusable as error:
                self.dropped.add(replace(example.row, index=example.row.index - first), error)
                continue
            is_left_out = config.on_overflow == "drop" and row.length > config.max_length
            (self.left_out if is_left_out else self.rows).append(row)
        if len(chosen) < len(examples):
            self._add_others(examples, chosen)
        self.dropped.bad.sort(key=lambda offender: offender.row.index)

    def _add_others(self, examples: Sequence[Example], chosen: Sequence[Example]) -> None:
        """The rows without tokens, at their places among the others."""
        done = {example.row.index for example in chosen}
        self.rows += [Row(one.row.where, one, None) for one in examples if one.row.index not in done]
        self.rows.sort(key=lambda row: row.example.row.index)

    def _tokenised(self, examples: Sequence[Example]) -> Iterator[tuple[Example, TokenRow | Unusable, bool]]:
        moved = 0
        with counted("tokenising", len(examples)) as advance:
            for example, tokens in zip(examples, self.tokeniser.rows(examples), strict=True):
                before, moved = moved, self.tokeniser.counts["boundary_moved"]
                yield example, tokens, moved > before
                advance(1)

    def _row(self, example: Example, tokens: TokenRow | Unusable, straddles: bool, config: DataConfig) -> Row:
        if isinstance(tokens, Unusable):
            raise tokens
        length = tokens.length
        if config.on_overflow in ("truncate_prompt", "truncate_response"):
            num_leading = self.tokeniser.special.num_leading(tokens.prompt.tolist())
            tokens = fit(tokens, config, num_leading, self.tokeniser.counts)
        return Row(example.row.where, example, tokens, length, straddles)


def read_prompts(path: Path) -> list[str]:
    """The prompts of a test set's file, one a row that has one.

    Raises:
        DataError: it cannot be read, or no column holds prompts.
    """
    raw = read_file(path, None, None)
    found = columns_of(raw)
    column = next((name for name in (*PROMPTS, "chosen") if name in found), None)
    prompts = [prompt for row in raw if (prompt := _prompt(row, column))]
    if not prompts:
        raise DataError(
            f"--against {path}: no prompts found; columns: {', '.join(sorted(found)) or 'none'}; looked for "
            f"{', '.join(PROMPTS)}, or transcripts in 'chosen'"
        )
    return prompts


def _prompt(row: RawRow, column: str | None) -> str:
    value = row.fields.get(column or "")
    if column == "chosen":
        return value.rpartition(TURN)[0] if isinstance(value, str) else ""
    if isinstance(value, list):  # messages; the assistant's are what is to be answered
        said = [message for message in value if isinstance(message, dict) and message.get("role") != "assistant"]
        return "\n".join(text for message in said if isinstance(text := message.get("content"), str))
    return value if isinstance(value, str) else ""

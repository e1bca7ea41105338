"""What a run reads of a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from alignkit.data.characters import PerText
from alignkit.data.columns import token_column
from alignkit.data.config import DataConfig
from alignkit.data.layouts import COLUMNS, PROMPT_COLUMNS


@dataclass(frozen=True)
class Wanted:
    """What a run reads of a row.

    Attributes:
        responses: names of the responses to lay out; none where prompts alone are read.
        columns: data columns that components need.
        token_columns: suffixes of the data columns with one number per response token.
        nonnegative: those of `columns` whose numbers must be >= 0.
        to_imitate: leave out responses that are labelled undesirable.
        of_text: key -> what reads numbers per token from a response's text.
        every_turn: each turn of the assistant is a response, and not the last alone.
        fields: data columns that are kept as they are, whatever they hold: those that rewards read.
        where_given: the same of those rewards that have no opinion of a row without their column, which is then None.
    """

    responses: tuple[str, ...]
    columns: frozenset[str] = frozenset()
    token_columns: frozenset[str] = frozenset()
    nonnegative: frozenset[str] = frozenset()
    to_imitate: bool = False
    of_text: Mapping[str, PerText] = field(default_factory=dict)
    every_turn: bool = False
    fields: frozenset[str] = frozenset()
    where_given: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        responses: tuple[str, ...],
        data: DataConfig,
        columns: frozenset[str] = frozenset(),
        token_columns: frozenset[str] = frozenset(),
        nonnegative: frozenset[str] = frozenset(),
        of_text: Mapping[str, PerText] | None = None,
        fields: frozenset[str] = frozenset(),
        where_given: frozenset[str] = frozenset(),
    ) -> Wanted:
        """What a run with this `data` section reads; a trainer that sees chosen responses alone imitates."""
        is_imitating, every_turn = responses == ("chosen",), data.train_on == "all_turns"
        return cls(
            responses, columns, token_columns, nonnegative, is_imitating, of_text or {}, every_turn, fields, where_given
        )

    @property
    def in_words(self) -> str:
        """What the trainer reads, for messages."""
        return ", ".join(self.responses) or "prompts alone"

    def of_tokens(self, responses: Iterable[str]) -> frozenset[str]:
        """Names of the data columns with one number per token of these responses; a gold one has no weights."""
        weighted = [name for name in responses if name != "gold"]
        return frozenset(token_column(name, suffix) for name in weighted for suffix in self.token_columns)

    @property
    def all_columns(self) -> frozenset[str]:
        """Every column that may be read, whatever the format."""
        known = COLUMNS if self.responses else COLUMNS | PROMPT_COLUMNS
        return (
            known | self.columns | self.fields | self.where_given | self.of_tokens(("chosen", "rejected", "completion"))
        )

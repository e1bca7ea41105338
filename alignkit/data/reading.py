"""From the raw rows of a source to examples: the format, the rows in it, and the rows that are not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from alignkit.data.checks import Dropped
from alignkit.data.columns import read_columns, read_fields, read_token_columns, refuse_absent
from alignkit.data.context import CONTEXT, refuse_context
from alignkit.data.fields import LeftOut, Unusable, is_label, read_label
from alignkit.data.formats import Example, find_format, read_example
from alignkit.data.layouts import Format
from alignkit.data.raw import RawRow, columns_of
from alignkit.data.renaming import Names, unused
from alignkit.data.sources.base import Source
from alignkit.data.turns import Turns, as_turns, each_turn
from alignkit.data.wanted import Wanted
from alignkit.errors import DataError


@dataclass(frozen=True)
class Read:
    """The rows of one source before they are tokenised.

    Attributes:
        form: their format.
        title: what reports call it.
        examples: the rows that are read.
        dropped: those that are not.
        is_wrapped: plain text became turns of a conversation.
        num_conversations: how many were taken apart into rows, one per turn.
        unused_columns: the data's names of the columns that nothing reads.
    """

    form: Format
    title: str
    examples: list[Example]
    dropped: Dropped
    is_wrapped: bool
    num_conversations: int
    unused_columns: tuple[str, ...]


def read_examples(raw: Sequence[RawRow], source: Source, wanted: Wanted, names: Names, turns: Turns) -> Read:
    """The format, the examples, and the rows that are none; no bad row stops here (`Dropped.settle`).

    Args:
        raw: the rows, under alignkit's names for their columns.
        source: where they are from.
        wanted: what the run reads of a row.
        names: what the data calls columns that have another name here.
        turns: whether plain text becomes turns.

    Raises:
        DataError: the rows have no known format, or what was asked for does not fit them.
    """
    name = source.label
    form = find_format(raw, wanted.responses, name, names)
    responses = form.laid_out(wanted.responses)
    of_tokens = wanted.of_tokens(responses)
    refuse_absent(raw, wanted.columns | wanted.fields | of_tokens, name, wanted.responses)
    is_filtered = wanted.to_imitate and not form.is_paired
    dropped = Dropped(name, len(raw), names)
    examples = []
    for row in raw:
        try:
            example = read_example(row, form, wanted.responses)
            if is_filtered and _is_undesirable(row):
                raise LeftOut("undesirable", "'label' is false, and this trainer imitates")
            columns = read_columns(row, wanted.columns, wanted.nonnegative)
            token_columns = read_token_columns(row, wanted.token_columns, [r for r in responses if r != "gold"])
            fields = read_fields(row, wanted.fields, wanted.where_given)
            examples.append(replace(example, columns=columns, token_columns=token_columns, fields=fields))
        except Unusable as error:
            dropped.add(row, error, is_bad=not isinstance(error, LeftOut))
    is_wrapped = not form.is_chat and turns.fit(examples, form, source)
    if is_wrapped:
        examples = list(_wrapped(examples, dropped))
    elif not form.is_chat:
        refuse_context(raw, form.name, name)
    num_conversations = 0
    if wanted.every_turn:
        num_conversations, examples = len(examples), _every_turn(examples, dropped)
    used = {
        *form.kinds,
        *form.optional,
        *responses,
        *wanted.columns,
        *wanted.fields,
        *wanted.where_given,
        *of_tokens,
        *CONTEXT,
    }
    used |= {"label"} if is_filtered else set()
    # The world's columns are ours, and no user's mistake.
    left = () if source.on_world else unused(raw, used, names)
    return Read(form, form.name_in(columns_of(raw)), examples, dropped, is_wrapped, num_conversations, left)


def _every_turn(examples: Sequence[Example], dropped: Dropped) -> list[Example]:
    """The turns of all conversations, numbered.

    Raises:
        DataError: text has turns that it does not show.
    """
    hidden = next((one for one in examples if isinstance(one.prompt, str) and one.has_earlier_turns), None)
    if hidden:
        raise DataError(
            f"data.train_on: all_turns needs conversations, but {hidden.row.where} is a transcript; take last_turn, or "
            "data.chat: always with a tokenizer that has a chat template"
        )
    turns = [turn for one in examples for turn in (each_turn(one) if isinstance(one.prompt, list) else [one])]
    dropped.num_rows += len(turns) - len(examples)
    return [replace(turn, row=replace(turn.row, index=number)) for number, turn in enumerate(turns)]


def _wrapped(examples: Iterable[Example], dropped: Dropped) -> Iterator[Example]:
    for example in examples:
        try:
            yield as_turns(example)
        except Unusable as error:
            dropped.add(example.row, error)


def _is_undesirable(row: RawRow) -> bool:
    return is_label(row.fields.get("label")) and not read_label(row.fields, "label")

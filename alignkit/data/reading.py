"""From the raw rows of a source to examples: the format, the rows in it, and the rows that are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from alignkit.data.checks import Dropped
from alignkit.data.columns import read_columns, read_token_columns, refuse_absent
from alignkit.data.context import CONTEXT, refuse_context
from alignkit.data.fields import Unusable, is_label, read_label
from alignkit.data.formats import Example, Format, find_format, read_example
from alignkit.data.raw import RawRow
from alignkit.data.renaming import Names, unused
from alignkit.data.sources.base import Source
from alignkit.data.wanted import Wanted


@dataclass(frozen=True)
class Read:
    """The rows of one source before they are tokenised."""

    form: Format
    examples: list[Example]
    dropped: Dropped
    unused_columns: tuple[str, ...]


def read_examples(raw: Sequence[RawRow], source: Source, wanted: Wanted, names: Names) -> Read:
    """The format, the examples, and the rows that are none."""
    name = source.label
    form = find_format(raw, wanted.responses, name)
    responses = form.laid_out(wanted.responses)
    of_tokens = wanted.of_tokens(responses)
    refuse_absent(raw, wanted.columns | of_tokens | {"gold"}.intersection(wanted.responses), name)
    if not form.is_chat:
        refuse_context(raw, form.name, name)
    is_filtered = wanted.to_imitate and "rejected" not in form.kinds
    dropped = Dropped(name, len(raw), names)
    examples = []
    for row in raw:
        try:
            example = read_example(row, form, wanted.responses)
            if is_filtered and _is_undesirable(row):
                raise _Undesirable("undesirable", "'label' is false, and this trainer imitates")
            columns = read_columns(row, wanted.columns, wanted.nonnegative)
            token_columns = read_token_columns(row, wanted.token_columns, [r for r in responses if r != "gold"])
            examples.append(replace(example, columns=columns, token_columns=token_columns))
        except Unusable as error:
            dropped.add(row, error, is_bad=not isinstance(error, _Undesirable))
    used = {*form.kinds, *responses, *wanted.columns, *of_tokens, *CONTEXT}.union({"label"} if is_filtered else ())
    # The world's columns are ours, and no user's mistake.
    return Read(form, examples, dropped, () if source.on_world else unused(raw, used, names))


class _Undesirable(Unusable):
    """Nothing is wrong with the row, but nobody wants it to be likelier."""


def _is_undesirable(row: RawRow) -> bool:
    return is_label(row.fields.get("label")) and not read_label(row.fields, "label")

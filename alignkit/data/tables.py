"""From the `data` section to the training and held-out token rows: read, check, tokenise, fit, hold out, add noise."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.data.budget import MOST_CHARACTERS_WORD
from alignkit.data.characters import PerText
from alignkit.data.checks import Dropped
from alignkit.data.columns import read_columns, read_token_columns, refuse_absent, token_column
from alignkit.data.config import DataConfig
from alignkit.data.context import CONTEXT, refuse_context
from alignkit.data.fields import Unusable, is_label, read_label
from alignkit.data.formats import COLUMNS, Example, Format, find_format, read_example
from alignkit.data.naming import has_own_eval, read_source, refuse_misplaced, source_of
from alignkit.data.overflow import fit, refuse_long
from alignkit.data.raw import RawRow, columns_of
from alignkit.data.rows import DataReport, Tables, TokenRow
from alignkit.data.sources.base import Part, Source
from alignkit.data.splitting import choose_held_out, rows_fingerprint, swap_labels
from alignkit.data.tokenising import Tokeniser
from alignkit.data.unpairing import refuse_one_sided, unpair
from alignkit.errors import DataError
from alignkit.progress.display import counted
from alignkit.records.files import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Wanted:
    """What a run reads of a row.

    Attributes:
        responses: names of the responses to lay out.
        columns: data columns that components need.
        token_columns: suffixes of the data columns with one number per response token.
        nonnegative: those of `columns` whose numbers must be >= 0.
        to_imitate: leave out responses that are labelled undesirable.
        of_text: key -> what reads numbers per token from a response's text.
    """

    responses: tuple[str, ...]
    columns: frozenset[str] = frozenset()
    token_columns: frozenset[str] = frozenset()
    nonnegative: frozenset[str] = frozenset()
    to_imitate: bool = False
    of_text: Mapping[str, PerText] = field(default_factory=dict)

    def of_tokens(self, responses: Iterable[str]) -> frozenset[str]:
        """Names of the data columns with one number per token of these responses; a gold one has no weights."""
        weighted = [name for name in responses if name != "gold"]
        return frozenset(token_column(name, suffix) for name in weighted for suffix in self.token_columns)

    @property
    def all_columns(self) -> frozenset[str]:
        """Every column that may be read, whatever the format."""
        return COLUMNS | self.columns | self.of_tokens(("chosen", "rejected", "completion"))


def load_tables(
    config: DataConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    responses: tuple[str, ...],
    columns: frozenset[str],
    seed: int,
    token_columns: frozenset[str] = frozenset(),
    nonnegative: frozenset[str] = frozenset(),
    of_text: Mapping[str, PerText] | None = None,
    dropped_file: Path | None = None,
) -> Tables:
    """The token rows of a run.

    For `("completion",)` each source may hold labelled responses or pairs. Training pairs are taken apart after all
    else is done; held-out ones stay pairs, so that preferences can be measured on them.

    Args:
        config: the `data` section.
        tokenizer: ids, special tokens and chat template come from it.
        responses: names of the responses to lay out, `("chosen", "rejected")`, `("chosen",)` or `("completion",)`.
        columns: data columns that components need, as numbers.
        token_columns: suffixes: `_weight` reads one number per response token from `chosen_weight` and so on.
        seed: of the run; decides what is held out and which labels are swapped.
        nonnegative: those of `columns` whose numbers must be >= 0.
        of_text: key -> what reads numbers per token from a response's text; rows have them under that key.
        dropped_file: gets a JSON line for each row that is dropped; written anew.

    Raises:
        DataError: the data cannot be read or used; names file and line.
    """
    if config.label_noise and not {"rejected", "completion"}.intersection(responses):
        raise DataError(
            f"data.label_noise: {config.label_noise} needs pairs or labelled responses; this trainer reads "
            f"{', '.join(responses)}"
        )
    refuse_misplaced(config)
    to_imitate = responses == ("chosen",)
    wanted = Wanted(responses, columns, token_columns, nonnegative, to_imitate, of_text or {})
    train = _load(config, "train", wanted, tokenizer, seed)
    sources = [train]
    if has_own_eval(config):
        sources.append(_load(config, "eval", wanted, tokenizer, seed))
        _refuse_other_end(train, sources[1], tokenizer)
        kept, held = train.rows, sources[1].rows
    else:
        chosen = choose_held_out(train.prompts, config, seed)
        kept = [row for row in train.rows if row.index not in chosen]
        held = [row for row in train.rows if row.index in chosen]
        train.counts["held_out"] = len(held)
    refuse_one_sided(kept, train.name)
    kept, train.counts["labels_swapped"] = swap_labels(kept, config.label_noise, seed)
    if "completion" in responses and not train.read.form.is_labelled:
        kept = unpair(kept)
        train.counts["unpaired"] = len(kept)
    if dropped_file is not None:
        _write_dropped(dropped_file, sources)
    used = [kept, held] if has_own_eval(config) else [[*kept, *held]]
    reports = tuple(source.report(rows) for source, rows in zip(sources, used, strict=True))
    return Tables(tuple(kept), tuple(held), reports, train.end)


def _write_dropped(path: Path, sources: Sequence[_Source]) -> None:
    with one_line(path):
        path.unlink(missing_ok=True)
    for source in sources:
        source.read.dropped.write(path)


def training_texts(config: DataConfig, seed: int) -> Iterator[str]:
    """The raw texts of the training rows, for a tokenizer that is yet to be trained on them.

    Rows that cannot be used are left out here and reported by `load_tables`. Held-out rows are left out too, as far as
    they are known without a tokenizer.
    """
    refuse_misplaced(config)
    raw = read_source(config, "train", seed, COLUMNS)
    is_paired = any("rejected" in row.fields for row in raw)
    source = source_of(config, "train")
    read = read_examples(raw, source, Wanted(("chosen", "rejected") if is_paired else ("chosen",)))
    held_out: frozenset[int] = frozenset()
    if not has_own_eval(config):
        prompts = {example.row.index: example.prompt_key for example in read.examples}
        try:
            held_out = choose_held_out(prompts, config, seed)
        except DataError:
            read.dropped.settle(config)  # too few rows may be left because the others are bad: that is to be said then
            raise
    elif not read.examples:
        read.dropped.settle(config)
    for example in read.examples:
        if example.row.index not in held_out:
            yield from map(_with_short_words, _texts_of(example, config.separator))


def _texts_of(example: Example, separator: str) -> Iterator[str]:
    """The prompt with its first response, as the tokenizer will meet them, then the other response."""
    if isinstance(example.prompt, str):
        prompt = example.prompt + separator
    else:
        prompt = "\n".join(message["content"] for message in example.prompt) + "\n"
    first, *others = [text if isinstance(text, str) else text["content"] for text in example.responses.values()]
    yield prompt + first
    yield from others


_LONG_WORD = re.compile(
    "|".join(f"(?<!{kind})({kind}{{{MOST_CHARACTERS_WORD}}}){kind}+" for kind in (r"\w", r"[^\w\s]", r"\s"))
)


def _with_short_words(text: str) -> str:
    """The text with the ends of endless words cut off: see `MOST_CHARACTERS_WORD`."""
    return _LONG_WORD.sub(lambda match: match[match.lastindex or 0], text)


@dataclass(frozen=True)
class Read:
    """The rows of one source before they are tokenised."""

    form: Format
    examples: list[Example]
    dropped: Dropped
    unused_columns: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """What became of one source's rows; `prompts` is row index -> key of its prompt, `end` what ends its responses."""

    name: str
    read: Read
    num_rows: int
    rows: list[TokenRow]
    prompts: Mapping[int, str]
    counts: Counter[str]
    end: int

    def report(self, final: Sequence[TokenRow]) -> DataReport:
        """The account of this source once its rows are `final`; two of them may be one row of the source."""
        dropped = self.read.dropped.counts()
        used = self.num_rows - sum(dropped.values())
        assert used == len({row.where for row in final}), "every row is either used or dropped"
        return DataReport(
            source=self.name,
            format=self.read.form.name,
            rows=self.num_rows,
            used=used,
            dropped=dropped,
            counts=dict(self.counts),
            fingerprint=rows_fingerprint(final),
            unused_columns=self.read.unused_columns,
            is_chat=self.read.form.is_chat,
        )


def _load(
    config: DataConfig,
    part: Part,
    wanted: Wanted,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> _Source:
    """The rows of one source, all steps but the split."""
    source = source_of(config, part)
    name = source.label
    raw = read_source(config, part, seed, wanted.all_columns)
    read = read_examples(raw, source, wanted)
    dropped = read.dropped
    dropped.settle(config)  # before the slow part; what only tokens show is told after it
    tokeniser = Tokeniser(tokenizer, config.separator, wanted.of_text)
    rows: list[TokenRow] = []
    with counted("tokenising", len(read.examples)) as advance:
        for example, row in zip(read.examples, tokeniser.rows(read.examples), strict=True):
            if isinstance(row, Unusable):
                dropped.add(example.row, row)
            else:
                rows.append(row)
            advance(1)
    dropped.settle(config)
    refuse_long(rows, config, name)
    fitted: list[TokenRow] = []
    for row in rows:
        try:
            num_leading = tokeniser.special.num_leading(row.prompt.tolist())
            fitted.append(fit(row, config, num_leading, tokeniser.counts))
        except Unusable as error:
            dropped.add(raw[row.index], error, is_bad=config.on_overflow != "drop")
    dropped.settle(config)
    indices = {row.index for row in fitted}
    kept = [example for example in read.examples if example.row.index in indices]
    if wanted.to_imitate:
        tokeniser.counts["earlier_turns_untrained"] = sum(example.has_earlier_turns for example in kept)
    prompts = {example.row.index: example.prompt_key for example in kept}
    assert tokeniser.end is not None, "a tokenizer without EOS was refused"
    return _Source(name, read, len(raw), fitted, prompts, tokeniser.counts, tokeniser.end)


def _refuse_other_end(train: _Source, held: _Source, tokenizer: PreTrainedTokenizerBase) -> None:
    """A policy that learns one end of a response cannot be measured on samples and rows with another."""
    if train.end != held.end:
        ends = [tokenizer.convert_ids_to_tokens(source.end) for source in (train, held)]
        raise DataError(
            f"data.eval: responses of {held.name} ({held.read.form.name}) end with {ends[1]!r}, those of {train.name} "
            f"({train.read.form.name}) with {ends[0]!r}; give both as conversations or both as text"
        )


def read_examples(raw: Sequence[RawRow], source: Source, wanted: Wanted) -> Read:
    """The format, the examples, and the rows that are none; no bad row stops here (`Dropped.settle`).

    Raises:
        DataError: the rows have no known format, or none of them has a column that is wanted.
    """
    name = source.label
    form = find_format(raw, wanted.responses, name)
    responses = form.laid_out(wanted.responses)
    of_tokens = wanted.of_tokens(responses)
    refuse_absent(raw, wanted.columns | of_tokens | {"gold"}.intersection(wanted.responses), name)
    if not form.is_chat:
        refuse_context(raw, form.name, name)
    is_filtered = wanted.to_imitate and "rejected" not in form.kinds
    dropped = Dropped(name, len(raw))
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
    unused = () if source.on_world else sorted(columns_of(raw) - used)
    return Read(form, examples, dropped, tuple(filter(None, unused)))


class _Undesirable(Unusable):
    """Nothing is wrong with the row, but nobody wants it to be likelier."""


def _is_undesirable(row: RawRow) -> bool:
    return is_label(row.fields.get("label")) and not read_label(row.fields, "label")

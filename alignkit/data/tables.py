"""From the `data` section to the training and held-out token rows: read, check, tokenise, fit, hold out, add noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.data.config import DataConfig
from alignkit.data.fields import Unusable
from alignkit.data.naming import Named, has_own_eval, names_of, read_for, read_source, refuse_misplaced
from alignkit.data.overflow import fit, refuse_long
from alignkit.data.reading import Read, read_examples
from alignkit.data.rows import DataReport, Tables, TokenRow
from alignkit.data.sources.base import Part
from alignkit.data.splitting import choose_held_out, repeat, rows_fingerprint, swap_labels
from alignkit.data.tokenising import Tokeniser
from alignkit.data.turns import Turns
from alignkit.data.unpairing import refuse_one_sided, unpair
from alignkit.data.wanted import Wanted
from alignkit.errors import DataError
from alignkit.progress.display import counted
from alignkit.records.files import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tables(
    config: DataConfig,
    tokenizer: PreTrainedTokenizerBase,
    wanted: Wanted,
    *,
    seed: int,
    dropped_file: Path | None = None,
) -> Tables:
    """The token rows of a run.

    For `("completion",)` each source may hold labelled responses or pairs. Training pairs are taken apart after all
    else is done; held-out ones stay pairs, so that preferences can be measured on them.

    Args:
        config: the `data` section.
        tokenizer: ids, special tokens and chat template come from it.
        wanted: what is read of a row; responses are `("chosen", "rejected")`, `("chosen",)`, `("completion",)` or
            none, which makes rows of prompts.
        seed: of the run; decides what is held out and which labels are swapped.
        dropped_file: gets a JSON line for each row that is dropped; written anew.

    Raises:
        DataError: the data cannot be read or used; names file and line.
    """
    if config.label_noise and not {"rejected", "completion"}.intersection(wanted.responses):
        raise DataError(
            f"data.label_noise: {config.label_noise} needs pairs or labelled responses; this trainer reads "
            f"{wanted.in_words}"
        )
    if wanted.every_turn:
        _refuse_every_turn(wanted)
    refuse_misplaced(config)
    sources = _load_all(config, "train", wanted, tokenizer, seed)
    evaluated = _load_all(config, "eval", wanted, tokenizer, seed) if has_own_eval(config) else []
    _refuse_other_ends([*sources, *evaluated], tokenizer)
    _refuse_nowhere(sources, wanted)
    chosen = frozenset() if evaluated else _held_out(sources, config, seed)
    kept = [[row for row in source.rows if row.index not in chosen] for source in sources]
    held = [[row for row in source.rows if row.index in chosen] for source in sources]
    refuse_one_sided([row for rows in kept for row in rows], ", ".join(source.name for source in sources))
    final = [source.for_training(rows, config, wanted, seed) for source, rows in zip(sources, kept, strict=True)]
    if dropped_file is not None:
        _write_dropped(dropped_file, [*sources, *evaluated])
    reports = [source.report([*rows, *out]) for source, rows, out in zip(sources, final, held, strict=True)]
    reports += [source.report(source.rows) for source in evaluated]
    held += [source.rows for source in evaluated]
    return Tables(_joined(final), _joined(held), tuple(reports), sources[0].end)


def _held_out(sources: Sequence[_Source], config: DataConfig, seed: int) -> frozenset[int]:
    """Numbers of the rows that are not trained on: whole prompts of all sources together."""
    chosen = choose_held_out(dict(pair for source in sources for pair in source.prompts.items()), config, seed)
    for source in sources:
        source.counts["held_out"] = len(chosen.intersection(source.prompts))
    return chosen


def _write_dropped(path: Path, sources: Sequence[_Source]) -> None:
    with one_line(path):
        path.unlink(missing_ok=True)
    for source in sources:
        source.read.dropped.write(path)


def _refuse_every_turn(wanted: Wanted) -> None:
    if not wanted.to_imitate:
        reads = wanted.in_words
        raise DataError(f"data.train_on: all_turns is for single responses; this trainer reads {reads}; take last_turn")
    if wanted.token_columns:
        raise DataError("data.train_on: all_turns has no token weights for earlier turns; take last_turn")


def _joined(rows: Iterable[Sequence[TokenRow]]) -> tuple[TokenRow, ...]:
    return tuple(row for several in rows for row in several)


@dataclass(frozen=True)
class _Source:
    """What became of one source's rows.

    Attributes:
        named: the source.
        first: the number of its first row.
        read: its rows before they were tokenised.
        num_rows: how many there were.
        rows: those that can be used.
        prompts: row index -> key of its prompt.
        counts: facts for the report.
        end: id of what ends its responses.
    """

    named: Named
    first: int
    read: Read
    num_rows: int
    rows: list[TokenRow]
    prompts: Mapping[int, str]
    counts: Counter[str]
    end: int

    @property
    def name(self) -> str:
        """What reports and messages call it."""
        return self.named.source.label

    def for_training(self, rows: list[TokenRow], config: DataConfig, wanted: Wanted, seed: int) -> list[TokenRow]:
        """These rows as often as their weight says, with noise, and pairs taken apart where they are to be."""
        weight = self.named.share.weight
        repeated = repeat(rows, weight, seed)
        if rows and not repeated:
            raise DataError(f"{self.named.place}.weight: {weight:g} leaves none of {len(rows):,} training rows")
        if weight != 1:
            self.counts["weighted"] = len(repeated)
            self.counts["not_drawn"] = len(rows) - len({row.index for row in repeated})
        repeated, self.counts["labels_swapped"] = swap_labels(repeated, config.label_noise, seed)
        if "completion" in wanted.responses and not self.read.form.is_labelled:
            repeated = unpair(repeated, self.first)
            self.counts["unpaired"] = len(repeated)
        return repeated

    def report(self, final: Sequence[TokenRow]) -> DataReport:
        """The account of this source once its rows are `final`; two of them may be one row of the source."""
        dropped = self.read.dropped.counts()
        if not_drawn := self.counts.pop("not_drawn", 0):
            dropped["not drawn"] = not_drawn
        used = self.num_rows - sum(dropped.values())
        assert used == len({row.where for row in final}), "every row is either used or dropped"
        return DataReport(
            source=self.name,
            format=self.read.title,
            rows=self.num_rows,
            used=used,
            dropped=dropped,
            counts=dict(self.counts),
            fingerprint=rows_fingerprint(final),
            unused_columns=self.read.unused_columns,
            part=self.named.part,
            weight=self.named.share.weight,
            is_chat=self.read.form.is_chat or self.read.is_wrapped,
        )


def _load_all(
    config: DataConfig, part: Part, wanted: Wanted, tokenizer: PreTrainedTokenizerBase, seed: int
) -> list[_Source]:
    """The sources of one part, whose rows are numbered one after the other; a pair may become two rows."""
    loaded: list[_Source] = []
    first = 0
    for named in read_for(config, part):
        loaded.append(_load(config, named, first, wanted, tokenizer, seed))
        first += loaded[-1].num_rows * (2 if "completion" in wanted.responses else 1)
    return loaded


def _load(
    config: DataConfig, named: Named, first: int, wanted: Wanted, tokenizer: PreTrainedTokenizerBase, seed: int
) -> _Source:
    """The rows of one source, numbered from `first`: all steps but the split."""
    source, names = named.source, names_of(config, named)
    raw = read_source(config, named, seed, wanted.all_columns)
    read = read_examples(raw, source, wanted, names, Turns(config.chat, tokenizer, config.separator))
    dropped = read.dropped
    dropped.settle(config)  # before the slow part; what only tokens show is told after it
    tokeniser = Tokeniser(tokenizer, config.separator, wanted.of_text, config.special_tokens_in_text)
    rows: list[TokenRow] = []
    with counted("tokenising", len(read.examples)) as advance:
        for example, row in zip(read.examples, tokeniser.rows(read.examples), strict=True):
            if isinstance(row, Unusable):
                dropped.add(example.row, row)
            else:
                rows.append(row)
            advance(1)
    dropped.settle(config)
    refuse_long(rows, config, source.label)
    fitted: list[TokenRow] = []
    row_of = {example.row.index: example.row for example in read.examples}
    for row in rows:
        try:
            num_leading = tokeniser.special.num_leading(row.prompt.tolist())
            fitted.append(fit(row, config, num_leading, tokeniser.counts))
        except Unusable as error:
            dropped.add(row_of[row.index], error, is_bad=config.on_overflow != "drop")
    dropped.settle(config)
    indices = {row.index for row in fitted}
    kept = [example for example in read.examples if example.row.index in indices]
    if wanted.every_turn:
        tokeniser.counts["conversations"] = read.num_conversations
    elif wanted.to_imitate:
        tokeniser.counts["earlier_turns_untrained"] = sum(example.has_earlier_turns for example in kept)
    if read.is_wrapped:
        tokeniser.counts["wrapped_as_turns"] = len(kept)
    prompts = {first + example.row.index: example.prompt_key for example in kept}
    assert tokeniser.end is not None, "a tokenizer without EOS was refused"
    numbered = [replace(row, index=first + row.index) for row in fitted] if first else fitted
    return _Source(named, first, read, dropped.num_rows, numbered, prompts, tokeniser.counts, tokeniser.end)


def _refuse_nowhere(sources: Sequence[_Source], wanted: Wanted) -> None:
    """A reward may have no opinion of some rows, but of none it is a mistake."""
    for column in sorted(wanted.where_given - wanted.fields):
        if all(row.fields[column] is None for source in sources for row in source.rows):
            names = ", ".join(source.name for source in sources)
            raise DataError(
                f"{names}: no row has a value in column '{column}', which one of the recipe's rewards reads"
            )


def _refuse_other_ends(sources: Sequence[_Source], tokenizer: PreTrainedTokenizerBase) -> None:
    """A policy that learns one end of a response cannot be measured on samples and rows with another."""
    first = sources[0]
    for other in sources[1:]:
        if other.end != first.end:
            ends = [tokenizer.convert_ids_to_tokens(source.end) for source in (first, other)]
            raise DataError(
                f"{other.named.place}: responses of {other.name} ({other.read.form.name}) end with {ends[1]!r}, those "
                f"of {first.name} ({first.read.form.name}) with {ends[0]!r}; give both as conversations or both as text"
            )

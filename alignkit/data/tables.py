"""From the `data` section to the training and held-out token rows: read, check, tokenise, fit, hold out, add noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.data.config import DataConfig
from alignkit.data.fields import Unusable
from alignkit.data.naming import has_own_eval, read_source, refuse_misplaced, source_of
from alignkit.data.overflow import fit, refuse_long
from alignkit.data.reading import Read, read_examples
from alignkit.data.rows import DataReport, Tables, TokenRow
from alignkit.data.sources.base import Part
from alignkit.data.splitting import choose_held_out, rows_fingerprint, swap_labels
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
    *,
    responses: tuple[str, ...],
    columns: frozenset[str],
    seed: int,
    token_columns: frozenset[str] = frozenset(),
    nonnegative: frozenset[str] = frozenset(),
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
    wanted = Wanted(responses, columns, token_columns, nonnegative, to_imitate=responses == ("chosen",))
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
        with one_line(dropped_file):
            dropped_file.unlink(missing_ok=True)
        for source in sources:
            source.read.dropped.write(dropped_file)
    used = [kept, held] if has_own_eval(config) else [[*kept, *held]]
    reports = tuple(source.report(rows) for source, rows in zip(sources, used, strict=True))
    return Tables(tuple(kept), tuple(held), reports, train.end)


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
            format=self.read.title,
            rows=self.num_rows,
            used=used,
            dropped=dropped,
            counts=dict(self.counts),
            fingerprint=rows_fingerprint(final),
            unused_columns=self.read.unused_columns,
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
    read = read_examples(raw, source, wanted, config.columns, Turns(config.chat, tokenizer, config.separator))
    dropped = read.dropped
    dropped.settle(config)  # before the slow part; what only tokens show is told after it
    tokeniser = Tokeniser(tokenizer, config.separator, config.special_tokens_in_text)
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
    if read.is_wrapped:
        tokeniser.counts["wrapped_as_turns"] = len(kept)
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

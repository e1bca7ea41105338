"""The raw texts of the training rows, for a tokenizer that is yet to be trained on them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from alignkit.data.budget import MOST_CHARACTERS_WORD
from alignkit.data.config import DataConfig
from alignkit.data.formats import Example, has_pairs, has_prompts_alone
from alignkit.data.layouts import COLUMNS, PROMPT_COLUMNS
from alignkit.data.naming import has_own_eval, names_of, read_for, read_source, refuse_misplaced
from alignkit.data.raw import RawRow
from alignkit.data.reading import Read, read_examples
from alignkit.data.splitting import choose_held_out
from alignkit.data.turns import Turns
from alignkit.data.wanted import Wanted
from alignkit.errors import DataError


def training_texts(config: DataConfig, seed: int) -> Iterator[str]:
    """The raw texts of the training rows, for a tokenizer that is yet to be trained on them.

    Rows that cannot be used are left out here and reported by `load_tables`. Held-out rows are left out too, as far as
    they are known without a tokenizer. Where a source has prompts alone these are its texts; a trainer that needs
    responses refuses it later.
    """
    refuse_misplaced(config)
    reads, first = [], 0
    prompts: dict[int, str] = {}
    for named in read_for(config, "train"):
        raw = read_source(config, named, seed, COLUMNS | PROMPT_COLUMNS)
        read = read_examples(raw, named.source, _wanted(raw), names_of(config, named), Turns("never", None, ""))
        reads.append((first, read))
        prompts |= {first + example.row.index: example.prompt_key for example in read.examples}
        first += len(raw)
    held_out = _held_out(config, prompts, [read for _, read in reads], seed)
    for first, read in reads:
        for example in read.examples:
            if first + example.row.index not in held_out:
                yield from map(_with_short_words, _texts_of(example, config.separator))


def _wanted(raw: Sequence[RawRow]) -> Wanted:
    if any("rejected" in row.fields for row in raw) or has_pairs(raw):
        return Wanted(("chosen", "rejected"))
    return Wanted(() if has_prompts_alone(raw) else ("chosen",))


def _held_out(config: DataConfig, prompts: Mapping[int, str], reads: Sequence[Read], seed: int) -> frozenset[int]:
    try:
        if not has_own_eval(config):
            return choose_held_out(prompts, config, seed)
    except DataError:
        _settle(config, reads)  # too few rows may be left because the others are bad: that is to be said then
        raise
    if not prompts:
        _settle(config, reads)
    return frozenset()


def _settle(config: DataConfig, reads: Iterable[Read]) -> None:
    for read in reads:
        read.dropped.settle(config)


def _texts_of(example: Example, separator: str) -> Iterator[str]:
    """The prompt with its first response, as the tokenizer will meet them, then the other response; or it alone."""
    if isinstance(example.prompt, str):
        prompt = example.prompt + separator
    else:
        prompt = "\n".join(message["content"] for message in example.prompt) + "\n"
    responses = [text if isinstance(text, str) else text["content"] for text in example.responses.values()]
    yield prompt + "".join(responses[:1])
    yield from responses[1:]


_LONG_WORD = re.compile(
    "|".join(f"(?<!{kind})({kind}{{{MOST_CHARACTERS_WORD}}}){kind}+" for kind in (r"\w", r"[^\w\s]", r"\s"))
)


def _with_short_words(text: str) -> str:
    """The text with the ends of endless words cut off: see `MOST_CHARACTERS_WORD`."""
    return _LONG_WORD.sub(lambda match: match[match.lastindex or 0], text)

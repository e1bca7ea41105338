"""The raw texts of the training rows, for a tokenizer that is yet to be trained on them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alignkit.data.budget import MOST_CHARACTERS_WORD
from alignkit.data.config import DataConfig
from alignkit.data.formats import Example, has_pairs
from alignkit.data.layouts import COLUMNS
from alignkit.data.naming import has_own_eval, read_source, refuse_misplaced, source_of
from alignkit.data.reading import read_examples
from alignkit.data.splitting import choose_held_out
from alignkit.data.turns import Turns
from alignkit.data.wanted import Wanted
from alignkit.errors import DataError


def training_texts(config: DataConfig, seed: int) -> Iterator[str]:
    """The raw texts of the training rows, for a tokenizer that is yet to be trained on them.

    Rows that cannot be used are left out here and reported by `load_tables`. Held-out rows are left out too, as far as
    they are known without a tokenizer.
    """
    refuse_misplaced(config)
    raw = read_source(config, "train", seed, COLUMNS)
    is_paired = any("rejected" in row.fields for row in raw) or has_pairs(raw)
    source = source_of(config, "train")
    wanted = Wanted(("chosen", "rejected") if is_paired else ("chosen",))
    read = read_examples(raw, source, wanted, config.columns, Turns("never", None, ""))
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

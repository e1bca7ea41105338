"""CPU seconds of `alignkit doctor` without a model: reading and tokenising, then each check.

    python benchmarks/doctor_time.py tests/data/hh_harmless.jsonl.gz 100000

Rows beyond those of the file are its rows again with 4 in 10 words drawn from all of them, so that they are as long and
no near duplicates. The tokenizer is a BPE of 8,192 tokens learnt from the file.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from alignkit.data.config import DataConfig
from alignkit.data.naming import read_for, read_source
from alignkit.data.reading import read_examples
from alignkit.data.texts import training_texts
from alignkit.data.turns import Turns
from alignkit.data.wanted import Wanted
from alignkit.doctor import checks
from alignkit.doctor.reading import read_case
from alignkit.models.scratch import Scratch

PAIRS = Wanted(("chosen", "rejected"))
SHARE = 0.4
"""Of the words of a row that is made of another."""


def rows(config: DataConfig, number: int) -> Iterator[dict[str, str]]:
    """So many rows of prompt, chosen and rejected."""
    (named,) = read_for(config, "train")
    raw = read_source(config, named, 0)
    read = read_examples(raw, named.source, PAIRS, {}, Turns("never", None, ""))
    texts = [{"prompt": str(one.prompt), **{k: str(v) for k, v in one.responses.items()}} for one in read.examples]
    words = [word for row in texts for word in row["prompt"].split() if ":" not in word]
    rng = random.Random(0)
    for place in range(number):
        row = texts[place % len(texts)]
        yield row if place < len(texts) else {name: reworded(text, words, rng) for name, text in row.items()}


def reworded(text: str, words: Sequence[str], rng: random.Random) -> str:
    """The text with some words replaced; who speaks stays."""
    pieces = re.split(r"(\s+)", text)
    return "".join(
        rng.choice(words) if piece and not piece.isspace() and ":" not in piece and rng.random() < SHARE else piece
        for piece in pieces
    )


def main() -> None:
    """Prints the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("number", type=int)
    arguments = parser.parse_args()
    config = DataConfig(train=arguments.data, on_bad_row="drop")
    tokenizer = Scratch(name="scratch", vocab_size=8192).load_tokenizer(training_texts(config, 0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows(config, arguments.number))
        begun = time.process_time()
        case = read_case(
            DataConfig(train=str(path), max_length=512, on_overflow="truncate_prompt"), PAIRS, tokenizer, 0
        )
        print(f"read {time.process_time() - begun:.1f} s, {len(case.tokenised):,} of {len(case.rows):,} rows tokenised")
    total = 0.0
    for name in checks.names():
        begun = time.process_time()
        list(checks.build(name, {}).findings(case))
        total += (spent := time.process_time() - begun)
        print(f"{name} {spent:.2f} s")
    print(f"all checks {total:.1f} s")


if __name__ == "__main__":
    main()

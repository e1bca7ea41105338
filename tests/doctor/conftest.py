"""Cases made of a few rows, read as the command reads them, with one token a byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
import transformers

from alignkit.data.config import DataConfig
from alignkit.data.wanted import Wanted
from alignkit.doctor import checks
from alignkit.doctor.base import Finding
from alignkit.doctor.case import Case
from alignkit.doctor.reading import read_case

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """One token a byte; </s> ends a text."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "</s>", *alphabet]
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={p: n for n, p in enumerate(pieces)}, merges=[]))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.add_special_tokens(pieces[:2])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")


@pytest.fixture
def make_case(tmp_path, monkeypatch, tokenizer) -> Callable[..., Case]:
    """The case of a file `rows.jsonl` of these rows, nothing held out unless told so."""
    monkeypatch.chdir(tmp_path)

    def make(rows, *, responses=("chosen", "rejected"), held=None, others=None, **options) -> Case:
        for name, some in (("rows.jsonl", rows), ("held.jsonl", held)):
            if some is not None:
                Path(name).write_text("".join(json.dumps(row) + "\n" for row in some))
        options = {"holdout": 0, **options} if held is None else {"eval": "held.jsonl", **options}
        config = DataConfig(**{"train": "rows.jsonl"} | options)
        return read_case(config, Wanted(tuple(responses)), tokenizer, 0, others)

    return make


@pytest.fixture(scope="session")
def shipped(tokenizer) -> Callable[[str], Case]:
    """The case of a data set that lies beside the tests, by its name; read once."""
    cases: dict[str, Case] = {}

    def find(name: str) -> Case:
        if name not in cases:
            config = DataConfig(train=str(DATA / f"{name}.jsonl.gz"), max_length=100_000)
            cases[name] = read_case(config, Wanted(("chosen", "rejected")), tokenizer, 0)
        return cases[name]

    return find


@pytest.fixture
def ask() -> Callable[..., list[Finding]]:
    """What one check finds in a case."""
    return lambda name, case: list(checks.build(name, {}).findings(case))


def pair(number: int, chosen: str | None = None, rejected: str | None = None, prompt: str | None = None) -> dict:
    """A pair that no check has anything against."""
    words = f"w{number}a w{number}b w{number}c w{number}d w{number}e w{number}f w{number}g w{number}h w{number}i"
    return {
        "prompt": f"Tell about {words}: " if prompt is None else prompt,
        "chosen": f" The story of x{number} goes on and it is long." if chosen is None else chosen,
        "rejected": f" What nobody knows of y{number} is told here now." if rejected is None else rejected,
    }


@pytest.fixture
def good() -> Callable[..., dict]:
    return pair

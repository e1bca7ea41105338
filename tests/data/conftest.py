"""Tokenizers of several kinds, built in code, and files of rows."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import tokenizers
import transformers

from alignkit.data.config import DataConfig
from alignkit.data.rows import Tables
from alignkit.data.tables import load_tables
from alignkit.data.wanted import Wanted

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}<|stop|>\n\n{{ m['content'] | trim }}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|stop|>\n\n{% endif %}"
)
BARE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start|>", "<|stop|>", "<|eot|>"]


def byte_tokenizer(
    merges: Sequence[tuple[str, str]] = (), bos: bool = False, template: str | None = None, eos: str | None = "</s>"
) -> transformers.PreTrainedTokenizerFast:
    """One token a byte, but for `merges`; `bos` puts <s> before every text."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    pieces = [*SPECIAL, *alphabet, *(left + right for left, right in merges)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=list(merges)))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.add_special_tokens(SPECIAL)
    if bos:
        inner.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token=eos, name_or_path="bytes"
    )
    fast.chat_template = template
    return fast


def metaspace_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Words with their blank as U+2581, one put before the text, and a BOS: as sentencepiece models have it."""
    pieces = ["<s>", "</s>", "<unk>", "\u2581Hi", "\u2581there", "\u2581you", "\u2581all", "."]
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({p: n for n, p in enumerate(pieces)}, unk_token="<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Punctuation(), tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first")]
    )
    inner.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")


@pytest.fixture
def make_bytes() -> Callable[..., transformers.PreTrainedTokenizerFast]:
    return byte_tokenizer


@pytest.fixture
def make_metaspace() -> Callable[..., transformers.PreTrainedTokenizerFast]:
    return metaspace_tokenizer


@pytest.fixture
def templates() -> dict[str, str]:
    return {"chatml": CHATML, "llama3": LLAMA3, "bare": BARE}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, so that messages hold short names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[..., str]:
    """Writes rows, or the text or bytes of a file, and gives back its name."""

    def write_file(name: str, content: Sequence[dict[str, object]] | str | bytes) -> str:
        path = folder / name
        if isinstance(content, bytes | str):
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        elif name.endswith(".csv"):
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(content[0]))
                writer.writeheader()
                writer.writerows(content)
        elif name.endswith(".json"):
            path.write_text(json.dumps(list(content)))
        else:
            text = "".join(json.dumps(row) + "\n" for row in content).encode()
            path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        return name

    return write_file


@pytest.fixture
def load() -> Callable[..., Tables]:
    """`load_tables` on a file with nothing held out and the byte tokenizer, unless told otherwise."""

    def load_file(
        name: str,
        tokenizer=None,
        responses=("chosen", "rejected"),
        columns=(),
        token_columns=(),
        nonnegative=(),
        fields=(),
        where_given=(),
        seed=0,
        dropped=None,
        names=None,
        **options,
    ):
        if isinstance(columns, dict):  # `data.columns`, and not columns of components
            names, columns = columns, ()
        if names:
            options["columns"] = names
        if "eval" not in options:
            options.setdefault("holdout", 0)
        data = DataConfig(train=name, **options)
        read = (frozenset(names) for names in (columns, token_columns, nonnegative))
        wanted = Wanted.of(responses, data, *read, fields=frozenset(fields), where_given=frozenset(where_given))
        return load_tables(data, tokenizer or byte_tokenizer(), wanted, seed=seed, dropped_file=dropped)

    return load_file


@pytest.fixture
def pairs() -> list[dict[str, object]]:
    """Five pairs with different prompts."""
    return [{"prompt": f"Q{n}:", "chosen": f" yes {n}", "rejected": f" no {n}"} for n in range(5)]


@pytest.fixture
def labelled() -> list[dict[str, object]]:
    """Six responses, two a prompt, the first of them desirable."""
    return [{"prompt": f"Q{n // 2}:", "completion": f" answer {n}", "label": n % 2 == 0} for n in range(6)]

"""Whole sources: the built-in world, real preference data, texts for a tokenizer, the preview."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers
import transformers

from alignkit.data.config import DataConfig
from alignkit.data.preview import preview
from alignkit.data.splitting import rows_fingerprint
from alignkit.data.tables import load_tables, training_texts
from alignkit.errors import DataError
from alignkit.world.config import WorldConfig
from alignkit.world.tokenizer import build_tokenizer

DATA = Path(__file__).parent
HH = DATA / "hh_harmless.jsonl.gz"
GSM8K = DATA / "gsm8k_pairs.jsonl.gz"
BOTH = ("chosen", "rejected")


@pytest.fixture(scope="module")
def bpe():
    """A byte-level BPE with BOS, trained on the first 200 rows of HH-RLHF."""
    config = DataConfig(train=str(HH), max_rows=200, holdout=0)
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(training_texts(config, seed=0), trainer)
    inner.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")


def load_source(path, tokenizer, responses=BOTH, **options):
    config = DataConfig(train=str(path), **options)
    return load_tables(config, tokenizer, responses=responses, columns=frozenset(), seed=0)


def test_hh_bad_rows_are_named(bpe):
    with pytest.raises(DataError) as caught:
        load_source(HH, bpe, max_length=4096)
    assert str(caught.value) == (
        f"{HH}: 8 of 2000 rows cannot be used: 4 empty response, 4 several turns\n"
        f"  {HH}:87: empty response: 'chosen' holds no text\n"
        f"  {HH}:517: empty response: 'chosen' holds no text\n"
        f"  {HH}:926: empty response: 'chosen' holds no text\n"
        f"  {HH}:1104: empty response: 'chosen' holds no text\n"
        f"  {HH}:1255: several turns: 'chosen' holds more turns after the part that chosen and rejected share\n"
        "  and 3 more\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )


def test_hh(bpe):
    tables = load_source(HH, bpe, max_length=512, on_overflow="truncate_prompt", on_bad_row="drop", max_rows=600)
    (report,) = tables.reports
    assert report.format == "two transcripts"
    assert (report.rows, report.used) == (600, len(tables.train) + len(tables.eval))
    assert report.dropped["empty response"] == 2
    assert report.counts["boundary_moved"] == 0  # a blank opens every response, and a token never ends with one
    assert report.counts["eos_appended"] == 2 * (report.used + report.dropped.get("response too long", 0))
    assert report.counts["held_out"] == len(tables.eval) == 256
    for row in (*tables.train, *tables.eval):
        assert row.text["prompt"].endswith("\n\nAssistant:")
        assert row.prompt[0] == bpe.bos_token_id and bpe.bos_token_id not in row.prompt[1:]
        for name, ids in row.responses.items():
            assert ids[-1] == bpe.eos_token_id and bpe.eos_token_id not in ids[:-1]
            assert bpe.decode(ids[:-1]) == row.text[name]
        assert row.length <= 512


def test_hh_unpaired(bpe):
    """Two rows for each of the pairs that a preference run trains on; the same pairs are held out."""
    options = {"max_length": 512, "on_overflow": "truncate_prompt", "on_bad_row": "drop", "max_rows": 600}
    paired = load_source(HH, bpe, **options)
    tables = load_source(HH, bpe, responses=("completion",), **options)
    assert len(tables.train) == tables.reports[0].counts["unpaired"] == 2 * len(paired.train) > 0
    for pair, *halves in zip(paired.train, tables.train[::2], tables.train[1::2], strict=True):
        for row, (name, label) in zip(halves, (("chosen", True), ("rejected", False)), strict=True):
            assert (row.where, row.label, list(row.responses)) == (pair.where, label, ["completion"])
            assert row.prompt.tolist() == pair.prompt.tolist()
            assert row.responses["completion"].tolist() == pair.responses[name].tolist()
    assert len({row.index for row in tables.train}) == len(tables.train)
    assert rows_fingerprint(tables.eval) == rows_fingerprint(paired.eval)
    assert (tables.reports[0].used, tables.reports[0].dropped) == (paired.reports[0].used, paired.reports[0].dropped)


def test_gsm8k(bpe):
    """1,929 pairs on 582 prompts: none equal, none bad; a prompt is on one side only."""
    tables = load_source(GSM8K, bpe, max_length=2048)
    (report,) = tables.reports
    assert report.format == "text with a prompt column"
    assert (report.rows, report.used, report.dropped) == (1929, 1929, {})
    sides = [{row.text["prompt"] for row in rows} for rows in (tables.train, tables.eval)]
    assert len(sides[0] | sides[1]) == 582
    assert not sides[0] & sides[1]
    assert len(tables.eval) == 256


def test_a_supervised_run_holds_out_the_same_prompts(bpe):
    pairs = load_source(GSM8K, bpe, max_length=2048, max_rows=200, holdout=50)
    single = load_source(GSM8K, bpe, max_length=2048, max_rows=200, holdout=50, responses=("chosen",))
    assert [row.index for row in pairs.eval] == [row.index for row in single.eval]
    assert list(single.train[0].responses) == ["chosen"]


def test_world_marks_its_critical_words():
    tokenizer = build_tokenizer()
    tables = load_source("builtin:world", tokenizer, world=WorldConfig(pairs=50, eval_pairs=20))
    assert (len(tables.train), len(tables.eval), len(tables.reports)) == (50, 20, 2)
    for row in tables.train:
        for name, mask in row.critical.items():
            ids = row.responses[name]
            assert mask.shape == ids.shape
            assert mask.any() and not mask[-1]
            words = tokenizer.decode(ids[mask]).strip()
            assert f" {words}." in f" {row.text[name]}"


def test_world_critical_words_follow_a_swap():
    tokenizer = build_tokenizer()
    options = {"world": WorldConfig(pairs=20)}
    plain = load_source("builtin:world", tokenizer, **options).train
    swapped = load_source("builtin:world", tokenizer, label_noise=1.0, **options).train
    for row, other in zip(plain, swapped, strict=True):
        assert row.critical["chosen"].tolist() == other.critical["rejected"].tolist()
        assert row.responses["chosen"].tolist() == other.responses["rejected"].tolist()


def test_world_critical_words_go_with_the_halves_of_a_pair():
    tokenizer = build_tokenizer()
    paired = load_source("builtin:world", tokenizer, world=WorldConfig(pairs=20, eval_pairs=10))
    tables = load_source(
        "builtin:world", tokenizer, responses=("completion",), world=WorldConfig(pairs=20, eval_pairs=10)
    )
    assert (len(tables.train), len(tables.eval)) == (40, 10)
    for pair, chosen, rejected in zip(paired.train, tables.train[::2], tables.train[1::2], strict=True):
        for row, name in ((chosen, "chosen"), (rejected, "rejected")):
            assert row.critical["completion"].tolist() == pair.critical[name].tolist()
            assert row.text == {"prompt": pair.text["prompt"], "completion": pair.text[name]}


def test_training_texts_leave_out_held_out_and_bad_rows(write, load, pairs):
    name = write("a.jsonl", [*pairs, {"prompt": "Q", "chosen": "", "rejected": "x"}])
    config = DataConfig(train=name, holdout=2, on_bad_row="drop", separator="\n")
    texts = list(training_texts(config, seed=0))
    tables = load(name, holdout=2, on_bad_row="drop", separator="\n")
    assert texts == [
        text for row in tables.train for text in (row.text["prompt"] + row.text["chosen"], row.text["rejected"])
    ]
    assert len(texts) == 6


def test_training_texts_of_conversations(write):
    user, good = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}
    name = write("a.jsonl", [{"messages": [user, good]}])
    assert list(training_texts(DataConfig(train=name, holdout=0), seed=0)) == ["Hi\nHello."]


def test_preview(write, load, make_bytes):
    pair = {"prompt": "Q: why not?", "chosen": " because of that", "rejected": " no"}
    tokenizer = make_bytes(bos=True)
    (row,) = load(write("a.jsonl", [pair]), tokenizer).train
    assert preview(row, tokenizer).plain == (
        "a.jsonl:1\n"
        "prompt (12 tokens): <s>Q: why not?\n"
        "chosen (17 tokens): | because of that</s>\n"
        "rejected (4 tokens): | no</s>"
    )
    assert preview(row, tokenizer, max_tokens=5).plain == (
        "a.jsonl:1\nprompt (12 tokens): ... not?\nchosen (17 tokens): | beca ... </s>\nrejected (4 tokens): | no</s>"
    )

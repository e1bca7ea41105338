"""Whole sources: the built-in world, real preference data, texts for a tokenizer, the preview."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import tokenizers
import transformers

from alignkit.data.config import DataConfig
from alignkit.data.preview import preview
from alignkit.data.splitting import rows_fingerprint
from alignkit.data.tables import load_tables
from alignkit.data.texts import training_texts
from alignkit.data.wanted import Wanted
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
    return load_tables(config, tokenizer, Wanted.of(responses, config), seed=0)


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
    assert report.format == "HH-RLHF: two transcripts"
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


def test_training_texts_of_prompts_alone(write):
    """As of data whose responses are sampled; rows that have a response are read with it as ever."""
    asked = {"question": "2 + 2?", "answer": "4"}
    name = write("a.jsonl", [asked])
    assert list(training_texts(DataConfig(train=name, holdout=0, separator=" "), seed=0)) == ["2 + 2? "]
    columns = {"prompt": "question", "completion": "answer"}
    assert list(training_texts(DataConfig(train=name, holdout=0, columns=columns), seed=0)) == ["2 + 2?4"]
    mixed = write("b.jsonl", [{"prompt": "Q"}, {"prompt": "Q", "completion": "A"}])
    assert list(training_texts(DataConfig(train=mixed, holdout=0, on_bad_row="drop"), seed=0)) == ["QA"]


def test_texts_for_a_tokenizer_hold_no_endless_word(write):
    """100,000 letters in one word would take a tokenizer up to 20 s to learn from; real words are as they are."""
    long = {"word": "x" * 50_000, "marks": "a" + "\u0301" * 50_000, "blanks": "a" + " " * 50_000 + "b"}
    for name, text in long.items():
        config = DataConfig(train=write(f"{name}.jsonl", [{"text": f"An {text} end."}]), holdout=0)
        (read,) = training_texts(config, seed=0)
        assert 10_000 < len(read) < 10_020 and read.endswith(" end.")
    plain = "An " + "x" * 10_000 + " end, " + "and more. " * 5000
    assert list(training_texts(DataConfig(train=write("a.jsonl", [{"text": plain}]), holdout=0), seed=0)) == [plain]


@pytest.mark.parametrize(
    "options", [{"holdout": 2}, {"holdout": 0}, {"eval": "b.jsonl"}, {"holdout": 2, "max_rows": 1}]
)
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "broken JSON: Expecting property name enclosed in double quotes at column 2"),
        ('{"prompt": "Q", "chosen": "", "rejected": "x"}', "empty response: 'chosen' holds no text"),
    ],
)
def test_rows_that_are_all_bad_are_said_before_a_tokenizer_is_trained(line, said, options, write, pairs):
    write("b.jsonl", pairs)
    name = write("a.jsonl", (line + "\n") * 2)
    number = options.get("max_rows", 2)
    with pytest.raises(DataError) as caught:
        list(training_texts(DataConfig(train=name, **options), seed=0))
    assert str(caught.value).splitlines()[:2] == [
        f"a.jsonl: {number} of {number} rows cannot be used: {number} {said.split(':')[0]}",
        f"  a.jsonl:1: {said}",
    ]


def test_bad_rows_are_said_before_too_few_are_left_to_hold_out(write, pairs):
    name = write("a.jsonl", [*pairs[:2], {**pairs[2], "chosen": None}])
    with pytest.raises(DataError, match=r"^a\.jsonl: 1 of 3 rows cannot be used: 1 null field\n"):
        list(training_texts(DataConfig(train=name, holdout=2), seed=0))
    with pytest.raises(DataError, match=r"^data\.holdout: 2 of 2 rows leaves none to train on"):
        list(training_texts(DataConfig(train=name, holdout=2, on_bad_row="drop"), seed=0))


def test_columns_that_nothing_reads_are_named(write, load, pairs):
    rows = [{**pair, "id": "7", "trust": 1, "gold": "!"} for pair in pairs] + [{**pairs[0], "source": "x"}]
    name = write("a.jsonl", rows)
    unused = [report.unused_columns for report in load(name).reports]
    assert unused == [("gold", "id", "source", "trust")]
    (report,) = load(write("b.csv", rows[:5]), columns=["trust"], responses=("chosen", "rejected", "gold")).reports
    assert report.unused_columns == ("id",)


def test_columns_of_parquet_that_nothing_reads_are_named_and_not_read(folder, load, pairs):
    rows = [{**pair, "id": 7, "chosen_weight": [1.0] * 7, "rejected_weight": [1.0] * 6} for pair in pairs]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "a.parquet")
    (report,) = load("a.parquet").reports
    assert report.unused_columns == ("chosen_weight", "id", "rejected_weight")
    (report,) = load("a.parquet", token_columns=["_weight"]).reports
    assert report.unused_columns == ("id",)


def test_a_label_that_decides_is_used(write, load, labelled):
    (report,) = load(write("a.jsonl", labelled), responses=("chosen",)).reports
    assert (report.dropped, report.unused_columns) == ({"undesirable": 3}, ())


def test_columns_of_the_world_are_no_mistake():
    reports = load_source("builtin:world", build_tokenizer(), world=WorldConfig(pairs=2, eval_pairs=2)).reports
    assert [report.unused_columns for report in reports] == [(), ()]


def test_turns_of_the_assistant_that_are_not_trained_are_counted(write, load, make_bytes, templates):
    user, good = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}
    rows = [{"messages": [user, good]}, {"messages": [user, good, user, good]}, {"messages": [user, user, good]}]
    tokenizer = make_bytes(template=templates["chatml"])
    (report,) = load(write("a.jsonl", rows), tokenizer, responses=("chosen",)).reports
    assert report.counts["earlier_turns_untrained"] == 1
    told = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Hi\n\nAssistant:"
    scripts = [{"chosen": told[start:] + " yes", "rejected": told[start:] + " no"} for start in (0, 30)]
    (report,) = load(write("b.jsonl", scripts), responses=("chosen",)).reports
    assert report.counts["earlier_turns_untrained"] == 1
    assert "earlier_turns_untrained" not in load("b.jsonl").reports[0].counts  # pairs are of the last turn anyway


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

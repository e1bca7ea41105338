"""Numbers that are read from a response's text land on the tokens that hold it, whatever stands around it."""

from __future__ import annotations

import numpy as np
import pytest

from alignkit.asks.texts import TextValues
from alignkit.data.characters import offsets_of, overlaps
from alignkit.data.config import DataConfig
from alignkit.data.fields import Unusable
from alignkit.data.tables import load_tables
from alignkit.data.wanted import Wanted
from alignkit.errors import DataError

PAIR = {"prompt": "Q: 42?", "chosen": " It is 42.", "rejected": " é 4"}
CHAT = {
    "prompt": [{"role": "user", "content": "42?"}],
    "chosen": [{"role": "assistant", "content": " assistant 42\n"}],
    "rejected": [{"role": "assistant", "content": "4"}],
}


class Digits(TextValues):
    """1 on the tokens that hold a digit."""

    def of_text(self, text: str, offsets_N2: np.ndarray) -> np.ndarray:
        return overlaps(offsets_N2, [(n, n + 1) for n, letter in enumerate(text) if letter.isdigit()])


DIGITS = Digits()


def load(name, tokenizer, of_text=None, responses=("chosen", "rejected"), **options):
    data = DataConfig(train=name, holdout=0, **options)
    wanted = Wanted.of(responses, data, of_text={DIGITS.key: of_text or DIGITS.of_text})
    return load_tables(data, tokenizer, wanted, seed=0)


def marked(tokenizer, row, name):
    """The text of the tokens that got a 1."""
    ids, numbers = row.responses[name], row.token_columns[DIGITS.key][name]
    assert numbers.dtype == np.float32 and len(numbers) == len(ids)
    return tokenizer.decode(ids[numbers == 1])


def test_of_plain_text(write, make_bytes):
    """Three digits; the byte é is two tokens of one character, which is none, and the end token holds no text."""
    tokenizer = make_bytes(merges=[("4", "2"), ("Ġ", "i")], bos=True)
    (row,) = load(write("a.jsonl", [PAIR]), tokenizer).train
    assert (marked(tokenizer, row, "chosen"), marked(tokenizer, row, "rejected")) == ("42", "4")
    assert row.token_columns[DIGITS.key]["chosen"].sum() == 1
    assert row.token_columns[DIGITS.key]["rejected"].tolist() == [0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("template", ["chatml", "llama3", "bare"])
def test_of_conversations(template, write, make_bytes, templates):
    """White space that a template trims, and its own words that the response says too, move nothing."""
    tokenizer = make_bytes(template=templates[template])
    (row,) = load(write("a.jsonl", [CHAT]), tokenizer).train
    assert (marked(tokenizer, row, "chosen"), marked(tokenizer, row, "rejected")) == ("42", "4")


def test_a_response_that_is_cut_keeps_the_numbers_of_its_tokens(write, make_bytes):
    long = {"prompt": "Q", "chosen": "1a2b3c4d5e6f7g", "rejected": "9"}
    options = {"max_length": 8, "on_overflow": "truncate_response"}
    (row,) = load(write("a.jsonl", [long]), make_bytes(), **options).train
    assert marked(make_bytes(), row, "chosen") in ("1234", "123")


def test_pairs_that_are_taken_apart_keep_them_too(write, make_bytes):
    first, second = load(write("a.jsonl", [PAIR]), make_bytes(), responses=("completion",)).train
    assert [marked(make_bytes(), row, "completion") for row in (first, second)] == ["42", "4"]


def test_characters_that_a_template_moves_make_a_bad_row(write, make_bytes):
    squeezes = "{% for m in messages %}{{ m['content'].replace(' ', '  ') }}</s>{% endfor %}"
    talk = CHAT | {"chosen": [{"role": "assistant", "content": "a 1"}]}
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [talk]), make_bytes(template=squeezes))
    said = "'chosen': the template changes the white space inside, so its characters have no tokens of their own"
    assert said in str(caught.value)


def test_a_tokenizer_without_characters_is_refused(write, make_bytes, monkeypatch):
    tokenizer = make_bytes()
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [PAIR]), tokenizer)
    assert str(caught.value) == (
        "tokenizer 'bytes' does not say which characters its tokens stand for, and token weights are to be read from "
        "the text; take a fast tokenizer (tokenizer.json)"
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda text, offsets: np.ones(1), "gives shape [1] for 11 tokens; expected [N]"),
        (lambda text, offsets: offsets[:, 0] * np.nan, "gives a number that is not finite"),
    ],
)
def test_numbers_that_are_none_are_the_components_mistake(write, make_bytes, wrong, said):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [PAIR]), make_bytes(), wrong)
    assert str(caught.value) == f"{DIGITS.key}: {said}"


def test_kinds_of_one_name_are_told_apart():
    """Two plugins may call a class `Matches`."""
    assert type("Digits", (Digits,), {"__module__": "elsewhere"})().key != DIGITS.key


def test_the_last_place_counts_and_the_end_is_left_out():
    """`ab` stands twice in `Qabab<e>`, and the response is the second one."""
    found = [(3, 4), (4, 5), (5, 8)]
    assert offsets_of(found, 4, "Qabab<e>", " ab", (1, 5), "chosen").tolist() == [[1, 2], [2, 3], [3, 3], [3, 3]]
    with pytest.raises(Unusable):
        offsets_of(found, 4, "Qabab<e>", "ba b", (1, 5), "chosen")


def test_overlaps_are_of_characters_that_are_shared():
    offsets_N2 = np.array([[0, 2], [2, 2], [2, 5], [5, 6]])
    assert overlaps(offsets_N2, [(1, 2), (5, 5)]).tolist() == [True, False, False, False]
    assert overlaps(offsets_N2, [(4, 6)]).tolist() == [False, False, True, True]
    assert overlaps(offsets_N2, []).tolist() == [False] * 4

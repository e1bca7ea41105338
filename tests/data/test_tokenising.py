"""The response boundary, BOS and EOS, with tokenizers of several kinds.

In the byte tokenizer a token is a byte, so tokens can be counted by hand; `decode` writes a blank as itself.
"""

from __future__ import annotations

import numpy as np
import pytest

from alignkit.data.fields import Unusable
from alignkit.data.tokenising import template_fingerprint
from alignkit.errors import DataError
from alignkit.records.fingerprints import text_fingerprint

PAIR = {"prompt": "Qa", "chosen": "bc", "rejected": "d"}
USER = {"role": "user", "content": "Hi"}
TALK = {
    "prompt": [USER],
    "chosen": [{"role": "assistant", "content": "Yes."}],
    "rejected": [{"role": "assistant", "content": "No."}],
}


def decoded(tokenizer, row):
    return [tokenizer.decode(ids) for ids in (row.prompt, *row.responses.values())]


def only_row(tables):
    (row,) = tables.train
    return row, tables.reports[0].counts


def test_text_without_bos(write, load, make_bytes):
    tokenizer = make_bytes()
    row, counts = only_row(load(write("a.jsonl", [PAIR]), tokenizer))
    assert decoded(tokenizer, row) == ["Qa", "bc</s>", "d</s>"]
    assert row.prompt.dtype == row.responses["chosen"].dtype == np.int32
    assert [len(row.prompt), *map(len, row.responses.values()), row.length] == [2, 3, 2, 5]
    assert counts == {"boundary_moved": 0, "bos_added": 0, "eos_appended": 2, "held_out": 0, "labels_swapped": 0}
    assert row.text == PAIR


def test_text_with_bos(write, load, make_bytes):
    tokenizer = make_bytes(bos=True)
    row, counts = only_row(load(write("a.jsonl", [PAIR]), tokenizer))
    assert decoded(tokenizer, row) == ["<s>Qa", "bc</s>", "d</s>"]
    assert counts["bos_added"] == 0  # of chat rows only


def test_bos_and_eos_in_the_text_are_not_doubled(write, load, make_bytes):
    tokenizer = make_bytes(bos=True)
    rows = [{"prompt": "<s>Qa", "chosen": "bc</s>", "rejected": "d"}]
    row, counts = only_row(load(write("a.jsonl", rows), tokenizer))
    assert decoded(tokenizer, row) == ["<s>Qa", "bc</s>", "d</s>"]
    assert counts["eos_appended"] == 1


def test_second_bos_is_a_bad_row(write, load, make_bytes):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [{**PAIR, "chosen": "b<s>c"}]), make_bytes(bos=True), special_tokens_in_text="error")
    assert str(caught.value).splitlines()[1] == "  a.jsonl:1: second BOS: prompt and 'chosen' hold 2 times '<s>'"


def test_a_named_bos_that_the_tokenizer_does_not_add_is_control_all_the_same(write, load, make_bytes):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [{**PAIR, "chosen": "b<s>c"}]), make_bytes(bos=False), special_tokens_in_text="error")
    assert str(caught.value).splitlines()[1] == (
        "  a.jsonl:1: special token in text: 'chosen' holds '<s>', which the tokenizer reads as a control token"
    )


def test_a_token_across_the_boundary_belongs_to_both_responses(write, load, make_bytes):
    """`a|b` merges in the chosen text: the prompt is `Q` for both, and `a` opens the rejected response too."""
    tokenizer = make_bytes(merges=[("a", "b")])
    row, counts = only_row(load(write("a.jsonl", [PAIR]), tokenizer))
    assert decoded(tokenizer, row) == ["Q", "abc</s>", "ad</s>"]
    assert [len(row.prompt), *map(len, row.responses.values())] == [1, 3, 3]
    assert counts["boundary_moved"] == 1


def test_a_prompt_swallowed_by_the_boundary(write, load, make_bytes):
    pair = {**PAIR, "prompt": "a"}
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [pair]), make_bytes(merges=[("a", "b")]))
    assert str(caught.value).splitlines()[1] == (
        "  a.jsonl:1: empty prompt: no token comes before the response, and the tokenizer adds no BOS"
    )
    tokenizer = make_bytes(merges=[("a", "b")], bos=True)
    row, _ = only_row(load("a.jsonl", tokenizer))
    assert decoded(tokenizer, row) == ["<s>", "abc</s>", "ad</s>"]


def test_metaspace_puts_no_blank_before_the_response(write, load, make_metaspace):
    tokenizer = make_metaspace()
    pair = {"prompt": "Hi there", "chosen": " you.", "rejected": " all."}
    row, counts = only_row(load(write("a.jsonl", [pair]), tokenizer))
    tokens = [tokenizer.convert_ids_to_tokens(ids.tolist()) for ids in (row.prompt, *row.responses.values())]
    assert tokens == [["<s>", "▁Hi", "▁there"], ["▁you", ".", "</s>"], ["▁all", ".", "</s>"]]
    assert counts["boundary_moved"] == 0


def test_tokens_are_those_of_the_whole_text(write, load, make_bytes, pairs):
    """Whatever the boundary, prompt + response are the tokens of the text, BOS and EOS around it."""
    tokenizer = make_bytes(merges=[("Q", "0"), (":", "Ġ"), ("y", "e"), ("ye", "s")], bos=True)
    tables = load(write("a.jsonl", pairs), tokenizer)
    assert tables.reports[0].counts["boundary_moved"] == 5
    for row, pair in zip(tables.train, pairs, strict=True):
        for name, ids in row.responses.items():
            assert [*row.prompt, *ids] == [*tokenizer(pair["prompt"] + pair[name])["input_ids"], tokenizer.eos_token_id]


def test_separator_stands_between_prompt_and_response(write, load, make_bytes):
    tokenizer = make_bytes()
    row, _ = only_row(load(write("a.jsonl", [PAIR]), tokenizer, separator="\n"))
    assert decoded(tokenizer, row) == ["Qa\n", "bc</s>", "d</s>"]
    assert row.text["prompt"] == "Qa\n"


def test_separator_has_no_place_in_conversations(write, load, make_bytes, templates):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [TALK]), make_bytes(template=templates["chatml"]), separator="\n")
    assert str(caught.value) == "data.separator: '\\n' belongs to plain text; the data is conversations"


def test_text_alone_is_the_response_to_bos(write, load, make_bytes):
    tokenizer = make_bytes(bos=True)
    row, _ = only_row(load(write("a.jsonl", [{"text": "abc"}]), tokenizer, responses=("chosen",)))
    assert decoded(tokenizer, row) == ["<s>", "abc</s>"]


@pytest.mark.parametrize("responses", [("chosen", "rejected"), ("chosen", "rejected", "gold"), ("completion",)])
def test_equal_only_as_tokens(responses, write, load, make_bytes):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [{**PAIR, "chosen": "d</s>", "gold": "e"}]), make_bytes(), responses=responses)
    assert str(caught.value).splitlines()[1] == (
        "  a.jsonl:1: chosen equals rejected: the two responses have the same tokens"
    )


def test_no_eos(write, load, make_bytes):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [PAIR]), make_bytes(eos=None))
    assert str(caught.value) == (
        "tokenizer 'bytes' has no EOS token, so a response could not end; set the tokenizer's eos_token"
    )


# --- chat templates ---


def test_chatml_ends_with_its_own_token(write, load, make_bytes, templates):
    tokenizer = make_bytes(template=templates["chatml"])
    row, counts = only_row(load(write("a.jsonl", [TALK]), tokenizer))
    assert decoded(tokenizer, row) == [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        "Yes.<|im_end|>",
        "No.<|im_end|>",
    ]
    assert (counts["eos_appended"], counts["bos_added"], counts["boundary_moved"]) == (0, 0, 0)
    assert row.text["chosen"] == "Yes."


@pytest.mark.parametrize("bos", [False, True])
def test_bos_of_the_template_is_the_only_one(bos, write, load, make_bytes, templates):
    tokenizer = make_bytes(template=templates["llama3"], bos=bos)
    row, counts = only_row(load(write("a.jsonl", [TALK]), tokenizer))
    assert decoded(tokenizer, row) == [
        "<s><|start|>user<|stop|>\n\nHi<|eot|><|start|>assistant<|stop|>\n\n",
        "Yes.<|eot|>",
        "No.<|eot|>",
    ]
    assert counts["bos_added"] == 0


def test_bos_that_the_template_forgets_is_added_and_counted(write, load, make_bytes, templates):
    tokenizer = make_bytes(template=templates["chatml"], bos=True)
    row, counts = only_row(load(write("a.jsonl", [TALK]), tokenizer))
    assert decoded(tokenizer, row)[0] == "<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert counts["bos_added"] == 1


def test_eos_after_a_template_without_end(write, load, make_bytes, templates):
    tokenizer = make_bytes(template=templates["bare"])
    row, counts = only_row(load(write("a.jsonl", [TALK]), tokenizer))
    assert decoded(tokenizer, row) == ["user: Hi\nassistant:", " Yes.</s>", " No.</s>"]
    assert counts["eos_appended"] == 2


def test_several_turns_stay_in_the_prompt(write, load, make_bytes, templates):
    tokenizer = make_bytes(template=templates["chatml"])
    talk = [USER, TALK["chosen"][0], USER, TALK["rejected"][0]]
    row, _ = only_row(load(write("a.jsonl", [{"messages": talk}]), tokenizer, responses=("chosen",)))
    assert decoded(tokenizer, row) == [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n",
        "No.<|im_end|>",
    ]


def test_a_generation_prompt_that_the_transcript_lacks(write, load, make_bytes, templates):
    """A template that opens a thinking block at generation only: the block is in no response, so it is cut."""
    template = templates["chatml"].replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    tokenizer = make_bytes(template=template)
    row, counts = only_row(load(write("a.jsonl", [TALK]), tokenizer))
    assert decoded(tokenizer, row)[0].endswith("<|im_start|>assistant\n")
    assert decoded(tokenizer, row)[1:] == ["Yes.<|im_end|>", "No.<|im_end|>"]
    assert counts["boundary_moved"] == 1


TEMPLATE_MISTAKES = [
    (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{{ m['content'] }}</s>{% endfor %}",
        [{"role": "system", "content": "Be brief."}, USER],
        "template refuses: no system role",
    ),
    (
        "{{ messages | length }}{% for m in messages %}{{ m['content'] }}</s>{% endfor %}",
        [USER],
        "template moves the prompt: the template renders the prompt differently once the response follows",
    ),
    (
        "{% for m in messages %}{{ m['content'] }}{% if messages | length == 2 %}</s>{% endif %}{% endfor %}",
        [USER, TALK["chosen"][0], USER],
        "template without end: 'chosen': the template does not end this conversation with '</s>'",
    ),
]


@pytest.mark.parametrize(("template", "prompt", "complaint"), TEMPLATE_MISTAKES)
def test_conversations_that_the_template_cannot_show(template, prompt, complaint, write, load, make_bytes):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [{**TALK, "prompt": prompt}]), make_bytes(template=template))
    assert str(caught.value).splitlines()[1] == f"  a.jsonl:1: {complaint}"


def test_a_template_that_hides_the_assistant(write, load, make_bytes):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [TALK]), make_bytes(template="{{ messages[0]['content'] }}"))
    assert str(caught.value) == "the chat template of tokenizer 'bytes' does not show what the assistant says"


def test_template_fingerprint(make_bytes, templates):
    assert template_fingerprint(make_bytes()) == "none"
    assert template_fingerprint(make_bytes(template="x")) == text_fingerprint("x")
    assert template_fingerprint(make_bytes(template="x")) != template_fingerprint(make_bytes(template="y"))


def test_reasons_are_part_of_the_internal_error():
    assert str(Unusable("empty response", "'chosen' holds no text")) == "empty response: 'chosen' holds no text"

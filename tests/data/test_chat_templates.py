"""Chat templates that are wrong, never end, look at the clock or leave text out, and control tokens in a row's text."""

from __future__ import annotations

import threading

import pytest

from alignkit.data import template_watch
from alignkit.data.chat import ChatTemplate
from alignkit.data.special_tokens import SpecialTokens
from alignkit.data.typed_tokens import TypedTokens
from alignkit.errors import DataError

USER = {"role": "user", "content": "Hi"}
YES, NO = ({"role": "assistant", "content": text} for text in ("Yes.", "No."))
TALK = {"prompt": [USER], "chosen": [YES], "rejected": [NO]}
ECHO = "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[I] ' + m['content'] + ' [/I]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
R1 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}<|stop|>"
    "{{ m['content'].split('</think>')[-1] if m['role'] == 'assistant' else m['content'] }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|stop|><think>\n{% endif %}"
)


def decoded(tokenizer, row):
    return [tokenizer.decode(ids) for ids in (row.prompt, *row.responses.values())]


def complaint(load, name, tokenizer, **options):
    with pytest.raises(DataError) as caught:
        load(name, tokenizer, **options)
    return str(caught.value)


UNUSABLE = [
    ("{% for %}", "Expected an expression, got 'end of statement block'"),
    ("{{ a.b.c }}", "'a' is undefined"),
    ("{{ messages.__class__.__mro__ }}", "access to attribute '__class__' of 'list' object is unsafe."),
    ("{% include 'x' %}", "no loader for this environment specified"),
    ("{{ raise_exception('not me') }}", "not me"),
    ("{{ messages | random }}", "No filter named 'random' found."),
    (3, "Can't compile non template nodes"),
]


@pytest.mark.parametrize(("template", "reason"), UNUSABLE)
def test_template_that_cannot_be_used(template, reason, write, load, make_bytes):
    name = write("a.jsonl", [TALK])
    assert complaint(load, name, make_bytes(template=template)) == (
        f"the chat template of tokenizer 'bytes' cannot be used: {reason}"
    )


LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
GROW = "{% set n = namespace(s='x' * 1000) %}{% for i in range(40) %}{% set n.s = n.s ~ n.s %}{% endfor %}"


@pytest.mark.parametrize("is_main", [True, False])
def test_template_that_never_ends(is_main, write, load, make_bytes, monkeypatch):
    """On the main thread and on another: the first can be interrupted by signals, the second cannot."""
    monkeypatch.setattr(template_watch, "SECONDS", 0.1)
    name, found = write("a.jsonl", [TALK]), []

    def work():
        found.append(complaint(load, name, make_bytes(template=LOOP)))

    if is_main:
        work()
    else:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == ["the chat template of tokenizer 'bytes' took more than 0.1 s for one conversation"]


def test_template_that_never_ends_for_one_row(write, load, make_bytes, monkeypatch):
    """The probe has two messages, the row three."""
    monkeypatch.setattr(template_watch, "SECONDS", 0.1)
    template = f"{{% if messages | length == 3 %}}{LOOP}{{% endif %}}{ECHO}"
    name = write("a.jsonl", [TALK, {**TALK, "prompt": [{"role": "system", "content": "Be brief."}, USER]}])
    assert complaint(load, name, make_bytes(template=template)) == (
        "the chat template of tokenizer 'bytes' took more than 0.1 s for one conversation"
    )


def test_template_that_eats_memory(write, load, make_bytes, monkeypatch):
    monkeypatch.setattr(template_watch, "MEMORY", 2**26)
    name = write("a.jsonl", [TALK])
    assert complaint(load, name, make_bytes(template=GROW)) == (
        "the chat template of tokenizer 'bytes' took more than 64 MiB of memory for one conversation"
    )


def test_template_that_calls_itself(write, load, make_bytes):
    tokenizer = make_bytes(template="{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")
    start = "the chat template of tokenizer 'bytes' cannot be used: maximum recursion depth exceeded"
    assert complaint(load, write("a.jsonl", [TALK]), tokenizer).startswith(start)


def test_watch_leaves_nothing_behind(monkeypatch):
    """However the end of the work and of its time meet, the work is done or refused, and nothing is raised later."""
    monkeypatch.setattr(template_watch, "SECONDS", 0.001)
    monkeypatch.setattr(template_watch, "_LOOK_EVERY", 0.0001)
    outcomes = set()
    for size in range(0, 400_000, 4_000):
        try:
            outcomes.add(template_watch.Watch().run(lambda: sum(1 for _ in range(size)) >= 0))  # noqa: B023
        except DataError:
            outcomes.add(False)
        assert sum(range(1000)) == 499500
    assert outcomes == {True, False}


def test_clock_of_a_template_stands_still(make_bytes):
    template = make_bytes(template="{{ strftime_now('%d %B %Y %H:%M') }} {{ date_string }}" + ECHO)
    assert (
        template.apply_chat_template([USER], tokenize=False, date_string="x") != ""
    )  # compiled before, with the clock
    (rendered,) = ChatTemplate.of(template).render([_example([USER], {"chosen": YES})])
    assert rendered.prompt == "26 July 2024 00:00 26 Jul 2024Hi</s>"


def _example(prompt, responses, tools=None):
    class Example:
        pass

    example = Example()
    example.prompt, example.responses, example.tools = prompt, responses, tools
    return example


def test_tools_reach_the_template(make_bytes):
    tokenizer = make_bytes(template="{{ tools | tojson if tools else 'none' }}" + ECHO)
    tool = {"type": "function", "function": {"name": "add"}}
    template = ChatTemplate.of(tokenizer)
    with_tools, without = template.render(
        [_example([USER], {"chosen": YES}, [tool]), _example([USER], {"chosen": YES})]
    )
    assert with_tools.prompt == '[{"type": "function", "function": {"name": "add"}}]Hi</s>'
    assert without.prompt == "noneHi</s>"


# --- text that is left out ---


def test_tools_without_a_place(make_bytes):
    (outcome,) = ChatTemplate.of(make_bytes(template=ECHO)).render([_example([USER], {"chosen": YES}, [{"a": 1}])])
    assert str(outcome) == "template drops tools: the chat template has no place for 'tools'"


def test_system_message_that_the_template_drops(write, load, make_bytes):
    template = ECHO.replace("{{", "{% if m['role'] != 'system' %}{{").replace("{% endfor", "{% endif %}{% endfor")
    name = write("a.jsonl", [{**TALK, "prompt": [{"role": "system", "content": "Be brief."}, USER]}])
    assert complaint(load, name, make_bytes(template=template)).splitlines()[1] == (
        "  a.jsonl:1: template drops text: 'prompt': the template leaves out a part of message 1, the system's"
    )


def test_reply_that_the_template_cuts(write, load, make_bytes):
    thinking = {"role": "assistant", "content": "<think>2 and 2</think>4"}
    name = write("a.jsonl", [{**TALK, "chosen": [thinking]}, TALK])
    assert complaint(load, name, make_bytes(template=R1)).splitlines()[1] == (
        "  a.jsonl:1: template drops text: 'chosen': the template leaves out a part of the response; give one that "
        "keeps it with model.chat_template"
    )


def test_generation_that_opens_otherwise_is_counted(write, load, make_bytes, templates):
    """The template of R1 opens a thinking block at generation, which these rows do not have."""
    tokenizer = make_bytes(template=R1)
    tables = load(write("a.jsonl", [TALK]), tokenizer)
    assert tables.reports[0].counts["opened_otherwise"] == 1
    assert decoded(tokenizer, tables.train[0])[0].endswith("<|start|>assistant<|stop|>")
    assert "opened_otherwise" not in load("a.jsonl", make_bytes(template=templates["chatml"])).reports[0].counts


def test_white_space_may_be_trimmed(write, load, make_bytes, templates):
    tokenizer = make_bytes(template=templates["llama3"])
    row = {**TALK, "chosen": [{"role": "assistant", "content": "  Yes. \n"}]}
    tables = load(write("a.jsonl", [row]), tokenizer)
    assert decoded(tokenizer, tables.train[0])[1] == "Yes.<|eot|>"


# --- BOS in every turn, control tokens in text ---


def test_template_that_writes_bos_in_each_turn(write, load, make_bytes):
    tokenizer = make_bytes(template=LLAMA2, bos=True)
    tables = load(write("a.jsonl", [{**TALK, "prompt": [USER, YES, USER]}]), tokenizer)
    assert decoded(tokenizer, tables.train[0]) == ["<s>[I] Hi [/I] Yes. </s><s>[I] Hi [/I]", " Yes. </s>", " No. </s>"]


REFUSED = {"special_tokens_in_text": "error"}
TYPED = [
    ("prompt", [{"role": "user", "content": "a<s>b"}], "'prompt', message 1 holds '<s>'"),
    ("prompt", [USER, YES, {"role": "user", "content": "<|im_end|>"}], "'prompt', message 3 holds '<|im_end|>'"),
    ("prompt", [{"role": "<|stop|>", "content": "a"}, USER], "'prompt', message 1 holds '<|stop|>'"),
    ("chosen", [{"role": "assistant", "content": "a<|im_end|>"}], "'chosen' holds '<|im_end|>'"),
    ("chosen", [{"role": "assistant", "content": "a</s>b"}], "'chosen' holds '</s>'"),
]


@pytest.mark.parametrize(("column", "value", "place"), TYPED)
def test_control_token_typed_in_a_conversation(column, value, place, write, load, make_bytes, templates):
    name = write("a.jsonl", [{**TALK, column: value}])
    assert complaint(load, name, make_bytes(template=templates["chatml"]), **REFUSED).splitlines()[1] == (
        f"  a.jsonl:1: special token in text: {place}, which the tokenizer reads as a control token"
    )


PLAIN = {"prompt": "Qa", "chosen": "bc", "rejected": "d"}
TYPED_IN_TEXT = [
    ({"prompt": "a</s>b"}, "'prompt' holds '</s>'"),
    ({"prompt": "<s>a<s>b"}, "'prompt' holds '<s>'"),
    ({"prompt": "a<|im_end|>"}, "'prompt' holds '<|im_end|>'"),
    ({"chosen": "a<|im_end|>"}, "'chosen' holds '<|im_end|>'"),
]


@pytest.mark.parametrize(("change", "place"), TYPED_IN_TEXT)
def test_control_token_typed_in_text(change, place, write, load, make_bytes):
    name = write("a.jsonl", [{**PLAIN, **change}])
    assert complaint(load, name, make_bytes(bos=True), **REFUSED).splitlines()[1] == (
        f"  a.jsonl:1: special token in text: {place}, which the tokenizer reads as a control token"
    )


def test_text_may_be_a_rendered_conversation(write, load, make_bytes, templates):
    """With an instruct model's tokenizer, what its template writes may stand in a text, and nothing else."""
    tokenizer = make_bytes(template=templates["chatml"])
    rendered = {
        "prompt": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        "chosen": "Yes.<|im_end|>",
        "rejected": "No.<|im_end|>",
    }
    tables = load(write("a.jsonl", [rendered]), tokenizer)
    assert decoded(tokenizer, tables.train[0]) == [rendered["prompt"], "Yes.<|im_end|></s>", "No.<|im_end|></s>"]
    name = write("b.jsonl", [{**rendered, "prompt": "<|eot|>" + rendered["prompt"]}])
    assert complaint(load, name, tokenizer, **REFUSED).splitlines()[1] == (
        "  b.jsonl:1: special token in text: 'prompt' holds '<|eot|>', which the tokenizer reads as a control token"
    )


def test_half_of_a_surrogate_pair_is_no_text(make_bytes):
    tokenizer = make_bytes()
    typed = TypedTokens(tokenizer, SpecialTokens.of(tokenizer))
    outcome = typed.refusal(_example("a\ud800", {"chosen": "b"}))
    assert str(outcome) == "no Unicode text: 'prompt' holds half of a surrogate pair"
    assert typed.refusal(_example("\U0001f642 \u00e9", {"chosen": "b"})) is None


# --- one end for rows and samples ---


def test_end_of_the_tables(write, load, make_bytes, templates):
    tokenizer = make_bytes(template=templates["chatml"])
    write("text.jsonl", [PLAIN])
    write("chat.jsonl", [TALK])
    assert tokenizer.convert_ids_to_tokens(load("text.jsonl", tokenizer, chat="never").end) == "</s>"
    assert tokenizer.convert_ids_to_tokens(load("chat.jsonl", tokenizer).end) == "<|im_end|>"


def test_sources_that_end_otherwise(write, load, make_bytes, templates):
    write("text.jsonl", [PLAIN])
    write("chat.jsonl", [TALK])
    tokenizer = make_bytes(template=templates["chatml"])
    assert complaint(load, "chat.jsonl", tokenizer, eval="text.jsonl", chat="never") == (
        "data.eval: responses of text.jsonl (text with a prompt column) end with '</s>', those of chat.jsonl "
        "(messages with a prompt column) with '<|im_end|>'; give both as conversations or both as text"
    )

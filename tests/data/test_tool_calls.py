"""Calls of tools: kept in the prompt as the template renders them, refused where it cannot."""

from __future__ import annotations

import pyarrow
import pyarrow.parquet
import pytest

from alignkit.errors import DataError

TEMPLATE = (
    "{% if tools %}{{ tools | tojson }};{% endif %}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}"
    "{% for call in m['tool_calls'] or [] %}CALL {{ call['function']['name'] }} {{ ARGUMENTS }}{% endfor %};"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
AS_JSON = TEMPLATE.replace("ARGUMENTS", "call['function']['arguments'] | tojson")
AS_TEXT = TEMPLATE.replace("ARGUMENTS", "call['function']['arguments']")
WITHOUT = TEMPLATE.replace("m['tool_calls'] or []", "[]")
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
OBJECT = {"city": "Rome"}
TEXT = '{"city": "Rome"}'


def row(arguments, **call):
    calls = [{"function": {"name": "look", "arguments": arguments}}]
    return {
        "prompt": [
            {"role": "user", "content": "Hot?"},
            {"role": "assistant", "content": None, "tool_calls": calls, **call},
            {"role": "tool", "content": '{"degrees": 31}'},
        ],
        "chosen": [{"role": "assistant", "content": "Yes."}],
        "rejected": [{"role": "assistant", "content": "No."}],
        "tools": [TOOL],
    }


def complaint(load, name, tokenizer):
    with pytest.raises(DataError) as caught:
        load(name, tokenizer)
    return str(caught.value).splitlines()[1]


@pytest.mark.parametrize(("template", "arguments"), [(AS_JSON, OBJECT), (AS_TEXT, TEXT)])
def test_calls_and_their_results_stand_in_the_prompt(template, arguments, write, load, make_bytes):
    (read,) = load(write("a.jsonl", [row(arguments)]), make_bytes(template=template)).train
    assert read.text["prompt"].endswith(
        'user: Hot?;assistant: CALL look {"city": "Rome"};tool: {"degrees": 31};assistant:'
    )


def test_a_table_gives_each_call_the_keys_of_all(load, make_bytes, folder):
    other = row({"day": "Monday"})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row(OBJECT), other]), folder / "a.parquet")
    first, second = load("a.parquet", make_bytes(template=AS_JSON)).train
    assert 'CALL look {"city": "Rome"};' in first.text["prompt"]
    assert 'CALL look {"day": "Monday"};' in second.text["prompt"]


def test_a_template_without_a_place_for_them(write, load, make_bytes):
    """The name of the function stands among the tools all the same."""
    assert complaint(load, write("a.jsonl", [row(OBJECT)]), make_bytes(template=WITHOUT)) == (
        "  a.jsonl:1: template drops tool calls: 'prompt': the chat template has no place for 'tool_calls'"
    )


def test_text_that_the_template_writes_as_a_string(write, load, make_bytes):
    assert complaint(load, write("a.jsonl", [row(TEXT)]), make_bytes(template=AS_JSON)) == (
        "  a.jsonl:1: template changes tool calls: 'prompt': the template writes the text of 'arguments' otherwise; "
        "give an object instead"
    )


def test_what_the_template_cannot_take(write, load, make_bytes):
    template = AS_TEXT.replace("call['function']['arguments']", "'' + call['function']['arguments']")
    said = complaint(load, write("a.jsonl", [row(OBJECT)]), make_bytes(template=template))
    assert said.startswith("  a.jsonl:1: template refuses: ")


@pytest.mark.parametrize("calls", [[{}], ["look"], {"name": "look"}, [{"function": {"arguments": OBJECT}}]])
def test_calls_that_are_none(calls, write, load, make_bytes):
    said = complaint(load, write("a.jsonl", [row(OBJECT, tool_calls=calls)]), make_bytes(template=AS_JSON))
    assert said.startswith(
        "  a.jsonl:1: wrong type: 'prompt', message 2, tool call 1: expected {function: {name: text, arguments: ...}}, "
        "got "
    )


def test_calls_along_with_a_response_are_trained_or_refused(write, load, make_bytes):
    calls = row(OBJECT)["prompt"][1]["tool_calls"]
    says = {**row(OBJECT), "prompt": [{"role": "user", "content": "Hot?"}]}
    says["chosen"] = [{"role": "assistant", "content": "I look.", "tool_calls": calls}]
    tokenizer = make_bytes(template=AS_JSON)
    (read,) = load(write("a.jsonl", [says]), tokenizer).train
    assert tokenizer.decode(read.responses["chosen"]) == ' I look.CALL look {"city": "Rome"}</s>'
    assert complaint(load, "a.jsonl", make_bytes(template=WITHOUT)) == (
        "  a.jsonl:1: template drops tool calls: 'chosen': the chat template has no place for 'tool_calls'"
    )


def test_a_result_that_the_template_drops(write, load, make_bytes):
    template = AS_JSON.replace("{{ m['content'] }}", "{{ m['content'] if m['role'] != 'tool' else '' }}")
    assert complaint(load, write("a.jsonl", [row(OBJECT)]), make_bytes(template=template)) == (
        "  a.jsonl:1: template drops text: 'prompt': the template leaves out a part of message 3, the tool's"
    )
    as_json = AS_JSON.replace("m['content'] }}", "(m['content'] | tojson) if m['role'] == 'tool' else m['content'] }}")
    (read,) = load("a.jsonl", make_bytes(template=as_json)).train
    assert read.text["prompt"].endswith('tool: "{\\"degrees\\": 31}";assistant:')

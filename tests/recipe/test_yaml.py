"""YAML 1.2 scalars, places of keys, and what is refused."""

from __future__ import annotations

import pytest

from alignkit.recipe.yaml import MAX_BYTES, Budget, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-7", 5e-7),
        ("1.0e-6", 1e-6),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("12", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("010", 10),  # octal in YAML 1.1
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),  # 750 in YAML 1.1
        ("2021-01-01", "2021-01-01"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ('"null"', "null"),
        (".inf", float("inf")),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    root, problems = read_yaml(f"key: {text}", "r.yaml")
    read = root.plain()["key"]
    assert problems == [] and read == value and type(read) is type(value)


def test_every_value_knows_the_line_of_its_key():
    root, _ = read_yaml("# comment\na: 1\nb:\n  c:\n    3\n  d:\n    - x\n    - {e: 4}\n", "r.yaml")
    assert str(root.child("a").place) == "r.yaml:2"
    assert str(root.child("b").child("c").place) == "r.yaml:4"
    assert str(root.child("b").child("d").child(1).place) == "r.yaml:8"
    assert str(root.child("b").child("d").child(1).child("e").place) == "r.yaml:8"


def test_aliases_are_expanded():
    root, problems = read_yaml("a: &x {b: 1}\nc: *x\n", "r.yaml")
    assert problems == [] and root.plain() == {"a": {"b": 1}, "c": {"b": 1}}


WITHOUT = "write the value without it"
BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcde", "bcdef", strict=True)
)


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        ("a: 1\nb: {c: 1, c: 2}", ["r.yaml:2: c: given twice; first on line 2"]),
        (
            "a: 1\na: 2\na: 3",
            ["r.yaml:2: a: given twice; first on line 1", "r.yaml:3: a: given twice; first on line 1"],
        ),
        ("<<: {a: 1}", ["r.yaml:1: <<: merge keys are not supported; use 'extends' to build on another recipe"]),
        (
            "1: a\nnull: b",
            [f"r.yaml:{n}: the key {k} must be text; put it in quotes" for n, k in ((1, 1), (2, "null"))],
        ),
        ("? [a]\n: b", ["r.yaml:1: a key must be text, not a list or a mapping"]),
        ("a:\n\t- b", ["r.yaml:2: not valid YAML: a tab where YAML wants spaces"]),
        ("a: b: c", ["r.yaml:1: not valid YAML: mapping values are not allowed here"]),
        (
            "a: [1",
            ["r.yaml:1: not valid YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"],
        ),
        ("a: *x", ["r.yaml:1: not valid YAML: found undefined alias 'x'"]),
        (
            "a: 1\n---\nb: 2",
            ["r.yaml:2: not valid YAML: expected a single document in the stream, but found another document"],
        ),
        ("a: 1\nb: !!int 3", ["r.yaml:2: the tag '!!int' is not allowed; write the value without it"]),
        (
            "a: !!python/name:os.system",
            ["r.yaml:1: the tag '!!python/name:os.system' is not allowed; write the value without it"],
        ),
        (b"a: 1\nb: \xff", ["r.yaml:2: not UTF-8 text"]),
        ("a: 1\nb: \x07", [r"r.yaml:2: the character '\x07' is not allowed"]),
        ("[" * 100_000, ["r.yaml:1: nested deeper than 32 levels"]),
        ("a: &a [*a]", ["r.yaml:1: an alias contains itself"]),
        (BOMB, ["r.yaml:1: holds more than 20000 values once aliases are expanded"]),
        (
            "".join(f"k{n}: 1\n" for n in range(6_000)),
            ["r.yaml:5002: a mapping of more than 5000 keys; is this a recipe?"],
        ),
        ("#" * (MAX_BYTES + 1), ["r.yaml:1: larger than 256 KiB; is this a recipe?"]),
        (f"[{'1,' * 127_000}]", ["r.yaml:1: holds more than 20000 values once aliases are expanded"]),
        (r'a: "\UFFFFFFFF"', [r"r.yaml:1: not valid YAML: the number after \U is too large"]),
        ('a: 1\nb: "\\U00110000"', [r"r.yaml:2: not valid YAML: the number after \U is too large"]),
        (f"%YAML 1.{'9' * 5000}\n---\na: 1", ["r.yaml:1: not valid YAML: the version after %YAML is too large"]),
        ('a: 1\nb: "\\ud800"', [r"r.yaml:2: \ud800 is half of a character and no text alone"]),
        (r'"\udc00": 1', [r"r.yaml:1: \udc00 is half of a character and no text alone"]),
        ("a: \udc80", [r"r.yaml:1: the character '\udc80' is not allowed"]),  # an undecodable byte of the command line
        ("a: 1\rb: 1\r\nc: 1\nd: 1 # x\u2028b: 2", [r"r.yaml:4: the character '\u2028' is not allowed"]),
        ("a: 1 # x\x85b: 2", [r"r.yaml:1: the character '\x85' is not allowed"]),
        (f"a: *{'x' * 3000}", [f"r.yaml:1: not valid YAML: found undefined alias '{'x' * 108}...{'x' * 49}'"]),
        (f"a: !{'x' * 3000} 1", [f"r.yaml:1: the tag '!{'x' * 146}...{'x' * 50}' is not allowed; {WITHOUT}"]),
    ],
)
def test_what_is_refused(content, messages):
    _, problems = read_yaml(content, "r.yaml")
    assert [str(problem) for problem in problems] == messages


def test_an_empty_document_is_no_tree_and_no_problem():
    assert read_yaml("# nothing\n", "r.yaml") == (None, [])


def test_a_character_that_json_writes_in_two_halves_is_one():
    root, problems = read_yaml(r'{"a\ud83d\ude00": "\ud83d\ude00"}', "r.json")
    assert problems == [] and root.plain() == {"a😀": "😀"}


def test_an_argument_has_no_lines():
    _, problems = read_yaml("{b: 1, b: 2}", "--set a={b: 1, b: 2}", first_line=0)
    assert [str(problem) for problem in problems] == ["--set a={b: 1, b: 2}: b: given twice"]


def test_files_of_one_recipe_share_a_budget():
    budget = Budget(values=10)
    assert read_yaml("[1, 2, 3, 4]", "a.yaml", budget=budget)[1] == []
    _, problems = read_yaml("[1, 2, 3, 4, 5, 6]", "b.yaml", budget=budget)
    assert [str(problem) for problem in problems] == [
        "b.yaml:1: holds more than 20000 values once aliases are expanded"
    ]

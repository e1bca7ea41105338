"""What is rendered reads back as it was."""

from __future__ import annotations

import math
import random
import sys

import pytest
import yaml

from alignkit.recipe.render import render
from alignkit.recipe.yaml import read_yaml


@pytest.mark.parametrize(
    "value",
    ["text", "", "no", "null", "5e-7", "1", "-", "- a", "a: b", "a #b", " a", "é\n\t'\"", "builtin:world", "x:", "{a}",
     "*a", "!a", "%a", "@a", "a\u2028b", "\x00", "~/x", "C:\\x", "0x1F", ".inf", "=", "<<", "off", "y", "N", "1_0",
     "1:30", "2021-01-01", "0b11", "0o17", "017", "1e5", "1.0e+5", ".5", "a\x85b", "\x7f", "\x9b", "\uffff", "\ufeff",
     "\ufffe", "\U0001ffff", "😀", "\U000e0041", "\u202ea", "\xa0", '"', "\\n", 5e-7, 5e-06, 1e22, 1e16, 0.1, -0.0, -3,
     True, False, None, [], {}, [[1, 2], [3]], [{"a": 1, "b": [2]}, {"c": {}}], {"a": {"b": [None]}}],
)  # fmt: skip
def test_values_come_back(value):
    comes_back(value)


def comes_back(value):
    """Through our reader and through one of YAML 1.1."""
    tree = {"key": value, "no": [value, {"on": value}]}
    text = render(tree, {})
    root, problems = read_yaml(text, "r.yaml")
    assert problems == [] and repr(root.plain()) == repr(tree)  # repr: 1 is not 1.0 is not True
    assert repr(yaml.safe_load(text)) == repr(tree)


def test_any_text_comes_back():
    drawn = random.Random(0)
    alphabets = [
        [chr(code) for code in range(0x20, 0x7F)],
        [chr(code) for code in (*range(0x100), 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF, 0x202E, 0x1F600)],
        list("0123456789_.:eE+-xob"),
        list("yesnotrufalTRUENOonfFn~"),
        [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF],
    ]
    for alphabet in alphabets:
        for _ in range(200):
            comes_back("".join(drawn.choices(alphabet, k=drawn.randint(1, 8))))


def test_any_number_comes_back():
    drawn = random.Random(0)
    for _ in range(300):
        comes_back(math.ldexp(drawn.uniform(-1, 1), drawn.randint(-1070, 1020)))
        comes_back(drawn.randint(-(10**6), 10**18))


@pytest.mark.parametrize(("value", "text"), [(5e-06, "5.0e-06"), (1e22, "1.0e+22"), (1.5e-7, "1.5e-07"), (0.1, "0.1")])
def test_numbers_have_the_form_that_every_reader_knows(value, text):
    assert render({"a": value}, {}) == f"a: {text}\n"


def test_a_comment_stays_one_line():
    comment = "--set seed=1\nweighting: random"
    assert render({"seed": 1}, {"seed": comment}) == "seed: 1  # --set seed=1\\nweighting: random\n"


def test_layout():
    tree = {"a": 1, "b": {"c": "x y", "d": [1, {"e": 2, "f": []}]}}
    assert render(tree, {"a": "file:1", "b.d.1.e": "default"}) == (
        'a: 1        # file:1\nb:\n  c: "x y"\n  d:\n    - 1\n    - e: 2  # default\n      f: []\n'
    )

"""What is rendered reads back as it was."""

from __future__ import annotations

import pytest

from alignkit.recipe.render import render
from alignkit.recipe.yaml import read_yaml


@pytest.mark.parametrize(
    "value",
    ["text", "", "no", "null", "5e-7", "1", "-", "- a", "a: b", "a #b", " a", "é\n\t'\"", "builtin:world", "x:", "{a}",
     "*a", "!a", "%a", "@a", "a\u2028b", "\x00", "~/x", "C:\\x", "0x1F", ".inf", "=", "<<", 5e-7, 1e22, 0.1, -3, True,
     None, [], {}, [[1, 2], [3]], [{"a": 1, "b": [2]}, {"c": {}}], {"a": {"b": [None]}}],
)  # fmt: skip
def test_values_come_back(value):
    root, problems = read_yaml(render({"key": value, "no": [value]}, {}), "r.yaml")
    assert problems == [] and root.plain() == {"key": value, "no": [value]}


def test_layout():
    tree = {"a": 1, "b": {"c": "x y", "d": [1, {"e": 2, "f": []}]}}
    assert render(tree, {"a": "file:1", "b.d.1.e": "default"}) == (
        'a: 1        # file:1\nb:\n  c: "x y"\n  d:\n    - 1\n    - e: 2  # default\n      f: []\n'
    )

"""docs/doctor.md says of each check what its code says, and its example is a plugin that works."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from alignkit import entry_points
from alignkit.doctor import checks
from alignkit.doctor.base import LEVELS, Check
from alignkit.doctor.diagnosis import diagnose
from alignkit.errors import CheckError
from alignkit.losses import losses
from alignkit.recipe.describe import about
from alignkit.recipe.parts import parts
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.tree import dotted

PAGE = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
KEY = re.compile(r"(data|model|losses|training|pair_weighting)(\.\w+)*")


def words_of(cls: type[Check]) -> set[str]:
    """Every text that stands in the module of a check, and `warn_if` where it is used."""
    tree = ast.parse(inspect.getsource(sys.modules[cls.__module__]))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return texts | {"warn_if" for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "warn_if"}


def row_of(name: str, cls: type[Check]) -> str:
    words = words_of(cls)
    levels = [level for level in LEVELS if level in words or (level != "error" and "warn_if" in words)]
    keys = sorted(word for word in words if KEY.fullmatch(word))
    asks = " (with `--model`)" if cls.with_model else ""
    listed = ", ".join(f"`{key}`" for key in keys)
    return f"| `{name}`{asks} | {about(checks, name).rstrip('.')} | {', '.join(levels)} | {listed} |"


def test_the_table_is_what_the_code_has():
    wanted = [row_of(name, cls) for name, cls in checks.classes().items()]
    assert (
        re.findall(r"^\| `\w+`(?: \(with `--model`\))? \|.*(?:error|warn|report).* \| `.*$", PAGE, re.MULTILINE)
        == wanted
    )


def test_every_key_is_one_of_a_recipe():
    known = {dotted(part.path) for part in parts(Recipe, None)}
    known |= {dotted((*part.path, key)) for part in parts(Recipe, None) for key in part.keys}
    known |= {f"losses.N.{key}" for cls in losses.classes().values() for key in cls.model_fields}
    known |= {f"model.{key}" for key in ("chat_template",)}
    found = {word for cls in checks.classes().values() for word in words_of(cls) if KEY.fullmatch(word)}
    assert found - known == set()


class Odd(Check):
    """Gives what is no finding."""

    def findings(self, case):
        yield "all is well"


@pytest.fixture
def install(monkeypatch, tmp_path):
    """As if an installed package had brought checks: `install(name="module:class")`."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "unfinished.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "unfinished", raising=False)
    before = dict(checks._classes)

    def put(**points: str) -> None:
        found = [EntryPoint(name, value, "alignkit.check") for name, value in points.items()]
        monkeypatch.setattr(entry_points, "installed", lambda: found)

    yield put
    checks._classes.clear()
    checks._classes.update(before)


def test_the_example_is_a_plugin(install, make_case, good):
    install(unfinished="unfinished:Unfinished")
    found = diagnose(make_case([good(0), good(1, chosen="and then")])).findings
    (finding,) = (one for one in found if one.check == "unfinished")
    assert (finding.level, finding.count, finding.places) == ("warn", 1, ("rows.jsonl:2",))


def test_a_plugin_must_give_findings(install, make_case, good):
    install(odd=f"{__name__}:Odd")
    sys.modules[__name__].Odd = Odd
    with pytest.raises(CheckError) as caught:
        diagnose(make_case([good(0)]))
    assert str(caught.value) == "check 'odd' gives 'all is well'; expected findings of error, warn, report"

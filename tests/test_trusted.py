"""Files run when the user said so on this machine, as they were then, and never for another reason."""

from __future__ import annotations

import io
import json
import os
import py_compile
import re
import sys
from pathlib import Path

import pytest
import torch

from alignkit import trusted
from alignkit.cli import main
from alignkit.declared import REGISTRIES, declared
from alignkit.recipe.kinds import KINDS
from alignkit.recipe.load import load_recipe
from alignkit.registry import RegistryError
from alignkit.run import run
from alignkit.scores import Span
from alignkit.weighting import weightings

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"
RECIPE = "model: world\ndata: {train: 'builtin:world'}\nlosses: [dpo]\ntrainer: preference\nweighting: first_two\n"
CODE = '''"""Only the first tokens count."""

from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting import weightings
from alignkit.weighting.base import TokenWeighting

print("it runs")


@weightings.register("first_two")
class FirstTwo(TokenWeighting):
    """Equal weights on the first two tokens."""

    def raw(self, span: Span) -> torch.Tensor:
        return (span.index_BS < 2).float()
'''


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user who trusts nothing yet, in a folder with a plugin and a recipe that names it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    Path("first_two.py").write_text(CODE)
    Path("r.yaml").write_text(RECIPE)
    before = dict(weightings._classes)
    trusted._scanned.cache_clear()
    yield tmp_path
    weightings._classes.clear()
    weightings._classes.update(before)
    for name in [name for name in sys.modules if name.startswith("trusted_")]:
        del sys.modules[name]
    trusted._scanned.cache_clear()


@pytest.fixture
def alignkit(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        return caught.value.code, *capsys.readouterr()

    return run


def digest(path="first_two.py"):
    return trusted.digest(trusted.read_files(Path(path).resolve()))


def test_a_file_that_nobody_trusted_brings_no_name(alignkit):
    code, out, err = alignkit("validate", "r.yaml")
    assert (code, out) == (2, "") and err.startswith("r.yaml:5: weighting: unknown weighting 'first_two'; ")
    assert alignkit("plugins") == (0, "no plugins\n", "")


def test_trust_says_what_it_trusts_and_runs_nothing(alignkit, home):
    path = home / "first_two.py"
    said = f"{path}\n  first_two.py  {len(CODE)} bytes\n  brings weighting first_two\n  sha256 {digest()}\n"
    assert alignkit("plugins", "trust", "first_two.py", "--yes") == (0, f"{said}trusted {path}\n", "")
    assert alignkit("plugins", "list") == (0, f"{path}: weighting first_two; trusted\n", "")
    assert alignkit("plugins", "trust", "first_two.py") == (0, f"{path} is trusted already\n", "")
    if os.name != "nt":
        assert (home / "config/alignkit/trusted.json").stat().st_mode & 0o777 == 0o600


def test_without_a_terminal_nothing_is_trusted_unless_told(alignkit, home):
    code, _, err = alignkit("plugins", "trust", "first_two.py")
    assert (code, err) == (2, f"{home}/first_two.py: no terminal to ask at; look at the files and add --yes\n")
    assert trusted.read_store().plugins == {}


class Terminal(io.StringIO):
    """Somebody sits before it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "trusts"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_it_asks(alignkit, monkeypatch, answer, trusts):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stdout", Terminal())
    code, *_ = alignkit("plugins", "trust", "first_two.py")
    assert (code == 0, bool(trusted.read_store().plugins)) == (trusts, trusts)


def test_its_component_is_a_name_like_any_other_and_its_run_says_where_it_comes_from(alignkit, home, capsys):
    alignkit("plugins", "trust", "first_two.py", "--yes")
    assert "first_two" in weightings.names() and not capsys.readouterr().out
    small = [
        "training.steps=1",
        "training.batch_size=2",
        "data.world={pairs: 4, eval_pairs: 2}",
        "evaluation.samples=0",
    ]
    loaded = load_recipe("r.yaml", small)
    assert loaded.plugins == {str(home / "first_two.py"): f"sha256:{digest()}"}
    span = Span(torch.ones(1, 4, dtype=torch.bool))
    assert loaded.recipe.weighting.weights(span).tolist() == [[2.0, 2.0, 0.0, 0.0]]
    run(loaded, "out")
    assert json.loads(Path("out/run.json").read_text())["plugins"] == loaded.plugins


def test_what_changed_is_not_loaded_and_said_wherever_it_is_named(alignkit, home):
    alignkit("plugins", "trust", "first_two.py", "--yes")
    Path("first_two.py").write_text(CODE + "# more\n")
    trusted._scanned.cache_clear()
    path = home / "first_two.py"
    said = f"plugin {path} changed since it was trusted; look at it and run 'alignkit plugins trust {path}'"
    assert alignkit("validate", "r.yaml") == (2, "", f"r.yaml:5: weighting: {said}\n")
    assert said in alignkit("list", "weighting")[1]
    assert alignkit("plugins") == (0, f"{path}: weighting first_two; not loaded: {said}\n", "")
    assert alignkit("plugins", "trust", "first_two.py", "--yes")[1].startswith(f"{path} changed since it was trusted\n")
    assert weightings.get("first_two").__doc__ == "Equal weights on the first two tokens."


def test_a_change_between_the_listing_and_the_import_is_seen(alignkit, home):
    alignkit("plugins", "trust", "first_two.py", "--yes")
    assert "first_two" in weightings.names()
    Path("first_two.py").write_text(CODE.replace("it runs", "it ran away"))
    with pytest.raises(RegistryError, match="changed since it was trusted"):
        weightings.get("first_two")


def test_what_is_gone_is_said(alignkit, home):
    alignkit("plugins", "trust", "first_two.py", "--yes")
    Path("first_two.py").unlink()
    trusted._scanned.cache_clear()
    path = home / "first_two.py"
    said = f"plugin {path} is gone; restore it or run 'alignkit plugins untrust {path}'"
    assert alignkit("validate", "r.yaml") == (2, "", f"r.yaml:5: weighting: {said}\n")
    assert alignkit("plugins", "untrust", "first_two.py") == (0, f"no longer trusted: {path}\n", "")
    assert "first_two" not in weightings.names()


def test_untrust_knows_what_is_trusted(alignkit, home):
    assert alignkit("plugins", "untrust", "x.py") == (2, "", "x.py is not trusted; trusted: none\n")


def test_byte_code_beside_a_file_is_never_run(alignkit, home):
    """Python would take the .pyc, which nobody hashed, for the file that it says it stands for."""
    alignkit("plugins", "trust", "first_two.py", "--yes")
    other = home / "other.py"
    other.write_text(CODE.replace("< 2", "< 1"))
    os.utime(other, (1e9, 1e9))
    os.utime("first_two.py", (1e9, 1e9))
    cached = Path("__pycache__") / f"first_two.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(other), str(cached), dfile="first_two.py")
    span = Span(torch.ones(1, 4, dtype=torch.bool))
    assert weightings.build("first_two", {}).weights(span).tolist() == [[2.0, 2.0, 0.0, 0.0]]


def test_a_folder_is_one_plugin_whose_modules_see_each_other_and_nothing_beside_them(alignkit, home):
    folder = home / "plugin"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "hidden.py").write_text("N = 9\n")
    (folder / "numbers.py").write_text("N = 2\n")
    uses = CODE.replace("< 2", "< N").replace("import torch\n", "import torch\nfrom .numbers import N\n")
    (folder / "first_two.py").write_text(uses)
    assert alignkit("plugins", "trust", "plugin", "--yes")[0] == 0
    assert weightings.get("first_two").__name__ == "FirstTwo"
    assert digest("plugin") == trusted.digest({"numbers.py": b"N = 2\n", "first_two.py": uses.encode()})
    (folder / "first_two.py").write_text(uses.replace(".numbers", ".inner.hidden"))
    weightings._classes.pop("first_two")
    alignkit("plugins", "trust", "plugin", "--yes")
    with pytest.raises(RegistryError, match=r"cannot be loaded: No module named 'trusted_\w+\.inner'"):
        weightings.get("first_two")


def test_a_name_that_two_files_claim_is_refused_as_it_is_for_packages(alignkit, home):
    alignkit("plugins", "trust", "first_two.py", "--yes")
    Path("again.py").write_text(CODE + "\n")
    where = f"{home}/again.py:12: weighting 'first_two' is trusted_{digest()[:12]}.first_two:FirstTwo already"
    assert alignkit("plugins", "trust", "again.py", "--yes") == (2, "", f"{where}; rename this one\n")
    store = trusted.read_store()
    entry = trusted.Entry(sha256=digest("again.py"), components={"weighting": {"first_two": "again:FirstTwo"}})
    trusted.write_store(trusted.Store(plugins={**store.plugins, str(home / "again.py"): entry}))
    with pytest.raises(RegistryError) as caught:
        weightings.get("first_two")
    message = str(caught.value)
    assert message.startswith("weighting 'first_two' is registered by trusted_") and " and by trusted_" in message
    assert message.endswith(f"or rename its entry point; or run 'alignkit plugins untrust {home}/first_two.py'")


def test_the_file_that_the_page_shows_works(alignkit):
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    Path("hardest.py").write_text(code)
    assert alignkit("check-component", "hardest.py")[0] == 0
    assert alignkit("plugins", "trust", "hardest.py", "--yes")[1].count("brings weighting hardest") == 1
    assert alignkit("check-component", "hardest")[0] == alignkit("describe", "weighting", "hardest")[0] == 0


CLASS = '@weightings.register("%s")\nclass A:\n    pass\n'
MISTAKES = [
    ("a.py", "x = 1\n", "a.py: declares no component; put '@weightings.register(\"my_name\")' before its class, or "),
    ("a.py", "x =\n", "a.py:1: no Python: invalid syntax\n"),
    ("a.py", "x = '\0'\n", "a.py: no Python: source code string cannot contain null bytes\n"),
    ("a.py", CLASS % "a b", "a.py:2: expected a name of letters, digits and '_', got 'a b'\n"),
    ("a.py", CLASS % "a" * 2, "a.py:5: weighting 'a' is declared twice, first as a:A\n"),
    ("a.py", CLASS % "uniform", "a.py:2: weighting 'uniform' is alignkit.weighting.uniform:Uniform already; rename"),
    ("a-b.py", CLASS % "a", "a-b.py: a module cannot be called 'a-b.py'; rename it\n"),
    ("a.txt", CLASS % "a", "a.txt: expected a .py file or a folder that holds some\n"),
    ("a.py", "#" * (trusted.MOST_BYTES + 1), ": more than 1024 KiB of Python, up to 'a.py'\n"),
]


@pytest.mark.parametrize(("name", "code", "said"), MISTAKES, ids=[said[:30] for *_, said in MISTAKES])
def test_what_cannot_be_trusted_is_said_in_one_line(alignkit, home, name, code, said):
    Path(name).write_text(code)
    code, out, err = alignkit("plugins", "trust", name, "--yes")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"{home}/{said}") or err == f"{home}{said}"
    assert trusted.read_store().plugins == {}


def test_a_link_in_a_folder_is_refused(alignkit, home):
    (home / "plugin").mkdir()
    (home / "plugin" / "a.py").symlink_to(home / "first_two.py")
    said = f"{home}/plugin/a.py: is a link or no file; give the file that it stands for\n"
    assert alignkit("plugins", "trust", "plugin", "--yes") == (2, "", said)


def test_what_is_called_in_a_function_or_of_another_name_is_no_declaration():
    code = b"def f():\n    @weightings.register('a')\n    class A: pass\n@things.register('b')\nclass B: pass\n"
    with pytest.raises(trusted.TrustError, match="declares no component"):
        declared(Path("a.py"), {"a.py": code})
    code = b"@losses.register('mine')\nclass A: pass\n@sources.register('rows')\nclass B: pass\n"
    assert declared(Path("p"), {"a.py": code}) == {"loss": {"mine": "a:A"}, "source": {"rows": "a:B"}}


def test_the_registries_have_the_names_that_plugins_import():
    modules = list(sys.modules.values())
    for name, kind in REGISTRIES.items():
        assert any(getattr(module, name, None) is KINDS[kind] for module in modules), name


def test_a_damaged_list_costs_the_trusted_plugins_and_is_said(alignkit, home):
    path = home / "config/alignkit/trusted.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    trusted._scanned.cache_clear()
    said = (
        f"trusted plugins are not read: the list cannot be read as a JSON object; repair or remove {path} and trust "
        "plugins again"
    )
    assert alignkit("plugins", "trust", "first_two.py", "--yes") == (2, "", f"{said}\n")
    code, _, err = alignkit("validate", "r.yaml")
    assert code == 2 and err.endswith(f"uniform; {said}\n")
    assert alignkit("validate", "r.yaml", "--set", "weighting=uniform")[0] == 0


@pytest.mark.parametrize("name", ["", "config", "./config"])
def test_a_configuration_of_the_working_folder_is_not_the_users(monkeypatch, home, name):
    monkeypatch.setenv("XDG_CONFIG_HOME", name)
    monkeypatch.setenv("HOME", str(home / "user"))
    monkeypatch.setenv("APPDATA", str(home / "user/.config"))
    assert trusted.store_path() == home / "user/.config/alignkit/trusted.json"


def test_a_list_that_others_may_write_is_not_read(alignkit, home):
    alignkit("plugins", "trust", "first_two.py", "--yes")
    path = home / "config/alignkit/trusted.json"
    path.chmod(0o666)
    with pytest.raises(trusted.TrustError, match="not read: others may write the list; repair or remove "):
        trusted.read_store()

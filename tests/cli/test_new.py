"""What `alignkit new` writes works as it stands, and nothing is overwritten."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from alignkit.cli import main
from alignkit.cli.new import BASES, HOMES, SLOTS
from alignkit.conformance.parts import classes_at
from alignkit.declared import declared
from alignkit.quiet import quiet_libraries
from alignkit.recipe.kinds import KINDS, plural
from alignkit.recipe.load import load_recipe
from alignkit.trusted import read_files


@pytest.fixture
def alignkit(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(line):
        with pytest.raises(SystemExit) as caught:
            main(shlex.split(line))
        return caught.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def registered():
    """What a module registers while a test runs is forgotten again."""
    before = {kind: dict(registry._classes) for kind, registry in KINDS.items()}
    yield
    for kind, classes in before.items():
        KINDS[kind]._classes.clear()
        KINDS[kind]._classes.update(classes)


@pytest.mark.parametrize("kind", HOMES)
def test_a_package_keeps_its_promises_and_its_test_passes(alignkit, kind, monkeypatch):
    code, out, _ = alignkit(f"new plugin my_{kind} --kind {kind}")
    assert code == 0 and out.startswith(f"wrote my_{kind}/my_{kind}.py, my_{kind}/pyproject.toml, my_{kind}/tests/")
    project = tomllib.loads(Path(f"my_{kind}/pyproject.toml").read_text())
    (name, path), *others = project["project"]["entry-points"][f"alignkit.{kind}"].items()
    assert (name, path.partition(":")[0], others) == (f"my_{kind}", f"my_{kind}", [])
    monkeypatch.syspath_prepend(f"my_{kind}")
    monkeypatch.setattr("gc.collect", lambda *_: 0)  # half a second for each model that is trained on the side
    with quiet_libraries():
        runpy.run_path(f"my_{kind}/tests/test_my_{kind}.py")["test_it_keeps_its_promises"]()
    assert issubclass(getattr(sys.modules.pop(name), path.partition(":")[2]), KINDS[kind].base)


@pytest.mark.parametrize("kind", HOMES)
def test_a_single_file_declares_its_name_and_a_recipe_can_use_it(alignkit, kind, registered):
    assert alignkit(f"new plugin mine_{kind} --kind {kind} --single-file")[0] == 0
    path = Path(f"mine_{kind}.py").resolve()
    (cls,) = classes_at(path).values()
    names = declared(path, read_files(path))
    assert names == {kind: {f"mine_{kind}": f"mine_{kind}:{cls.__name__}"}}
    said = SLOTS[kind].format(name=f"mine_{kind}")
    assert not set(re.sub("'[^']*'", "", said)) & set("[]{}*?"), "zsh takes them for names of files"
    setting = shlex.split(f"--set {said}")[1::2]
    load_recipe(f"alignkit:{BASES.get(kind, 'tidpo')}.yaml", setting)


def test_the_templates_are_one_for_each_kind_but_models():
    assert set(HOMES) == set(SLOTS) == set(KINDS) - {"model"}
    assert all(getattr(importlib.import_module(home), plural(kind)) is KINDS[kind] for kind, home in HOMES.items())


@pytest.mark.parametrize("name", ["tidpo", "methods/kto", "llama-3.2-3b/tidpo"])
def test_a_recipe_builds_on_another_one_and_offers_its_values(alignkit, name):
    stem = name.rpartition("/")[2]
    code, out, _ = alignkit(f"new recipe --from {name}")
    assert (code, out) == (0, f"wrote {stem}.yaml, which builds on alignkit:{name}.yaml\n")
    text = Path(f"{stem}.yaml").read_text()
    base = load_recipe(f"alignkit:{name}").recipe
    assert load_recipe(f"{stem}.yaml").recipe == base
    offered = re.sub(r"^# (?=[a-z_.0-9]+: )", "", text, flags=re.MULTILINE)
    assert offered.count("\ntraining.learning_rate: ") == 1 and offered.count("\nlosses.0.beta: ") == 1
    Path("same.yaml").write_text(offered)
    assert load_recipe("same.yaml").recipe == base


def test_a_recipe_may_build_on_a_file_from_another_folder(alignkit):
    Path("a.yaml").write_text("extends: alignkit:tidpo\nseed: 4\n")
    Path("inner").mkdir()
    assert alignkit("new recipe inner/b.yaml --from a.yaml")[0] == 0
    assert "\nextends: ../a.yaml\n" in Path("inner/b.yaml").read_text()
    assert load_recipe("inner/b.yaml").recipe.seed == 4


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("new recipe there.yaml", "there.yaml: is there already, and nothing is overwritten; take another place"),
        ("new plugin there --kind loss --single-file", "there.py: is there already, and nothing is overwritten; take"),
        ("new recipe a.yaml --from tidop", "no recipe 'alignkit:tidop.yaml'; did you mean 'alignkit:tidpo.yaml'?"),
        ("new plugin x --kind los", "unknown kind 'los'; did you mean 'loss'?"),
        (
            "new plugin x --kind model",
            "--kind 'model': there is no template, as model 'pretrained' takes any folder or",
        ),
        ("new plugin X-y --kind loss", "expected a name of small letters, digits and '_', such as first_tokens, got"),
        ("new plugin dpo --kind loss", "loss 'dpo' is alignkit.losses.dpo:DPO already; choose another name"),
        ("new plugin random --kind loss", "Python has a module 'random' already, and a plugin of that name would hide"),
        ("new plugin x", "alignkit new: missing option '--kind'; see alignkit new --help"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(alignkit, line, said):
    Path("there.yaml").write_text("mine\n")
    Path("there.py").write_text("mine\n")
    code, out, err = alignkit(line)
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith(said)
    assert {path.name: path.read_text() for path in Path().iterdir()} == {"there.yaml": "mine\n", "there.py": "mine\n"}

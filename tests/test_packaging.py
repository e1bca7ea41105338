"""What is shipped: the wheel, the pins, the set-up commands, the example plugin and the documents that show it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from alignkit.recipe.kinds import KINDS

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "plugins" / "last_tokens"


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    """Standard output of a command that must succeed, with `path` in front of what the environment has installed."""
    env = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def pip(*arguments: str | Path, cwd: Path) -> None:
    """pip without a network: nothing but what is given is installed, built with the setuptools that is here."""
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-build-isolation")
    run(sys.executable, "-m", "pip", *arguments, *quiet, cwd=cwd)


def blocks(document: Path, language: str) -> list[str]:
    """The fenced code blocks of a Markdown file in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder to import from after installing the package that docs/add-a-weighting.md shows."""
    folder = tmp_path_factory.mktemp("plugin")
    page = ROOT / "docs" / "add-a-weighting.md"
    for language, name in (("python", "last_tokens.py"), ("toml", "pyproject.toml")):
        (shown,) = blocks(page, language)
        (folder / name).write_text(shown)
    pip("install", "--target", folder / "site", folder, cwd=folder)
    return folder / "site"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a `build/` left in the tree would put files of yesterday into it."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("alignkit", "recipes"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    pip("wheel", "--wheel-dir", folder / "dist", folder, cwd=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder to import from after installing the wheel."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--target", folder / "site", wheel, cwd=folder)
    return folder / "site"


def files_below(folder: Path) -> dict[str, Path]:
    """Path inside it -> file, without what Python leaves behind."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path for path in files}


def test_the_wheel_holds_every_file_of_the_package_the_recipes_and_nothing_else(wheel: Path):
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    recipes = {f"alignkit/shipped_recipes/{name}" for name in files_below(ROOT / "recipes")}
    assert shipped == {f"alignkit/{name}" for name in files_below(ROOT / "alignkit")} | recipes
    assert {"alignkit/py.typed", "alignkit/world/model/model.safetensors"} <= shipped


def test_the_shipped_recipes_are_those_of_the_repository(site: Path):
    shipped, ours = files_below(site / "alignkit" / "shipped_recipes"), files_below(ROOT / "recipes")
    assert {name: path.read_bytes() for name, path in shipped.items()} == {
        name: path.read_bytes() for name, path in ours.items()
    }
    assert {"llama-3.2-3b/tidpo.yaml", "paper/README.md", "paper/published.json"} <= ours.keys()


def test_the_installed_recipes_work_from_an_empty_folder(site: Path, tmp_path: Path):
    alignkit = site / "bin" / "alignkit"
    said = run(alignkit, "validate", "alignkit:tidpo.yaml", "alignkit:methods/kto", cwd=tmp_path, path=site)
    assert [line.partition(": ")[2].partition(": ")[0] for line in said.splitlines()] == [
        "alignkit:tidpo.yaml",
        "alignkit:methods/kto",
    ]
    shown = run(alignkit, "show", "--origin", "alignkit:tidpo.yaml", "--set", "seed=3", cwd=tmp_path, path=site)
    assert "# --set seed=3\n" in shown and "# alignkit:base/world.yaml:4\n" in shown
    assert run(alignkit, "show", "alignkit:tidpo.yaml", cwd=tmp_path, path=site) == run(
        alignkit, "show", ROOT / "recipes" / "tidpo.yaml", cwd=tmp_path, path=site
    )
    (tmp_path / "child.yaml").write_text("extends: alignkit:base/methods.yaml\nlosses: [dpo]\n")
    shown = run(alignkit, "show", "--origin", "child.yaml", cwd=tmp_path, path=site)
    assert "# child.yaml:2\n" in shown and "# alignkit:base/methods.yaml:" in shown


def test_the_source_archive_makes_the_same_wheel(wheel: Path, tmp_path: Path):
    source = wheel.parents[1]
    run(sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "sdist", "-d", tmp_path, cwd=source)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "README.md", "setup.py", "recipes/paper/published.json"} <= names
    pip("wheel", "--wheel-dir", tmp_path / "dist", archive, cwd=tmp_path)
    (built,) = (tmp_path / "dist").glob("*.whl")
    assert set(zipfile.ZipFile(built).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_the_installed_wheel_validates_a_recipe_from_another_folder(site: Path, tmp_path: Path):
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    where = run(sys.executable, "-c", "import alignkit; print(alignkit.__file__)", cwd=tmp_path, path=site)
    assert Path(where.strip()) == site / "alignkit" / "__init__.py"
    assert "validate" in run(site / "bin" / "alignkit", "--help", cwd=tmp_path, path=site)
    run(site / "bin" / "alignkit", "validate", "recipes/tidpo.yaml", cwd=tmp_path, path=site)
    assert next((site).glob("alignkit-*.dist-info/licenses/LICENSE")).read_text() == (ROOT / "LICENSE").read_text()


def test_every_requirement_is_pinned_to_a_plain_version():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {
        re.sub(r"[._-]+", "-", re.split(r"[=<>~!\[ ]", line, maxsplit=1)[0]).lower() for line in [*pins, *required]
    }
    pinned = {re.sub(r"[._-]+", "-", line.partition("==")[0]).lower() for line in pins}
    assert names == pinned
    assert "torch==2.13.0" in pins


def test_the_set_up_installs_torch_alone_before_everything_else():
    steps = run("make", "--no-print-directory", "-n", "-B", "demo", cwd=ROOT).splitlines()
    installs = [step.rpartition("constraints.txt ")[2] for step in steps if " pip install " in step]
    assert installs == ["torch==2.13.0", "-e ."]
    assert steps[-1] == ".venv/bin/alignkit run recipes/tidpo.yaml"


def test_pre_commit_runs_what_ci_runs():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    steps = run("make", "--no-print-directory", "-n", "-B", "check", cwd=ROOT).splitlines()
    assert [hook["entry"] for hook in repo["hooks"]] == steps[-3:]


def test_the_page_on_weightings_shows_the_example_plugin():
    page = ROOT / "docs" / "add-a-weighting.md"
    assert blocks(page, "python") == [(PLUGIN / "last_tokens.py").read_text()]
    assert blocks(page, "toml") == [(PLUGIN / "pyproject.toml").read_text()]


def test_what_the_page_shows_passes_the_test_of_the_example_plugin(plugin: Path, tmp_path: Path):
    tests = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", PLUGIN / "tests")
    assert "1 passed" in run(*tests, cwd=tmp_path, path=plugin)


def test_the_readme_shows_the_same_weighting_in_fifteen_lines():
    (code,) = blocks(ROOT / "README.md", "python")
    assert code == (PLUGIN / "last_tokens.py").read_text()
    assert len([line for line in code.splitlines() if line]) <= 15


def test_the_readme_shows_the_recipe_that_it_runs():
    recipe, *_ = blocks(ROOT / "README.md", "yaml")
    assert recipe == (ROOT / "recipes" / "tidpo.yaml").read_text()


def test_the_readme_lists_every_component():
    table = dict(re.findall(r"^\| `([a-zA-Z_.]+)` \| (`.*`) \|$", (ROOT / "README.md").read_text(), re.MULTILINE))
    slots = {"losses": "loss", "rewards": "reward", "losses.N.anchor": "anchor", "weighting.contrast": "contrast"}
    slots |= {"weighting.statistic": "statistic", "data.train": "source", "evaluation.measures": "measure"}
    slots |= {"evaluation.benchmarks": "benchmark"}
    listed = {slots.get(slot, slot): re.findall(r"`(\w+)`", names) for slot, names in table.items()}
    assert listed == {kind: registry.names() for kind, registry in KINDS.items()}


def test_a_recipe_can_name_what_the_page_shows(plugin: Path, tmp_path: Path):
    alignkit = Path(sys.executable).with_name("alignkit")
    recipe = ROOT / "recipes" / "tidpo.yaml"
    run(alignkit, "validate", recipe, "--set", "weighting={name: last_tokens, count: 8}", cwd=tmp_path, path=plugin)
    assert "last_tokens" in run(alignkit, "list", "weighting", cwd=tmp_path, path=plugin)

"""Libraries that build on libraries, folders and packages as sources, and the Hub with a client that is a stand-in."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from libraries.conftest import Repository

from alignkit.libraries.lock import read_lock
from alignkit.recipe.load import load_recipe

HOUSE = 'name = "house"\nversion = "{version}"\nschema = 1\n'


def needs(repository: Repository, rev: str, version: str = "") -> str:
    asked = f'version = "{version}"\n' if version else ""
    return f'[libraries.{repository.name}]\nsource = "{repository.url}"\nrev = "{rev}"\n{asked}'


@pytest.fixture
def house(tmp_path):
    repository = Repository(tmp_path / "house", "house")
    repository.release("0.1", {"base.yaml": "# House rules.\nextends: alignkit:tidpo.yaml\nseed: 7\n"})
    return repository


def test_what_a_library_needs_is_locked_with_it(project, acme, house, alignkit):
    acme.release("2.0", {"ours.yaml": "# Ours.\nextends: house:base.yaml\n"}, needs(house, "v0.1", ">=0.1,<1"))
    assert alignkit("library", "add", "acme", acme.url, "--rev", "v2.0")[0] == 0
    lock = read_lock(project)
    assert {name: (one.version, one.requires) for name, one in lock.items()} == {
        "acme": ("2.0", ["house"]),
        "house": ("0.1", []),
    }
    loaded = load_recipe("acme:ours")
    assert (loaded.recipe.seed, loaded.origins["seed"]) == (7, "house:base.yaml:3")
    assert sorted(loaded.libraries) == ["acme", "house"]
    assert "another library needs it" in alignkit("library", "list")[1].splitlines()[-1]


def test_a_library_names_only_what_it_declares(locked, acme, house, alignkit):
    """That the project has house too changes nothing: elsewhere it may be missing."""
    alignkit("library", "add", "house", house.url, "--rev", "v0.1")
    acme.release("2.0", {"ours.yaml": "# Ours.\nextends: house:base.yaml\n"})
    assert alignkit("library", "update", "acme", "--to", "v2.0")[0] == 0
    said = "library 'acme' may not name one of 'house': its library.toml does not declare it"
    assert alignkit("validate", "acme:ours") == (2, "", f"acme:ours.yaml:2: extends: 'house:base.yaml': {said}\n")


def test_one_version_of_each(project, acme, house, tmp_path, alignkit):
    house.release("0.2", {})
    beta = Repository(tmp_path / "beta", "beta")
    beta.release("1.0", {}, needs(house, "v0.2"))
    acme.release("2.0", {}, needs(house, "v0.1"))
    alignkit("library", "add", "acme", acme.url, "--rev", "v2.0")
    said = (
        "library 'house': library 'acme' needs v0.1, library 'beta' needs v0.2; one version of each can be there: "
        "declare it in alignkit.toml\n"
    )
    assert alignkit("library", "add", "beta", beta.url, "--rev", "v1.0") == (2, "", said)
    toml = Path("alignkit.toml")
    toml.write_text(f"{toml.read_text()}\n{needs(house, 'v0.2')}")
    assert alignkit("library", "add", "beta", beta.url, "--rev", "v1.0")[0] == 0
    assert read_lock(project)["house"].version == "0.2"


def test_a_version_that_will_not_do(project, acme, house, alignkit):
    acme.release("2.0", {}, needs(house, "v0.1", ">=1"))
    said = "library 'acme' needs library 'house' >=1, but it is '0.1'\n"
    assert alignkit("library", "add", "acme", acme.url, "--rev", "v2.0") == (2, "", said)


def test_a_cycle_across_libraries_is_told_with_its_files(project, acme, house, alignkit):
    """That two libraries need each other is no mistake; that two files extend each other is."""
    acme.release("2.0", {"a.yaml": "# A.\nextends: house:b.yaml\n"}, needs(house, "v1.0"))
    house.release("1.0", {"b.yaml": "# B.\nseed: 1\nextends: acme:a.yaml\n"}, needs(acme, "v2.0"))
    assert alignkit("library", "add", "acme", acme.url, "--rev", "v2.0")[0] == 0
    said = "house:b.yaml:3: extends: goes in a circle: acme:a.yaml -> house:b.yaml -> acme:a.yaml\n"
    assert alignkit("validate", "acme:a") == (2, "", said)
    assert alignkit("validate", "acme:tidpo")[0] == 0


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "library.toml").write_text(HOUSE.format(version="1.0"))
    (folder / "a.yaml").write_text("# A.\nextends: alignkit:tidpo.yaml\nseed: 1\n")
    return folder


def test_a_folder_is_locked_as_it_is(project, folder, alignkit):
    assert alignkit("library", "add", "house", "path:../recipes")[0] == 0
    assert (read_lock(project)["house"].commit, load_recipe("house:a").recipe.seed) == ("", 1)
    (folder / "a.yaml").write_text("# A.\nextends: alignkit:tidpo.yaml\nseed: 2\n")
    assert load_recipe("house:a").recipe.seed == 1
    code, told, _ = alignkit("library", "update", "house")
    assert (code, told.splitlines()[1:]) == (0, ["  house:a.yaml: seed: 1 (house:a.yaml:3) -> 2 (house:a.yaml:3)"])
    assert load_recipe("house:a").recipe.seed == 2


def test_a_folder_that_changed_cannot_be_got_anew(project, folder, alignkit):
    alignkit("library", "add", "house", "path:../recipes")
    (folder / "a.yaml").write_text("seed: 3\n")
    for path in (project / ".alignkit" / "libraries").glob("*/a.yaml"):
        path.unlink()
    said = (
        "house: path:../recipes is not what it was when it was locked (1.0); to see what changes and take it: alignkit "
        "library update house\n"
    )
    assert alignkit("library", "sync") == (2, "", said)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (None, 'house: holds no library.toml; a library has one with name = "...", version = "...", schema = 1'),
        ("name = 'house'\nschema = 1\n", "house/library.toml: version: missing"),
        (HOUSE.replace("1\n", "2\n"), "house/library.toml: schema: 2, this alignkit reads 1; install a newer alignkit"),
        (
            HOUSE + "license = 'MIT'\n",
            "house/library.toml: license: unknown key; did you mean 'licence'? known keys: libraries, licence, "
            "maintainers, name, plugins, schema, version",
        ),
        (
            HOUSE.replace("house", "home"),
            "house: its library.toml calls it 'home'; add it under that name, so that recipes mean the same library "
            "wherever they are read",
        ),
        (
            HOUSE + "[libraries.x_y]\nsource = 'path:/etc'\n",
            "house/library.toml: libraries.x_y: a folder of one machine, 'path:/etc'; give a git, hf or pip source, or "
            "let alignkit.toml declare it",
        ),
        ("name = [", "house/library.toml: not valid TOML: Invalid value (at end of document)"),
    ],
)
def test_a_description_that_is_none(project, folder, alignkit, toml, said):
    (folder / "library.toml").unlink()
    if toml is not None:
        (folder / "library.toml").write_text(toml.format(version="1.0") if "{version}" in toml else toml)
    assert alignkit("library", "add", "house", "path:../recipes") == (2, "", f"{said}\n")


def test_a_link_and_a_pipe_in_a_folder(project, folder, alignkit, tmp_path):
    (folder / "sub").symlink_to(tmp_path)
    said = "house: 'sub' is a symbolic link; a library holds plain files only\n"
    assert alignkit("library", "add", "house", "path:../recipes") == (2, "", said)
    (folder / "sub").unlink()
    import os

    os.mkfifo(folder / "pipe.yaml")
    said = "house: 'pipe.yaml' is a pipe, a socket or a device, not a file\n"
    assert alignkit("library", "add", "house", "path:../recipes") == (2, "", said)


def test_plugins_that_a_library_needs_are_told_with_the_line_that_installs_them(project, folder, alignkit):
    (folder / "library.toml").write_text(HOUSE.format(version="1.0") + 'plugins = ["acme-weights>=1.2", "pytest<1"]\n')
    alignkit("library", "add", "house", "path:../recipes")
    found = importlib.metadata.version("pytest")
    said = (
        "house:library.toml: plugins: needs the package acme-weights>=1.2, which is not installed: pip install "
        "'acme-weights>=1.2'\n"
        f"house:library.toml: plugins: needs the package pytest<1, but '{found}' is installed: pip install 'pytest<1'\n"
    )
    assert alignkit("validate", "house:a") == (2, "", said)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that brings a library; importing it would end the test."""
    site = tmp_path / "site"
    (site / "acme_recipes" / "yaml").mkdir(parents=True)
    (site / "acme_recipes" / "__init__.py").write_text("raise SystemExit('imported')\n")
    (site / "acme_recipes" / "yaml" / "library.toml").write_text(HOUSE.format(version="3.1"))
    (site / "acme_recipes" / "yaml" / "a.yaml").write_text("# A.\nextends: alignkit:tidpo.yaml\nseed: 5\n")
    info = site / "acme_recipes-3.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-recipes\nVersion: 3.1\n")
    (info / "entry_points.txt").write_text("[alignkit.recipes]\nhouse = acme_recipes.yaml\n")
    monkeypatch.syspath_prepend(str(site))
    return site


def test_an_installed_package_brings_a_library_and_is_not_imported(project, package, alignkit):
    assert alignkit("library", "add", "house", "pip:acme-recipes")[0] == 0
    assert (read_lock(project)["house"].commit, load_recipe("house:a").recipe.seed) == ("3.1", 5)
    assert "acme_recipes" not in sys.modules


def test_a_package_that_brings_none(project, package, alignkit):
    said = "house: package 'acme-recipe' is not installed: pip install acme-recipe\n"
    assert alignkit("library", "add", "house", "pip:acme-recipe") == (2, "", said)
    said = (
        "house: package 'pytest' names 0 folders in the entry points alignkit.recipes: none; it must name 'house', or"
    )
    assert alignkit("library", "add", "house", "pip:pytest") == (2, "", f"{said} one alone\n")


COMMIT = "ab" * 20


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub with one repository, whose `main` is a branch and whose `v1` is a tag."""
    files = {"recipes/library.toml": HOUSE.format(version="1.0"), "recipes/a.yaml": "# A.\nseed: 9\n", "model.bin": "0"}
    asked: list[tuple[str, str]] = []

    class Api:
        def list_repo_refs(self, repository, repo_type):
            asked.append(("refs", repo_type))
            branch, tag = ([SimpleNamespace(name=name, target_commit=COMMIT)] for name in ("main", "v1"))
            return SimpleNamespace(branches=branch, tags=tag)

        def list_repo_tree(self, repository, recursive, revision, repo_type):
            asked.append(("tree", revision))
            return [SimpleNamespace(path=path, size=len(text)) for path, text in files.items()]

    def download(repository, path, revision, repo_type, local_dir):
        asked.append((path, revision))
        target = Path(local_dir, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(files[path])

    monkeypatch.setattr("huggingface_hub.HfApi", Api)  # not its `__new__`: put back, that takes no argument any more
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked


def test_a_repository_of_the_hub_at_a_revision(project, hub, alignkit):
    added = alignkit("library", "add", "house", "hf:acme/recipes", "--rev", "v1", "--folder", "recipes")
    assert added[0] == 0, added
    assert hub == [
        ("refs", "model"),
        ("tree", COMMIT),
        ("recipes/library.toml", COMMIT),
        ("recipes/a.yaml", COMMIT),
    ]
    assert (read_lock(project)["house"].commit, read_lock(project)["house"].files) == (COMMIT, 2)


def test_a_branch_of_the_hub_is_refused(project, hub, alignkit):
    said = f"house: rev 'main' is a branch, which moves; give a tag or a commit (it is {COMMIT})\n"
    assert alignkit("library", "add", "house", "hf:datasets/acme/recipes", "--rev", "main") == (2, "", said)
    assert hub == [("refs", "dataset")]
    said = "house: no tag 'v2' in 'acme/recipes'; its tags: v1\n"
    assert alignkit("library", "add", "house", "hf:acme/recipes", "--rev", "v2") == (2, "", said)


def test_the_hub_out_of_reach_is_one_line(project, alignkit):
    code, _, errors = alignkit("library", "add", "house", "hf:acme/recipes", "--rev", "v1")
    assert (code, errors.count("\n"), errors.startswith("house: the Hub: ")) == (2, 1, True)


def test_what_changes_through_another_library_or_in_data_is_told(project, acme, house, alignkit):
    acme.release("2.0", {"ours.yaml": "# Ours.\nextends: house:base.yaml\n"}, needs(house, "v0.1"))
    alignkit("library", "add", "acme", acme.url, "--rev", "v2.0")
    toml = Path("alignkit.toml")
    toml.write_text(f"{toml.read_text()}\n{needs(house, 'v0.1')}")
    house.release("0.2", {"base.yaml": "# House rules.\nextends: alignkit:tidpo.yaml\nseed: 8\n", "d.jsonl": "{}\n"})
    told = alignkit("library", "update", "house", "--to", "v0.2")[1].splitlines()
    assert told[1] == "  acme:ours.yaml: seed: 7 (house:base.yaml:3) -> 8 (house:base.yaml:3)"
    assert told[3:] == [
        "  house:base.yaml: seed: 7 (house:base.yaml:3) -> 8 (house:base.yaml:3)",
        "  house:d.jsonl: added",
    ]
    house.release("0.3", {"d.jsonl": '{"a": 1}\n'}, 'plugins = ["acme-weights>=1.2"]\n')
    told = alignkit("library", "update", "house", "--to", "v0.3")[1].splitlines()
    assert told[-2:] == ["  house:d.jsonl: other content", "  house:library.toml: plugins: [] -> [acme-weights>=1.2]"]


def test_what_a_library_may_name_is_asked_of_the_version_that_is_read(project, acme, house, alignkit):
    """Of a folder that is checked or a copy that is compared: its own library.toml, whatever is locked here."""
    alignkit("library", "add", "house", house.url, "--rev", "v0.1")
    acme.release("2.0", {"ours.yaml": "# Ours.\nextends: house:base.yaml\n"})
    code, told, _ = alignkit("library", "check", str(acme.folder), "--no-smoke")
    said = "library 'acme' may not name one of 'house': its library.toml does not declare it"
    assert (code, f"error: acme:ours.yaml: acme:ours.yaml:2: extends: 'house:base.yaml': {said}" in told) == (1, True)
    alignkit("library", "add", "acme", acme.url, "--rev", "v1.4.0")
    acme.release("2.1", {}, needs(house, "v0.1"))
    code, told, _ = alignkit("library", "check", str(acme.folder), "--no-smoke")
    assert (code, "ok: acme:ours.yaml" in told) == (0, True)

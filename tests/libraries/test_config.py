"""alignkit.toml: what may stand there, where it is looked for, and the files of this machine that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignkit.errors import LibraryError, RecipeError
from alignkit.libraries.config import find_config, set_rev
from alignkit.libraries.known import Libraries
from alignkit.recipe.compare import compare
from alignkit.recipe.load import load_recipe

PAIRS = '{"prompt": "a", "chosen": "b", "rejected": "c"}\n'


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (
            "[librarys.acme]\nsource = 'path:x'\n",
            "librarys: unknown key; did you mean 'libraries'? known keys: allowed_signers, libraries, paths",
        ),
        ("[libraries.acme]\nrev = 'v1'\n", "libraries.acme.source: missing"),
        (
            "[libraries.acme]\nsource = 'path:x'\nref = 'v1'\n",
            "libraries.acme.ref: unknown key; did you mean 'rev'? known keys: folder, rev, source, version",
        ),
        (
            "[libraries.acme]\nsource = 'git+https://h/r'\n",
            "libraries.acme.rev: missing; a git source needs a tag or a commit",
        ),
        (
            "[libraries.acme]\nsource = 'path:x'\nrev = 'v1'\n",
            "libraries.acme.rev: 'v1' has no use for a path source; leave it out",
        ),
        (
            "[libraries.acme]\nsource = 'git+ext::sh -c x'\nrev = 'v1'\n",
            "libraries.acme.source: expected git+https://..., git+ssh://..., git+file://..., path:FOLDER, "
            "hf:OWNER/NAME or pip:PACKAGE, got 'git+ext::sh -c x'",
        ),
        ("[libraries.path]\nsource = 'path:x'\n", "libraries: the name 'path' is taken; choose another one"),
        (
            "[libraries.'a b']\nsource = 'path:x'\n",
            "libraries: 'a b' is no name of a library; give a letter, then letters, digits, - and _",
        ),
        (
            "[libraries.acme]\nsource = 'path:x'\nversion = 'new'\n",
            "libraries.acme.version: expected versions such as '>=1.2,<2', got 'new'",
        ),
        ("[paths]\nhh = 3\n", "paths.hh: input should be a valid string, got 3"),
        ("[paths]\n'h h' = 'x'\n", "paths: 'h h' is no name; give letters, digits, - and _"),
        ("x = \n", "not valid TOML: Invalid value (at line 1, column 5)"),
        ("x = '" + "[" * 3000, 'not valid TOML: Expected "\'" (at end of document)'),
        ("x = " + "[" * 3000, "not valid TOML: TOML inline arrays/tables are nested too deeply"),
    ],
)
def test_a_mistake_is_one_line(project, toml, said):
    Path("alignkit.toml").write_text(toml)
    with pytest.raises(LibraryError) as caught:
        find_config()
    assert "\n" not in str(caught.value)
    got = str(caught.value).removeprefix(f"{project / 'alignkit.toml'}: ")
    assert got == said or "nested too deeply" in said


def test_the_search_ends_at_the_top_of_a_repository(project):
    (project.parent / "alignkit.toml").write_text("[paths]\nhh = 'x'\n")
    assert find_config().folder is None
    (project / "alignkit.toml").write_text("")
    (project / "deep").mkdir()
    assert find_config(project / "deep").folder == project


def test_one_line_changes_and_all_else_stays(project):
    text = (
        "# ours\n[libraries.beta]\nsource = 'git+https://h/b'\nrev = 'v1'\n\n[libraries.acme] # theirs\n"
        "source = 'git+https://h/a'\n# pinned\nrev   = 'v1' # see notes\n\n[paths]\nrev = 'v1'\n"
    )
    Path("alignkit.toml").write_text(text)
    set_rev(project, "acme", "v2")
    assert Path("alignkit.toml").read_text() == text.replace("rev   = 'v1' # see", 'rev   = "v2" # see')
    with pytest.raises(
        LibraryError, match=r"libraries\.gamma has no line 'rev = \.\.\.' to change; write v2 there yourself"
    ):
        set_rev(project, "gamma", "v2")


@pytest.fixture
def named(project, tmp_path):
    """A project whose alignkit.toml names data and a model of this machine."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pairs.jsonl").write_text(PAIRS)
    Path("alignkit.toml").write_text("[paths]\nhh = '../data/pairs.jsonl'\ndata = '../data'\n")
    Path("mine.yaml").write_text("extends: alignkit:tidpo.yaml\ndata:\n  train: path:hh\n  world: null\n")
    return tmp_path / "data" / "pairs.jsonl"


def test_a_name_stands_for_a_file_of_this_machine(named):
    loaded = load_recipe("mine.yaml")
    assert Path(loaded.recipe.data.train).samefile(named)
    assert Path(load_recipe("mine.yaml", ["data.train=path:data/pairs.jsonl"]).recipe.data.train).samefile(named)


def test_records_keep_what_was_written(named):
    loaded = load_recipe("mine.yaml")
    assert loaded.tree()["data"]["train"] == "path:hh"
    assert str(named.parent) not in loaded.to_yaml()
    (line,) = (line for line in loaded.to_yaml(origin=True).splitlines() if "path:hh" in line)
    assert line.split("# ")[1] == f"mine.yaml:3, here {loaded.recipe.data.train}"
    Path("again.yaml").write_text(loaded.to_yaml())
    assert load_recipe("again.yaml").recipe == loaded.recipe
    assert list(compare(load_recipe("again.yaml"), loaded)) == []


def test_a_mapping_names_files_too(named):
    loaded = load_recipe("mine.yaml", ["data.train={name: file, path: path:hh}"])
    assert Path(loaded.recipe.data.train.path).samefile(named)
    assert loaded.tree()["data"]["train"] == {"name": "file", "path": "path:hh"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("path:dta", "'path:dta': alignkit.toml has no 'dta' under [paths]; did you mean 'path:data'? known: data, hh"),
        ("path:zzzz", "'path:zzzz': alignkit.toml has no 'zzzz' under [paths]; known: data, hh"),
        ("path:data/../x", "'path:data/../x': what follows the name goes down from it, without '..' or a second '/'"),
    ],
)
def test_a_name_that_is_none(named, value, said):
    Path("mine.yaml").write_text(f"extends: alignkit:tidpo.yaml\ndata.train: {value}\n~data.world:\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe("mine.yaml")
    assert str(caught.value).splitlines()[0] == f"mine.yaml:2: data.train: {said}"


def test_a_name_without_alignkit_toml(project):
    with pytest.raises(RecipeError) as caught:
        load_recipe("alignkit:tidpo.yaml", ["data.train=path:hh", "data.world=null"])
    assert str(caught.value).splitlines()[0] == (
        "--set data.train=path:hh: data.train: 'path:hh': there is no alignkit.toml in this folder or above; write one "
        "with [paths] and hh = '...'"
    )


def test_the_environment_is_not_read(project, monkeypatch):
    monkeypatch.setenv("HH", "/secret")
    Path("alignkit.toml").write_text("[paths]\nhh = '$HH/x.jsonl'\n")
    assert Libraries.here().file("path:hh") == project / "$HH" / "x.jsonl"


def test_data_that_a_library_brings(locked, acme, alignkit):
    acme.release(
        "2.0",
        {
            "data/tiny.jsonl": PAIRS,
            "t.yaml": "# T.\nextends: tidpo.yaml\ndata.train: acme:data/tiny.jsonl\n~data.world:\n",
        },
    )
    assert alignkit("library", "update", "acme", "--to", "v2.0")[0] == 0
    loaded = load_recipe("acme:t")
    assert Path(loaded.recipe.data.train).read_text() == PAIRS
    assert loaded.tree()["data"]["train"] == "acme:data/tiny.jsonl"
    code, _, errors = alignkit("validate", "acme:t", "--set", "data.train=acme:data/tin.jsonl")
    assert (code, errors.splitlines()[0].partition("data.train: ")[2]) == (
        2,
        "no file 'data/tin.jsonl' in library 'acme'",
    )


@pytest.mark.parametrize("value", ["/etc/passwd", "../secret", "~/x.jsonl", "a/../../b", "C:\\x", "\\\\h\\x"])
@pytest.mark.parametrize("key", ["data.train", "data.eval", "model.path", "model.chat_template"])
def test_a_recipe_of_a_library_names_nothing_outside(project, key, value):
    Path("acme").mkdir()
    Path("acme/library.toml").write_text('name = "acme"\nversion = "1"\nschema = 1\n')
    model = "model: {name: pretrained}" if key == "model.path" else "model: {name: pretrained, path: owner/name}"
    Path("acme/t.yaml").write_text(f"extends: alignkit:tidpo.yaml\n{model}\n{key}: '{value}'\n~data.world:\n")
    libraries = Libraries().at("acme", Path("acme"))
    with pytest.raises(RecipeError) as caught:
        load_recipe("acme:t", libraries=libraries)
    assert str(caught.value).splitlines()[0] == (
        f"acme:t.yaml:3: {key}: a recipe of a library names nothing outside of it and of the working folder, got "
        f"'{value}'; write path:NAME, which [paths] of alignkit.toml says on each machine, or acme:FILE"
    )
    Path("mine.yaml").write_text(f"extends: acme:t.yaml\n{key}: owner/name\n")  # whoever extends it says otherwise
    assert load_recipe("mine.yaml", libraries=libraries).origins[key].startswith("mine.yaml")


def test_items_of_a_list_stand_for_files_too(named):
    (named.parent / "more.jsonl").write_text(PAIRS)
    train = "[path:hh, {path: path:data/more.jsonl, weight: 2}]"
    Path("mine.yaml").write_text(f"extends: alignkit:tidpo.yaml\ndata:\n  world: null\n  train: {train}\n")
    loaded = load_recipe("mine.yaml")
    assert [one["path"] for one in loaded.tree()["data"]["train"]] == ["path:hh", "path:data/more.jsonl"]
    assert loaded.origins["data.train.0.path"] == "mine.yaml:4"
    assert f"# mine.yaml:4, here {Path.cwd() / '../data/pairs.jsonl'}" in loaded.to_yaml(origin=True)


@pytest.mark.parametrize("line", ['rev = """v1"""', "'rev' = 'v1'"])
def test_a_revision_written_in_another_way_is_left_alone(project, line):
    text = f"[libraries.acme]\nsource = 'git+https://h/a'\n{line}\n"
    Path("alignkit.toml").write_text(text)
    with pytest.raises(LibraryError, match=r"libraries\.acme has no line 'rev = \.\.\.' to change"):
        set_rev(project, "acme", "v2")
    assert Path("alignkit.toml").read_text() == text

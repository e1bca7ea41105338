"""Locks, copies and alignkit.toml that do not agree, whatever came between: each is mended by what the message says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from libraries.conftest import Repository

from alignkit.errors import StorageError
from alignkit.libraries import store as stores
from alignkit.libraries.config import read_config
from alignkit.libraries.lock import read_lock
from alignkit.recipe.load import load_recipe

HOUSE = 'name = "house"\nversion = "1.0"\nschema = 1\n'


@pytest.fixture
def house(project, alignkit):
    """A library in a folder beside the project, and in it."""
    folder = project.parent / "house"
    folder.mkdir()
    (folder / "library.toml").write_text(HOUSE)
    (folder / "a.yaml").write_text("# A.\nextends: alignkit:tidpo.yaml\nseed: 1\n")
    assert alignkit("library", "add", "house", "path:../house")[0] == 0
    return folder


def test_what_was_locked_and_is_nowhere_any_more_is_updated_all_the_same(house, alignkit):
    (house / "a.yaml").write_text("# A.\nextends: alignkit:tidpo.yaml\nseed: 2\n")
    shutil.rmtree(".alignkit")
    assert alignkit("library", "sync")[2].endswith("alignkit library update house\n")
    code, told, errors = alignkit("library", "update", "house")
    assert (code, errors) == (0, "")
    assert told.splitlines()[1:] == ["  house: its former copy is not here, so what changes cannot be told"]
    assert load_recipe("house:a").recipe.seed == 2


def test_a_vendored_copy_that_was_edited_is_got_anew(locked, alignkit):
    assert alignkit("library", "vendor")[0] == 0
    (copy,) = Path("vendor/alignkit").glob("acme@*/base.yaml")
    copy.chmod(0o644)
    copy.write_text("seed: 5\n")
    assert alignkit("library", "verify")[0] == 2
    assert alignkit("library", "sync")[0] == 0
    assert alignkit("library", "verify")[0] == 0
    assert "seed: 5" not in copy.read_text()


def test_a_sync_that_has_nothing_to_do_writes_nothing(locked, alignkit):
    before = Path("alignkit.lock").stat()
    assert alignkit("library", "sync")[0] == 0
    assert Path("alignkit.lock").stat() == before


def test_libraries_in_one_line_are_not_spoilt_by_another_one(house, acme, alignkit):
    """TOML takes no table below one that is written in one line."""
    toml = 'libraries = {house = {source = "path:../house"}}\n'
    Path("alignkit.toml").write_text(toml)
    code, _, errors = alignkit("library", "add", "acme", acme.url, "--rev", "v1.4.0")
    assert (code, errors.count("\n")) == (2, 1)
    assert "write [libraries.acme] there yourself" in errors
    assert (Path("alignkit.toml").read_text(), list(read_lock(Path()))) == (toml, ["house"])


def test_line_ends_of_windows_stay(locked, acme, alignkit):
    toml = Path("alignkit.toml")
    toml.write_bytes(b"# Ours.\r\n" + toml.read_bytes().replace(b"\n", b"\r\n"))
    acme.release("1.5.0", {})
    assert alignkit("library", "update", "acme", "--to", "v1.5.0")[0] == 0
    assert toml.read_bytes().count(b"\r\n") == toml.read_bytes().count(b"\n") == 4
    assert read_config(Path()).libraries["acme"].rev == "v1.5.0"


def test_signers_are_asked_of_what_was_locked_before(locked, alignkit):
    Path("signers").write_text("")
    Path("alignkit.toml").write_text(f'allowed_signers = "signers"\n{Path("alignkit.toml").read_text()}')
    said = "acme: not signed, and allowed_signers is set: its author runs 'alignkit library sign'\n"
    assert alignkit("library", "sync") == (2, "", said)


@pytest.mark.parametrize(
    ("key", "value"),
    [("commit", "/../../../.."), ("tree", "sha256:../../../.."), ("tree", "sha256:0")],
)
def test_a_lock_that_leads_elsewhere(locked, alignkit, key, value):
    lines = Path("alignkit.lock").read_text().splitlines()
    value = value.ljust(40, "x") if key == "commit" else value
    Path("alignkit.lock").write_text("\n".join(f'{key} = "{value}"' if one.startswith(key) else one for one in lines))
    code, _, errors = alignkit("validate", "acme:tidpo")
    assert (code, errors.count("\n"), f"libraries.acme.{key}: " in errors) == (2, 1, True)


def test_a_name_in_a_lock_that_leads_elsewhere(locked, alignkit):
    lock = Path("alignkit.lock")
    lock.write_text(lock.read_text().replace("[libraries.acme]", '[libraries."../../acme"]'))
    said = "libraries: '../../acme' is no name of a library; give a letter, then letters, digits, - and _\n"
    code, _, errors = alignkit("library", "vendor")
    assert (code, errors.partition(": ")[2]) == (2, said)


def test_a_link_in_the_place_of_our_own_files_is_not_followed(project, acme, alignkit):
    mine = project.parent / "mine.txt"
    mine.write_text("mine")
    for folder, name in ((".alignkit", ".gitignore"), ("vendor/alignkit", ".gitattributes")):
        Path(folder).mkdir(parents=True)
        Path(folder, name).symlink_to(mine)
    assert alignkit("library", "add", "acme", acme.url, "--rev", "v1.4.0")[0] == 0
    assert alignkit("library", "vendor")[0] == 0
    assert mine.read_text() == "mine"
    assert Path(".alignkit/.gitignore").read_text() == "*\n"


def test_names_that_differ_in_case_alone_are_refused(project, tmp_path, alignkit):
    """On some machines one of the two would not be there, and the copy never be what the lock says."""
    odd = Repository(tmp_path / "odd", "odd")
    odd.release("1.0", {"a.yaml": "seed: 1\n", "sub/B.yaml": "seed: 1\n", "Sub/b.yaml": "seed: 2\n"})
    said = "odd: 'Sub/b.yaml' and 'sub/B.yaml' are one file where case does not count; rename one\n"
    assert alignkit("library", "add", "odd", odd.url, "--rev", "v1.0") == (2, "", said)


def test_a_link_that_git_would_refuse_is_refused_in_a_folder(house, alignkit):
    """Or `check` would pass what nobody can add."""
    (house / "LICENCE").symlink_to(house / "a.yaml")
    said = f"{house}: 'LICENCE' is a symbolic link; a library holds plain files only\n"
    assert alignkit("library", "check", str(house), "--no-smoke") == (2, "", said)


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 5000])
def test_a_number_too_long_for_python(house, alignkit, number):
    (house / "library.toml").write_text(HOUSE.replace("schema = 1", f"schema = {number}"))
    code, _, errors = alignkit("library", "update", "house")
    assert (code, errors.count("\n"), len(errors) < 500) == (2, 1, True), errors[:600]


def test_two_at_once_wait_for_each_other(locked, acme, tmp_path, alignkit, monkeypatch):
    """Without it both would make the same copy under the same name, and the later lock would forget the earlier one."""
    monkeypatch.setattr("alignkit.libraries.store.WAIT", 0.1)
    before = Path("alignkit.lock").read_text()
    with stores.alone(locked):
        said = f"{locked}: another process is changing its libraries; wait for it and try again\n"
        for verb in (["sync"], ["update"], ["vendor"], ["add", "beta", acme.url, "--rev", "v1.4.0"]):
            assert alignkit("library", *verb) == (2, "", said)
    assert Path("alignkit.lock").read_text() == before
    assert alignkit("library", "sync")[0] == 0


def test_what_cannot_be_written_is_no_hindrance_where_nothing_has_to_be(locked, alignkit, monkeypatch):
    def refuse(*_: object) -> None:
        raise StorageError("read-only")

    monkeypatch.setattr("alignkit.libraries.store._make_home", refuse)
    assert alignkit("library", "sync", "--locked")[0] == 0


def test_a_library_has_a_bound_as_a_whole(house, alignkit, monkeypatch):
    monkeypatch.setattr("alignkit.libraries.content.MAX_TOTAL", 50)
    said = "house: more than 50 bytes together; a library has at most that many\n"
    assert alignkit("library", "update", "house") == (2, "", said)


def test_a_folder_is_named_from_the_working_folder(locked, tmp_path, alignkit, monkeypatch):
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / "library.toml").write_text(HOUSE)
    (locked / "deep").mkdir()
    monkeypatch.chdir(locked / "deep")
    assert alignkit("library", "add", "house", "path:../../house")[0] == 0
    assert read_config(locked).libraries["house"].source == "path:../house"


def test_what_is_vendored_is_what_is_locked(locked, acme, alignkit):
    assert alignkit("library", "vendor")[0] == 0
    (former,) = Path("vendor/alignkit").glob("acme@*[!n]")
    acme.release("1.5.0", {})
    assert alignkit("library", "update", "acme", "--to", "v1.5.0")[0] == 0
    code, told, _ = alignkit("library", "vendor")
    assert (code, told.splitlines()[1:]) == (0, [f"{former}: removed, not locked any more"])
    assert len(list(Path("vendor/alignkit").glob("acme@*"))) == 2  # the copy and its list
    shutil.rmtree(".alignkit")
    assert alignkit("validate", "acme:tidpo")[0] == 0


def test_a_long_version_or_package_of_a_library_is_one_bounded_line(house, alignkit):
    (house / "library.toml").write_text(HOUSE.replace("1.0", "1" * 9000))
    code, _, errors = alignkit("library", "update", "house")
    assert (code, len(errors) < 200, "version: " in errors) == (2, True, True)
    (house / "library.toml").write_text(f'{HOUSE}plugins = ["{"a" * 9000}"]\n')
    assert alignkit("library", "update", "house")[0] == 0
    code, _, errors = alignkit("validate", "house:a")
    assert (code, errors.count("\n"), len(errors) < 500) == (2, 1, True)


def test_a_copy_is_never_there_without_its_list(locked, monkeypatch):
    """What a kill between the two would leave behind could be used, but not be compared, and sync would not see it."""
    shutil.rmtree(".alignkit")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("alignkit.libraries.store.publish", killed)
    with pytest.raises(KeyboardInterrupt):
        stores.keep(locked, "acme", read_lock(locked)["acme"], {"library.toml": b""})
    assert [path.suffix for path in Path(".alignkit/libraries").glob("acme@*")] == [".json"]


def test_a_former_copy_that_is_none_any_more_does_not_hide_the_others(locked, acme, alignkit):
    acme.release("1.5.0", {"base.yaml": "# B.\nseed: 5\n"})
    (former,) = Path(".alignkit/libraries").glob("acme@*[!n]")
    assert alignkit("library", "update", "acme", "--to", "v1.5.0")[0] == 0
    (former / "link.yaml").symlink_to("base.yaml")
    assert alignkit("library", "diff", "acme", "v1.5.0") == (0, "", "")
    code, _, errors = alignkit("library", "diff", "acme", "v1.4.0")
    assert (code, errors) == (2, "acme: no copy of 'v1.4.0' is here; here are: v1.5.0; 'update' gets another\n")

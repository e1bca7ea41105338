"""Libraries that are signed with ssh keys, and projects that take no others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from alignkit.libraries.lock import read_lock


@pytest.fixture
def keys(tmp_path):
    """Two keys, of which the project allows one."""
    for name in ("ours", "theirs"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(tmp_path / name)]
        subprocess.run(command, check=True)
    return tmp_path


@pytest.fixture
def signed(project, keys, tmp_path):
    """A library in a folder, and a project that takes signed ones."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "library.toml").write_text('name = "house"\nversion = "1.0"\nschema = 1\n')
    (folder / "a.yaml").write_text("# A.\nextends: alignkit:tidpo.yaml\n")
    public = (keys / "ours.pub").read_text()
    Path("signers").write_text(f"team@example.org {public}")
    Path("alignkit.toml").write_text("allowed_signers = 'signers'\n")
    return folder


ADD = ("library", "add", "house", "path:../recipes")


def test_signed_by_one_who_may(signed, keys, alignkit, project):
    code, told, errors = alignkit("library", "sign", str(signed), "--key", str(keys / "ours"))
    assert (code, told, errors) == (0, f"{signed / 'library.sig'}: signed 2 files; commit it with them\n", "")
    assert alignkit(*ADD)[0] == 0
    assert read_lock(project)["house"].files == 3
    assert alignkit("validate", "house:a")[0] == 0
    # Signing again, with the signature among the files, is the same signature's worth.
    assert alignkit("library", "sign", str(signed), "--key", str(keys / "ours"))[0] == 0
    assert alignkit("library", "update", "house")[0] == 0


def test_not_signed(signed, alignkit):
    said = "house: not signed, and allowed_signers is set: its author runs 'alignkit library sign'\n"
    assert alignkit(*ADD) == (2, "", said)
    assert not Path("alignkit.lock").exists()


def test_signed_by_another(signed, keys, alignkit):
    alignkit("library", "sign", str(signed), "--key", str(keys / "theirs"))
    assert alignkit(*ADD) == (2, "", "house: signed by nobody whom allowed_signers names\n")


def test_edited_after_it_was_signed(signed, keys, alignkit):
    alignkit("library", "sign", str(signed), "--key", str(keys / "ours"))
    (signed / "a.yaml").write_text("# A.\nseed: 1\n")
    assert alignkit(*ADD) == (2, "", "house: its files are not those that were signed\n")


def test_a_signature_of_something_else_is_none(signed, keys, alignkit):
    """The same key signs mails and commits: those signatures are over another namespace."""
    from alignkit.libraries.content import hashes_of, read_folder, tree_of

    tree = keys / "tree"
    tree.write_text(tree_of(hashes_of(read_folder(signed, "house"))))
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", keys / "ours", "-n", "file", tree], check=True)
    (signed / "library.sig").write_bytes((keys / "tree.sig").read_bytes())
    assert alignkit(*ADD) == (2, "", "house: its files are not those that were signed\n")


def test_no_such_files(signed, keys, alignkit):
    code, _, errors = alignkit("library", "sign", str(signed), "--key", str(keys / "none"))
    assert (code, errors.count("\n"), errors.startswith(f"{signed}: ")) == (2, 1, True)
    Path("signers").unlink()
    code, _, errors = alignkit(*ADD)
    assert (code, errors) == (2, f"allowed_signers: there is no file '{Path('signers').absolute()}'\n")

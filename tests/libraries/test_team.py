"""Libraries of a team from real git repositories: declared, locked, used, updated; each thing that can go wrong is one
message."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from libraries.conftest import BASE, CHILD, Repository

from alignkit.libraries import git
from alignkit.libraries.known import Libraries
from alignkit.libraries.lock import read_lock
from alignkit.recipe.load import load_recipe

SYNC = "run 'alignkit library sync'"


def copy_of(project: Path) -> Path:
    (folder,) = (path for path in (project / ".alignkit" / "libraries").iterdir() if path.is_dir())
    return folder


def test_add_declares_locks_and_copies(locked, acme):
    commit = acme.git("rev-parse", "v1.4.0")
    assert (locked / "alignkit.toml").read_text() == f'[libraries.acme]\nsource = "{acme.url}"\nrev = "v1.4.0"\n'
    lock = read_lock(locked)["acme"]
    assert (lock.version, lock.rev, lock.commit, lock.files) == ("1.4.0", "v1.4.0", commit, 3)
    assert copy_of(locked).name == f"acme@{commit[:12]}"
    assert {path.stat().st_mode & 0o222 for path in copy_of(locked).rglob("*.yaml")} == {0}
    assert (locked / ".alignkit" / ".gitignore").read_text() == "*\n"


def test_the_tree_hash_is_over_paths_and_bytes(locked):
    """As anybody can compute it: sha256 of the sorted lines of sha256sum."""
    listing = subprocess.run(
        "find . -type f | sed 's/^..//' | LC_ALL=C sort | xargs sha256sum | sha256sum",
        shell=True,
        cwd=copy_of(locked),
        capture_output=True,
        text=True,
        check=True,
    )
    assert read_lock(locked)["acme"].tree == f"sha256:{listing.stdout.split()[0]}"


def test_recipes_of_a_library_are_used_by_name(locked):
    Path("mine.yaml").write_text("extends: acme:tidpo\nlosses.dpo.beta: 0.3\n")
    loaded = load_recipe("mine.yaml")
    assert loaded.recipe.losses[0].beta == 0.3
    assert loaded.origins["weighting.mix"] == "acme:tidpo.yaml:3"
    assert loaded.libraries == {"acme": Libraries.here().version("acme")}
    assert load_recipe("acme:tidpo").recipe.losses[0].beta == 0.1


def test_an_older_working_folder_below_the_project_sees_the_same(locked, monkeypatch):
    (locked / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(locked / "deep" / "er")
    assert load_recipe("acme:tidpo").recipe.weighting.name == "hybrid"


def test_an_update_shows_what_changes_in_each_recipe(locked, acme, alignkit):
    after = BASE.replace("0.1", "0.2")
    acme.release("1.5.0", {"base.yaml": after, "extra.yaml": "# More.\nextends: tidpo.yaml\n"})
    code, told, _ = alignkit("library", "update", "acme")
    assert code == 0
    assert "later tags: v1.5.0 (alignkit library update acme --to v1.5.0)" in told
    code, told, errors = alignkit("library", "update", "acme", "--to", "v1.5.0")
    assert (code, errors) == (0, "")
    assert told.splitlines()[1:] == [
        "  acme:base.yaml: losses.dpo.beta: 0.1 (acme:base.yaml:5) -> 0.2 (acme:base.yaml:5)",
        "  acme:extra.yaml: added",
        "  acme:tidpo.yaml: losses.dpo.beta: 0.1 (acme:base.yaml:5) -> 0.2 (acme:base.yaml:5)",
    ]
    assert 'rev = "v1.5.0"' in Path("alignkit.toml").read_text()
    assert load_recipe("acme:tidpo").recipe.losses[0].beta == 0.2
    # The older copy is still here, so that the two can be compared without a network.
    assert alignkit("library", "diff", "acme", "v1.4.0") == (1, "\n".join([*told.splitlines()[1:], ""]), "")
    assert alignkit("library", "diff", "acme", "1.5.0", "v1.5.0") == (0, "", "")


def test_a_dry_update_writes_nothing(locked, acme, alignkit):
    acme.release("1.5.0", {"tidpo.yaml": CHILD.replace("0.7", "0.9")})
    before = [Path(name).read_text() for name in ("alignkit.toml", "alignkit.lock")]
    code, told, _ = alignkit("library", "update", "acme", "--to", "v1.5.0", "--dry-run")
    assert code == 0
    assert "weighting.mix: 0.7 (acme:tidpo.yaml:3) -> 0.9 (acme:tidpo.yaml:3)" in told
    assert [Path(name).read_text() for name in ("alignkit.toml", "alignkit.lock")] == before


def test_a_moved_tag_is_reported_and_taken_only_when_asked_for(locked, acme, alignkit):
    old = acme.git("rev-parse", "v1.4.0")
    now = acme.release("1.4.0", {"tidpo.yaml": CHILD.replace("0.7", "0.6")})
    moved = (
        f"acme: tag 'v1.4.0' moved from commit {old} to {now}; a tag is meant to stay. Runs go on with the former; to "
        "take the latter: alignkit library update acme --to v1.4.0\n"
    )
    assert alignkit("library", "update") == (2, "", moved)
    assert alignkit("library", "verify", "--remote") == (2, "", moved)
    assert alignkit("library", "verify") == (0, "ok: 1 libraries, 3 files\n", "")
    shutil.rmtree(".alignkit")
    assert alignkit("library", "sync")[0] == 0  # the commit of the lock, whatever the tag says
    assert load_recipe("acme:tidpo").recipe.weighting.mix == 0.7
    assert alignkit("library", "update", "acme", "--to", "v1.4.0")[0] == 0
    assert load_recipe("acme:tidpo").recipe.weighting.mix == 0.6


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda copy: (copy / "tidpo.yaml").write_text("# Not mine.\n"), "tidpo.yaml was edited"),
        (lambda copy: (copy / "tidpo.yaml").unlink(), "tidpo.yaml is missing"),
        (lambda copy: (copy / "new.yaml").write_text("seed: 1\n"), "new.yaml was added"),
    ],
)
def test_an_edited_copy_is_refused_and_got_anew(locked, alignkit, harm, said):
    copy = copy_of(locked)
    (copy / "tidpo.yaml").chmod(0o644)
    harm(copy)
    message = f"{copy}: not what alignkit.lock says of acme 1.4.0: {said}; {SYNC} to get it anew"
    assert alignkit("validate", "acme:tidpo") == (2, "", f"'acme:tidpo': {message}\n")
    assert alignkit("library", "verify") == (2, "", f"{message}\n")
    Path("mine.yaml").write_text("\nextends: acme:tidpo\n")
    assert alignkit("show", "mine.yaml") == (2, "", f"mine.yaml:2: extends: 'acme:tidpo': {message}\n")
    assert alignkit("library", "sync")[0] == 0
    assert load_recipe("acme:tidpo").recipe.weighting.mix == 0.7


def test_a_list_that_was_edited_with_its_file_does_not_help(locked, alignkit):
    copy = copy_of(locked)
    (copy / "tidpo.yaml").chmod(0o644)
    (copy / "tidpo.yaml").write_text("# Not mine.\n")
    copy.with_name(f"{copy.name}.json").write_text("{}")
    code, _, errors = alignkit("validate", "acme:tidpo")
    assert (code, "its files are others" in errors) == (2, True)


def test_a_missing_copy_says_who_gets_it(locked, alignkit):
    shutil.rmtree(".alignkit")
    message = f"'acme:tidpo': no copy of library acme 1.4.0 is here; {SYNC}, which gets it\n"
    assert alignkit("validate", "acme:tidpo") == (2, "", message)
    assert "no copy of library acme 1.4.0 is here" in alignkit("recipes", "acme")[1]
    assert "no copy of library acme 1.4.0 is here" in alignkit("library", "list")[1]


def test_only_add_sync_and_update_look_for_the_source(locked, acme, alignkit):
    shutil.rmtree(acme.folder)
    for arguments in (["validate", "acme:tidpo"], ["show", "acme:tidpo"], ["recipes"], ["library", "list"]):
        assert alignkit(*arguments)[0] == 0
    for arguments in (["library", "show", "acme"], ["library", "verify"], ["library", "sync", "--locked"]):
        assert alignkit(*arguments)[0] == 0
    code, _, errors = alignkit("library", "update")
    assert code == 2
    assert errors == f"acme: git: '{acme.folder}' does not appear to be a git repository\n"
    shutil.rmtree(".alignkit")
    code, _, errors = alignkit("library", "sync")
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith("acme: git: ")


def test_no_git_is_one_line(locked, alignkit, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = "acme: there is no program git here, which fetches such libraries; install it\n"
    assert alignkit("library", "update") == (2, "", said)


def test_a_changed_declaration_asks_for_a_sync(locked, acme, alignkit):
    acme.release("1.5.0", {"tidpo.yaml": CHILD.replace("0.7", "0.9")})
    toml = Path("alignkit.toml")
    toml.write_text(toml.read_text().replace("v1.4.0", "v1.5.0"))
    said = f"alignkit.toml has '{acme.url} v1.5.0', alignkit.lock '{acme.url} v1.4.0'; {SYNC}"
    assert alignkit("validate", "acme:tidpo") == (2, "", f"'acme:tidpo': library 'acme': {said}\n")
    locked_only = "--locked: library 'acme' of alignkit.toml is locked from another source, rev or folder"
    assert alignkit("library", "sync", "--locked") == (2, "", f"{locked_only}; {SYNC}\n")
    assert alignkit("library", "sync")[0] == 0
    assert load_recipe("acme:tidpo").recipe.weighting.mix == 0.9
    assert alignkit("library", "sync", "--locked")[0] == 0


def test_a_library_that_is_declared_and_not_locked(project, acme, alignkit):
    Path("alignkit.toml").write_text(f'[libraries.acme]\nsource = "{acme.url}"\nrev = "v1.4.0"\n')
    assert alignkit("run", "acme:tidpo") == (2, "", f"'acme:tidpo': library 'acme' is not in alignkit.lock; {SYNC}\n")
    said = f"--locked: library 'acme' of alignkit.toml is not in alignkit.lock; {SYNC}\n"
    assert alignkit("library", "sync", "--locked") == (2, "", said)
    assert not Path(".alignkit/libraries").exists()


def test_a_library_that_is_not_declared_any_more_leaves_the_lock(locked, alignkit):
    Path("alignkit.toml").write_text("")
    code, _, errors = alignkit("library", "sync", "--locked")
    assert (code, errors) == (2, f"--locked: alignkit.lock would change for acme; {SYNC}\n")
    assert alignkit("library", "sync") == (0, "acme: not needed any more; taken out of alignkit.lock\n", "")
    assert read_lock(locked) == {}


@pytest.mark.parametrize(
    ("rev", "said"),
    [
        ("main", "rev 'main' is a branch, which moves; give a tag or a commit (it is {head})"),
        ("v9", "no tag 'v9' in {url}; its tags: v1.4.0"),
        ("{short}", "rev '{short}' is a part of a commit; give all 40 hex digits"),
        ("--upload-pack=x", "rev '--upload-pack=x' is neither a tag nor a commit of 40 hex digits"),
        ("a..b", "rev 'a..b' is neither a tag nor a commit of 40 hex digits"),
        ("0" * 40, "commit " + "0" * 40 + " is not in {url}"),
    ],
)
def test_a_revision_is_a_tag_or_a_commit(project, acme, alignkit, rev, said):
    head = acme.git("rev-parse", "HEAD")
    known = {"head": head, "short": head[:10], "url": acme.folder.as_uri()}
    code, out, errors = alignkit("library", "add", "acme", acme.url, f"--rev={rev.format(**known)}")
    assert (code, out, errors) == (2, "", f"acme: {said.format(**known)}\n")
    assert not Path("alignkit.toml").exists()


def test_a_commit_does_as_well_as_a_tag(project, acme, alignkit):
    first = acme.git("rev-parse", "HEAD")
    acme.release("1.5.0", {})
    assert alignkit("library", "add", "acme", acme.url, "--rev", first)[0] == 0
    assert (read_lock(project)["acme"].commit, read_lock(project)["acme"].version) == (first, "1.4.0")


def test_an_annotated_tag_is_its_commit(project, acme, alignkit):
    acme.git("tag", "-a", "release", "-m", "one")
    assert alignkit("library", "add", "acme", acme.url, "--rev", "release")[0] == 0
    assert read_lock(project)["acme"].commit == acme.git("rev-parse", "HEAD")


def test_a_folder_of_a_repository(project, tmp_path, alignkit):
    whole = Repository(tmp_path / "whole", "whole")
    whole.release("1.0", {})
    (whole.folder / "library.toml").unlink()
    (whole.folder / "inner").mkdir()
    (whole.folder / "inner" / "library.toml").write_text('name = "inner"\nversion = "2.0"\nschema = 1\n')
    (whole.folder / "inner" / "a.yaml").write_text("# A.\nseed: 3\n")
    (whole.folder / "outer.yaml").write_text("seed: 4\n")
    whole.git("add", "-A")
    whole.git("commit", "-q", "-m", "inner")
    commit = whole.git("rev-parse", "HEAD")
    assert alignkit("library", "add", "inner", whole.url, "--rev", commit, "--folder", "inner")[0] == 0
    assert [path.name for path in sorted(copy_of(project).iterdir())] == ["a.yaml", "library.toml"]
    code, _, errors = alignkit("library", "add", "other", whole.url, "--rev", commit, "--folder", "../x")
    assert (code, errors) == (2, "library 'other': folder: expected a folder below the source, got '../x'\n")


def test_nothing_but_recipes_and_text_is_copied(project, acme, alignkit):
    acme.release("2.0", {"run.py": "raise SystemExit", ".hidden/a.yaml": "seed: 1\n", "data/t.jsonl": "{}\n"})
    assert alignkit("library", "add", "acme", acme.url, "--rev", "v2.0")[0] == 0
    found = {path.relative_to(copy_of(project)).as_posix() for path in copy_of(project).rglob("*") if path.is_file()}
    assert found == {"library.toml", "base.yaml", "tidpo.yaml", "data/t.jsonl"}


@pytest.mark.parametrize("target", ["../../secret.yaml", "/etc/passwd", "base.yaml"])
def test_a_symbolic_link_is_refused(project, acme, alignkit, target):
    (acme.folder / "link.yaml").symlink_to(target)
    acme.release("2.0", {})
    code, _, errors = alignkit("library", "add", "acme", acme.url, "--rev", "v2.0")
    assert (code, errors) == (2, "acme: 'link.yaml' is a symbolic link; a library holds plain files only\n")
    assert not Path("alignkit.lock").exists()


def test_limits_of_files(project, acme, alignkit, monkeypatch):
    acme.release("2.0", {"large.yaml": "#" * (2**20 + 1)})
    code, _, errors = alignkit("library", "add", "acme", acme.url, "--rev", "v2.0")
    said = "acme: 'large.yaml' has 1,048,577 bytes; a file of a library has at most 1,048,576\n"
    assert (code, errors) == (2, said)
    monkeypatch.setattr("alignkit.libraries.content.MAX_FILES", 2)
    code, _, errors = alignkit("library", "add", "acme", acme.url, "--rev", "v1.4.0")
    assert (code, errors) == (2, "acme: more than 2 files; a library has at most that many\n")


def test_a_pointer_of_lfs_is_no_file(project, acme, alignkit):
    acme.release("2.0", {"d.jsonl": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"})
    code, _, errors = alignkit("library", "add", "acme", acme.url, "--rev", "v2.0")
    assert (code, errors) == (2, "acme: 'd.jsonl' is a pointer of Git LFS, not the file; commit the file itself\n")


def test_hooks_and_filters_of_a_repository_do_not_run(project, acme, alignkit, tmp_path):
    """Nothing is checked out: no smudge filter, no hook, whatever the repository or a template asks for."""
    (acme.folder / ".gitattributes").write_text("*.yaml filter=evil\n")
    acme.git("config", "filter.evil.smudge", f"touch {tmp_path / 'ran'}")
    acme.release("2.0", {})
    (tmp_path / "ran").unlink(missing_ok=True)  # of the author's own commit
    assert alignkit("library", "add", "acme", acme.url, "--rev", "v2.0")[0] == 0
    assert not (tmp_path / "ran").exists()


def test_git_of_another_repository_is_not_met(locked, acme, alignkit, monkeypatch):
    """As inside a hook, where git points every git at its own repository."""
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_WORK_TREE", "/nowhere")
    shutil.rmtree(".alignkit")
    assert alignkit("library", "sync")[0] == 0


def test_a_server_that_gives_no_single_commits(acme, monkeypatch):
    """The tag is fetched then; and all else, where it moved on."""
    asked = []
    real = git._git

    def stubborn(arguments, where, given=b""):
        if "fetch" in arguments and len(arguments[-1]) == 40:
            asked.append(arguments[-1])
            raise git.LibraryError("acme: git: server does not allow request for unadvertised object")
        return real(arguments, where, given)

    monkeypatch.setattr(git, "_git", stubborn)
    first = acme.git("rev-parse", "HEAD")
    url = acme.folder.as_uri()
    assert set(git.files_of(url, first, "v1.4.0", "", "acme")) == {"library.toml", "base.yaml", "tidpo.yaml"}
    acme.release("1.4.0", {"more.yaml": "seed: 1\n"})
    assert "more.yaml" not in git.files_of(url, first, "v1.4.0", "", "acme")
    assert asked == [first, first]


def test_tags_are_in_the_order_of_versions():
    refs = {f"refs/tags/{name}": "0" for name in ("v1.10.0", "v1.9.0", "v1.9.0-rc1", "v2", "first")}
    assert git.tags_of(refs) == ["first", "v1.9.0", "v1.9.0-rc1", "v1.10.0", "v2"]


def test_vendored_copies_serve_without_the_others(locked, alignkit):
    key = read_lock(locked)["acme"].key
    assert alignkit("library", "vendor") == (0, f"acme: vendor/alignkit/acme@{key}\n", "")
    shutil.rmtree(".alignkit")
    assert load_recipe("acme:tidpo").recipe.weighting.mix == 0.7
    assert Path("vendor/alignkit/.gitattributes").read_text() == "* -text\n"
    assert not list(Path("vendor").rglob(".gitignore"))


def test_the_lock_is_the_same_text_whoever_writes_it(locked, acme, tmp_path, alignkit):
    house = Repository(tmp_path / "house", "house")
    house.release("0.1", {})
    alignkit("library", "add", "house", house.url, "--rev", "v0.1")
    text = Path("alignkit.lock").read_text()
    Path("alignkit.lock").unlink()
    toml = Path("alignkit.toml")
    toml.write_text("\n".join(reversed(toml.read_text().split("\n\n"))))
    alignkit("library", "sync")
    assert Path("alignkit.lock").read_text() == text

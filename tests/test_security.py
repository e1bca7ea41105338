"""Recipes and libraries are data: reading them runs nothing, opens what it must, writes nothing and ends in a line.

A corpus of hostile files is read by every command that reads recipes, in one process under an audit hook, which sees
every file that is opened, every module imported, every process and socket. What a user trusts (installed plugins, the
packages alignkit is made of) is not under test here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import alignkit

PACKAGE = Path(alignkit.__file__).parents[1]
GOOD = "extends: alignkit:tidpo.yaml\n"
LONGEST = 500
"""Characters of a message's line."""

SECRET = "TOP-SECRET-CONTENT"

YAML = {
    "aliases.yaml": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "anchor_in_itself.yaml": "data: &a {train: *a}\n",
    "deep.yaml": "[" * 100_000,
    "deep_keys.yaml": "".join(" " * i + f"k{i}:\n" for i in range(3_000)),
    "python_object.yaml": "model: !!python/object/apply:os.system ['touch ran']\n",
    "python_name.yaml": "seed: !!python/name:os.system\n",
    "own_tag.yaml": "data: !include /etc/passwd\n",
    "merge_key.yaml": "base: &b {seed: 1}\n<<: *b\n",
    "jinja.yaml": GOOD + "data: {train: '{{ self.__init__.__globals__ }}'}\n",
    "environment.yaml": GOOD + "data: {train: '${SECRET_OF_TEST}'}\nmodel: {name: pretrained, path: $SECRET_OF_TEST}\n",
    "shell.yaml": GOOD + "data.train: '| touch ran'\n",
    "number.yaml": "seed: " + "9" * 250_000 + "\n",
    "escapes.yaml": '"\\e[2J\\e]0;owned\\a": "\\e[31m\\u202e"\nlosses: "\\e[1A"\n',
    "escape_raw.yaml": "seed: \x1b[2J\n",
    "nul.yaml": "seed: \0\n",
    "line_separator.yaml": "seed: 1 # \u2028weighting: uniform\n",
    "forged.yaml": GOOD + 'data: {train: "a\\nok: forged.yaml: all is well"}\n',
    "not_utf8.yaml": b"seed: \xff\xfe\n",
    "binary.yaml": bytes(range(256)) * 64,
    "huge.yaml": "#" * 5_000_000,
    "long_key.yaml": "x" * 200_000 + ": 1\n",
    "many_keys.yaml": "".join(f"key{i}: 1\n" for i in range(15_000)),
    "many_losses.yaml": GOOD + "losses: [" + "dpo, " * 10_000 + "]\n",
    "long_name.yaml": GOOD + "weighting: " + "a" * 100_000 + "\n",
    "passwd.yaml": "extends: /etc/passwd\n",
    "private.yaml": "extends: outside.txt\n",
    "proc.yaml": "extends: /proc/self/environ\n",
    "zero.yaml": "extends: /dev/zero\n",
    "pipe.yaml": "extends: pipe\n",
    "url.yaml": "extends: https://example.com/r.yaml\n",
    "circle.yaml": "extends: circle.yaml\n",
    "fan.yaml": f"extends: [{', '.join(['good.yaml'] * 5_000)}]\n",
    "link_out.yaml": "extends: link\n",
    "drive.yaml": "extends: 'C:\\Windows\\win.ini'\n",
    "up.yaml": "extends: ../../../../../../../../../../etc/hostname\n",
    "plugin.yaml": GOOD + "weighting: {name: acme_evil_plugin.module:Class}\n",
    "dotted.yaml": GOOD + ".".join(["a"] * 10_000) + ": 1\n",
    "dunder.yaml": GOOD + "__class__: {__init__: 1}\nmodel.__dict__.x: 1\n",
    "requires.yaml": GOOD + "requires: ['x; import os', 'pip @ https://example.com/x.whl', 'no-such-package-here']\n",
    "later.yaml": GOOD + "schema: 99999999999999999999\n",
    "stage.yaml": GOOD + "stages: {'../../x': {seed: 1}, a: {extends: /etc/passwd}}\n",
    "path.yaml": GOOD + "data.train: path:../../etc/passwd\n",
    "of_library.yaml": "extends: acme:../../secret.yaml\n",
    "of_library_links.yaml": "extends: acme:link.yaml\n",
    "in_library.yaml": "extends: acme:out.yaml\n",
    "of_no_library.yaml": "extends: " + "q" * 60 + ":x.yaml\n",
}

NAMED = ("/etc/passwd", "/proc/self/environ", "/etc/hostname")
"""What a user's own recipe may name; nothing in it is a recipe, and nothing of it is repeated."""

TOML = (
    "[libraries.x_y]\nsource = 'git+ext::sh -c touch% ran'\nrev = 'v1'\n",
    "[libraries.x_y]\nsource = 'git+https://--upload-pack=touch ran/'\nrev = '--exec=x'\n",
    "[libraries.'../../x']\nsource = 'path:/'\n",
    "a = " + "[" * 50_000,
    "[paths]\n" + "".join(f"p{i} = 'x'\n" for i in range(40_000)),
    "[libraries.x_y]\nsource = 'path:" + "x" * 100_000 + "'\nevil = 1\n",
    "\x1b[2J = 1\n",
)


SETTINGS = (
    "seed=!!python/object/apply:os.system ['touch ran']",
    "model=" + "[" * 9_000,
    "x" * 100_000 + "=1",
    "data.train=\x1b[2J",
)
CALM = (
    ["validate", "good.yaml", "acme:fine"],
    ["show", "acme:fine", "--origin"],
    ["diff", "good.yaml", "acme:fine"],
    ["list"],
    ["recipes"],
    ["recipes", "acme", "--json"],
    ["library", "list"],
    ["library", "show", "acme"],
    ["library", "verify"],
    ["describe", "weighting", "hybrid"],
)
"""Commands that have nothing to complain of."""

WARM = (*CALM, ["validate", "no-such.yaml"], ["validate", "good.yaml", "--set", "sede=1"], ["describe", "loss", "dpo"])
LINKED = (["validate", "acme:link"], ["show", "acme:fine"], ["recipes", "acme"])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a library, a secret beside it, and the corpus."""
    folder = tmp_path_factory.mktemp("hostile")
    project = folder / "project"
    (project / ".git").mkdir(parents=True)
    (folder / "secret.yaml").write_text(f"{SECRET}: 1\n")
    (project / "good.yaml").write_text(GOOD)
    (project / "outside.txt").write_text(f"{SECRET}\n" * 3)
    (project / "link").symlink_to("/etc/passwd")
    os.mkfifo(project / "pipe")
    for name, text in YAML.items():
        (project / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    library = folder / "acme"
    library.mkdir()
    (library / "library.toml").write_text('name = "acme"\nversion = "1"\nschema = 1\n')
    (library / "fine.yaml").write_text(f"# Fine.\n{GOOD}")
    (library / "out.yaml").write_text(f"# Out.\n{GOOD}data.train: /etc/passwd\n")
    (library / "up.yaml").write_text("# Up.\nextends: ../secret.yaml\n")
    command = [sys.executable, "-m", "alignkit", "library", "add", "acme", f"path:{library}"]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    linked = folder / "linked"  # a copy of the library with a link out of it
    linked.mkdir()
    shutil.copytree(project / ".alignkit", linked / ".alignkit")
    for name in ("alignkit.toml", "alignkit.lock", "good.yaml"):
        shutil.copy(project / name, linked)
    (copy,) = (path for path in (linked / ".alignkit" / "libraries").iterdir() if path.is_dir())
    (copy / "link.yaml").symlink_to(folder / "secret.yaml")
    for number, text in enumerate(TOML):
        (folder / f"toml{number}").mkdir()
        (folder / f"toml{number}" / "alignkit.toml").write_text(text)
        (folder / f"toml{number}" / "good.yaml").write_text(GOOD)
    return project


@pytest.fixture(scope="module")
def watched(project):
    """Folder and command -> what it did; all of them in one process."""
    commands = [(project, [verb, name]) for name in YAML for verb in ("validate", "show")]
    commands += [(project, ["diff", name, "good.yaml"]) for name in YAML]
    commands += [(project, ["validate", "good.yaml", "--set", one]) for one in SETTINGS]
    commands += [(project, command) for command in (*CALM, ["validate", "acme:up"])]
    commands += [(project.with_name("linked"), command) for command in LINKED]
    commands += [(project.with_name(f"toml{number}"), ["validate", "good.yaml"]) for number in range(len(TOML))]
    request, answer = project.parent / "request.json", project.parent / "answer.json"
    given = [[(str(project), command) for command in WARM], *((str(folder), command) for folder, command in commands)]
    request.write_text(json.dumps(given))
    before = state_of(project)
    script = Path(__file__).with_name("watched_commands.py")
    environment = os.environ | {"SECRET_OF_TEST": SECRET}
    done = subprocess.run([sys.executable, script, request, answer], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert state_of(project) == before, "nothing is written"
    results = json.loads(answer.read_text())
    return {(folder.name, *command): result for (folder, command), result in zip(commands, results, strict=True)}


def state_of(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def is_ours(path: str, project: Path) -> bool:
    """Whether a file is one that a command may read: the project's, alignkit's, or Python's own."""
    if path.startswith("<") or path.isdigit():
        return True
    homes = (project.parent, PACKAGE, Path(sys.prefix), Path(sys.base_prefix), Path(os.__file__).parent)
    resolved = Path(path).resolve()
    return any(resolved.is_relative_to(home.resolve()) for home in homes) and resolved.name != "secret.yaml"


def refused(result: dict) -> list[str]:
    """The lines of a refusal, of which there are few, none of them long or able to move a cursor."""
    lines = [line for line in result["errors"].split("\n") if line]
    assert (result["code"], bool(lines)) == (2, True), result["out"][:300]
    assert max(map(len, lines)) <= LONGEST, max(lines, key=len)
    assert len(lines) <= 51
    assert all(line.isprintable() for line in lines)
    assert result["seconds"] < 1
    assert SECRET not in result["errors"] + result["out"]
    return lines


@pytest.mark.parametrize("name", YAML)
def test_a_hostile_recipe(watched, project, name):
    for command in (("validate", name), ("show", name), ("diff", name, "good.yaml")):
        result = watched["project", *command]
        assert not any(line.startswith("ok:") for line in refused(result))
        for event, *what in result["events"]:
            if event == "read":
                assert is_ours(what[0], project) or os.path.abspath(what[0]) in NAMED, what
            else:
                assert event == "import", what
                assert "evil" not in what[0]
    assert not (project / "ran").exists()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda text: text[:20])
def test_a_hostile_setting(watched, setting):
    refused(watched["project", "validate", "good.yaml", "--set", setting])


@pytest.mark.parametrize("command", CALM, ids=" ".join)
def test_reading_writes_nothing_and_asks_nobody(watched, project, command):
    result = watched["project", *command]
    assert result["code"] == 0, result["errors"]
    assert {event for event, *_ in result["events"]} <= {"read", "import"}
    assert all(is_ours(what, project) for event, what in result["events"] if event == "read")


@pytest.mark.parametrize("number", range(len(TOML)))
def test_a_hostile_project_file(watched, number):
    """alignkit.toml may come with a repository: it is data as well."""
    result = watched[f"toml{number}", "validate", "good.yaml"]
    assert {event for event, *_ in result["events"]} <= {"read", "import"}
    if result["code"]:
        assert len(refused(result)) == 1


@pytest.mark.parametrize("command", LINKED, ids=" ".join)
def test_a_copy_with_a_link_out_of_it_is_not_read(watched, project, command):
    result = watched["linked", *command]
    told = result["errors"] + result["out"]
    assert SECRET not in told
    assert "'link.yaml' is a symbolic link; a library holds plain files only" in told
    assert all(is_ours(what, project) for event, what in result["events"] if event == "read")


def test_a_library_cannot_reach_what_lies_beside_it(watched):
    (line,) = refused(watched["project", "validate", "acme:up"])
    said = "'../secret.yaml': a recipe of acme is named by its path below their folder, without '..'"
    assert line == f"acme:up.yaml:2: extends: {said}"

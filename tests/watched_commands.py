"""Runs command lines with an audit hook and prints what each did; see test_security.py.

A line of JSON for each command: exit code, seconds of processor time, stdout, stderr, and events: files that it opened,
modules that it imported, and whatever else reaches beyond the process.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from alignkit.cli import main

WATCHED = ("socket.", "subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "ctypes.dlopen")
CHANGES = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.link",
    "os.symlink",
    "os.truncate",
    "shutil.",
)

events: list[list[str]] = []


def watch(event: str, arguments: tuple) -> None:
    if event == "open":
        path, _, flags = arguments
        writes = bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
        events.append(
            ["write" if writes else "read", os.fsdecode(path) if isinstance(path, str | bytes) else str(path)]
        )
    elif event == "import":
        events.append(["import", str(arguments[0])])
    elif event.startswith((*WATCHED, *CHANGES)):
        events.append([event, *map(repr, arguments)])


def told(folder: str, command: list[str]) -> dict:
    os.chdir(folder)
    out, errors = io.StringIO(), io.StringIO()
    events.clear()
    begun = time.process_time()
    code: object = None
    with redirect_stdout(out), redirect_stderr(errors):
        try:
            main(command)
        except SystemExit as stop:
            code = stop.code
    seconds = time.process_time() - begun
    found = [list(event) for event in events]
    return {"code": code, "seconds": seconds, "out": out.getvalue(), "errors": errors.getvalue(), "events": found}


warm, *commands = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
for folder, command in warm:
    told(folder, command)  # what any command imports is imported now
sys.addaudithook(watch)
results = [told(folder, command) for folder, command in commands]
Path(sys.argv[2]).write_text(json.dumps(results), encoding="utf-8")

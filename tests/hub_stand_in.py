"""A Hub on this machine: what the client libraries ask of it to load a repository or to commit small files."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_of_the_stand_in"
COMMIT = "c0ffee" * 6 + "abcd"
OLDER = "decaf0" * 6 + "abcd"

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and content."""


@dataclass(frozen=True)
class Stored:
    """A repository to load from.

    Attributes:
        refs: branch or tag -> commit.
        commits: commit -> name of a file -> its content.
    """

    refs: dict[str, str]
    commits: dict[str, dict[str, bytes]]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files of a revision."""
        commit = self.refs.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None


@dataclass
class StandIn:
    """What it was told.

    Attributes:
        endpoint: where it listens.
        repos: id -> what was asked when it was made.
        branches: (id, branch) that were made.
        commits: (id, branch, name of a file -> its content).
        refusal: (status, message) of the answer to every commit; None accepts them.
        stored: `models/owner/name` or `datasets/owner/name` -> what is there.
    """

    endpoint: str = ""
    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    branches: list[tuple[str, str]] = field(default_factory=list)
    commits: list[tuple[str, str, dict[str, bytes]]] = field(default_factory=list)
    refusal: tuple[int, str] | None = None
    stored: dict[str, Stored] = field(default_factory=dict)

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer to a POST."""
        match path.split("?")[0].strip("/").split("/"):
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                is_there = name in self.repos
                self.repos.setdefault(name, asked)
                return 409 if is_there else 200, {"url": f"{self.endpoint}/{name}"}
            case ["api", "validate-yaml"]:
                head = json.loads(body)["content"].split("---\n")[1]
                return 200, {"errors": [], "warnings": [] if yaml.safe_load(head)["tags"] else [{"message": "no tags"}]}
            case ["api", "models", owner, name, "branch", branch]:
                self.branches.append((f"{owner}/{name}", branch))
                return 200, {}
            case ["api", "models", _, _, "preupload", _]:
                files = [file["path"] for file in json.loads(body)["files"]]
                return 200, {"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in files]}
            case ["api", "models", owner, name, "commit", branch]:
                if self.refusal:
                    return self.refusal[0], {"error": self.refusal[1]}
                lines = [json.loads(line) for line in body.splitlines()]
                files = {
                    line["value"]["path"]: base64.b64decode(line["value"]["content"])
                    for line in lines
                    if line["key"] == "file"
                }
                self.commits.append((f"{owner}/{name}", branch, files))
                url = f"{self.endpoint}/{owner}/{name}/commit/{COMMIT}"
                return 200, {"commitUrl": url, "commitOid": COMMIT}
        return 404, {"error": f"the stand-in knows no {path}"}

    def give(self, path: str) -> Answer:
        """The answer to a GET."""
        parts = unquote(urlsplit(path).path).strip("/").split("/")
        match parts if parts[0] in ("api", "datasets") else ["models", *parts]:
            case ["api", kind, owner, name, "revision", revision]:
                if (found := self._at(f"{kind}/{owner}/{name}", revision)) is None:
                    return _missing("RevisionNotFound")
                files = [{"rfilename": name} for name in found[1]]
                return _json({"id": f"{owner}/{name}", "sha": found[0], "private": False, "siblings": files})
            case ["api", kind, owner, name, "tree", revision]:
                if (found := self._at(f"{kind}/{owner}/{name}", revision)) is None:
                    return _missing("RevisionNotFound")
                files = found[1].items()
                return _json([{"type": "file", "path": p, "size": len(c), "oid": _digest(c)} for p, c in files])
            case [kind, owner, name, "resolve", revision, *path]:
                if (found := self._at(f"{kind}/{owner}/{name}", revision)) is None:
                    return _missing("RevisionNotFound")
                content = found[1].get("/".join(path))
                commit = {"X-Repo-Commit": found[0]}
                if content is None:
                    return _missing("EntryNotFound", commit)
                return 200, commit | {"ETag": f'"{_digest(content)}"'}, content
        return _missing("EntryNotFound")

    def _at(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        return self.stored[name].at(revision) if name in self.stored else None


def _json(value: object) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _missing(code: str, headers: dict[str, str] | None = None) -> Answer:
    return 404, (headers or {}) | {"X-Error-Code": code}, b"{}"


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A stand-in that listens while it is entered."""
    hub = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            status, value = hub.answer(self.path, body) if is_known else (401, {"error": "Invalid credentials"})
            self.reply(status, *_json(value)[1:])

        def do_GET(self) -> None:
            self.reply(*hub.give(self.path))

        def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            """Tells nobody."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()

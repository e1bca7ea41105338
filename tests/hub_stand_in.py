"""A Hub on this machine: as much of it as the client library asks for when one commit of small files is uploaded."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_of_the_stand_in"
COMMIT = "c0ffee" * 6 + "abcd"


@dataclass
class StandIn:
    """What it was told.

    Attributes:
        endpoint: where it listens.
        repos: id -> what was asked when it was made.
        branches: (id, branch) that were made.
        commits: (id, branch, name of a file -> its content).
        refusal: (status, message) of the answer to every commit; None accepts them.
    """

    endpoint: str = ""
    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    branches: list[tuple[str, str]] = field(default_factory=list)
    commits: list[tuple[str, str, dict[str, bytes]]] = field(default_factory=list)
    refusal: tuple[int, str] | None = None

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


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A stand-in that listens while it is entered."""
    hub = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            status, value = hub.answer(self.path, body) if is_known else (401, {"error": "Invalid credentials"})
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *arguments: object) -> None:
            """Tells nobody."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()

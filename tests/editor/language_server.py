"""A client of the real yaml-language-server: what an editor asks of it about a recipe, and what it says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VERSION = "1.25.0"
"""Of the npm package."""

CURSOR = "|"


class LanguageServer:
    """One server process and the documents opened in it.

    Args:
        process: the server, speaking JSON-RPC over stdin and stdout.
        folder: where the documents lie, as far as the server knows.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self.folder = folder
        self._asked = 0
        self._opened = 0
        self._settings: dict[str, Any] = {}
        self._published: dict[str, list[dict[str, Any]]] = {}
        capabilities = {
            "textDocument": {
                "completion": {"completionItem": {"documentationFormat": ["markdown"], "snippetSupport": True}},
                "hover": {"contentFormat": ["markdown"]},
                "publishDiagnostics": {},
            },
            "workspace": {"configuration": True, "didChangeConfiguration": {}},
        }
        self._ask("initialize", processId=None, rootUri=folder.as_uri(), capabilities=capabilities)
        self._tell("initialized")

    def complete(self, text: str) -> dict[str, str]:
        """What is offered where the cursor (`|`) is: label -> documentation."""
        found = self._at_cursor("textDocument/completion", text)
        return {item["label"]: _words(item.get("documentation", "")) for item in found["items"]}

    def hover(self, text: str) -> str:
        """What is shown over the character after the cursor (`|`)."""
        found = self._at_cursor("textDocument/hover", text)
        return _words(found["contents"]) if found else ""

    def diagnose(self, text: str) -> list[tuple[int, str]]:
        """Line (from 1) and message of all that the server finds wrong."""
        uri = self._open(text)
        while uri not in self._published:
            self._receive()
        return [(found["range"]["start"]["line"] + 1, found["message"]) for found in self._published[uri]]

    def _at_cursor(self, method: str, text: str) -> Any:
        before, _, after = text.partition(CURSOR)
        lines = before.split("\n")
        uri = self._open(before + after)
        position = {"line": len(lines) - 1, "character": len(lines[-1])}
        return self._ask(method, textDocument={"uri": uri}, position=position)

    def _open(self, text: str) -> str:
        self._opened += 1
        uri = (self.folder / f"{self._opened}.yaml").as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._tell("textDocument/didOpen", textDocument=document)
        return uri

    def _ask(self, method: str, **params: object) -> Any:
        self._asked += 1
        self._send(id=self._asked, method=method, params=params)
        while True:
            message = self._receive()
            if message.get("id") == self._asked and "method" not in message:
                assert "error" not in message, message
                return message["result"]

    def _tell(self, method: str, **params: object) -> None:
        self._send(method=method, params=params)

    def _receive(self) -> dict[str, Any]:
        """The next message; what the server itself asks of an editor is answered."""
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        assert length, "the server has ended"
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        if message.get("method") == "textDocument/publishDiagnostics":
            self._published[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            items = message["params"].get("items", []) if message["method"] == "workspace/configuration" else None
            result = None if items is None else [{} for _ in items]
            self._send(id=message["id"], result=result)
        return message

    def _send(self, **message: object) -> None:
        assert self._process.stdin is not None
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(content), content))
        self._process.stdin.flush()


@contextmanager
def language_server(modules: Path, folder: Path) -> Iterator[LanguageServer]:
    """A running server, installed below `modules`, that believes its documents to lie in `folder`."""
    main = modules / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
    command = ["node", str(main), "--stdio"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder) as process:
        try:
            yield LanguageServer(process, folder)
        finally:
            process.kill()


def _words(contents: str | dict[str, str]) -> str:
    return contents if isinstance(contents, str) else contents["value"]

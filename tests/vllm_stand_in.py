"""A server on this machine that answers what alignkit asks of vLLM, by the same rules, with a tiny model.

Routes, fields and what they mean are those of vLLM 0.30 to 0.33; a model is loaded from the folder that it is told.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import peft
import torch
import transformers


@dataclass
class StandIn:
    """What it serves, and what it was told.

    Attributes:
        base: the model it was started with.
        url: where it listens.
        mode: `--logprobs-mode`.
        asked: (route, body, Authorization header) of each request.
        answers: route -> (status, content) that is given in the place of a true answer.
        adapters: name -> model.
        stall: set to let `/v1/completions` go on; None does not wait.
    """

    base: transformers.PreTrainedModel
    url: str = ""
    mode: str = "processed_logprobs"
    asked: list[tuple[str, dict[str, Any], str | None]] = field(default_factory=list)
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    adapters: dict[str, Any] = field(default_factory=dict)
    stall: threading.Event | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def bodies(self, route: str) -> list[dict[str, Any]]:
        """What was posted to a route."""
        return [body for asked, body, _ in self.asked if asked == route]

    def answer(self, route: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """Status and content."""
        if route in self.answers:
            return self.answers[route]
        if route == "/v1/completions" and self.stall is not None:
            self.stall.wait(10)
        reply = {
            "/v1/models": self.models,
            "/v1/completions": self.complete,
            "/v1/load_lora_adapter": self.load_adapter,
            "/v1/unload_lora_adapter": self.unload_adapter,
            "/collective_rpc": self.reload,
        }[route](body)
        return (404, _refusal(reply)) if isinstance(reply, str) else (200, json.dumps(reply).encode())

    def models(self, body: dict[str, Any]) -> dict[str, Any]:
        cards = [{"id": "tiny", "parent": None, "root": "x"}]
        return {"object": "list", "data": cards + [{"id": name, "parent": "tiny"} for name in self.adapters]}

    def load_adapter(self, body: dict[str, Any]) -> dict[str, Any] | str:
        folder = Path(body["lora_path"])
        if not (folder / "adapter_config.json").is_file():
            return f"No adapter found for {folder}"
        with self.lock:
            self.adapters[body["lora_name"]] = peft.PeftModel.from_pretrained(copy.deepcopy(self.base), folder).eval()
        return {}

    def unload_adapter(self, body: dict[str, Any]) -> dict[str, Any] | str:
        return {} if self.adapters.pop(body["lora_name"], None) else "The lora adapter cannot be found."

    def reload(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["method"] == "reload_weights"
        with self.lock:
            folder = body["kwargs"]["weights_path"]
            self.base = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        return {"results": [None]}

    def complete(self, body: dict[str, Any]) -> dict[str, Any] | str:
        model = self.base if body["model"] == "tiny" else self.adapters.get(body["model"])
        if model is None:
            return f"The model `{body['model']}` does not exist."
        with self.lock:
            ids, logps = self.draw(model, body)
        choice = {
            "index": 0,
            "text": "...",
            "finish_reason": "stop" if ids[-1] in body["stop_token_ids"] else "length",
            "token_ids": ids if body["return_token_ids"] else None,
            "logprobs": {"tokens": ["?"] * len(ids), "token_logprobs": logps, "top_logprobs": [{}] * len(ids)},
        }
        return {"object": "text_completion", "choices": [choice]}

    @torch.no_grad()
    def draw(self, model: Any, body: dict[str, Any]) -> tuple[list[int], list[float]]:
        """Ids, the end token among them, and log-probs of `mode`."""
        generator = torch.Generator().manual_seed(body["seed"])
        ids, logps = list(body["prompt"]), []
        for _ in range(body["max_tokens"]):
            raw_V = model(input_ids=torch.tensor([ids])).logits[0, -1].float()
            drawn_V = raw_V / body["temperature"]
            if "allowed_token_ids" in body:
                allowed = torch.tensor(body["allowed_token_ids"])
                drawn_V = torch.full_like(drawn_V, -torch.inf).index_copy(0, allowed, drawn_V[allowed])
            token = int(torch.multinomial(drawn_V.softmax(-1), 1, generator=generator))
            ids.append(token)
            logps.append(float((drawn_V if self.mode == "processed_logprobs" else raw_V).log_softmax(-1)[token]))
            if token in body["stop_token_ids"]:
                break
        return ids[len(body["prompt"]) :], logps


def _refusal(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "NotFoundError", "param": None, "code": 404}}).encode()


@contextmanager
def serving(base: transformers.PreTrainedModel) -> Iterator[StandIn]:
    """A server that runs as long as the block does."""
    stand_in = StandIn(base)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _reply(self, body: dict[str, Any]) -> None:
            stand_in.asked.append((self.path, body, self.headers["Authorization"]))
            status, content = stand_in.answer(self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(ConnectionError):  # who asked may have gone
                self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

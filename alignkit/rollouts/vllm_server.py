"""What a vLLM server is asked over HTTP, and what it must answer.

Read in the sources of vLLM 0.30.0 and 0.33.0, where these routes and fields are the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alignkit.errors import ServerError, printable, shown

LARGEST_ANSWER = 64 * 2**20
"""Bytes; a response of 131,072 tokens has some 15 million."""

LONGEST_MESSAGE = 500
"""Most characters of what the server says of a refusal; vLLM's reasons have some hundred."""

START = "start it with: vllm serve MODEL --logprobs-mode processed_logprobs"
FOR_ADAPTERS = (
    "the server must see that folder and be started with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, --enable-lora and a "
    "--max-lora-rank of at least the adapter's rank"
)
FOR_WEIGHTS = "the server must see that folder and be started with VLLM_SERVER_DEV_MODE=1"

_OPENER = build_opener(ProxyHandler({}))
"""Without a proxy: the server shares a folder with this process, so there is none between them."""


class Answer(BaseModel):
    """What is read of an answer; the rest of it is let be."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class Served(Answer):
    """A model or an adapter that the server has; an adapter names the model that it belongs to."""

    id: str
    parent: str | None = None


class ServedModels(Answer):
    """What `/v1/models` lists."""

    data: list[Served]


class LogProbs(Answer):
    """Of the tokens that were drawn; nats."""

    token_logprobs: list[float]


class Choice(Answer):
    """One response; its end token is among the ids."""

    token_ids: list[int]
    logprobs: LogProbs


class Completion(Answer):
    """What `/v1/completions` gives for one prompt."""

    choices: list[Choice] = Field(min_length=1, max_length=1)


AnswerT = TypeVar("AnswerT", bound=Answer)


@dataclass(frozen=True)
class Server:
    """A running `vllm serve`.

    Attributes:
        url: where it listens.
        timeout: most seconds until it answers.
    """

    url: str
    timeout: float

    def base_model(self, wanted: str | None) -> str:
        """The name of the model that it serves.

        Args:
            wanted: the name that it must have; None takes any.

        Raises:
            ServerError: the server cannot be reached, or has no such model.
        """
        cards = self._read(ServedModels, self._ask("/v1/models"), "/v1/models").data
        names = [card.id for card in cards if card.parent is None]
        if not names:
            raise self.error("it serves no model")
        if wanted is not None and wanted not in names:
            known = ", ".join(shown(name) for name in names[:10])
            raise ServerError(f"sampler.model: the server at {self.url} serves {known}, not {shown(wanted)}")
        return wanted or names[0]

    def complete(self, body: Mapping[str, Any]) -> Choice:
        """One response to one prompt.

        Raises:
            ServerError: the server cannot be reached, refuses, or leaves out what is needed.
        """
        answer = self._ask("/v1/completions", body)
        return self._read(Completion, answer, "/v1/completions").choices[0]

    def load_adapter(self, name: str, folder: Path) -> None:
        """Has it load an adapter, as a model of that name.

        Raises:
            ServerError: the server cannot be reached, or cannot do so.
        """
        body = {"lora_name": name, "lora_path": str(folder)}
        self._ask("/v1/load_lora_adapter", body, FOR_ADAPTERS)

    def unload_adapter(self, name: str) -> None:
        """Has it forget an adapter.

        Raises:
            ServerError: the server cannot be reached, or has no such adapter.
        """
        self._ask("/v1/unload_lora_adapter", {"lora_name": name})

    def load_weights(self, folder: Path) -> None:
        """Has it put the weights of a saved model in the place of its own.

        Raises:
            ServerError: the server cannot be reached, or cannot do so.
        """
        body = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        self._ask("/collective_rpc", body, FOR_WEIGHTS)

    def error(self, complaint: str) -> ServerError:
        """A line about this server."""
        return ServerError(f"sampler.url: {self.url}: {complaint}")

    def _ask(self, path: str, body: Mapping[str, Any] | None = None, hint: str = "") -> bytes:
        """Content of the answer; a `body` is posted."""
        content = None if body is None else json.dumps(body).encode()
        request = Request(self.url.rstrip("/") + path, content, {"Content-Type": "application/json"})
        if key := "".join(os.environ.get("VLLM_API_KEY", "").split()):  # a line end would put it into an error
            request.add_header("Authorization", f"Bearer {key}")
        asked = f"{request.get_method()} {path}"
        try:
            with _OPENER.open(request, timeout=self.timeout) as answer:
                found: bytes = answer.read(LARGEST_ANSWER)
                return found
        except HTTPError as error:
            said = shown(_message(error), LONGEST_MESSAGE)
            advice = f"; {hint}" if hint else ""
            raise self.error(f"{asked} is refused with {error.code}: {said}{advice}") from None
        except (OSError, HTTPException, ValueError, OverflowError) as error:
            raise self.error(f"{asked} {self._failure(error)}; {START}") from None

    def _failure(self, error: Exception) -> str:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, TimeoutError):
            return f"is not answered within {self.timeout:g} s (sampler.timeout)"
        words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        return f"cannot be asked: {printable(words)}"

    def _read(self, kind: type[AnswerT], content: bytes, path: str) -> AnswerT:
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            said = f"{shown(where)}: {printable(first['msg'])}" if where else printable(first["msg"])
            raise self.error(f"what {path} answers is not what vLLM 0.30 to 0.33 answer: {said}") from None


def _message(error: HTTPError) -> str:
    """What the server says of its refusal."""
    text = ""
    try:
        with error:
            text = error.read(LARGEST_ANSWER).decode(errors="replace")
        return str(json.loads(text)["error"]["message"])
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return text.strip() or str(error.reason)

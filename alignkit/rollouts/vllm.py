"""Groups drawn by a vLLM server."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4
from weakref import WeakKeyDictionary

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from alignkit.errors import ServerError
from alignkit.lazy import LazyModule, accelerate
from alignkit.lazy import numpy as np
from alignkit.records.files import discard, one_line
from alignkit.rollouts.groups import Drawn, Sampler
from alignkit.rollouts.vllm_server import Choice, Server

if TYPE_CHECKING:
    from numpy import ndarray

    import alignkit.models.scorer as scorer
    from alignkit.models.policy import Policy
    from alignkit.models.scorer import Model
    from alignkit.parallel.sharding import ModelState
else:
    scorer = LazyModule("alignkit.models.scorer")

CONCURRENT = 256
"""Requests under way at once; what the server cannot batch it queues."""


@dataclass(frozen=True)
class Sent:
    """The weights that a server has.

    Attributes:
        model: the name to ask for.
        version: tells them from all others, and keeps the server's cached prompts of other weights out.
    """

    model: str
    version: str


_SENT: WeakKeyDictionary[Model, Sent] = WeakKeyDictionary()
"""What was sent last of a model in training."""


class VLLM(Sampler):
    """Draws with a vLLM server: a process of its own, in its own environment, on its own GPU (docs/vllm.md).

    Before the drawings for a step the main process saves the policy to a folder that both see and has the server
    load it: an adapter as an adapter, anything else in the place of the served weights. The prompts go as token ids,
    each response is a request with a seed of its own, so that it hangs on no other seed, and the log-probs come back
    with it. They are vLLM's, whose kernels round otherwise than the model in training; nor does vLLM promise the same
    bits in another batch, so a run with this sampler is not reproduced bit by bit.

    Written against the sources of vLLM 0.30.0 and 0.33.0.
    """

    is_exact: ClassVar[bool] = False

    url: str = "http://localhost:8000"
    """Where the server listens: scheme, host and port. One run at a time: the server has one set of weights. A server
    that wants a key finds it in the environment variable VLLM_API_KEY."""

    model: str | None = None
    """Name under which the server serves the model (`--served-model-name`); null takes what there is."""

    weights: str | None = None
    """Folder that this process and the server see under the same path; null takes the system's temporary folder. What
    is written below it goes when the server has loaded it. In memory (/dev/shm) it is fastest."""

    timeout: float = Field(600.0, gt=0, le=86_400)
    """Longest wait for one answer: a response, or a change of weights; seconds."""

    @field_validator("url")
    @classmethod
    def _is_a_server(cls, url: str) -> str:
        if not re.fullmatch(r"https?://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?", url):
            raise PydanticCustomError("url", "must be http:// or https:// and a host, such as http://localhost:8000")
        return url

    def check(self) -> None:
        """Asks the server for its model and for one token.

        Where only one token is allowed, its log-prob is 0 as drawn and below as the bare model has it.

        Raises:
            ServerError: the server cannot be reached, has another model, or gives other log-probs.
        """
        server = self._server
        body = self._request(server.base_model(self.model), [0], 0, end_id=0, version="check")
        choice = server.complete(body | {"max_tokens": 1, "allowed_token_ids": [0]})
        if max(map(abs, choice.logprobs.token_logprobs), default=1.0) > 1e-4:
            raise server.error(
                "its log-probs are not those of the distribution that it draws from; "
                "start it with --logprobs-mode processed_logprobs"
            )

    def begin(self, policy: Policy, step: int) -> None:
        """Has the server draw with the weights as they are now.

        Raises:
            ServerError: the server cannot be reached, or does not load them.
            RunFolderError: they cannot be written.
        """
        outcome: list[Any] = [None]
        state = policy.state()
        if accelerate.PartialState().is_main_process:
            outcome = [self._send(policy, state)]
        accelerate.utils.broadcast_object_list(outcome)  # the other processes wait here
        _SENT[policy.model] = outcome[0]

    def sample(
        self, prompts: Sequence[ndarray], seeds: Sequence[Sequence[int]], policy: Policy, step: int
    ) -> list[list[Drawn]]:
        """With the weights that `begin` sent.

        Raises:
            ServerError: the server cannot be reached, refuses, or gives what cannot be used.
        """
        sent = _SENT[policy.model]
        requests = [
            self._request(sent.model, prompt.tolist(), seed, end_id=policy.end_id, version=sent.version)
            for prompt, own in zip(prompts, seeds, strict=True)
            for seed in own
        ]
        vocabulary = int(scorer.causal_lm(policy.model).config.get_text_config().vocab_size)
        with ThreadPoolExecutor(CONCURRENT) as pool:
            drawn = iter(list(pool.map(partial(self._draw, policy.end_id, vocabulary), requests)))
        return [list(islice(drawn, len(own))) for own in seeds]

    @property
    def _server(self) -> Server:
        return Server(self.url, self.timeout)

    def _request(self, model: str, prompt: list[int], seed: int, *, end_id: int, version: str) -> dict[str, Any]:
        """Every setting is given: what is left out a server takes from the model's own generation settings."""
        return {
            "model": model,
            "prompt": prompt,
            "seed": seed,
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_k": self.top_k or 0,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "watermarking": False,
            "ignore_eos": True,  # of the model's end tokens only that of the data ends a response
            "stop_token_ids": [end_id],
            "logprobs": 0,  # of the drawn token, and of no other
            "return_token_ids": True,
            "cache_salt": version,
        }

    def _draw(self, end_id: int, vocabulary: int, request: dict[str, Any]) -> Drawn:
        choice = self._server.complete(request)
        complaint = self._complaint(choice, end_id, vocabulary)
        if complaint:
            raise self._server.error(f"it gives a response {complaint}")
        return Drawn(np.array(choice.token_ids, np.int32), np.array(choice.logprobs.token_logprobs, np.float32))

    def _complaint(self, choice: Choice, end_id: int, vocabulary: int) -> str | None:
        """Why a response cannot be trained on, if so."""
        ids, logps = choice.token_ids, choice.logprobs.token_logprobs
        if len(ids) != len(logps):
            return f"of {len(ids)} tokens with {len(logps)} log-probs"
        if not 0 < len(ids) <= self.max_new_tokens:
            return f"of {len(ids)} tokens, where 1 to {self.max_new_tokens} were asked for"
        if not 0 <= min(ids) <= max(ids) < vocabulary:
            return f"with token ids {min(ids)} to {max(ids)}, but the model has {vocabulary}: it serves another model"
        if end_id in ids[:-1]:
            return f"that goes on after its end token, {end_id}"
        if ids[-1] != end_id and len(ids) < self.max_new_tokens:
            return (
                f"of {len(ids)} tokens without the end token, {end_id}, where up to {self.max_new_tokens} were asked "
                "for; a prompt and that many must fit into its --max-model-len"
            )
        return None

    def _send(self, policy: Policy, state: ModelState) -> Sent:
        """Each time a folder and a name of their own: vLLM keeps what it read by path, and prompts by adapter."""
        version = f"alignkit-{uuid4().hex}"
        folder = Path(self.weights or tempfile.gettempdir()).expanduser().absolute() / version
        server = self._server
        try:
            with one_line(folder):
                folder.mkdir(parents=True)
                policy.write(folder, state)
            if policy.has_adapter:
                server.load_adapter(version, folder)
            else:
                server.load_weights(folder)
        finally:
            discard(folder)
        if not policy.has_adapter:
            return Sent(server.base_model(self.model), version)
        before = _SENT.get(policy.model)
        if before is not None:
            with suppress(ServerError):  # a server that was started again has none
                server.unload_adapter(before.model)
        return Sent(version, version)

"""What a worker process does: builds the slow rewards, then scores one sample after the other."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

from alignkit.errors import AlignkitError, printable
from alignkit.rewards import rewards
from alignkit.rewards.asking import ask
from alignkit.rewards.base import Reward, Sample
from alignkit.rewards.permission import granting

Said = tuple[Literal["ready", "begins", "score", "error"], Any]
"""What a worker says: that it waits for samples, that it begins with one, its score, or why the run must stop."""


@dataclass(frozen=True)
class Recipe:
    """How a reward is built again in another process.

    Attributes:
        name: of the component.
        parameters: of it.
        home: `module:Class`, for what neither a table nor a plugin names.
    """

    name: str
    parameters: dict[str, Any]
    home: str

    @classmethod
    def of(cls, reward: Reward) -> Recipe:
        """The recipe of a reward."""
        kind = type(reward)
        return cls(reward.name, reward.model_dump(), f"{kind.__module__}:{kind.__qualname__}")

    def build(self) -> Reward:
        """The reward, its plugin loaded where it is one's."""
        if self.name in rewards.names():
            return rewards.get(self.name).model_validate(self.parameters)
        module, _, attribute = self.home.partition(":")
        kind: type[Reward] = getattr(importlib.import_module(module), attribute)
        return kind.model_validate(self.parameters)


def main(descriptor: int) -> None:
    """Serves the process at the other end of a socket."""
    connection = Connection(descriptor)
    try:
        recipes, permission = connection.recv()
        with granting(permission):
            _serve(connection, recipes)
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        return  # nobody is left to be served


def _serve(connection: Connection, recipes: list[Recipe]) -> None:
    try:
        built = [recipe.build() for recipe in recipes]
    except BaseException as error:
        connection.send(_error(error, "a worker process for slow rewards cannot be started: "))
        return
    connection.send(("ready", None))
    while True:
        number, sample = connection.recv()
        connection.send(("begins", None))
        connection.send(_scored(built[number], sample))


def _scored(reward: Reward, sample: Sample) -> Said:
    try:
        return "score", ask(reward, [sample])[0]
    except BaseException as error:  # a plugin may do anything, `sys.exit()` included
        return _error(error, f"reward '{reward.title}' raises ")


def _error(error: BaseException, before: str) -> Said:
    if isinstance(error, AlignkitError):
        return "error", str(error)
    return "error", f"{before}{type(error).__name__}: {printable(str(error))}"

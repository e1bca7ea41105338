"""Rewards that are slow, fail or hang, for the tests of the judge; worker processes import them from here."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from alignkit.rewards.base import Reward, Sample


def sample(response: str = "", group: int = 0, **columns: object) -> Sample:
    """A sample with little in it."""
    return Sample("prompt", response, np.arange(3), True, columns, group=group)


class Told(Reward):
    """Does what the response says."""

    scale: tuple[float, ...] = (1.0,)
    """Factors of the score."""

    def score(self, samples: Sequence[Sample]) -> Sequence[float | None]:
        return [self.answer(sample.response) for sample in samples]

    def answer(self, order: str) -> float | None:
        """The score that `order` asks for."""
        verb, _, rest = order.partition(" ")
        if verb == "hang":
            subprocess.Popen([sys.executable, "-c", f"import time; open({rest!r}, 'w').close(); time.sleep(60)"])
            while True:
                time.sleep(1)
        if verb == "die":
            os._exit(3)
        if verb == "raise":
            raise KeyError("no such column")
        if verb == "leave":
            sys.exit("bye")
        if verb == "nap":
            time.sleep(0.2)
        return None if verb == "none" else float(rest or 0) * float(np.prod(self.scale))


class Slow(Told):
    """The same in a worker process."""

    slow: ClassVar[bool] = True


class Process(Told):
    """Gives the number of its process."""

    slow: ClassVar[bool] = True

    def answer(self, order: str) -> float | None:
        super().answer(order)
        return float(os.getpid())

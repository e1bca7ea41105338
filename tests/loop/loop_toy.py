"""A training step of 40 parameters for the tests of the loop: a bigram model with tied weights and its own state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from alignkit.data.rows import TokenRow
from alignkit.errors import RewardError
from alignkit.loop.accelerator import make_accelerator, start_trackers
from alignkit.loop.checkpoint import read_tensors, write_tensors
from alignkit.loop.config import TrainingConfig
from alignkit.loop.loop import TrainResult, train
from alignkit.loop.optimizer import trainable
from alignkit.loop.step import Metrics, StepRows

VOCABULARY = 10
FINGERPRINT = {"data": "d1", "recipe": "r1"}
CALLER = ("seed", "fingerprint", "on_log", "on_eval", "on_start", "on_trained")


def make_rows(number: int) -> tuple[TokenRow, ...]:
    """Rows of 2 prompt tokens and 1 to 4 response tokens."""
    random = np.random.default_rng(0)
    return tuple(
        TokenRow(
            index=index,
            where=f"toy.jsonl:{index + 1}",
            prompt=random.integers(0, VOCABULARY, 2),
            responses={"chosen": random.integers(0, VOCABULARY, 1 + index % 4)},
        )
        for index in range(number)
    )


class Padded:
    """Rows of a batch times the longest of them."""

    def __init__(self) -> None:
        self.rows = self.longest = 0

    def __call__(self, row: TokenRow) -> int:
        self.rows, self.longest = self.rows + 1, max(self.longest, row.num_tokens)
        return self.rows * self.longest


class Bigram(nn.Module):
    """Log-probs of the next token; the head shares the embedding's weight, `frozen` is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 4)
        self.head = nn.Linear(4, VOCABULARY, bias=False)
        self.head.weight = self.embedding.weight
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.linspace(-1, 1, 4 * VOCABULARY).reshape(VOCABULARY, 4).sin())

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embedding(ids) * self.frozen).log_softmax(-1)


class ToyStep:
    """Mean negative log-prob per token, plus a pull towards an anchor that is renewed every third step only.

    Args:
        noise: multiply the loss of each micro-batch by a draw from torch's generator.
        bad_row: index of a row whose loss is NaN.
        idle: steps that have nothing to train on.
        refused: a step whose rows cannot be had.
    """

    lookahead = 2
    updates = 1

    def __init__(
        self, noise: bool = False, bad_row: int | None = None, idle: Sequence[int] = (), refused: int | None = None
    ) -> None:
        self.idle = idle
        self.refused = refused
        self.module: nn.Module = Bigram()
        self.plain = self.module
        self.anchor = torch.zeros(())
        self.noise = noise
        self.bad_row = bad_row
        self.prepared: list[dict[int, list[int]]] = []

    def draw(self, step: int, batch: Sequence[TokenRow]) -> StepRows:
        if step == self.refused:
            raise RewardError("no word")
        return StepRows((), {"drawn": 0.0}) if step in self.idle else StepRows(batch)

    def totals(self, rows: Sequence[TokenRow]) -> dict[str, float]:
        return {"examples": len(rows), "tokens": sum(len(row.responses["chosen"]) for row in rows)}

    def meter(self) -> Callable[[TokenRow], int]:
        return Padded()

    def prepare(self, step: int, batch: Sequence[TokenRow], coming: Mapping[int, Sequence[TokenRow]]) -> None:
        self.prepared.append({key: [row.index for row in rows] for key, rows in coming.items()})
        if step % 3 == 0:
            self.anchor = self.plain.embedding.weight.detach().mean()

    def loss(self, rows: Sequence[TokenRow], step: int, totals: Mapping[str, float]) -> tuple[Tensor, Metrics]:
        ids = [np.concatenate([row.prompt[-1:], row.responses["chosen"]]) for row in rows]
        inputs = torch.from_numpy(np.concatenate([row[:-1] for row in ids]))
        targets = torch.from_numpy(np.concatenate([row[1:] for row in ids]))
        nll = -self.module(inputs).gather(-1, targets[:, None]).sum()
        pull = len(rows) * (self.plain.embedding.weight.mean() - self.anchor).square()
        loss = nll / totals["tokens"] + pull / totals["examples"]
        if self.noise:
            loss = loss * torch.rand(())
        if any(row.index == self.bad_row for row in rows):
            loss = loss * float("nan")
        return loss, {"nll": (nll.item(), len(targets)), "anchor": (self.anchor.item() * len(rows), len(rows))}

    def state(self) -> dict[str, Tensor]:
        return {"anchor": self.anchor}

    def load_state(self, *states: Mapping[str, Tensor]) -> None:
        self.anchor = states[0]["anchor"]

    def shared_state(self) -> dict[str, Tensor]:
        return {}

    def load_shared_state(self, state: Mapping[str, Tensor]) -> None:
        assert not state

    def model_state(self) -> None:
        return None

    def save_model(self, folder: Path, state: None = None) -> None:
        folder.mkdir()
        write_tensors(folder / "parameters.safetensors", trainable(self.plain))

    def stored_parameters(self, folder: Path) -> Mapping[str, Tensor]:
        return read_tensors(folder / "parameters.safetensors")


def make_config(**values: object) -> TrainingConfig:
    """8 rows a step in micro-batches of 3, a large learning rate."""
    defaults = {"steps": 7, "batch_size": 8, "micro_batch_size": 3, "learning_rate": 0.1, "precision": "fp32"}
    return TrainingConfig(**{**defaults, **values})


def run_toy(
    folder: Path, step: ToyStep | None = None, num_rows: int = 21, resume: bool = False, **values: object
) -> tuple[TrainResult, list[str], ToyStep]:
    """Trains the toy in `folder`: (result, notes, step). Keys of `train` and of the config can both be given."""
    folder.mkdir(parents=True, exist_ok=True)
    step = step or ToyStep()
    notes: list[str] = []
    arguments = {"seed": 3, "fingerprint": FINGERPRINT, "on_log": lambda number, line: None}
    arguments |= {key: values.pop(key) for key in CALLER if key in values}
    settings = values.pop("settings", {})
    config = make_config(**values)
    accelerator = make_accelerator(config, folder)
    start_trackers(accelerator, folder, settings)
    result = train(
        step,
        make_rows(num_rows),
        config,
        folder=folder,
        accelerator=accelerator,
        on_note=notes.append,
        resume=resume,
        **arguments,
    )
    return result, notes, step


def weights_of(step: ToyStep) -> Tensor:
    """The trained tensor."""
    return step.plain.embedding.weight.detach()

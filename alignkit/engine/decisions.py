"""What components decided of the optimizer step at hand, and what they carry from one step to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from alignkit.asks.whole_step import Facts, State, WholeStep
from alignkit.data.rows import TokenRow
from alignkit.engine.method import Method
from alignkit.errors import CheckpointError
from alignkit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class Decisions:
    """Facts of the rows of one step, and each component's state.

    Args:
        method: whose components look at whole steps.
    """

    def __init__(self, method: Method) -> None:
        self.of_spans = _in_order(method.weighting.all_needs().whole_step)
        self.of_views = _in_order(
            method.pair_weighting.needs().whole_step.union(*(loss.needs().whole_step for loss in method.losses))
        )
        self._state: dict[WholeStep, State] = {key: key.initial_state() for key in (*self.of_spans, *self.of_views)}
        self._facts: dict[WholeStep, Facts] = {}
        self._lengths_NR = torch.zeros(0, 0, dtype=torch.long)
        self._places: dict[int, list[int]] = {}

    def begin(self, rows: Sequence[TokenRow]) -> None:
        """Forgets the facts of the step before; those of these rows follow."""
        self._facts = {}
        self._places = {}
        for place, row in enumerate(rows):
            self._places.setdefault(row.index, []).append(place)

    def decide(self, key: WholeStep, seen: Tensor, seed: int) -> None:
        """Lets a component decide; `seen` is as `WholeStep.decide` gets it."""
        self._facts[key], self._state[key] = key.decide(seen, self._state[key], seed)
        if key in self.of_spans:
            self._lengths_NR = (~seen.isnan()).sum(-1)

    def of_examples(self, rows: Sequence[TokenRow], device: torch.device, *, decided: bool) -> dict[WholeStep, Facts]:
        """What losses and pair weightings read.

        Args:
            rows: of a micro-batch.
            device: where the facts go.
            decided: whether the rows are those of the step at hand; of others they are at rest.
        """
        return {
            key: {name: _to(self._of(rows, fact) if fact.dim() else fact, device) for name, fact in facts.items()}
            for key, facts in self._read(self.of_views, decided)
        }

    def of_tokens(
        self, rows: Sequence[TokenRow], response: int, mask_BS: Tensor, *, decided: bool
    ) -> dict[WholeStep, Facts]:
        """What token weightings read of the response at this place; see `of_examples`."""

        def spread(fact: Tensor) -> Tensor:
            if not fact.dim():
                return _to(fact, mask_BS.device)
            lengths = [int(self._lengths_NR[self._places[row.index][0], response]) for row in rows]
            values_BS = self._of(rows, fact[:, response])
            packed_N = torch.cat([values_S[:n] for values_S, n in zip(values_BS, lengths, strict=True)])
            packed_N = _to(packed_N, mask_BS.device)
            return packed_N.new_zeros(mask_BS.shape).masked_scatter(mask_BS, packed_N)

        return {
            key: {name: spread(fact) for name, fact in facts.items()}
            for key, facts in self._read(self.of_spans, decided)
        }

    def _read(self, keys: Sequence[WholeStep], decided: bool) -> Iterable[tuple[WholeStep, Facts]]:
        for key in keys:
            is_known = decided and key in self._facts
            yield key, self._facts[key] if is_known else key.at_rest(self._state[key])

    def _of(self, rows: Sequence[TokenRow], fact_N: Tensor) -> Tensor:
        """[B, ...] of these rows. One that comes several times in a step has the mean of what was decided of each."""
        return torch.stack([fact_N[self._places[row.index]].mean(0) for row in rows])

    # --- checkpoints ---

    def state(self) -> dict[str, Tensor]:
        """What all of them carry."""
        return {name: value for _, _, name, value in self._named()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts `state` back; the same on every process.

        Raises:
            CheckpointError: it lacks what a component carries.
        """
        for key, short, name, _ in list(self._named()):
            if name not in state:
                raise CheckpointError(
                    f"the checkpoint has no '{short}' of {key!r}, which it carries from step to step; start a new run"
                )
            self._state[key] = {**self._state[key], short: state[name]}

    def _named(self) -> Iterable[tuple[WholeStep, str, str, Tensor]]:
        """Component, name of a value, its name in a checkpoint, the value."""
        for number, (key, state) in enumerate(self._state.items()):
            for short in sorted(state):
                yield key, short, f"whole_step.{number}.{short}", state[short]


def _in_order(keys: Iterable[WholeStep]) -> list[WholeStep]:
    return sorted(keys, key=repr)


def _to(fact: Tensor, device: torch.device) -> Tensor:
    return fact.float().to(device)

"""What a component decides of the whole optimizer step's batch, and what it carries from one step to the next.

A micro-batch is a matter of memory and a process one of speed, so what depends on other examples (a quantile, a rank, a
running mean) must come of the batch over all of both. A component that wants it derives from `WholeStep` beside the
base of its kind, and holds itself in its needs. Before the micro-batches of a step the engine lets it observe every
example, puts the observations together in the batch's order, and lets it decide; what it decided comes back under the
component itself as key, cut to the examples at hand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Facts = Mapping[str, "Tensor"]
"""Name -> a floating-point scalar, or a tensor whose first dimension are the examples: [N] of the step, [B] of a
micro-batch."""

State = Mapping[str, "Tensor"]
"""Name -> tensor on the CPU; what a checkpoint keeps of a component."""


class WholeStep(ABC):
    """A component that looks at the whole optimizer step's batch. It is a key: hashable, with its parameters."""

    def initial_state(self) -> State:
        """What it carries into the first step; nothing by default. The names stay the same all the time."""
        return {}

    @abstractmethod
    def observe(self, scores: Any) -> Tensor:  # noqa: ANN401 -- a view, or a span
        """What it wants of each example, under the policy before the step; its gradient is not used.

        Args:
            scores: of a micro-batch, without what is decided of the step. Losses and pair weightings get what the
                trainer lets losses see, token weightings the span of one response after the other.

        Returns:
            [B, F] F numbers per example; of a span [B, S] one number per token.
        """

    @abstractmethod
    def decide(self, seen: Tensor, state: State, seed: int) -> tuple[Facts, State]:
        """Made on every process, of the same numbers, on the CPU.

        Args:
            seen: [N, F] float64, all that was observed, in the order of the step's batch; of spans [N, R, S], the
                tokens of each response from the left and NaN behind them.
            state: what it carries.
            seed: of the step, for what is drawn.

        Returns:
            What `per_example`, `per_pair` or `raw` reads of this step: scalars, [N], or [N, R, S] laid out as observed;
            and what it carries on.
        """

    def at_rest(self, state: State) -> Facts:
        """Scalars that are read where there is no step: in an evaluation, and of responses looked at by themselves."""
        return {}

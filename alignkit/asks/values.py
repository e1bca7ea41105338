"""What every kind of token values shares: how they are computed, and what decides whether a kept file still serves.

They stand in recipes' needs, so their modules load no torch; what computes for them is the bench they are given: at
least an `alignkit.asks.bench.Bench`, and whatever else a kind of values says that it needs of one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from alignkit.data.rows import TokenRow
from alignkit.lazy import torch
from alignkit.registry import Section

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


def per_row(values_BRT: Tensor, mask_BRT: Tensor) -> Iterator[Tensor]:
    """For each row the [N] values on its mask, one response after the other."""
    yield from torch.split(values_BRT[mask_BRT], mask_BRT.sum((-1, -2)).tolist())


class TokenValues(Section):
    """Base of the token values; equal ones are computed once and share a file."""

    lasting: ClassVar[bool] = False
    """Worth a file on disk."""

    @property
    def trains(self) -> bool:
        """Whether models are trained for them."""
        return False

    @property
    def words(self) -> str:
        """What they are, as `alignkit describe` says it of a component that needs them."""
        return type(self).__name__

    @property
    def token_columns(self) -> frozenset[str]:
        """Suffixes of data columns with one number per token that are read: `_weight` of `chosen_weight`."""
        return frozenset()

    def tokens_before(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """Most tokens that are put before a prompt to compute them."""
        return 0

    def refusal(self, trainer: str, gives: str) -> str | None:
        """Why they cannot be had of what this trainer gives, and what would fit; None where they can."""
        return None

    def batch_size(self, bench: Any) -> int:  # noqa: ANN401 -- narrowed by each kind
        """Rows in one forward pass of one process."""
        size: int = bench.batch_size
        return size

    @abstractmethod
    def compute(self, rows: Sequence[TokenRow], bench: Any) -> Iterator[Tensor]:  # noqa: ANN401
        """For each row, one [N] tensor of numbers: its weighted responses one after the other.

        Called on every process, with its share of the rows (perhaps none), so work of all processes together goes
        before the first value.
        """

    def looked_up(self, packed: Mapping[bytes, Tensor], seen: Sequence[TokenRow]) -> Mapping[bytes, Tensor]:
        """What a step looks up, by the keys of rows; the values as they are, unless they matter beside each other.

        Args:
            packed: the values of all rows that are known.
            seen: the training rows that the run's steps see, each as often as it stands in the data.
        """
        return packed

    def depends_on(self, bench: Any) -> dict[str, Any]:  # noqa: ANN401
        """JSON values, beside own parameters, model, precision, batches and rows, that decide the values; none by
        default."""
        return {}

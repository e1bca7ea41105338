"""How far the distribution at a response token moves when the prompt is swapped, under the reference.

What is right for this prompt alone must move with the prompt; filler, phrases and sign-offs do not. K other prompts are
drawn for each row from the training rows, so the text before the response stays what the model knows: with an empty
prompt everything moves.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from alignkit.asks.bench import Bench
from alignkit.asks.values import TokenValues
from alignkit.data.rows import TokenRow
from alignkit.data.splitting import rows_fingerprint
from alignkit.errors import DataError
from alignkit.lazy import torch
from alignkit.seeds import derive

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

    from alignkit.models.head import Predictions

Form = Literal["kl", "pmi"]

DRAWS: Final = "mismatched prompts"
"""What the draws are for."""


class PromptInfluence(TokenValues):
    """kl: KL(ref(.|x, y_<t) || mean_k ref(.|x_k, y_<t)) over the whole vocabulary; pmi: log ref(y_t|x, y_<t) - log
    mean_k ref(y_t|x_k, y_<t), of any sign. Nats; 0 for a row that no other prompt fits."""

    lasting = True

    form: Form = "kl"
    """What is compared: the whole distributions, or the token's own probability."""

    prompts: int = Field(4, ge=1, le=64)
    """Other prompts, K."""

    @property
    def words(self) -> str:
        return f"influence of the prompt, with {self.prompts} others"

    def compute(self, rows: Sequence[TokenRow], bench: Bench) -> Iterator[Tensor]:
        others = OtherPrompts(bench.train)
        drawn = [others.drawn(row, self.prompts, bench.seed) for row in rows]
        pairs = list(zip(rows, drawn, strict=True))
        swapped = [[_under(row, prompts, k) for row, prompts in pairs] for k in range(self.prompts)]
        reference, left = bench.reference(), iter(drawn)
        for (batch, own), *rest in zip(*(bench.scored(reference, some) for some in (rows, *swapped)), strict=True):
            theirs = [scored.predictions for _, scored in rest]
            assert own.predictions is not None
            moved_N = moved(own.predictions, theirs, batch.packed.ids_N, bench.head_chunk, self.form)
            for value_N in torch.split(moved_N, batch.mask_BRT.sum((-1, -2)).tolist()):
                yield value_N if next(left) else torch.zeros_like(value_N)

    def depends_on(self, bench: Bench) -> dict[str, Any]:
        return {"seed": bench.seed, "drawn_from": rows_fingerprint(bench.train)}


class OtherPrompts:
    """The different prompts of the training rows, from which each row gets some that are not its own.

    Args:
        train: the training rows.

    Raises:
        DataError: there is only one.
    """

    def __init__(self, train: Sequence[TokenRow]) -> None:
        different = {row.prompt.tobytes(): row.prompt for row in train}
        if len(different) < 2:
            raise DataError(
                "weighting 'influence': all training rows have the same prompt, and it swaps prompts; use another "
                "weighting, or data with several prompts"
            )
        self._prompts = [prompt for _, prompt in sorted(different.items(), key=lambda item: (len(item[1]), item[0]))]
        self._lengths = [len(prompt) for prompt in self._prompts]
        self._longest = max(row.without_gold.length for row in train)
        self._largest = max(row.without_gold.num_tokens for row in train)

    def drawn(self, row: TokenRow, count: int, seed: int) -> list[ndarray]:
        """At most `count` different prompts, none equal to the row's, all of which fit; fewer where fewer do.

        One fits where the row with it is no longer than the longest training row, or than it was: so neither
        `data.max_length` nor the model's positions are exceeded.

        Args:
            row: whose prompt is swapped.
            count: how many are wanted.
            seed: of the run.
        """
        one = row.without_gold
        longest, largest = max(self._longest, one.length), max(self._largest, one.num_tokens)
        taken = len(one.prompt)
        room = min(longest - (one.length - taken), largest - (one.num_tokens - taken))
        fitting = bisect_right(self._lengths, room)
        places = Random(derive(seed, DRAWS, row.index)).sample(range(fitting), min(count + 1, fitting))
        own = row.prompt.tobytes()
        return [self._prompts[place] for place in places if self._prompts[place].tobytes() != own][:count]


def _under(row: TokenRow, prompts: Sequence[ndarray], number: int) -> TokenRow:
    """The row under one of its prompts, taken in turn where there are fewer; as it is where there are none."""
    return replace(row, prompt=prompts[number % len(prompts)]) if prompts else row


def moved(own: Predictions, others: Sequence[Predictions], ids_N: Tensor, chunk: int, form: Form) -> Tensor:
    """[N] how far `own` is from the mean of the probabilities of `others` at the same positions, nats.

    Args:
        own: predictions under the row's prompt.
        others: those under other prompts.
        ids_N: [N] int64 the tokens themselves, which pmi asks for.
        chunk: positions whose logits exist at once.
        form: kl or pmi.
    """
    pieces = [torch.zeros(0, device=ids_N.device)]
    with torch.no_grad():
        for start in range(0, len(ids_N), chunk):
            stop = start + chunk
            own_NV, mean_NV = (one.logits(start, stop).log_softmax(-1) for one in (own, others[0]))
            for other in others[1:]:
                mean_NV = torch.logaddexp(mean_NV, other.logits(start, stop).log_softmax(-1))
            difference_NV = own_NV - (mean_NV - math.log(len(others)))
            if form == "pmi":
                pieces.append(difference_NV.gather(-1, ids_N[start:stop, None]).squeeze(-1))
            else:  # rounding can leave a KL just below 0
                pieces.append((own_NV.exp() * difference_NV).sum(-1).clamp_min(0))
    return torch.cat(pieces)

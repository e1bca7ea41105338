"""One model under two instructions, one that asks for desirable and one that asks for undesirable responses.

The cheapest contrast: nothing is trained. It works as far as the starting model follows instructions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from alignkit.contrasts.base import Contrast, ContrastBench
from alignkit.data.rows import TokenRow
from alignkit.data.special_tokens import SpecialTokens
from alignkit.errors import DataError
from alignkit.lazy import accelerate, numpy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from alignkit.models.layout import Batch
    from alignkit.models.scorer import Scored


class Prompts(Contrast):
    """The starting model with a text put before each prompt, after BOS; chat templates stay as they are behind it.

    Paper: arXiv:2410.04350, prompt-based estimation
    """

    positive: str = Field("You are a harmless and helpful assistant.\n\n", min_length=1)
    """Text before the prompt of the positive model."""

    negative: str = Field("You are a harmful and unhelpful assistant.\n\n", min_length=1)
    """Text before the prompt of the negative model."""

    def tokens_before(self, tokenizer: PreTrainedTokenizerBase) -> int:
        texts = (self.positive, self.negative)
        return max(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)

    def scored(self, rows: Sequence[TokenRow], bench: ContrastBench) -> Iterator[tuple[Batch, Scored, Scored]]:
        reference = bench.reference()
        both = (bench.scored(reference, self._after(text, rows, bench)) for text in (self.positive, self.negative))
        for (batch, positive), (_, negative) in zip(*both, strict=True):
            yield batch, positive, negative

    def depends_on(self, bench: ContrastBench) -> dict[str, Any]:
        return {"before": [self._ids(text, bench) for text in (self.positive, self.negative)]}

    def _ids(self, text: str, bench: ContrastBench) -> list[int]:
        ids: list[int] = bench.policy.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _after(self, text: str, rows: Sequence[TokenRow], bench: ContrastBench) -> list[TokenRow]:
        """The rows with the text before their prompts."""
        ids = numpy.array(self._ids(text, bench), dtype=numpy.int32)
        special, room = SpecialTokens.of(bench.policy.tokenizer), bench.max_positions
        lengths: list[int] = accelerate.utils.gather_object([max((row.length for row in rows), default=0)])
        longest = max(lengths) + len(ids)  # over all processes, or one would stop and the others wait
        if room is not None and longest > room:
            raise DataError(
                f"contrast 'prompts': with {text!r} before it the longest row has {longest} tokens, but the model has "
                f"{room} positions; give a shorter text or a smaller data.max_length"
            )

        def begun(prompt: numpy.ndarray) -> numpy.ndarray:
            cut = special.num_leading(prompt.tolist())
            return numpy.concatenate([prompt[:cut], ids, prompt[cut:]])

        return [replace(row, prompt=begun(row.prompt)) for row in rows]

"""Whether the tokens say what the text says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from alignkit.data.chat import special_texts, unspaced
from alignkit.data.readers import OTHER_TURN, TURN
from alignkit.data.rows import TokenRow
from alignkit.doctor.base import Check, Finding, warn_if
from alignkit.doctor.case import Case, Row, spaced
from alignkit.doctor.duplicates import MOST

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DECODED = 1000
"""Rows that are decoded again, evenly spaced over all."""

_BEFORE = 8
"""Tokens of the prompt that are decoded with a response, as one of them may hold its first letters."""

_MARKERS = (
    *("<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>", "<|eot_id|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|begin_of_text|>", "<start_of_turn>", "<end_of_turn>"),
    *("[INST]", "[/INST]", "<<SYS>>", "</s>", "<|end|>"),
)
"""How chat templates mark turns; the marks of the recipe's own tokenizer are refused where they stand."""

_TURNS = (OTHER_TURN, TURN, "### Instruction:", "### Response:")
"""How transcripts mark turns; in a response they are the start of a further turn."""


class RoundTrip(Check):
    """Whether the tokens say what the text says: one BOS, an end, no stray marks of turns, a boundary between tokens.

    Responses are decoded again and compared with their text, white space aside (1,000 rows, evenly spaced). Marks of
    another model's template are plain letters to this one, and would be learned as such.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        yield from self._stray(case, case.rows)
        yield from self._beginnings(case, case.tokenised)
        yield from self._typed(case, case.tokenised)
        whole = [(row, tokens) for row, tokens in case.tokenised if row.length <= case.data.max_length]
        decoded = spaced(whole, DECODED)
        lost = [row.where for row, tokens in decoded if not _survives(row, tokens, case.tokenizer)]
        if lost:
            yield self.finding(
                "text is lost",
                "error",
                lost,
                len(decoded),
                "Decoding the tokens does not give the response again: the tokenizer has no token for some of its "
                "letters, or changes them.",
                key="model",
            )

    def _stray(self, case: Case, rows: Sequence[Row]) -> Iterator[Finding]:
        known = special_texts(case.tokenizer)
        markers = [marker for marker in _MARKERS if marker not in known]
        anywhere, turns = (
            re.compile("|".join(map(re.escape, marks)) or "(?!)") for marks in (markers, (*markers, *_TURNS))
        )
        stray = [
            row.where
            for row in rows
            if anywhere.search(row.prompt) or any(turns.search(text) for text in row.responses.values())
        ]
        if stray:
            yield self.finding(
                "stray marks of turns",
                "error",
                stray,
                len(rows),
                "Text holds marks of turns that this tokenizer reads as plain letters, so the policy learns to write "
                "them; give conversations as messages, or take the marks out.",
                key="model.chat_template",
            )

    def _beginnings(self, case: Case, rows: Sequence[tuple[Row, TokenRow]]) -> Iterator[Finding]:
        is_chat = any(isinstance(row.example.prompt, list) for row, _ in rows)
        straddling = [row.where for row, _ in rows if row.straddles]
        if straddling:
            yield self.finding(
                "boundary inside a token",
                warn_if(len(straddling) > MOST * len(rows)),
                straddling,
                len(rows),
                "The prompt alone and the prompt in front of its response have other tokens at their boundary; those "
                "are trained as part of the response, and generation starts elsewhere.",
                key="model.chat_template" if is_chat else "data.separator",
            )
        bos = case.tokenizer.bos_token_id
        several = [row.where for row, tokens in rows if int((tokens.prompt == bos).sum()) > 1]
        if several and bos is not None and bos != case.end:
            yield self.finding(
                "several BOS",
                "report" if is_chat else "error",
                several,
                len(rows),
                "The prompt holds more than one BOS token; "
                + ("its template writes them." if is_chat else "text must not hold the tokenizer's own."),
                key="model.chat_template" if is_chat else "data.train",
            )
        if is_chat and case.counts.get("eos_appended"):
            yield self.finding(
                "no end of turn",
                "warn",
                [],
                sum(len(tokens.responses) for _, tokens in rows),
                "The chat template puts no control token after the assistant's turn, so EOS is appended to responses; "
                "whoever serves the model must stop at it.",
                key="model.chat_template",
                count=case.counts["eos_appended"],
            )

    def _typed(self, case: Case, rows: Sequence[tuple[Row, TokenRow]]) -> Iterator[Finding]:
        """Control tokens that stand in a row's own text, as the tokeniser counted them."""
        for treated, said in (
            ("as_text", "are tokenised as the text they are"),
            ("as_control", "act as control tokens, as if the template had written them"),
        ):
            if count := case.counts.get(f"special_tokens_{treated}"):
                yield self.finding(
                    "control tokens in text",
                    warn_if(treated == "as_control"),
                    [],
                    len(rows),
                    f"The own text of rows holds control tokens of this tokenizer, which {said}.",
                    key="data.special_tokens_in_text",
                    count=count,
                )


def _survives(row: Row, tokens: TokenRow, tokenizer: PreTrainedTokenizerBase) -> bool:
    for name, text in row.responses.items():
        ids = [*tokens.prompt[-_BEFORE:].tolist(), *tokens.responses[name].tolist()]
        if unspaced(text) not in unspaced(str(tokenizer.decode(ids, skip_special_tokens=False))):
            return False
    return True

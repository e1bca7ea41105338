"""Answers of mathematics: numbers, fractions, formulas, sets."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from alignkit.lazy import math_verify
from alignkit.rewards.base import Sample
from alignkit.rewards.gold import AgainstGold, Verdict

if TYPE_CHECKING:
    from typing import Self

INSTALL = "pip install 'alignkit[math]'"


class Math(AgainstGold):
    r"""Whether the response's answer equals the data's as mathematics, by the package math-verify.

    The answer is what stands in the response's last `\boxed{}`, else in its last formula, else its last number. A row
    whose right answer math-verify cannot parse gives no score, and neither does a response that takes longer than
    `timeout`. Needs the extra `math`.

    Formula: right if the two are equal after simplification, wrong if not, unparsable if there is nothing to compare
    """

    slow: ClassVar[bool] = True

    @model_validator(mode="after")
    def _is_installed(self) -> Self:
        if importlib.util.find_spec("math_verify") is None:
            said = f"reward 'math' needs the package math-verify, which is not installed; run: {INSTALL}"
            raise PydanticCustomError("extra", "{said}", {"said": said})
        return self

    def verdict(self, gold: str, sample: Sample) -> Verdict | None:
        # Without time limits of its own it says so once; the limit is the worker's, which no `except` of it catches.
        logging.getLogger("math_verify").setLevel(logging.ERROR)
        right = _parsed(gold if "$" in gold or r"\boxed" in gold else f"${gold}$")
        if not right:
            return None
        found = _parsed(sample.response)
        if not found:
            return "unparsable"
        return "right" if math_verify.verify(right, found, timeout_seconds=0) else "wrong"


def _parsed(text: str) -> Sequence[Any]:
    """Expressions of sympy: one, or none where nothing can be parsed."""
    kinds = (math_verify.LatexExtractionConfig(boxed_match_priority=0), math_verify.ExprExtractionConfig())
    found: Sequence[Any] = math_verify.parse(
        text, extraction_config=kinds, fallback_mode="no_fallback", parsing_timeout=0
    )
    return found

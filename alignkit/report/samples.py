"""A few sampled responses, before and after training beside each other, to be read."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from alignkit.errors import printable
from alignkit.evaluation.summary import Records
from alignkit.report.banner import banner_line
from alignkit.report.wrapping import cut, cut_start

SHOWN = 3
"""Prompts whose responses are shown."""

CHARACTERS = 240
"""Most characters shown of a prompt (its end) and of a response (its beginning)."""


def sample_lines(before: Records, after: Records, width: int) -> Iterator[Text]:
    """The first prompts with both responses; control characters are written out. Nothing when nothing was sampled."""
    old = {sample["row"]: sample for sample in before}
    if after:
        yield Text(f"Sampled responses, {min(SHOWN, len(after))} of {len(after):,}; all are in samples.jsonl")
    for sample in after[:SHOWN]:
        yield banner_line("prompt", cut_start(printable(sample["prompt"].strip(), limit=None), CHARACTERS), width)
        for name, one in (("before", old.get(sample["row"])), ("after", sample)):
            if one is not None:
                response = cut(printable(one["response"].strip(), limit=None), CHARACTERS) or "(nothing)"
                reward = f" (true reward {one['true_reward']:g})" if "true_reward" in one else ""
                yield banner_line(name, response + reward, width)

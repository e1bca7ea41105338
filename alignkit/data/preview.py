"""Shows one token row as the model will see it, with the boundary between prompt and response marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from alignkit.data.rows import TokenRow
from alignkit.report.visible import visible

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

_STYLES = {"chosen": "green", "rejected": "red"}


def preview(row: TokenRow, tokenizer: PreTrainedTokenizerBase, max_tokens: int = 60) -> Text:
    """The prompt, then each response, special tokens included; a long prompt's end, a long response's start.

    Args:
        row: the row shown.
        tokenizer: decodes it.
        max_tokens: tokens shown of the prompt and of each response.
    """
    hidden = len(row.prompt) - max_tokens
    shown = Text(f"{visible(row.where)}\n", style="dim")
    shown.append(f"prompt ({len(row.prompt)} tokens): ", style="bold")
    shown.append(("..." if hidden > 0 else "") + _decoded(tokenizer, row.prompt[-max_tokens:]), style="cyan")
    for name, ids in row.responses.items():
        label = "" if row.label is None else ", desirable" if row.label else ", undesirable"
        shown.append(f"\n{name} ({len(ids)} tokens{label}): ", style="bold")
        shown.append("|", style="bold yellow")
        shown.append(_decoded(tokenizer, ids[:max_tokens]), style=_STYLES.get(name, "default"))
        if len(ids) > max_tokens:
            shown.append(" ... " + _decoded(tokenizer, ids[-1:]), style="dim")
    return shown


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: np.ndarray) -> str:
    """What a terminal would obey or hide is written out; a newline stays one."""
    return visible(str(tokenizer.decode(ids.tolist(), skip_special_tokens=False)), keep="\n")

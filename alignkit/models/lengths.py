"""How long rows may be: position tables, stretched rotary positions, attention that reaches only so far."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignkit.errors import ModelError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class Longest:
    """The longest rows of a run.

    Attributes:
        tokens: most tokens of a prompt with one response, read from the data or sampled.
        key: the recipe's key that bounds it.
        shared: most tokens of a prompt with all its responses, in one row.
    """

    tokens: int
    key: str
    shared: int


_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
"""What configurations call the reach of local attention; tokens."""

_SPARSE = ("keep_window_size", "index_topk")
"""What configurations call the number of tokens that attention picks when there are more."""


def obstacle_of_window(config: PretrainedConfig, longest: int | None, kept: Sequence[str] = ()) -> str | None:
    """Why local attention keeps responses apart; None where nothing reaches beyond its window, so that it does nothing.

    Args:
        config: of the model.
        longest: most tokens that lie in one row of a mask; None when it is not known.
        kept: names of windows that stay in force.
    """
    for name in (*_WINDOWS, *_SPARSE):  # longer than made-up rows, so not seen by trying
        window = getattr(config, name, None)
        if name in kept or not window or not getattr(config, "use_sliding_window", True):
            continue
        if longest is None or longest > window:
            return f"its attention window of {window} tokens would be dropped"
    return None


def require_length(model: PreTrainedModel, longest: Longest) -> None:
    """Refuses rows that the model has no positions for, or would score by what else is in their batch.

    Raises:
        ModelError: with both lengths and the key that bounds the rows.
    """
    kind = model.config.model_type
    for limit, reason in limits(model):
        if longest.tokens > limit:
            raise ModelError(
                f"{longest.key}: the longest row has {longest.tokens} tokens, but {kind} {reason} {limit}; "
                f"lower {longest.key} so that no row is longer than that"
            )


def notes_on_length(model: PreTrainedModel, longest: Longest) -> list[str]:
    """What the user should know of rows that are taken."""
    known = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if known is None or longest.tokens <= known:
        return []
    return [f"the longest row has {longest.tokens} tokens, the model was made for {known} (max_position_embeddings)"]


def limits(model: PreTrainedModel) -> Iterator[tuple[int, str]]:
    """What bounds the length of rows: the last token that is right, and what is wrong beyond."""
    config = model.config.get_text_config()
    for limit, reason in (
        (_position_table(model), "has no positions beyond token"),
        (_stretched(config), "scores a row by the longest of its batch (longrope or dynamic positions) beyond token"),
        (_sparse(config), "scores a row by its padding (sparse attention) beyond token"),
    ):
        if limit is not None:
            yield limit, reason


def _position_table(model: PreTrainedModel) -> int | None:
    """Rows of the table that positions are looked up in, learned or not; None where they are computed."""
    config = model.config.get_text_config()
    known: int | None = getattr(config, "max_position_embeddings", getattr(config, "n_positions", None))
    if getattr(config, "model_type", "") == "mpt":  # a table of distances
        return int(config.max_seq_len)
    if known is None:
        return None
    for name, module in model.named_modules():
        if hasattr(module, "make_weights"):  # XGLM's table grows
            continue
        tables = [*module.named_parameters(name, recurse=False), *module.named_buffers(name, recurse=False)]
        for table, tensor in tables:
            is_table = tensor.dim() == 2 and re.search(r"(^|[._])(pos|positions?|wpe)([._]|$)", table)
            if is_table and known <= len(tensor) <= known + 2:  # OPT keeps two rows for padding
                return known
    return None


def _stretched(config: PretrainedConfig) -> int | None:
    """Tokens beyond which transformers takes the rotary frequencies from the longest row of a batch."""
    parameters: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    by_layer = [value for value in parameters.values() if isinstance(value, dict)]
    limits = []
    for rope in by_layer or [parameters]:
        if rope.get("rope_type") == "longrope":
            limits.append(rope.get("original_max_position_embeddings"))
        elif "dynamic" in str(rope.get("rope_type")):
            limits.append(config.max_position_embeddings)
    return min((int(limit) for limit in limits if limit), default=None)


def _sparse(config: PretrainedConfig) -> int | None:
    """Tokens beyond which even transformers' own log-probs depend on a row's padding."""
    return min((int(size) for name in _SPARSE if (size := getattr(config, name, None))), default=None)

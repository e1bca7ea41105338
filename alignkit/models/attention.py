"""Attention over packed rows, as transformers calls it: padded tables inside it and nowhere else.

The decoder runs over the prompts, where each layer's keys and values are kept, and then over the responses, which look
at the keys and values of their prompt and at their own. So equal prompts are computed once, and a gradient by the
responses' embeddings never visits the first pass. Which pass it is comes with the call, so that a layer whose
activations are computed again attends as it did before. A call that brings none is transformers' own `sdpa`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignkit.lazy import torch, transformers
from alignkit.models.attended import is_watched, note, shares
from alignkit.models.packing import Segments, lookup

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

NAME = "alignkit_packed"
"""What configurations in memory call it; transformers writes it into no file."""

_UNKNOWN = ("softcap", "s_aux", "position_bias")
"""What some models add to attention and packed rows do without."""


def let_pack(model: PreTrainedModel) -> None:
    """Puts packed attention in the place of `sdpa`; it stays there, as activations may be computed again later."""
    if model.config._attn_implementation != NAME:
        masks = transformers.masking_utils.ALL_MASK_ATTENTION_FUNCTIONS
        transformers.AttentionInterface.register(NAME, attention)
        transformers.AttentionMaskInterface.register(NAME, masks["sdpa"])
        model.config._attn_implementation = NAME


def let_not_pack(model: PreTrainedModel) -> None:
    """Gives a model that packed rows do not work with its own attention back."""
    if model.config._attn_implementation == NAME:
        model.config._attn_implementation = "sdpa"


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packed_pass: Pass | None = None,
    **options: Any,  # noqa: ANN401 -- whatever a model's attention has
) -> tuple[Tensor, Tensor | None]:
    """One layer's attention: that of a packed row's pass, or transformers' `sdpa`, whose arguments it has.

    Raises:
        ValueError: the model's attention is more than packed rows know.
    """
    if packed_pass is None:
        plain = transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS["sdpa"]
        if is_watched():
            heads_last = (query.detach().transpose(1, 2), key.detach().transpose(1, 2))
            note(lambda: [shares(*heads_last, attention_mask, options.get("scaling"))])
        found: tuple[Tensor, Tensor | None] = plain(module, query, key, value, attention_mask, **options)
        return found
    more = [name for name in _UNKNOWN if options.get(name) is not None]
    if attention_mask is None or attention_mask.numel() != 1:  # not the one that the pass brought
        more.append("a mask of its own")
    if more:
        raise ValueError(f"its attention has {more[0]}")
    states = [state.transpose(1, 2).flatten(2).squeeze(0) for state in (query, key, value)]
    window, scaling = options.get("sliding_window"), options.get("scaling")
    output_NF = packed_pass.attend(module, states, (query.shape[1], key.shape[1]), window=window, scaling=scaling)
    return output_NF.view(1, len(output_NF), query.shape[1], -1), None


class Pass:
    """A pass of the decoder over prompts, or over responses after it.

    Args:
        segments: what attends.
        earlier: each layer's keys and values of the prompts, in the pass over the responses.

    Attributes:
        windows: how many tokens back each layer's attention sees; None for all.
    """

    def __init__(self, segments: Segments, earlier: Mapping[nn.Module, Sequence[Tensor]] | None = None) -> None:
        self.windows: dict[nn.Module, int | None] = {}
        self._segments, self._earlier = segments, earlier
        self._kept: dict[nn.Module, Sequence[Tensor]] | None = {} if earlier is None else None
        self._masks: dict[tuple[int | None, torch.dtype], list[Tensor | None]] = {}

    def then(self, segments: Segments) -> Pass:
        """The pass over the responses, to which what was kept goes over: a layer computed again keeps nothing.

        Raises:
            ValueError: no layer kept anything.
        """
        kept, self._kept = self._kept, None
        if not kept:
            raise ValueError("its attention cannot be told what to look at")
        return Pass(segments, kept)

    def attend(
        self,
        module: nn.Module,
        states: Sequence[Tensor],
        heads: tuple[int, int],
        *,
        window: int | None,
        scaling: float | None,
    ) -> Tensor:
        """[N, F] the output of a layer's attention, heads side by side.

        Args:
            module: the layer's attention.
            states: [N, F] queries, keys and values of the pass's tokens, heads side by side.
            heads: how many of the queries, and of keys and values.
            window: how many tokens back a token sees, itself included; None for all.
            scaling: factor of the scores.

        Raises:
            ValueError: the layer has attended before in this pass.
        """
        self.windows[module] = window
        query_NF, *own = states
        if self._earlier is not None:
            own = [torch.cat(pair) for pair in zip(self._earlier[module], own, strict=True)]
        elif self._kept is not None:
            if module in self._kept:
                raise ValueError("a layer of it attends twice")
            self._kept[module] = own
        queries, masks = self._segments.queries.of(query_NF), self._mask(window, query_NF.dtype)
        keys, values = (self._segments.keys.of(state_NF) for state_NF in own)
        if is_watched():
            note(lambda: [_shares(*table, heads, scaling) for table in zip(queries, keys, masks, strict=True)])
        tables = zip(queries, keys, values, masks, strict=True)
        output_MF = torch.cat([_attend(*table, heads, scaling) for table in tables])
        return lookup(self._segments.slot_N, output_MF)

    def _mask(self, window: int | None, dtype: torch.dtype) -> list[Tensor | None]:
        """[S, 1, L, K] for each table, to be added to scores; None where causality says it all."""
        if (window, dtype) not in self._masks:
            shapes = zip(self._segments.queries.shapes, self._segments.keys.shapes, strict=True)
            pairs = zip(shapes, self._segments.before, strict=True)
            self._masks[window, dtype] = [
                None
                if self._earlier is None and (window is None or window >= num_keys)
                else _mask(before_S, length, num_keys, window, dtype)
                for ((_, length), (_, num_keys)), before_S in pairs
            ]
        return self._masks[window, dtype]


def _mask(before_S: Tensor, length: int, num_keys: int, window: int | None, dtype: torch.dtype) -> Tensor:
    place_L, place_K = (torch.arange(n, device=before_S.device) for n in (length, num_keys))
    # A query that is padding sees something too: its output would be NaN, and so would 0 times it.
    place_SL1 = (before_S[:, None] + place_L).clamp(max=num_keys - 1)[..., None]
    seen_SLK = place_K <= place_SL1
    if window is not None:
        seen_SLK = seen_SLK & (place_K > place_SL1 - window)
    return torch.zeros_like(seen_SLK, dtype=dtype).masked_fill(~seen_SLK, -torch.inf)[:, None]


def _shares(
    query_SLF: Tensor, key_SKG: Tensor, mask: Tensor | None, heads: tuple[int, int], scaling: float | None
) -> Tensor:
    """[S, L, K] what the queries of a table attend to."""
    query, key = (
        table.detach().view(*table.shape[:2], number, -1)
        for table, number in zip((query_SLF, key_SKG), heads, strict=True)
    )
    return shares(query, key, mask, scaling)


def _attend(
    query_SLF: Tensor,
    key_SKG: Tensor,
    value_SKG: Tensor,
    mask: Tensor | None,
    heads: tuple[int, int],
    scaling: float | None,
) -> Tensor:
    """[M, F] the attention of a table, padding included."""
    num_heads, num_key_heads = heads
    query = query_SLF.view(*query_SLF.shape[:2], num_heads, -1).transpose(1, 2)
    key, value = (table.view(*table.shape[:2], num_key_heads, -1).transpose(1, 2) for table in (key_SKG, value_SKG))
    repeats = num_heads // num_key_heads
    if repeats > 1 and mask is not None and query.device.type != "cpu":  # which no fast kernel there takes together
        key, value, repeats = *(state.repeat_interleave(repeats, dim=1) for state in (key, value)), 1
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=repeats > 1
    )
    return output.transpose(1, 2).flatten(2).flatten(0, 1)

"""The plugin as alignkit sees it once it is installed."""

from __future__ import annotations

import torch

from alignkit.scores import Span
from alignkit.weighting import weightings


def test_only_the_last_tokens_count_and_their_mean_is_one():
    """Of 4 tokens the last 2 count, so each gets 4 / 2; of 1 token, that one."""
    span = Span(mask_BS=torch.tensor([[True, True, True, True], [True, False, False, False]]))
    weights_BT = weightings.build("last_tokens", {"count": 2}).weights(span)
    assert weights_BT.tolist() == [[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 0.0, 0.0]]

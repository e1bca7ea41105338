"""Losses: what is minimised, given the scores of a batch. Token weights are already inside the scores."""

from __future__ import annotations

from typing import Annotated

from alignkit.losses.base import Loss
from alignkit.registry import Registry

losses: Registry[Loss] = Registry(
    "loss",
    Loss,
    {
        "sft": "alignkit.losses.sft:SFT",
        "dpo": "alignkit.losses.dpo:DPO",
        "weighted_dpo": "alignkit.losses.dpo:DPO",
        "tdpo": "alignkit.losses.tdpo:TDPO",
        "triplet": "alignkit.losses.triplet:Triplet",
    },
)

LossSlot = Annotated[Loss, losses]
"""A recipe slot that holds a loss."""

"""Trainers: which responses of a data row are laid out, and what the losses then see."""

from __future__ import annotations

from typing import Annotated

from alignkit.registry import Registry
from alignkit.views.base import Trainer

trainers: Registry[Trainer] = Registry(
    "trainer",
    Trainer,
    {
        "sft": "alignkit.views.sft:SFTTrainer",
        "on_policy": "alignkit.views.on_policy:OnPolicyTrainer",
        "online_preference": "alignkit.views.online_preference:OnlinePreferenceTrainer",
        "preference": "alignkit.views.preference:PreferenceTrainer",
        "unpaired": "alignkit.views.unpaired:UnpairedTrainer",
    },
)

TrainerSlot = Annotated[Trainer, trainers]
"""A recipe slot that holds a trainer."""

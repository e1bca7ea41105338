"""Trainers: which responses of a data row are laid out, and what the losses then see."""

from __future__ import annotations

from typing import Annotated

from alignkit.registry import Registry
from alignkit.trainers.base import Trainer

trainers: Registry[Trainer] = Registry(
    "trainer",
    Trainer,
    {
        "sft": "alignkit.trainers.sft:SFTTrainer",
        "preference": "alignkit.trainers.preference:PreferenceTrainer",
        "unpaired": "alignkit.trainers.unpaired:UnpairedTrainer",
    },
)

TrainerSlot = Annotated[Trainer, trainers]
"""A recipe slot that holds a trainer."""

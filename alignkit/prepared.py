"""What a run has in its hands: the loaded parts of a recipe, and all that its first step needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignkit.data.rows import Tables
from alignkit.engine.method import Job
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.setup import Setup
from alignkit.evaluation.evaluate import Evaluation
from alignkit.models.policy import Policy
from alignkit.recipe.load import LoadedRecipe

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Parts:
    """What a recipe names, loaded."""

    loaded: LoadedRecipe
    job: Job
    accelerator: Accelerator
    tables: Tables
    policy: Policy
    fingerprints: Mapping[str, str]


@dataclass(frozen=True)
class Prepared:
    """Everything a run needs before its first step."""

    parts: Parts
    step: ObjectiveStep
    evaluation: Evaluation
    setup: Setup

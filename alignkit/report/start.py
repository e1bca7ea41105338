"""The start of a run in words: banner, plan, and what a dry run leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from alignkit.data.rows import Tables
from alignkit.engine.objective import start_batches
from alignkit.engine.setup import Setup
from alignkit.loop.config import TrainingConfig
from alignkit.loop.order import DataOrder, planned_steps
from alignkit.models.policy import Policy
from alignkit.models.quantized import count_numbers
from alignkit.recipe.load import LoadedRecipe
from alignkit.recipe.recipe import Recipe
from alignkit.report.banner import Banner, Batch, method_line

if TYPE_CHECKING:
    from accelerate import Accelerator


def show_begun(console: Console, loaded: LoadedRecipe, folder: str) -> None:
    """What is known before anything is loaded; `folder` is the run folder, in words."""
    recipe, banner = loaded.recipe, Banner(console)
    banner.begun(
        recipe=str(loaded.path),
        method=method_line(recipe),
        folder=folder,
        loading=f"data {', '.join(recipe.data.labels)}; model {model_name(recipe)}",
    )
    for note in loaded.notes:
        banner.note(note)


def show_plan(
    banner: Banner,
    loaded: LoadedRecipe,
    config: TrainingConfig,
    policy: Policy,
    tables: Tables,
    accelerator: Accelerator,
) -> None:
    """The model and how long and in which pieces it is trained."""
    parameters = list(policy.model.parameters())
    banner.model(
        model_name(loaded.recipe),
        parameters=count_numbers(parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
    )
    processes = accelerator.num_processes
    share = -(-config.batch_size // processes)
    sampler, trainer = loaded.recipe.sampler, loaded.recipe.trainer
    responses = sampler.responses if sampler is not None and trainer.draws else 0
    micro = config.micro_batch_size if responses else min(config.micro_batch_size, share)
    updates = trainer.updates
    steps = planned_steps(config, len(tables.train), updates)
    epochs = DataOrder(tables.train, config.batch_size, loaded.recipe.seed, updates).epochs_after(steps)
    for note in policy.notes:
        banner.note(note)
    if trainer.needs_advantage:
        banner.note("the policy-gradient loss is about 0 by construction; watch reward and its deviation within groups")
    passes = -(-share // micro)
    batch = Batch(config.batch_size, micro, passes, processes, responses, config.micro_batch_tokens or 0)
    banner.plan(batch, steps=steps, epochs=epochs)


def model_name(recipe: Recipe) -> str:
    """The model as the recipe names it."""
    return str(getattr(recipe.model, "path", recipe.model.name))


def dry_run_line(setup: Setup, recipe: Recipe) -> str:
    """What a dry run did and what it left to the run."""
    batches = start_batches(setup.looked_up.visited, recipe.training.micro_batch_size)
    checked = len({row.index for batch in batches for row in batch})
    left = [f"{values.words} ({setup.looked_up.needed:,} rows)" for values in setup.left_out]
    left += ["the trainings of contrastive models"] * any(values.trains for values in setup.left_out)
    left += ["evaluation", "training"]
    compares = recipe.needs().reference and not recipe.trainer.draws  # what is sampled is checked when it is
    is_checked = f"checked on {checked:,} {'row' if checked == 1 else 'rows'}; " if compares else ""
    return f"dry run: {is_checked}not computed: {', '.join(left)}; nothing was written"

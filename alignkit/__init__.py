"""alignkit: declarative preference alignment where you choose which tokens carry the preference.

From Python: `alignkit.run(alignkit.load_recipe("recipe.yaml"))`. What is behind these names is loaded when one of them
is first used, so that `import alignkit` and most of the command line are quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alignkit.errors import AlignkitError as AlignkitError
    from alignkit.pipeline import run_pipeline as run_pipeline
    from alignkit.recipe.load import LoadedRecipe as LoadedRecipe
    from alignkit.recipe.load import load_recipe as load_recipe
    from alignkit.recipe.pipeline import LoadedPipeline as LoadedPipeline
    from alignkit.recipe.pipeline import load_pipeline as load_pipeline
    from alignkit.result import RunResult as RunResult
    from alignkit.run import run as run

__version__ = "0.1.0"

__all__ = [
    *("AlignkitError", "LoadedPipeline", "LoadedRecipe", "RunResult", "__version__"),
    *("load_pipeline", "load_recipe", "run", "run_pipeline"),
]

_HOMES = {
    "AlignkitError": "alignkit.errors",
    "LoadedPipeline": "alignkit.recipe.pipeline",
    "LoadedRecipe": "alignkit.recipe.load",
    "RunResult": "alignkit.result",
    "load_pipeline": "alignkit.recipe.pipeline",
    "load_recipe": "alignkit.recipe.load",
    "run_pipeline": "alignkit.pipeline",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "run":
            return import_module("alignkit.run")  # which can be called as the function of its name
        if name not in _HOMES:
            raise AttributeError(f"module 'alignkit' has no attribute '{name}'")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__

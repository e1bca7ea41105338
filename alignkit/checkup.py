"""From a recipe to what is wrong with its data; nothing is trained and nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from alignkit.data.config import DataConfig
from alignkit.data.naming import has_own_eval
from alignkit.data.preview import preview
from alignkit.data.texts import training_texts
from alignkit.doctor.case import Case
from alignkit.doctor.diagnosis import Diagnosis, diagnose
from alignkit.doctor.reading import MOST_TOKENISED, read_case, read_prompts
from alignkit.errors import DataError, printable
from alignkit.lazy import LazyModule
from alignkit.loop.accelerator import make_accelerator, own_state
from alignkit.models.lengths import Longest
from alignkit.progress.display import Display, showing
from alignkit.quiet import quiet_libraries
from alignkit.recipe.load import LoadedRecipe
from alignkit.recipe.recipe import Recipe
from alignkit.registry import LARGEST_INTEGER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    import alignkit.doctor.reference as references
    import alignkit.models.policy as policies
else:  # both need torch, and without a model nothing else does
    references = LazyModule("alignkit.doctor.reference")
    policies = LazyModule("alignkit.models.policy")


@dataclass(frozen=True)
class Checkup:
    """What came of it.

    Attributes:
        diagnosis: all findings.
        pair: one row as the model sees it, coloured; None where no row is left.
    """

    diagnosis: Diagnosis
    pair: Text | None


def check_up(loaded: LoadedRecipe, against: Sequence[Path] = (), *, with_model: bool = False) -> Checkup:
    """Reads the data of a recipe and asks every check what it finds.

    Args:
        loaded: the recipe.
        against: files of test sets that must not be trained on.
        with_model: load the model too, for the checks that ask it.

    Raises:
        AlignkitError: the data, the tokenizer or the model cannot be had at all.
    """
    recipe = loaded.recipe
    others = {printable(str(path)): read_prompts(path) for path in against}
    with quiet_libraries(), showing(Display(Console(stderr=True))):
        tokenizer = _tokenizer(recipe)
        most = LARGEST_INTEGER if with_model else MOST_TOKENISED
        case = read_case(recipe.data, recipe.wanted(), tokenizer, recipe.seed, others, most)
        if with_model:
            with own_state():
                case = replace(case, reference=_asked(recipe, case))
        shown = preview(case.tokenised[0][1], tokenizer) if case.tokenised else None
        return Checkup(diagnose(case), shown)


def _tokenizer(recipe: Recipe) -> PreTrainedTokenizerBase:
    """The recipe's tokenizer; one that is trained on the rows must not stop at those that cannot be used."""
    lenient = recipe.data.model_copy(update={"on_bad_row": "drop", "max_bad_rows": LARGEST_INTEGER})
    try:
        return _loaded(recipe, lenient)
    except DataError:
        if has_own_eval(recipe.data):
            raise
        return _loaded(recipe, lenient.model_copy(update={"holdout": 0}))  # too few rows to hold any out


def _loaded(recipe: Recipe, data: DataConfig) -> PreTrainedTokenizerBase:
    return recipe.model.load_tokenizer(training_texts(data, recipe.seed))


def _asked(recipe: Recipe, case: Case) -> references.ReferenceSays | None:
    """What the reference says of the pairs that fit; None where there are none."""
    both = {"chosen", "rejected"}
    pairs = [tokens for _, tokens in case.tokenised if tokens.responses.keys() >= both]
    pairs = [tokens for tokens in pairs if tokens.length <= recipe.data.max_length]
    if not pairs:
        return None
    accelerator = make_accelerator(recipe.training, Path("."))
    together = max(len(row.prompt) + sum(map(len, row.responses.values())) for row in pairs)
    policy = policies.build_policy(
        recipe.model,
        case.tokenizer,
        seed=recipe.seed,
        separate=False,
        device=accelerator.device,
        template_end=case.end,
        longest=Longest(max(row.length for row in pairs), "data.max_length", shared=together),
    )
    return references.ask_reference(policy, pairs, recipe.evaluation.batch_size, accelerator.autocast)

"""From a run or a recipe to the page that shows its tokens; models are loaded where the run's records do not do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from alignkit.data.rows import TokenRow
from alignkit.data.tables import load_tables
from alignkit.engine.scoring import tabulated
from alignkit.engine.workbench import SideRuns
from alignkit.errors import AlignkitError, RunFolderError
from alignkit.evaluation.records import read_samples
from alignkit.evaluation.summary import Records
from alignkit.evaluation.tokens import MOST_ROWS
from alignkit.folder import FINAL, RECIPE, RUN, resume_command
from alignkit.inspector.audit import Lexicon
from alignkit.inspector.cards import Card, cards_of_rows
from alignkit.inspector.subject import Subject, inputs_of, method_of, subject_of
from alignkit.inspector.view import inspection_page
from alignkit.page import require_place, write
from alignkit.prepared import Parts, Prepared
from alignkit.recipe.load import LoadedRecipe
from alignkit.recipe.pipeline import LoadedPipeline, load
from alignkit.records.versions import versions
from alignkit.rewards.judge import Judge
from alignkit.run import load_parts, prepare, surroundings

PAGE = "inspect.html"
"""What the page is called unless it is given a name."""


class InspectionError(AlignkitError, ValueError):
    """What is to be inspected has nothing to show."""


@dataclass(frozen=True)
class Wish:
    """What a page should show.

    Attributes:
        rows: rows, from the first; None for what a run recorded, or as many as a run records.
        data: a file whose rows are shown instead of the held-out ones.
        lexicon: terms of the safety audit, a file; None for alignkit's own.
    """

    rows: int | None = None
    data: Path | None = None
    lexicon: Path | None = None


def inspect(
    what: Path | str, output: Path | None = None, wish: Wish | None = None, overrides: Sequence[str] = ()
) -> Path:
    """Writes the page of a run, or of a recipe's start model on its held-out rows.

    Args:
        what: a run folder, or a recipe.
        output: the page's file; None for `inspect.html` in the run folder, or in the working folder of a recipe.
        wish: what it should show.
        overrides: `KEY=VALUE` of a recipe.

    Returns:
        The page's file.

    Raises:
        AlignkitError: it is neither, has nothing to show, or its parts cannot be had.
    """
    wish, folder = wish or Wish(), Path(what)
    lexicon = Lexicon.read(wish.lexicon)
    if wish.data is not None and not wish.data.is_file():
        raise InspectionError(f"--data: {wish.data}: no such file; give one that data.eval could name")
    is_run = folder.is_dir()
    target = output or (folder / PAGE if is_run else Path(PAGE))
    require_place(target)
    subject = _of_run(folder, wish, overrides) if is_run else _of_recipe(what, wish, overrides)
    write(target, inspection_page(subject, lexicon))
    return target


def _of_run(folder: Path, wish: Wish, overrides: Sequence[str]) -> Subject:
    """From its records, unless they have too few rows or other rows are wished for."""
    if overrides:
        raise InspectionError("--set: is for a recipe; a run is what it was")
    _refuse_pipeline(folder)
    subject = subject_of(folder, wish.rows)
    draws = any(card.key.startswith("s") for card in subject.cards)
    if draws and wish.data is not None:
        raise InspectionError(f"--data: the run in {folder} samples its responses; those that it wrote are shown")
    if wish.data is None and subject.cards and (draws or wish.rows is None or len(subject.cards) >= wish.rows):
        return subject
    if wish.data is None and wish.rows is None:
        raise InspectionError(f"{folder}: {_nothing(folder)}")
    if not (folder / FINAL).is_dir():
        raise RunFolderError(f"{folder}: its run has saved no model yet; go on with {resume_command(folder)}")
    loaded = load(folder / RECIPE)
    assert isinstance(loaded, LoadedRecipe), "a pipeline was refused"
    with _prepared(loaded, wish) as prepared:
        count = wish.rows or MOST_ROWS
        before = prepared.evaluation.tokens(count)
        scorer = prepared.parts.policy.scorer
        scorer.load_state_dict(prepared.parts.policy.stored_parameters(folder / FINAL), strict=False)
        after = prepared.evaluation.tokens(count)
    cards = cards_of_rows({"before": before, "after": after}, {} if wish.data else read_samples(folder))
    if not cards:
        raise InspectionError(f"{folder}: no rows are held out, so there is nothing to show; give some with --data")
    notes = [*subject.notes, f"Rows of {wish.data}."] if wish.data else subject.notes
    return replace(subject, cards=cards, notes=notes)


def _nothing(folder: Path) -> str:
    """Why there is nothing to show, and what to do."""
    if (folder / FINAL).is_dir():
        return "its run recorded no tokens of held-out rows; --rows 40 computes them from its model"
    return f"its run has recorded nothing yet; go on with {resume_command(folder)}"


def _of_recipe(path: Path | str, wish: Wish, overrides: Sequence[str]) -> Subject:
    """The start model, before training."""
    loaded = load(path, overrides)
    if isinstance(loaded, LoadedPipeline):
        raise InspectionError(f"{path}: is a pipeline; run it, and inspect the folders of its stages")
    with _prepared(loaded, wish) as prepared:
        before = prepared.evaluation.tokens(wish.rows or MOST_ROWS)
        fingerprints = prepared.parts.fingerprints
    recipe = loaded.to_yaml(origin=True)
    facts = [("method", method_of(loaded.recipe))]
    facts += inputs_of(recipe, loaded.recipe.seed, fingerprints, {**versions(), **loaded.plugins, **loaded.libraries})
    note = "The start model of a recipe, before any training."
    return Subject(loaded.path.name, facts, recipe, cards=_cards(before, path), notes=[note])


def _cards(before: Records, path: Path | str) -> list[Card]:
    if not before:
        raise InspectionError(f"{path}: no rows are held out, so there is nothing to show; set data.holdout or --data")
    return cards_of_rows({"before": before}, {})


@contextmanager
def _prepared(loaded: LoadedRecipe, wish: Wish) -> Iterator[Prepared]:
    """Everything but training, for as many rows as are wished for."""
    if loaded.recipe.method().view.draws:
        raise InspectionError(
            f"{loaded.path}: its trainer samples responses, so there are none to show before it runs; run it, and "
            "inspect the run"
        )
    with surroundings(loaded, quiet=False), TemporaryDirectory() as folder, Judge(loaded.recipe.rewards) as judge:
        parts = load_parts(loaded, Path(folder), None)
        yield prepare(_with_rows(parts, wish), SideRuns(Path(folder) / "contrast"), judge)


def _with_rows(parts: Parts, wish: Wish) -> Parts:
    """The parts with the rows that are wished for as held-out ones, and one short step to compute training rows for.

    All training rows stay: prompts are drawn from them, and contrasts trained on them, as in the run.
    """
    tables, training = parts.tables, parts.job.training
    if wish.data is not None:
        tables = replace(tables, eval=_rows_of(parts, wish.data))
    if not any(values.trains for values in tabulated(parts.job.method.needs)):
        training = training.model_copy(update={"steps": 1, "batch_size": parts.job.sizes.micro_batch})
    sizes = replace(parts.job.sizes, held_out=max(parts.job.sizes.held_out, wish.rows or MOST_ROWS))
    return replace(parts, tables=tables, job=replace(parts.job, sizes=sizes, training=training))


def _rows_of(parts: Parts, file: Path) -> tuple[TokenRow, ...]:
    """The rows of a file, as the recipe reads its held-out ones."""
    recipe = parts.loaded.recipe
    data = type(recipe.data).model_validate({**recipe.data.model_dump(), "eval": str(file)})
    return load_tables(data, parts.policy.tokenizer, recipe.wanted(), seed=recipe.seed).eval


def _refuse_pipeline(folder: Path) -> None:
    if not (folder / RECIPE).is_file():
        raise RunFolderError(f"{folder}: is no run folder, it holds no {RECIPE}; give one, or a recipe (.yaml)")
    if (folder / RUN).is_file():
        return
    loaded = load(folder / RECIPE)
    if isinstance(loaded, LoadedPipeline):
        stages = " and ".join(str(folder / f"{number}-{name}") for number, name in enumerate(loaded.stages, 1))
        raise RunFolderError(f"{folder}: holds a pipeline; inspect its stages one by one: {stages}")

"""What alignkit raises: where, what is wrong, what was given, what would be right.

Each class is also the standard-library error it refines, so that `except ValueError` keeps working. The command line
prints the message alone and leaves with `exit_code`; a traceback therefore always means a bug of ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class AlignkitError(Exception):
    """Base of every error that a user can cause or mend."""

    exit_code = 2


@dataclass(frozen=True, order=True)
class Problem:
    """One line of complaint.

    Attributes:
        where: `file:line`, a `--set` argument, or empty when the problem has no place.
        key: dotted path inside the recipe or the column of a row; may be empty.
        message: what is wrong, what was given, what would be right.
    """

    where: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.message) if part)


class RecipeError(AlignkitError, ValueError):
    """A recipe cannot be read, does not validate, or asks for parts that do not fit. Carries all problems at once."""

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        self.problems = [Problem("", "", problems)] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(map(str, self.problems)))


class DataError(AlignkitError, ValueError):
    """A data source or some of its rows cannot be used."""


class ModelError(AlignkitError, ValueError):
    """A model, adapter or tokenizer cannot be loaded or cannot do what the recipe needs of it."""


class RunFolderError(AlignkitError, OSError):
    """The run folder is locked, finished, or belongs to another recipe."""


class StorageError(RunFolderError):
    """The machine cannot store what the run leaves behind: its disk is full, read-only or broken."""

    exit_code = 1


class CheckpointError(AlignkitError, OSError):
    """No checkpoint can be resumed from."""


class NonFiniteError(AlignkitError, ArithmeticError):
    """A loss, gradient or weight became infinite or NaN; training stopped and nothing of that step was saved."""

    exit_code = 1

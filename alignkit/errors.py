"""What alignkit raises: where, what is wrong, what was given, what would be right.

Each class is also the standard-library error it refines, so that `except ValueError` keeps working. The command line
prints the message alone and leaves with `exit_code`; a traceback therefore always means a bug of ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SHOWN_LENGTH: Final = 200
"""Most characters of one name or value that a message repeats."""

KEY_LENGTH: Final = 100
"""The same of a key, which its place may repeat."""

LINE_LENGTH: Final = 2000
"""Most characters of one line of a message."""

MOST_PROBLEMS: Final = 50
"""Most problems that are told at once."""

_ESCAPES: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\x1b": "\\e"}


def printable(text: str, limit: int | None = SHOWN_LENGTH) -> str:
    """`text` as part of one line that neither moves a cursor nor passes for a message of ours.

    Whatever has no glyph of its own (line ends, escape sequences, C1 controls, bidirectional overrides, halves of
    surrogate pairs) is written as YAML's double quotes have it: `\\n`, `\\x9b`, `\\u202e`.

    Args:
        text: anything that a user, a file or a model gave.
        limit: most characters of the result; a longer one loses its middle. None cuts nothing.
    """
    if limit is not None and len(text) > 2 * limit:
        text = text[:limit] + text[-limit:]  # it is cut anyway, and need not be escaped whole
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _escaped(char) for char in text)
    if limit is None or len(text) <= limit:
        return text
    tail = limit // 4
    return f"{text[: limit - tail - 3]}...{text[-tail:]}"


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shown(value: object, limit: int = SHOWN_LENGTH) -> str:
    """A value as messages repeat it: `printable`, text in single quotes."""
    if isinstance(value, str):
        return f"'{printable(value, limit)}'"
    try:
        return printable(repr(value), limit)
    except ValueError:  # what Python says of a number with thousands of digits
        return "a number too long to be shown"


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
        parts = (printable(self.where), printable(self.key, KEY_LENGTH), printable(self.message, LINE_LENGTH))
        return ": ".join(part for part in parts if part)


class RecipeError(AlignkitError, ValueError):
    """A recipe cannot be read, does not validate, or asks for parts that do not fit.

    Carries all problems at once, and tells the first `MOST_PROBLEMS` of them.
    """

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        self.problems = [Problem("", "", problems)] if isinstance(problems, str) else list(problems)
        lines = [str(problem) for problem in self.problems[:MOST_PROBLEMS]]
        if len(self.problems) > MOST_PROBLEMS:
            lines.append(f"and {len(self.problems) - MOST_PROBLEMS:,} more")
        super().__init__("\n".join(lines))


class LibraryError(AlignkitError, LookupError):
    """A recipe library, or what declares or locks it, cannot be used."""


class DataError(AlignkitError, ValueError):
    """A data source or some of its rows cannot be used."""


class ModelError(AlignkitError, ValueError):
    """A model, adapter or tokenizer cannot be loaded or cannot do what the recipe needs of it."""


class RunFolderError(AlignkitError, OSError):
    """The run folder is locked, finished, or belongs to another recipe."""


class StorageError(RunFolderError):
    """The machine cannot store what the run leaves behind: its disk is full, read-only or broken."""

    exit_code = 1


class HubError(AlignkitError, OSError):
    """Nothing can be uploaded to the Hub: no login, no network, or the Hub says no."""


class ServerError(AlignkitError, OSError):
    """A server that draws responses cannot be reached, or gives what cannot be used."""


class LaunchError(AlignkitError, ValueError):
    """The processes of a run cannot be started, do not find each other, or do not work on the same thing."""


class CheckpointError(AlignkitError, OSError):
    """No checkpoint can be resumed from."""


class MeasureError(AlignkitError, ValueError):
    """A measure of an evaluation, which may be a plugin's, gives what it must not or asks for what there is not."""


class BenchmarkError(AlignkitError, ValueError):
    """A benchmark's items cannot be had, put to the model or scored."""


class RewardError(AlignkitError, ValueError):
    """A reward, which may be a plugin's, gives what is no score, cannot score too many samples, or must not be run."""


class CompareError(AlignkitError, ValueError):
    """Runs cannot be compared: not measured, not finished, or not on the same prompts."""


class CheckError(AlignkitError, ValueError):
    """A check of the data, which may be a plugin's, gives what is no finding."""


class NonFiniteError(AlignkitError, ArithmeticError):
    """A loss, gradient or weight became infinite or NaN; training stopped and nothing of that step was saved."""

    exit_code = 1

"""One line for whatever goes wrong while a folder or a Hub id is loaded, and what is wrong with the place itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alignkit.errors import AlignkitError, ModelError

MAX_REASON = 300
"""Characters that are quoted of another library's message."""

_MAX_TEXT = 2**28
"""Bytes of a configuration or tokenizer file, which are read whole; the largest published ones have some 2**25."""

_TEXTS = (".json", ".jinja", ".model", ".txt")


@contextmanager
def loading(start: str) -> Iterator[None]:
    """Turns any failure inside into a ModelError of one line, `start: reason`.

    The net is this wide because files made elsewhere reach deep into transformers, tokenizers, safetensors and peft,
    which raise what their own code happens to trip over: a damaged config.json alone gives ten types of error.
    """
    try:
        yield
    except AlignkitError:
        raise
    except Exception as error:
        raise ModelError(f"{start}: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """The first line of an error, with its type where the text alone would say little."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:  # `start` names the file already
        return error.strerror if type(error) is OSError else type(error).__name__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = " ".join(lines[: 1 + (lines[0].endswith(":"))])[:MAX_REASON] if lines else ""
    if line and isinstance(error, (OSError, RuntimeError, ValueError, ImportError)):
        return line
    return f"{type(error).__name__}: {line}".removesuffix(": ")


def require_place(key: str, path: str, revision: str | None) -> None:
    """What looks like a path must be a folder of files: the Hub's answer to a mistyped one would mislead.

    Args:
        key: the recipe's key, for messages.
        path: a folder or a Hub id.
        revision: branch, tag or commit of a Hub id.

    Raises:
        ModelError: it is none of both, or holds something else than files, which might never end.
    """
    with loading(f"{key}: '{path[:MAX_REASON]}' cannot be a folder"):
        folder = Path(path)
        is_folder, exists = folder.is_dir(), folder.exists()
    if is_folder:
        if revision is not None:
            raise ModelError(f"model.revision: '{revision}' belongs to a Hub id; {path} is a folder")
        _refuse_run_folder(key, folder)
        _require_regular(key, folder)
    elif exists:
        raise ModelError(f"{key}: {path} is a file; give the folder that holds the model, or a Hub id")
    elif path.startswith((".", "/", "~")) or path.count("/") > 1 or path.endswith("/"):
        raise ModelError(f"{key}: folder {path} does not exist; give a folder or a Hub id such as 'owner/name'")


def unreachable(key: str, path: str, revision: str | None) -> str:
    """The complaint about a Hub id that gives nothing."""
    at = f" at revision '{revision}'" if revision else ""
    return (
        f"{key}: '{path}'{at} is neither a folder nor on the Hub, or the Hub cannot be reached and it was not "
        "downloaded before"
    )


def _refuse_run_folder(key: str, folder: Path) -> None:
    if not (folder / "run.json").is_file() or (folder / "config.json").exists():
        return
    if (folder / "final").is_dir():
        raise ModelError(f"{key}: {folder} is a run folder; its model is {folder / 'final'}")
    raise ModelError(f"{key}: {folder} is the folder of a run that has saved no model yet (there is no 'final' in it)")


def _require_regular(key: str, folder: Path) -> None:
    """Pipes and devices have no end; links to plain files are what the Hub's cache is made of."""
    for entry in sorted(folder.iterdir()):
        if entry.exists() and not entry.is_file() and not entry.is_dir():
            raise ModelError(f"{key}: {entry} is neither a file nor a folder (a pipe or a device?); remove it")
        if entry.suffix in _TEXTS and entry.is_file() and entry.stat().st_size > _MAX_TEXT:
            raise ModelError(f"{key}: {entry} has {entry.stat().st_size:,} bytes, too many to be what its name says")

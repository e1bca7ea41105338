"""`alignkit push`: a run's model to the Hub."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.errors import printable
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.quiet as quiet
    import alignkit.use.merge as merging
    import alignkit.use.push as pushing
    import alignkit.use.trained as trained
else:
    merging = LazyModule("alignkit.use.merge")
    pushing = LazyModule("alignkit.use.push")
    quiet = LazyModule("alignkit.quiet")
    trained = LazyModule("alignkit.use.trained")


def push(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run, or the folder of a model.")],
    hub_id: Annotated[str, typer.Argument(metavar="HUB_ID", help="Where it goes: owner/name.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="The branch that gets it, made if there is none; main.")
    ] = None,
    merged: Annotated[bool, typer.Option("--merged", help="Merge the adapter first, and upload the model.")] = False,
    with_samples: Annotated[
        bool, typer.Option("--with-samples", help="Upload sampled responses too, with prompts of held-out rows.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be uploaded, and stop.")] = False,
) -> None:
    """Upload a run's model with its card, recipe and evaluation to the Hub; never data, logs or command lines."""
    with ExitStack() as stack, quiet.quiet_libraries():
        chosen = trained.Trained.of(run)
        folder = Path(chosen.path)
        if not dry_run:
            pushing.require_login()
        if merged:
            folder = Path(stack.enter_context(TemporaryDirectory())) / "merged"
            said = merging.merge(run, folder)
            typer.echo(printable(str(said), limit=None))
        upload = pushing.upload_of(chosen, hub_id, folder, with_samples=with_samples)
        for line in upload.lines():
            typer.echo(printable(line, limit=None))
        if not dry_run:
            typer.echo(f"done: {printable(upload.send(private=private, branch=revision))}")

"""`alignkit sample`: what a trained model says, beside what it said before."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.errors import AlignkitError, printable
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import rich.console as consoles

    import alignkit.models.head as head
    import alignkit.quiet as quiet
    import alignkit.use.sampling as sampling
    import alignkit.use.showing as showing
    import alignkit.use.trained as trained
else:
    consoles = LazyModule("rich.console")
    head = LazyModule("alignkit.models.head")
    quiet = LazyModule("alignkit.quiet")
    sampling = LazyModule("alignkit.use.sampling")
    showing = LazyModule("alignkit.use.showing")
    trained = LazyModule("alignkit.use.trained")


class SampleError(AlignkitError, ValueError):
    """Options of `sample` that do not fit each other."""


def sample(
    model: Annotated[str, typer.Argument(metavar="RUN", help="A run, or a model: a folder or a Hub id.")],
    prompt: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A prompt, the user's turn in a chat; may be repeated.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file (.jsonl, ...) whose 'prompt' is text or messages."),
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Sample from the model that the run started from too.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Prompts are text as it is, without a chat template.")] = False,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="Responses to each prompt.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=131_072, help="Longest response; tokens.")] = 128,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token each time.")] = 0.0,
    top_p: Annotated[
        float, typer.Option(min=0, max=1, help="Keep the likeliest tokens that together reach this probability.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Decides every draw.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
) -> None:
    """Sample responses from a trained model, with --reference beside those of the model it started from.

    Without prompts the first held-out ones of the run's evaluation are taken. The same seed gives the same draws to
    every model.
    """
    if not temperature and (number > 1 or top_p < 1):
        raise SampleError("--temperature: 0 leaves nothing to chance, so -n and --top-p need a temperature above 0")
    if top_p == 0:
        raise SampleError("--top-p: 0 keeps no token; give more than 0")
    draw = head.Draw(temperature, top_p=top_p) if temperature else head.Draw(top_k=1)
    decoding = sampling.Decoding(draw, max_new_tokens, seed, number)
    with quiet.quiet_libraries():
        chosen = trained.Trained.of(model)
        has_prompts = prompt or prompts
        asked = (
            sampling.given_prompts(prompt or (), prompts, is_raw=raw)
            if has_prompts
            else sampling.held_out_prompts(chosen)
        )
        sampler = sampling.Sampler(chosen, decoding)
        samples = sampler.sample(asked, reference=reference)
    for note in sampler.notes:
        typer.echo(note, err=True)
    if as_json:
        for one in samples:
            typer.echo(json.dumps({key: value for key, value in asdict(one).items() if value is not None}))
        return
    console = consoles.Console()
    for part in showing.tables(samples, printable(chosen.name)):
        console.print(part)

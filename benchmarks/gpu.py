"""DPO, TI-DPO and GRPO on a GPU, beside TRL with its own best settings: tokens a second, memory, share of the card.

    python benchmarks/gpu.py [--cases TEXT] [--tiny]

Llamas of about 0.5 and 3 billion parameters with random weights and a vocabulary of 128k, bf16, sequences of 1k and 4k
tokens, half prompt and half response; all parameters, or adapters of rank 16. Each case is a process of its own, and
what counts is the median of `--steps` steps by the clock, the first not among them. docs/performance.md says the rest.
`--tiny` tries it all with tiny models on whatever there is; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peer_environment
import torch
from pricing.cards import operations_of, peak_of, tokens_of
from pricing.job import WARM_UP, Job, Shape
from pricing.machine import machine, versions
from pricing.making import in_order, made_up_rows, small_tokenizer
from pricing.tables import markdown
from pricing.taking import ROOT, Answer, in_turns

SHAPES = {
    "0.5 B": Shape(24, 1024, 16, 8, 131072, 8192, 4096),
    "3 B": Shape(28, 3072, 24, 8, 131072, 8192, 8192),
}
TINY = {"tiny": Shape(2, 64, 4, 2, 1024, 256, 96)}
METHODS = {
    "alignkit dpo": "dpo",
    "alignkit tidpo": "tidpo",
    "trl dpo": "dpo",
    "alignkit grpo": "grpo",
    "trl grpo": "grpo",
}
WINDOW = 8
MOST_SAMPLED = 512
"""Longest sampled response; tokens."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="", help='only those whose name has this, such as "0.5 B, full, 1024"')
    parser.add_argument("--steps", type=int, default=4, help="timed steps")
    parser.add_argument("--tiny", action="store_true", help="tiny models, also without a GPU")
    parser.add_argument("--check", action="store_true", help="only say whether there is a GPU")
    parser.add_argument("--trl", type=Path, help="Python of an environment with TRL; by default that of `make bench`")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/gpu.json", help="JSON file")
    options = parser.parse_args()
    if not (options.tiny or torch.cuda.is_available()):
        print("there is no GPU that torch can use; --tiny tries the benchmark itself on the CPU", file=sys.stderr)
        sys.exit(2)
    if options.check:
        return
    found = measure(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found) + "\n")
    print(markdown(found))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All cases, and what they ran on."""
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    trl = options.trl or peer_environment.installed()
    if trl is None:
        print("trl: skipped, as TRL is not installed; `make bench` installs it", file=sys.stderr)
    command = "python benchmarks/gpu.py" + (f' --cases "{options.cases}"' if options.cases else "")
    about = {"kind": "gpu", "card": card, "peak": peak_of(card), "machine": machine(), "versions": versions()}
    rows = [
        row for name, job in cases(options) if options.cases in name for row in rows_of(name, job, options.steps, trl)
    ]
    return about | {"command": command + " --tiny" * options.tiny, "steps": options.steps, "rows": rows}


def cases(options: argparse.Namespace) -> Iterator[tuple[str, Job]]:
    """Name and job of each case; the folder is made when it runs."""
    shapes, lengths = (TINY, (64,)) if options.tiny else (SHAPES, (1024, 4096))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for (size, shape), lora, length in itertools.product(shapes.items(), (False, True), lengths):
        pairs = max(1, 4096 // length) if size == "3 B" else max(1, 8192 // length)
        pairs = 2 if options.tiny else pairs
        rows = made_up_rows(shape, pairs * (WARM_UP + max(options.steps, WINDOW)), length // 2, length // 2)
        yield (
            f"{size}, {'LoRA' if lora else 'full'}, {length}",
            in_order(
                Job(
                    folder=Path(),
                    shape=shape,
                    rows=rows,
                    batches=[],
                    pairs=pairs,
                    longest=min(length // 2, MOST_SAMPLED),
                    device=device,
                    lora=lora,
                    recomputes=size == "3 B",
                )
            ),
        )


def rows_of(name: str, case: Job, steps: int, trl: Path | None) -> Iterator[dict[str, Any]]:
    """What each toolkit and method gave."""
    for variant, method in METHODS.items():
        if variant.startswith("trl") and trl is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            job = Job(**{**vars(case), "folder": Path(folder)})
            job.write()
            small_tokenizer().save_pretrained(job.folder / "policy")
            print(f"{name}: {variant}", file=sys.stderr)
            # Of anchors the second window counts: the first meets cold kernels.
            made = WARM_UP + (WINDOW if method == "tidpo" else steps)
            try:
                answers = in_turns(job, {variant: made}, {variant: trl} if trl and "trl" in variant else {}, "device")
            except SystemExit as error:
                yield {"case": name, "variant": variant, "failed": reason(str(error))}
            else:
                yield {"case": name, "variant": variant, **numbers(job, method, answers[variant])}


def numbers(job: Job, method: str, answers: list[Answer]) -> dict[str, float]:
    """Tokens a second, bytes, and operations a second that were needed."""
    drawing = answers[WINDOW]["drawing"] / WINDOW if method == "tidpo" else 0.0
    seconds = statistics.median(one["seconds"] - one["drawing"] for one in answers[WARM_UP:]) + drawing
    tokens = tokens_of(job, method)
    return {
        "seconds": seconds,
        "tokens": (tokens["prompts"] + tokens["responses"]) / seconds,
        "bytes": max(one.get("bytes", 0) for one in answers),
        "operations": operations_of(job, method) / seconds,
    }


def reason(error: str) -> str:
    """Why a case has no numbers, in a line."""
    return "out of memory" if "OutOfMemoryError" in error else error.strip().splitlines()[-1][:200]


if __name__ == "__main__":
    main()

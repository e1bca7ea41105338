"""The price of an optimizer step: alignkit beside TRL, beside a plain loop and beside the bare matrix products.

    python benchmarks/price.py [--vocabulary 131072] [--memory]

A Llama of 4 layers x 256 with random weights, batches of four real pairs of HH-RLHF, fp32, AdamW, the norm of gradients
clipped; all of a step counts: drawing, loss, backward, clip, update, checks. Each variant is a process of its own with
`--threads` threads; they take turns on the same batches, and what counts is the CPU time and the medians of the ratios,
batch by batch. docs/performance.md says what each variant is and what came of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import peer_environment
from pricing.job import WARM_UP, Job, Shape, sizes
from pricing.machine import machine, versions
from pricing.making import real_job
from pricing.tables import markdown
from pricing.taking import ROOT, alone, in_turns
from pricing.worker import VARIANTS

WINDOW = 8
"""Steps that anchors are drawn for together, the recipe's default."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=8192, help="rows of the head")
    parser.add_argument("--memory", action="store_true", help="peak memory in the place of time")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="of: " + ", ".join(VARIANTS))
    parser.add_argument("--windows", type=int, help=f"timed steps, in windows of {WINDOW}; default 2, 1 beyond 32,768")
    parser.add_argument("--trl-steps", type=int, default=4, help="timed steps of TRL and the plain loop beyond 32,768")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trl", type=Path, help="Python of an environment with TRL; by default that of `make bench`")
    parser.add_argument("--output", type=Path, help="JSON file, by default in benchmarks/results")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="only print the tables of a JSON file")
    options = parser.parse_args()
    if options.markdown:
        print(markdown(json.loads(options.markdown.read_text())))
        return
    found = measure(options)
    kind = "memory" if options.memory else "price"
    output = options.output or ROOT / f"benchmarks/results/{kind}-{options.vocabulary}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(found))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All numbers of a run, and what they ran on."""
    trl = options.trl or peer_environment.installed()
    variants = wanted(options.variants.split(","), trl)
    is_large = options.vocabulary > 32768
    steps = 4 if options.memory else WARM_UP + WINDOW * (options.windows or (1 if is_large else 2))
    few = min(steps, WARM_UP + options.trl_steps) if is_large else steps
    shape = Shape(vocabulary=options.vocabulary)
    with tempfile.TemporaryDirectory() as scratch:
        job = real_job(Path(scratch), shape, steps, options.threads)
        pythons = {"trl dpo": Path(trl)} if trl else {}
        known = about(options, job)
        if options.memory:
            kinds = ("resident", "tensors")
            return known | {kind: peaks(alone(job, variants, steps, pythons, kind)) for kind in kinds}
        counts = {name: few if name in ("plain", "trl dpo") else steps for name in variants}
        return known | {"steps": in_turns(job, counts, pythons)}


def wanted(variants: list[str], trl: Path | None) -> list[str]:
    """Those that can run here."""
    if unknown := [name for name in variants if name not in VARIANTS]:
        sys.exit(f"--variants: there is no '{unknown[0]}'; give some of {', '.join(VARIANTS)}")
    if "trl dpo" in variants and trl is None:
        print("trl dpo: skipped, as TRL is not installed; `make bench` installs it", file=sys.stderr)
    return [name for name in variants if name != "trl dpo" or trl is not None]


def about(options: argparse.Namespace, job: Job) -> dict[str, Any]:
    """What was measured, how, and on what."""
    words = [word for word in sys.argv[1:] if word not in ("--trl", str(options.trl))]
    return {
        "kind": "memory" if options.memory else "price",
        "command": " ".join(["python benchmarks/price.py", *words]),
        "machine": machine(),
        "versions": versions(),
        "threads": options.threads,
        "vocabulary": options.vocabulary,
        "parameters": job.shape.parameters,
        "window": WINDOW,
        "warm_up": WARM_UP,
        "batches": [sizes(job.batch(step)) for step in range(len(job.batches))],
    }


def peaks(answers: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    """Variant -> most bytes over all steps."""
    return {name: max(one["bytes"] for one in found) for name, found in answers.items()}


if __name__ == "__main__":
    main()

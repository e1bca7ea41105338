"""The price of an optimizer step: alignkit beside TRL, beside a plain loop and beside the bare matrix products.

    python benchmarks/price.py [--vocabulary 131072]              CPU seconds of a step
    python benchmarks/price.py --memory [--vocabulary 131072]     its peak memory
    python benchmarks/price.py --on-policy                        a step of GRPO, sampling included
    python benchmarks/price.py --curve prompt                     how it grows, and with what else: see --help
    python benchmarks/price.py --profile "alignkit dpo"           what takes the time
    python benchmarks/price.py --markdown FILE                    the tables of what one of these wrote

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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peer_environment
from pricing.curves import CURVES, curve
from pricing.job import GROUP, WARM_UP, Job, Shape, sizes
from pricing.machine import machine, versions
from pricing.making import real_job
from pricing.tables import markdown
from pricing.taking import ROOT, alone, in_turns
from pricing.worker import VARIANTS

WINDOW = 8
"""Steps that anchors are drawn for together, the recipe's default."""

OFFLINE = [name for name in VARIANTS if not name.endswith("grpo")]
ON_POLICY = ["alignkit grpo", "trl grpo"]
GROWING = ["products", "alignkit dpo", "alignkit tidpo weights", "trl dpo"]
FEW = ("plain", "trl dpo")
"""Of a large vocabulary these make `--few` timed steps: each takes many seconds."""


def main() -> None:
    options = arguments()
    if options.markdown:
        print(markdown(json.loads(options.markdown.read_text())))
        return
    name, measured = measure(options)
    output = options.output or ROOT / f"benchmarks/results/{name}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(about(options) | measured) + "\n")
    print(markdown(json.loads(output.read_text())))


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=8192, help="rows of the head")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--memory", action="store_true", help="peak memory of each variant")
    kind.add_argument("--on-policy", action="store_true", help="a step of GRPO")
    kind.add_argument("--curve", choices=CURVES, help="how the time grows")
    kind.add_argument("--profile", metavar="VARIANT", choices=VARIANTS, help="operations of a variant")
    kind.add_argument("--markdown", type=Path, metavar="FILE", help="only print the tables of a JSON file")
    parser.add_argument("--variants", help="with commas: " + ", ".join(VARIANTS))
    parser.add_argument("--windows", type=int, help=f"timed steps, in windows of {WINDOW}; default 2, 1 beyond 32,768")
    parser.add_argument("--few", type=int, default=4, help=f"timed steps of {' and '.join(FEW)} beyond 32,768")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trl", type=Path, help="Python of an environment with TRL; by default that of `make bench`")
    parser.add_argument("--output", type=Path, help="JSON file, by default in benchmarks/results")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Name of the file, and what was measured."""
    trl = options.trl or peer_environment.installed()
    pythons = {name: Path(trl) for name in VARIANTS if name.startswith("trl") and trl}
    if options.curve:
        variants = wanted(options.variants, GROWING, pythons)
        points = curve(options.curve, variants, options.threads, pythons)
        return f"curve-{options.curve}", {"kind": "curve", "curve": options.curve, "points": points}
    with tempfile.TemporaryDirectory() as folder:
        if options.on_policy:
            job = made(folder, options, WARM_UP + 6)
            counts = dict.fromkeys(wanted(options.variants, ON_POLICY, pythons), WARM_UP + 6)
            sampled = {"responses": GROUP, "longest": job.longest}
            return "on-policy", of(job, "on-policy") | sampled | {"steps": in_turns(job, counts, pythons)}
        if options.profile:
            job, variant = made(folder, options, WARM_UP + 2), options.profile
            found = in_turns(job, {variant: WARM_UP + 2}, pythons, "operations")[variant]
            name = f"profile-{variant.replace(' ', '-')}-{options.vocabulary}"
            return name, of(job, "profile") | {"variant": variant, "steps": found}
        variants = wanted(options.variants, OFFLINE, pythons)
        if options.memory:
            job = made(folder, options, WARM_UP + 1)
            kinds = ("resident", "tensors")
            found = {kind: peaks(alone(job, variants, WARM_UP + 1, pythons, kind)) for kind in kinds}
            return f"memory-{options.vocabulary}", of(job, "memory") | found
        return f"price-{options.vocabulary}", price(folder, options, variants, pythons)


def price(
    folder: str, options: argparse.Namespace, variants: Sequence[str], pythons: Mapping[str, Path]
) -> dict[str, Any]:
    """Time of all variants."""
    is_large = options.vocabulary > 32768
    steps = WARM_UP + WINDOW * (options.windows or (1 if is_large else 2))
    few = min(steps, WARM_UP + options.few) if is_large else steps
    job = made(folder, options, steps)
    counts = {name: few if name in FEW else steps for name in variants}
    return of(job, "price") | {"window": WINDOW, "steps": in_turns(job, counts, pythons)}


def made(folder: str, options: argparse.Namespace, steps: int) -> Job:
    """Real pairs for so many steps."""
    return real_job(Path(folder), Shape(vocabulary=options.vocabulary), steps, options.threads)


def wanted(given: str | None, default: Sequence[str], pythons: Mapping[str, Path]) -> list[str]:
    """Variants that can run here."""
    names = given.split(",") if given else list(default)
    if unknown := [name for name in names if name not in VARIANTS]:
        sys.exit(f"--variants: there is no '{unknown[0]}'; give some of {', '.join(VARIANTS)}")
    missing = [name for name in names if name.startswith("trl") and name not in pythons]
    for name in missing:
        print(f"{name}: skipped, as TRL is not installed; `make bench` installs it", file=sys.stderr)
    return [name for name in names if name not in missing]


def of(job: Job, kind: str) -> dict[str, Any]:
    """What was measured, and on what rows."""
    batches = [sizes(job.batch(step)) for step in range(len(job.batches))]
    return {"kind": kind, "vocabulary": job.shape.vocabulary, "parameters": job.shape.parameters, "batches": batches}


def about(options: argparse.Namespace) -> dict[str, Any]:
    """How it was measured, without where files lie on this machine."""
    words = [f'"{word}"' if " " in word else word for word in sys.argv[1:]]
    for flag in ("--trl", "--output"):
        if flag in words:
            del words[(place := words.index(flag)) : place + 2]
    command = " ".join(["python benchmarks/price.py", *words])
    how = {"command": command, "threads": options.threads, "warm_up": WARM_UP}
    return {**how, "machine": machine(), "versions": versions()}


def peaks(answers: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    """Variant -> most bytes over all steps."""
    return {name: max(one["bytes"] for one in found) for name, found in answers.items()}


if __name__ == "__main__":
    main()

"""What `alignkit plan` says against what a run takes: memory as bytes of tensors and as growth of the process, time.

    python benchmarks/plan_memory.py [--smollm2 FOLDER] [CASE ...]

Each case is planned, then run three times, each in a process of its own with one thread:

- once with every tensor accounted for (`alignkit.plan.ledger.Ledger`, which makes it slow);
- once as it is, for its CPU time from before the model is built to the end of the run. Other work on the machine
  changes CPU time little; the speed that a plan tries is in CPU time here too;
- once with `MALLOC_MMAP_THRESHOLD_=131072`, which has glibc give memory back as soon as a tensor is gone, for the
  growth of its resident memory (`VmRSS`, looked at every 5 ms) from before the model is built to the peak. Without,
  blocks below 32 MiB may stay, in pieces that nothing fits into. This is slow, so the world's runs are shortened to 5
  steps and one batch of the evaluation.

FOLDER holds SmolLM2-135M in the format of transformers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import alignkit.run as runs
from alignkit.plan.ledger import Ledger
from alignkit.plan.plan import make_plan
from alignkit.quiet import quiet_libraries
from alignkit.recipe.load import load_recipe

HERE = Path(__file__).resolve().parents[1]
HH = HERE / "tests/data/hh_harmless.jsonl.gz"
SHORT = ("data.max_rows=200", "data.holdout=16", "training.batch_size=4", "training.micro_batch_size=2")
MEASURED = ("evaluation.pairs=4", "evaluation.samples=4", "evaluation.max_new_tokens=16", "evaluation.batch_size=4")
SMOL = ("training.steps=1", *SHORT, *MEASURED, "losses=[{name: dpo, beta: 0.1}]", "weighting={name: uniform}")
SCRATCH = ("model={name: scratch}", "training.steps=3", *MEASURED)
FEW = ("training.steps=5", "evaluation.pairs=32", "evaluation.samples=32")
ADAPTER = "model.adapter.rank=16"
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "world tidpo": ("tidpo.yaml", ()),
    "world dpo": ("dpo.yaml", ()),
    "scratch sft": ("hh/sft.yaml", SCRATCH),
    "scratch dpo": ("hh/dpo.yaml", SCRATCH),
    "scratch tidpo": ("hh/tidpo.yaml", SCRATCH),
    "scratch tidpo by tokens": ("hh/tidpo.yaml", (*SCRATCH, "training.micro_batch_tokens=2048")),
    "scratch dpo checkpointed": ("hh/dpo.yaml", (*SCRATCH, "model.gradient_checkpointing=true")),
    "scratch dpo bf16": ("hh/dpo.yaml", (*SCRATCH, "training.parameters=bf16")),
    "smollm2 full 256": ("hh/dpo.yaml", (*SMOL, "data.max_length=256")),
    "smollm2 full 512": ("hh/dpo.yaml", (*SMOL, "data.max_length=512")),
    "smollm2 lora 256": ("hh/dpo.yaml", (*SMOL, ADAPTER, "data.max_length=256")),
    "smollm2 lora 512": ("hh/dpo.yaml", (*SMOL, ADAPTER, "data.max_length=512")),
    "smollm2 lora 512 checkpointed": (
        "hh/dpo.yaml",
        (*SMOL, ADAPTER, "data.max_length=512", "model.gradient_checkpointing=true"),
    ),
    "smollm2 full 512 tidpo": (
        "hh/tidpo.yaml",
        (*SMOL[:-2], "data.max_length=512", "losses.1.anchor.max_new_tokens=16"),
    ),
}
"""name -> recipe and what is set; of HH-RLHF the rows in this repository."""


def overrides(kind: str, case: str, folder: str) -> list[str]:
    """The case's `--set`."""
    recipe, changes = CASES[case]
    data = [f"data.train={HH}"] if recipe.startswith("hh/") else []
    model = [f"model.path={folder}"] if case.startswith("smollm2") else []
    short = FEW if kind == "memory" and case.startswith("world") else ()
    return [*data, *model, *changes, *short]


def child(kind: str, case: str, folder: str) -> dict[str, Any]:
    """One measurement, in this process."""
    loaded = load_recipe(HERE / "recipes" / CASES[case][0], overrides(kind, case, folder))
    if kind == "plan":
        began = time.perf_counter()
        with quiet_libraries():
            plan = make_plan(loaded, time.process_time).plan
        seconds = plan.time.total if plan.time else None
        found = {"peak": plan.memory.peak, "during": plan.memory.during, "seconds": seconds, "left": plan.left_out}
        return {**found, "planning": time.perf_counter() - began}
    with tempfile.TemporaryDirectory() as output:
        os.environ["ALIGNKIT_CACHE"] = output  # nothing is found that an earlier run kept
        if kind == "tensors":
            with Ledger() as ledger, ledger.measuring("run") as stage:
                runs.run(loaded, Path(output) / "run", quiet=True)
            return {"peak": stage.peak}
        watched = watch_build()
        runs.run(loaded, Path(output) / "run", quiet=True)
        return {"peak": watched["peak"] - watched["memory"], "seconds": time.process_time() - watched["time"]}


def watch_build() -> dict[str, float]:
    """Notes memory and time just before the model is built, and the most memory from there on."""
    build, watched = runs.build_policy, dict[str, float]()

    def watch() -> None:
        while True:
            watched["peak"] = max(watched["peak"], status("VmRSS"))
            time.sleep(0.005)

    def noting(*args: Any, **options: Any) -> Any:
        if not watched:
            memory = status("VmRSS")
            watched.update(memory=memory, peak=memory, time=time.process_time())
            threading.Thread(target=watch, daemon=True).start()
        return build(*args, **options)

    runs.build_policy = noting
    return watched


def status(key: str) -> int:
    """Bytes, as the kernel says."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def measure(kind: str, case: str, folder: str, **variables: str) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    command = [sys.executable, __file__, "--smollm2", folder, "--child", kind, case]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def row(case: str, folder: str) -> str:
    """A case's line of the table."""
    plan, tensors, process = (measure(kind, case, folder) for kind in ("plan", "tensors", "time"))
    tidy = measure("memory", case, folder, MALLOC_MMAP_THRESHOLD_="131072")
    cells = [case, f"{plan['peak'] / 2**20:.0f}"]
    for one in (tensors, tidy):
        cells += [f"{one['peak'] / 2**20:.0f}", f"{plan['peak'] / one['peak']:.2f}"]
    cells += [f"{plan['seconds']:.1f}", f"{process['seconds']:.1f}", f"{plan['seconds'] / process['seconds']:.2f}"]
    return " | ".join(["", *cells, f"{plan['planning']:.0f}", ""]).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--smollm2", default="", help="folder of SmolLM2-135M; without, its cases are left out")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.cases[0], options.smollm2)))
        return
    print(
        "| case | planned MiB | tensors MiB | ratio | process MiB | ratio | planned CPU s | run CPU s | ratio ", end=""
    )
    print("| planning s |\n" + "|---" * 10 + "|")
    for case in options.cases or CASES:
        if not case.startswith("smollm2") or options.smollm2:
            print(row(case, options.smollm2), flush=True)


if __name__ == "__main__":
    main()

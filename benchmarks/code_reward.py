"""What the reward `code` says of solutions that are right, and how long a sample takes.

    python benchmarks/code_reward.py HumanEval.jsonl

The file is HumanEval's (prompt, canonical_solution, test, entry_point). Each solution runs in the sandbox thrice: as
what goes on where the prompt ends, in the answer of a conversation, and with `return None` in its place.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from alignkit.rewards.base import Sample
from alignkit.rewards.code import Code
from alignkit.rewards.judge import Judge
from alignkit.rewards.permission import granting
from alignkit.rewards.workers import default_count


def continued(row: Mapping[str, str], response: str) -> Sample:
    """A response that goes on where the prompt ends."""
    return Sample(row["prompt"], response, np.arange(1), True, row)


def answered(row: Mapping[str, str]) -> Sample:
    """The whole function in a block, as chat models write it."""
    question = {"role": "user", "content": f"Complete this function:\n```python\n{row['prompt']}```"}
    response = f"Here it is.\n```python\n{row['prompt']}{row['canonical_solution']}```\nIt is short."
    return Sample("", response, np.arange(1), True, row, [question])


def report(name: str, judge: Judge, samples: Sequence[Sample]) -> None:
    """Scores samples and prints what came of it."""
    start = time.perf_counter()
    [scores] = judge(samples)
    each = (time.perf_counter() - start) / len(samples)
    passed, without = sum(score == 1.0 for score in scores), sum(score is None for score in scores)
    print(f"{name}: {passed} of {len(samples)} pass, {without} without a score; {1000 * each:.0f} ms each")


def main() -> None:
    """Prints a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    rows = [json.loads(line) for line in parser.parse_args().rows.read_text().splitlines()]
    print(f"{default_count()} workers")
    with granting("sandbox"), Judge([Code(name="code")]) as judge:
        judge([continued(row, "") for row in rows[: default_count()]])  # starts the workers
        report("continued", judge, [continued(row, row["canonical_solution"]) for row in rows])
        report("answered", judge, [answered(row) for row in rows])
        report("wrong", judge, [continued(row, "    return None\n") for row in rows])


if __name__ == "__main__":
    main()

"""Benchmarks: questions whose answers can be checked, put to a model before and after training, or to any model."""

from __future__ import annotations

from typing import Annotated

from alignkit.benchmarks.base import Benchmark
from alignkit.registry import Registry

benchmarks: Registry[Benchmark] = Registry(
    "benchmark",
    Benchmark,
    {
        "choices": "alignkit.benchmarks.choices:Choices",
        "constraints": "alignkit.benchmarks.constraints:Constraints",
        "gsm8k": "alignkit.benchmarks.gsm8k:Gsm8k",
        "humaneval": "alignkit.benchmarks.humaneval:HumanEval",
        "lm_eval": "alignkit.benchmarks.lm_eval:LmEval",
    },
)

BenchmarkSlot = Annotated[Benchmark, benchmarks]
"""A recipe slot that holds a benchmark."""

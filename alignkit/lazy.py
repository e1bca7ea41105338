"""Heavy libraries, loaded at first use.

Parsing a recipe builds its components, so their modules are imported by `alignkit validate` and `--help`. Every module
takes torch and its relatives from here; none is loaded before an attribute of it is touched.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import TYPE_CHECKING, Any

# Threads of OpenMP that wait for each other sleep instead of spinning: with other work on the same cores, spinning made
# steps of a small model some 10 times slower (benchmarks/README.md). Read once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class LazyModule(ModuleType):
    """Stands for a module until an attribute is asked for.

    Unlike the standard library's lazy loader and lazy_loader, it stays out of `sys.modules`: `inspect` touches every
    module there when pydantic reads attribute docstrings, which would load torch at once.
    """

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401 -- whatever the real module holds
        if attribute.startswith("__"):
            raise AttributeError(attribute)  # inspection must not load anything
        return getattr(importlib.import_module(self.__name__), attribute)


__all__ = [
    "accelerate",
    "adamw",
    "bitsandbytes",
    "checkpoint_state",
    "datasets",
    "device_mesh",
    "dispatching",
    "distributed_tensor",
    "fake_tensors",
    "flops",
    "fsdp",
    "hub_errors",
    "huggingface_hub",
    "huggingface_hub_bars",
    "lm_eval_evaluator",
    "lm_eval_models",
    "lm_eval_tasks",
    "math_verify",
    "numpy",
    "parquet",
    "peft",
    "pytree",
    "regex",
    "safetensors",
    "safetensors_torch",
    "scipy_optimize",
    "scipy_special",
    "scipy_stats",
    "tokenizers",
    "torch",
    "transformers",
]

if TYPE_CHECKING:
    import accelerate as accelerate
    import bitsandbytes as bitsandbytes
    import datasets as datasets
    import huggingface_hub as huggingface_hub
    import huggingface_hub.utils.tqdm as huggingface_hub_bars
    import lm_eval.evaluator as lm_eval_evaluator
    import lm_eval.models.huggingface as lm_eval_models
    import lm_eval.tasks as lm_eval_tasks
    import math_verify as math_verify
    import numpy as numpy
    import peft as peft
    import pyarrow.parquet as parquet
    import regex as regex
    import safetensors as safetensors
    import scipy.optimize as scipy_optimize
    import scipy.special as scipy_special
    import scipy.stats as scipy_stats
    import tokenizers as tokenizers
    import torch as torch
    import torch._subclasses.fake_tensor as fake_tensors
    import torch.distributed.checkpoint.state_dict as checkpoint_state
    import torch.distributed.device_mesh as device_mesh
    import torch.distributed.fsdp as fsdp
    import torch.distributed.tensor as distributed_tensor
    import torch.optim.adamw as adamw
    import torch.utils._python_dispatch as dispatching
    import torch.utils._pytree as pytree
    import torch.utils.flop_counter as flops
    import transformers as transformers
    from huggingface_hub import errors as hub_errors
    from safetensors import torch as safetensors_torch
else:
    accelerate = LazyModule("accelerate")
    adamw = LazyModule("torch.optim.adamw")
    bitsandbytes = LazyModule("bitsandbytes")
    checkpoint_state = LazyModule("torch.distributed.checkpoint.state_dict")
    datasets = LazyModule("datasets")
    device_mesh = LazyModule("torch.distributed.device_mesh")
    dispatching = LazyModule("torch.utils._python_dispatch")
    distributed_tensor = LazyModule("torch.distributed.tensor")
    fake_tensors = LazyModule("torch._subclasses.fake_tensor")
    flops = LazyModule("torch.utils.flop_counter")
    fsdp = LazyModule("torch.distributed.fsdp")
    hub_errors = LazyModule("huggingface_hub.errors")
    huggingface_hub = LazyModule("huggingface_hub")
    huggingface_hub_bars = LazyModule("huggingface_hub.utils.tqdm")
    lm_eval_evaluator = LazyModule("lm_eval.evaluator")
    lm_eval_models = LazyModule("lm_eval.models.huggingface")
    lm_eval_tasks = LazyModule("lm_eval.tasks")
    math_verify = LazyModule("math_verify")
    numpy = LazyModule("numpy")
    parquet = LazyModule("pyarrow.parquet")
    peft = LazyModule("peft")
    pytree = LazyModule("torch.utils._pytree")
    regex = LazyModule("regex")
    safetensors = LazyModule("safetensors")
    safetensors_torch = LazyModule("safetensors.torch")
    scipy_optimize = LazyModule("scipy.optimize")
    scipy_special = LazyModule("scipy.special")
    scipy_stats = LazyModule("scipy.stats")
    tokenizers = LazyModule("tokenizers")
    torch = LazyModule("torch")
    transformers = LazyModule("transformers")

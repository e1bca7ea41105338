"""Heavy libraries, loaded at first use.

Parsing a recipe builds its components, so their modules are imported by `alignkit validate` and `--help`. Every module
takes torch and its relatives from here; none is loaded before an attribute of it is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import accelerate as accelerate
    import datasets as datasets
    import peft as peft
    import safetensors as safetensors
    import tokenizers as tokenizers
    import torch as torch
    import transformers as transformers
else:
    import lazy_loader

    accelerate = lazy_loader.load("accelerate")
    datasets = lazy_loader.load("datasets")
    peft = lazy_loader.load("peft")
    safetensors = lazy_loader.load("safetensors")
    tokenizers = lazy_loader.load("tokenizers")
    torch = lazy_loader.load("torch")
    transformers = lazy_loader.load("transformers")

"""Hashes that say whether two runs had the same input: the model's parameters, a chat template."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from alignkit.lazy import torch

if TYPE_CHECKING:
    from torch import nn

DIGEST_BYTES = 16
"""Enough that two different inputs never meet; 32 hex digits stay readable in a message."""


_NO_SETTINGS = frozenset({"_name_or_path", "transformers_version", "architectures", "use_cache", "dtype"})
"""Keys of a configuration that do not change what the model computes; dtype is that of the parameters."""


def text_fingerprint(text: str) -> str:
    """blake2b of a text, such as a chat template; hex."""
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def prompt_hash(text: str) -> str:
    """The first 16 hex digits of the sha256 of a prompt: what tells whether two records are of the same one."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def model_fingerprint(model: nn.Module) -> str:
    """blake2b over name, dtype, shape and bytes of every parameter, configuration and scales of adapters; hex.

    Buffers are left out: they follow from the configuration. Tied parameters count once.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name}:{parameter.dtype}:{tuple(parameter.shape)}:".encode())
        # As bytes, because numpy has no bfloat16; flat, because a scalar cannot be viewed as bytes.
        digest.update(parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    config = getattr(model, "config", None)
    if config is not None:  # what parameters do not tell: positions, norms, activation
        settings = {key: value for key, value in config.to_dict().items() if key not in _NO_SETTINGS}
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, module in model.named_modules():
        scaling = getattr(module, "scaling", None)
        if isinstance(scaling, dict):  # of a LoRA layer, per adapter: alpha / rank, which no parameter holds
            digest.update(f"{name}:{sorted(scaling.items())}:".encode())
    return digest.hexdigest()

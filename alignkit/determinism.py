"""The same bits for the same recipe, seed, machine and number of threads.

Our own operations are deterministic by construction, those of models and of torch are made so here. Another machine, or
another number of threads or processes, may round its sums in another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alignkit.errors import ModelError
from alignkit.lazy import torch


@contextmanager
def deterministic(enabled: bool) -> Iterator[None]:
    """torch's deterministic algorithms while it is entered; the settings of before come back, and the random state.

    Args:
        enabled: False leaves torch to what it does by itself.

    Raises:
        ModelError: an operation of the model has no deterministic form on this device.
    """
    mode = torch.get_deterministic_debug_mode()
    memory: Any = torch.utils.deterministic  # its attribute is set up at run time
    fills = memory.fill_uninitialized_memory
    if enabled:
        torch.use_deterministic_algorithms(True)
        memory.fill_uninitialized_memory = False  # nothing of ours reads what was never written
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(gpus):
            yield
    except RuntimeError as error:
        if enabled and "does not have a deterministic implementation" in str(error):
            operation = str(error).split()[0]
            raise ModelError(
                f"{operation}, an operation of this model, has no deterministic form on this device; set "
                "training.deterministic: false and runs will differ in their last bits"
            ) from error
        raise
    finally:
        torch.set_deterministic_debug_mode(mode)
        memory.fill_uninitialized_memory = fills

"""Notices and progress bars of the libraries below, which would tear ours apart."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from alignkit.lazy import datasets, huggingface_hub_bars, transformers

_TALKATIVE = ("huggingface_hub", "bitsandbytes")
"""Without a network the one tells of each try; the other of kernels for CPUs that it did not find."""


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps them quiet while it is entered; what was set before comes back.

    Errors still come through, and so do the bars of a download, which may take an hour.
    """
    ours, before = transformers.utils.logging, transformers.utils.logging.get_verbosity()
    levels = {logger: logger.level for logger in map(logging.getLogger, _TALKATIVE)}
    had_bars = ours.is_progress_bar_enabled(), not datasets.are_progress_bars_disabled()
    had_downloads = not huggingface_hub_bars.are_progress_bars_disabled()
    ours.set_verbosity_error()
    ours.disable_progress_bar()  # of loading from the disk; it takes those of downloads along
    huggingface_hub_bars.enable_progress_bars()
    datasets.disable_progress_bars()
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # peft reads what transformers has renamed; nothing a user could do about it.
            warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated", FutureWarning)
            # A base in a GGUF file has none; its vocabulary is never changed.
            warnings.filterwarnings("ignore", "Could not find a config file in .*gguf", UserWarning)
            # Scores are views; nothing here writes into them.
            warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
            yield
    finally:
        ours.set_verbosity(before)
        for logger, level in levels.items():
            logger.setLevel(level)
        if had_bars[0]:
            ours.enable_progress_bar()
        if had_bars[1]:
            datasets.enable_progress_bars()
        if not had_downloads:
            huggingface_hub_bars.disable_progress_bars()

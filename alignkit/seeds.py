"""Randomness derived, never stored.

Every draw is seeded from what it is for, so that evaluation, prefetching, the number of processes and a resume cannot
change the data order, an anchor or a random weight.
"""

from __future__ import annotations

import hashlib


def derive(seed: int, purpose: str, *numbers: int) -> int:
    """A 63-bit seed for one purpose, such as `derive(seed, "order", epoch)` or `derive(seed, "anchor", step, row)`."""
    text = ":".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1

"""Versions of what decides a result, read without importing any of it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

RECORDED = ("alignkit", "torch", "transformers", "accelerate", "peft", "datasets", "tokenizers")
"""Packages whose versions are recorded."""


def versions() -> dict[str, str]:
    """Versions of Python and of the recorded packages."""
    found = {"python": platform.python_version()}
    for package in RECORDED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found

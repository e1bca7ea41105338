"""The components that installed packages bring, as their entry points say; nothing is imported to know them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, Protocol

from alignkit.errors import printable


class Point(Protocol):
    """A component of a plugin: an entry point, or what has its shape (`alignkit.trusted`)."""

    @property
    def name(self) -> str:
        """Of the component."""

    @property
    def group(self) -> str:
        """`alignkit.` and its kind."""

    @property
    def value(self) -> str:
        """`module:Class`."""

    @property
    def dist(self) -> Any:  # noqa: ANN401 -- something with a name and a version, or None
        """Who brings it."""

    def load(self) -> Any:  # noqa: ANN401 -- whatever the name stands for
        """The class, imported now."""


def installed() -> list[EntryPoint]:
    """Our entry points in everything installed."""
    return _scanned()[0]


def unreadable() -> list[str]:
    """The packages whose entry points cannot be read; ours would be among them."""
    return _scanned()[1]


@cache
def _scanned() -> tuple[list[EntryPoint], list[str]]:
    """Entry points and unreadable packages, looked for once per process."""
    points: list[EntryPoint] = []
    broken = []
    for distribution in distributions():
        try:
            points += [point for point in distribution.entry_points if point.group.startswith("alignkit.")]
        except Exception:  # any package's files: not UTF-8, no such form; most have nothing to do with us
            broken.append(_folder(distribution))
    return points, broken


def _folder(distribution: Distribution) -> str:
    """The folder of a distribution's metadata, which may be all that can be said of it."""
    return printable(str(getattr(distribution, "_path", "an unnamed package")))


def claim(plugin: Point) -> str:
    """`module:Class of package 1.0`, or of a file and the hash of its content."""
    package = package_of(plugin)
    return printable(f"{plugin.value} of {' '.join(package)}" if package else plugin.value)


def package_of(plugin: Point) -> tuple[str, str] | None:
    """Name and version of the package that brings a plugin; None when its metadata does not say."""
    try:
        package = plugin.dist and (plugin.dist.name, plugin.dist.version)
    except Exception:  # damaged metadata; the plugin itself may be fine
        return None
    return package if package and all(package) else None

"""Which items two folders have in common, and why they are not compared where these are not the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

from alignkit.compare.folders import Folder
from alignkit.compare.measured import SET_NAMES
from alignkit.errors import CompareError, shown


def misfit(one: Folder, other: Folder, name: str) -> str | None:
    """Why the items of a set cannot be paired, in one line; None where they can.

    All items of the one that has fewer must be items of the other, with the same prompts.
    """
    first, second = one.sets[name], other.sets[name]
    fewer, more = sorted((first.prompts, second.prompts), key=len)
    where = f"{one.path} and {other.path} cannot be paired on {name}"
    strange = [item for item in fewer if item not in more]
    if strange:
        return (
            f"{where}: {len(strange):,} of {len(fewer):,} items are in one only, the first is {shown(strange[0])}; "
            "measure both on the same items"
        )
    unknown = any(of[item] is None for of in (fewer, more) for item in fewer)
    if unknown and (one.data is None or one.data != other.data):
        return f"{where}: older records without prompts, and not of the same data; run them again"
    differing = [item for item in fewer if None not in (fewer[item], more[item]) and fewer[item] != more[item]]
    if differing:
        return (
            f"{where}: {len(differing):,} of {len(fewer):,} prompts differ, the first at {_place(name)} "
            f"{shown(differing[0])}; {_advice(one, other, name)}"
        )
    return None


def _place(name: str) -> str:
    return "row" if name in SET_NAMES.values() else "item"


def _advice(one: Folder, other: Folder, name: str) -> str:
    if name in SET_NAMES.values() and one.seed != other.seed:
        return f"the seed may decide what is held out, and theirs are {one.seed} and {other.seed}"
    return "measure both on the same prompts"


def require(folders: Sequence[Folder], name: str) -> None:
    """Insists that the items of all folders can be paired.

    Raises:
        CompareError: they cannot.
    """
    for one, other in combinations(folders, 2):
        if (reason := misfit(one, other, name)) is not None:
            raise CompareError(reason)


def common(folders: Iterable[Folder], name: str, measure: str) -> list[str]:
    """Items that have a number in all folders, in the order of the first."""
    of_all = [folder.sets[name].numbers[measure].records for folder in folders]
    return [item for item in of_all[0] if all(item in records for records in of_all[1:])]

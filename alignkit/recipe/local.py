"""What a recipe names outside itself: files, folders and packages, of which nothing is opened or imported.

`alignkit validate` says what is missing on this machine, and what it did not look at.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator

from alignkit.benchmarks.rows import FromFile
from alignkit.data.files import no_file
from alignkit.data.naming import sources_of
from alignkit.data.sources import WORLD
from alignkit.errors import printable, shown
from alignkit.loop import eight_bit
from alignkit.models import gguf
from alignkit.models.pretrained import Pretrained
from alignkit.recipe.compose import Misfit
from alignkit.recipe.recipe import Recipe

_HUB_MODEL = re.compile(r"([\w-][\w.-]{0,95}/)?[\w-][\w.-]{0,95}", re.ASCII)
_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "flash_attention_2": ("flash_attn",)}
"""What must be installed for a name, where it is not the package of that name."""


def missing(recipe: Recipe) -> list[Misfit]:
    """Everything local that `recipe` names and that is not here."""
    checks = (_missing_data, _missing_benchmarks, _missing_model, _missing_packages)
    return [misfit for check in checks for misfit in check(recipe)]


def not_looked_at(recipe: Recipe) -> list[str]:
    """What `recipe` names elsewhere, in words."""
    model = recipe.model
    found = [said for named in sources_of(recipe.data) if (said := named.source.elsewhere())]
    if isinstance(model, Pretrained):
        names = dict.fromkeys(name for name in (_place(model)[0], model.tokenizer) if name and _is_elsewhere(name))
        found += [f"{printable(name)} on the Hub" for name in names]
    return list(dict.fromkeys(found))


def _missing_data(recipe: Recipe) -> Iterator[Misfit]:
    for named in sources_of(recipe.data):
        if complaint := named.source.missing():
            others = f"; give a file, a Hub data set (owner/name) or {WORLD}" if isinstance(named.given, str) else ""
            yield named.key, f"{complaint}{others}"


def _missing_benchmarks(recipe: Recipe) -> Iterator[Misfit]:
    for index, benchmark in enumerate(recipe.evaluation.benchmarks):
        if isinstance(benchmark, FromFile) and (complaint := benchmark.missing()):
            yield ("evaluation", "benchmarks", index, "data"), complaint


def _missing_model(recipe: Recipe) -> Iterator[Misfit]:
    model = recipe.model
    if not isinstance(model, Pretrained):
        return
    for key in ("path", "tokenizer"):
        name = _place(model)[0] if key == "path" else getattr(model, key)
        if name and not os.path.isdir(name) and (os.path.lexists(name) or not _HUB_MODEL.fullmatch(name)):
            what = f"{shown(name)} is no folder" if os.path.lexists(name) else f"there is no folder {shown(name)}"
            yield ("model", key), f"{what}; give a folder or a Hub id such as 'owner/name'"
    yield from _missing_in_folder(*_place(model))
    if model.chat_template is not None and (complaint := no_file(model.chat_template)):
        yield ("model", "chat_template"), complaint


def _place(model: Pretrained) -> tuple[str, str | None]:
    return gguf.parted(model.path, model.gguf_file)


def _missing_in_folder(folder: str, file: str | None) -> Iterator[Misfit]:
    if not os.path.isdir(folder):
        return
    there = gguf.files_in(folder)
    listed = ", ".join(map(shown, there)) or "none"
    if file and not os.path.isfile(os.path.join(folder, file)):
        yield ("model", "gguf_file"), f"{shown(file)} is not in {shown(folder)}; {gguf.ENDING} files there: {listed}"
    if not file and not _holds_model(folder):
        inner = os.path.join(folder, "final")
        hint = f"; did you mean {shown(inner)}?" if _holds_model(inner) else ""
        hint = hint or (f"; set model.gguf_file to one of {listed}" if there else "")
        yield ("model", "path"), f"folder {shown(folder)} holds no config.json or adapter_config.json{hint}"


def _is_elsewhere(name: str) -> bool:
    return bool(_HUB_MODEL.fullmatch(name)) and not os.path.isdir(name)


def _holds_model(folder: str) -> bool:
    return any(os.path.isfile(os.path.join(folder, name)) for name in ("config.json", "adapter_config.json"))


def _missing_packages(recipe: Recipe) -> Iterator[Misfit]:
    for number, name in enumerate(recipe.training.trackers):
        if not _is_installed(name):
            message = f"tracker {shown(name)} is not installed; install its package or remove it from the list"
            yield ("training", "trackers", number), message
    if isinstance(recipe.model, Pretrained) and (file := _place(recipe.model)[1]) and not gguf.is_installed():
        yield ("model", "gguf_file"), f"{shown(file)} {gguf.NEEDED}"
    if not eight_bit.is_installed():
        if isinstance(recipe.model, Pretrained) and recipe.model.quantize:
            yield ("model", "quantize"), f"'{recipe.model.quantize}' {eight_bit.NEEDED}"
        if recipe.training.optimizer == "adamw_8bit":
            yield ("training", "optimizer"), f"'adamw_8bit' {eight_bit.NEEDED}"
    kernel = recipe.model.attn_implementation if isinstance(recipe.model, Pretrained) else None
    if kernel == "flash_attention_2" and not _is_installed(kernel):
        yield ("model", "attn_implementation"), f"'{kernel}' needs the package flash_attn; install it or take 'sdpa'"


def _is_installed(name: str) -> bool:
    packages = _PACKAGES.get(name, (name,))
    return any(package.isidentifier() and importlib.util.find_spec(package) for package in packages)

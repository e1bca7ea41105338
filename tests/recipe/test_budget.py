"""A recipe cannot make us read without end: files, depth, bytes and values are counted, and what is no file refused."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from alignkit.errors import RecipeError
from alignkit.recipe.load import load_recipe
from alignkit.recipe.yaml import MAX_BYTES

RECIPE = "model: world\ndata: {train: 'builtin:world'}\nlosses: [dpo]\ntrainer: preference\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(RECIPE)


def complaint(path, *overrides):
    began = time.process_time()
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    assert time.process_time() - began < 5
    return str(caught.value)


def chain(length):
    for number in range(length):
        Path(f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    Path(f"{length}.yaml").write_text(RECIPE)


def test_a_chain_may_be_as_long_as_anyone_needs_and_no_longer():
    chain(20)
    assert load_recipe("0.yaml").recipe.losses[0].name == "dpo"
    chain(1500)
    assert complaint("0.yaml") == "20.yaml:1: extends: a chain of more than 20 files; leave some out"


def test_a_fan_of_fans_is_read_once_each():
    for number in range(8):
        Path(f"{number}.yaml").write_text(f"seed: {number}\nextends: [{', '.join([f'{number + 1}.yaml'] * 10)}]\n")
    Path("8.yaml").write_text(RECIPE)
    loaded = load_recipe("0.yaml")
    assert (loaded.recipe.seed, loaded.origins["losses.0.name"]) == (0, "8.yaml:3")


def test_a_fan_has_at_most_so_many_files():
    Path("fan.yaml").write_text(f"seed: 1\nextends: [{', '.join(['good.yaml'] * 15_000)}]\n")
    assert complaint("fan.yaml") == (
        "fan.yaml:2: extends: more than 100 files are named under 'extends', over all files of the recipe"
    )


def test_a_problem_of_a_file_that_is_read_twice_is_told_once():
    Path("good.yaml").write_text(RECIPE + "seed: 1\nseed: 2\n")
    Path("twice.yaml").write_text("extends: [good.yaml, good.yaml]\n")
    assert complaint("twice.yaml") == "good.yaml:6: seed: given twice; first on line 5"


def test_a_file_too_large_is_refused_by_its_size():
    Path("base.yaml").touch()
    os.truncate("base.yaml", 4 * 2**30)  # sparse: takes no room
    Path("child.yaml").write_text("seed: 1\nextends: base.yaml\n")
    assert complaint("base.yaml") == "'base.yaml' is larger than 256 KiB; is this a recipe?"
    assert complaint("child.yaml") == "child.yaml:2: extends: 'base.yaml' is larger than 256 KiB; is this a recipe?"


def test_all_files_together_are_bounded_in_bytes_and_values():
    names = [f"{number}.yaml" for number in range(5)]
    Path("all.yaml").write_text(f"extends: [{', '.join(names)}]\n")
    for name in names:
        Path(name).write_text("seed: 1\n" + "#" * (MAX_BYTES - 100))
    assert complaint("all.yaml") == "4.yaml: with the files that extend it, more than 1024 KiB"
    for name in names:
        Path(name).write_text(f"seed: [{', '.join('1' * 5_000)}]\n")
    assert complaint("all.yaml") == "3.yaml:1: holds more than 20000 values once aliases are expanded"


@pytest.mark.parametrize("name", ["pipe.yaml", "device.yaml"])
def test_what_is_no_file_is_not_read(name):
    os.mkfifo("pipe.yaml")
    os.symlink("/dev/zero", "device.yaml")
    Path("child.yaml").write_text(f"extends: {name}\n")
    said = f"'{name}' is a pipe, a socket or a device, not a recipe"
    assert complaint(name) == said
    assert complaint("child.yaml") == f"child.yaml:1: extends: {said}"


def test_links_to_nothing_and_to_themselves():
    os.symlink("gone.yaml", "link.yaml")
    os.symlink("loop.yaml", "loop.yaml")
    assert complaint("link.yaml") == "'link.yaml' is a link to nothing"
    assert complaint("loop.yaml") == "'loop.yaml' cannot be read: Too many levels of symbolic links"


LONG = "n" * 300
CUT = f"'{'n' * 147}...{'n' * 50}'"


def test_names_that_no_file_can_have():
    Path("child.yaml").write_text(f"extends: {LONG}\n")
    assert complaint(LONG) == f"{CUT} cannot be read: File name too long"
    assert complaint("child.yaml") == f"child.yaml:1: extends: {CUT} cannot be read: File name too long"
    Path("child.yaml").write_text('extends: "a\\0b"\n')
    assert complaint("child.yaml") == r"child.yaml:1: extends: 'a\x00b' cannot be the name of a file"


def test_a_file_that_is_no_recipe_is_not_repeated():
    Path("shadow").write_text("root:$6$salt$hash:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n")
    Path("child.yaml").write_text("extends: shadow\n")
    assert complaint("child.yaml") == (
        "shadow:1: this is no recipe: it has none of the keys $schema, advantage, data, deprecated, evaluation, "
        "extends, losses, model, pair_weighting, parallel, requires, rewards, sampler, schema, seed, stages, trainer, "
        "training, weighting"
    )


def test_sets():
    index, dots = "9" * 5000, ".a" * 3000
    cut = f"--set losses.{'9' * 134}...{'9' * 43}.beta=1"
    number = f"{'9' * 147}...{'9' * 50}"
    assert complaint("good.yaml", f"losses.{index}.beta=1") == (
        f"{cut}: losses: no item {number}; the list has item 0 only"
    )
    assert complaint("good.yaml", "losses.²=1") == (
        "--set losses.²=1: losses: no item is called '²'; the list has dpo; an index (0) will do too"
    )
    assert complaint("good.yaml", "losses.².beta=1").endswith("the list has dpo; an index (0) will do too")
    said = complaint("good.yaml", f"a{dots}=1")
    assert said.startswith("--set a.a.a.") and said.endswith(".a=1: nested deeper than 32 levels") and len(said) < 250


def test_messages_cannot_be_forged_or_flooded():
    Path("bad.yaml").write_text(RECIPE + 'weighting: "x\\nok: all fine\\e[2J"\n"k\\e]0;t\\a": 1\n')
    said = complaint("bad.yaml", "seed=1\n-1")
    assert said.isprintable() is False and len(said.splitlines()) == 3
    assert all(line.isprintable() for line in said.splitlines())
    Path("bad.yaml").write_text(RECIPE + "".join(f"key{number}: 1\n" for number in range(4_500)))
    assert complaint("bad.yaml").splitlines()[50] == "and 4,450 more"
    Path("bad.yaml").write_text(RECIPE + f"{'k' * 900}: 1\nweighting: {'w' * 200_000}\n")
    assert max(map(len, complaint("bad.yaml").splitlines())) < 1000

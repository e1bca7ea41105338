"""Older files are rewritten with the keys of today: nothing else in them moves, and nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alignkit.cli import main
from alignkit.errors import RecipeError
from alignkit.libraries.known import Libraries
from alignkit.recipe import header, migrate, migrations
from alignkit.recipe.libraries import is_sweep
from alignkit.recipe.load import load_recipe
from alignkit.recipe.migrate import migrate as migrated
from alignkit.recipe.migrations import MIGRATIONS, Renamed

RENAMES = (
    Renamed(2, "recipe", "objective", "losses"),
    Renamed(2, "training", "shape", "schedule"),
    Renamed(2, "model.adapter", "r", "rank"),
    Renamed(2, "loss.triplet", "gap", "margin"),
    Renamed(2, "weighting", "scaling", "rescale"),
    Renamed(3, "training", "passes", "rounds"),
    Renamed(4, "training", "rounds", "epochs"),
)
"""As if the keys of today had other names before."""

OLD = """\
# What it is.
# alignkit run old.yaml

# The model is small.
model: {name: world, adapter: {r: 8}}   # r stays here
data: {train: "builtin:world"}
weighting:
  name: hybrid
  'scaling': mean1    # quoted
  prior: {name: prior, "scaling": raw}
objective:             # shape and gap: in a comment
  - {name: triplet,   gap: 0.5}
  - name: dpo
    beta: 0.2

trainer: preference
training:
    shape: linear
    passes:   2
"""
NEW = """\
# What it is.
# alignkit run old.yaml

schema: 4
# The model is small.
model: {name: world, adapter: {rank: 8}}   # r stays here
data: {train: "builtin:world"}
weighting:
  name: hybrid
  'rescale': mean1    # quoted
  prior: {name: prior, "rescale": raw}
losses:             # shape and gap: in a comment
  - {name: triplet,   margin: 0.5}
  - name: dpo
    beta: 0.2

trainer: preference
training:
    schedule: linear
    epochs:   2
"""
RECIPE = "model: world\ndata: {train: 'builtin:world'}\nlosses: [triplet]\ntrainer: preference\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def renames(monkeypatch):
    monkeypatch.setattr(migrations, "MIGRATIONS", RENAMES)
    for module in (header, migrate):
        monkeypatch.setattr(module, "SCHEMA", 4)


def after(text, name="old.yaml"):
    Path(name).write_bytes(text.encode())
    return migrated(Path(name), Libraries.here()).after


def complaint(text):
    Path("old.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        migrated(Path("old.yaml"), Libraries.here())
    return str(caught.value)


@pytest.fixture
def alignkit(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        return caught.value.code, *capsys.readouterr()

    return run


def test_the_table_and_the_schema_agree():
    assert max((one.schema for one in MIGRATIONS), default=1) == header.SCHEMA
    assert [one.schema for one in MIGRATIONS] == sorted(one.schema for one in MIGRATIONS)


def test_keys_are_renamed_and_nothing_else_moves(renames):
    assert after(OLD) == NEW
    assert after(NEW) == NEW


def test_the_result_is_a_recipe(renames):
    Path("new.yaml").write_text(after(OLD).replace(', "rescale": raw', ""))  # which only the outer one may have
    recipe = load_recipe("new.yaml").recipe
    assert (recipe.losses[0].margin, recipe.model.adapter.rank, recipe.training.epochs) == (0.5, 8, 2)
    assert recipe.weighting.rescale == "mean1"


def test_a_later_file_has_only_the_later_renames(renames):
    text = f"schema: 3 # as of spring\n{RECIPE}training: {{rounds: 2}}\n"
    assert after(text) == text.replace("rounds", "epochs").replace("schema: 3", "schema: 4")
    assert "gap: 1" in after(f"schema: 3\n{RECIPE}losses.triplet.gap: 1\n")  # was not its name by then


def test_dotted_keys_too_and_what_is_inherited_says_which_component_it_is(renames):
    Path("base.yaml").write_text(RECIPE)
    own = "extends: base.yaml\n~training.shape:\nobjective.triplet.gap: 1\nlosses.0.gap: 2\nlosses.dpo.gap: 3\n"
    assert after(own) == (
        "schema: 4\nextends: base.yaml\n"
        "~training.schedule:\nlosses.triplet.margin: 1\nlosses.0.margin: 2\nlosses.dpo.gap: 3\n"
    )
    Path("base.yaml").write_text(f"{RECIPE}weighting: hybrid\n")
    own = "extends: base.yaml\nweighting: {scaling: none}\nweighting.prior: {name: prior, scaling: none}\n"
    assert after(own) == "schema: 4\n" + own.replace("scaling", "rescale")


@pytest.mark.parametrize(
    ("before", "top"),
    [
        ("seed: 1\n", "schema: 1\nseed: 1\n"),
        ("seed: 1", "schema: 1\nseed: 1"),
        ("# a\nseed: 1\n", "# a\nschema: 1\nseed: 1\n"),
        ("\n# a\n\nseed: 1\n", "\n# a\n\nschema: 1\nseed: 1\n"),
        ("# a\n\n\n# b\nseed: 1\n", "# a\n\n\nschema: 1\n# b\nseed: 1\n"),
        ("# a\n---\n# b\nseed: 1\n", "# a\n---\nschema: 1\n# b\nseed: 1\n"),
        ("---\n# a\nseed: 1\n...\n", "---\n# a\nschema: 1\nseed: 1\n...\n"),
        ("# a\r\nseed: 1\r\n", "# a\r\nschema: 1\r\nseed: 1\r\n"),
        ("\ufeff# a\nseed: 1\n", "\ufeff# a\nschema: 1\nseed: 1\n"),
        ("  seed: 1\n  trainer: sft\n", "  schema: 1\n  seed: 1\n  trainer: sft\n"),
        ("{seed: 1} # b\n", "{schema: 1, seed: 1} # b\n"),
        ("# ä 漢\n'seed': 1\n", "# ä 漢\nschema: 1\n'seed': 1\n"),
    ],
)
def test_the_schema_stands_below_the_comments_at_the_top(before, top):
    assert after(before) == top


def test_what_cannot_be_renamed_is_said_and_nothing_written(renames):
    both = f"{RECIPE}training: {{shape: linear, schedule: cosine}}\n"
    assert complaint(both) == (
        "old.yaml:5: training.shape: is called 'schedule' since schema 2, which is given too; remove one of them"
    )
    by_hand = "is called 'schedule' since schema 2; it has an anchor or an escape, so do it by hand"
    assert complaint(f"{RECIPE}training: {{&x shape: linear}}\n") == f"old.yaml:5: training.shape: {by_hand}"
    assert complaint(f'{RECIPE}training: {{"sh\\x61pe": linear}}\n') == f"old.yaml:5: training.shape: {by_hand}"
    shared = f"{RECIPE}weighting: &x {{name: hybrid, scaling: none}}\nevaluation: *x\n"
    assert complaint(shared) == (
        "old.yaml: cannot be rewritten without changing more than scaling -> rescale, schema: 4; do it by hand"
    )


def test_what_is_no_file_of_ones_own(alignkit):
    said = "alignkit:tidpo: is a library's, and migrated where that is made\n"
    assert alignkit("migrate", "alignkit:tidpo") == (2, "", said)
    for text in ("# nothing\n", "{}\n"):
        Path("empty.yaml").write_text(text)
        assert alignkit("migrate", "empty.yaml") == (2, "", "empty.yaml: holds nothing to migrate\n")
    Path("later.yaml").write_text("schema: 9\n")
    code, _, err = alignkit("migrate", "later.yaml")
    assert (code, err.count("\n")) == (2, 1) and "install a newer alignkit" in err


def test_one_bad_file_and_none_is_changed(alignkit):
    Path("good.yaml").write_text(RECIPE)
    Path("bad.yaml").write_text("seed: [\n")
    code, out, err = alignkit("migrate", "good.yaml", "bad.yaml")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert Path("good.yaml").read_text() == RECIPE


def test_files_are_rewritten_in_place(alignkit, renames):
    Path("old.yaml").write_text(OLD)
    Path("old.yaml").chmod(0o640)
    Path("link.yaml").symlink_to("old.yaml")
    changes = "objective -> losses, shape -> schedule, r -> rank, gap -> margin, scaling -> rescale, passes -> rounds"
    said = f"link.yaml: {changes}, rounds -> epochs, schema: 4\n"
    assert alignkit("migrate", "link.yaml") == (0, said, "")
    assert (Path("old.yaml").read_text(), Path("link.yaml").is_symlink()) == (NEW, True)
    assert os.name == "nt" or Path("old.yaml").stat().st_mode & 0o777 == 0o640
    assert alignkit("migrate", "old.yaml") == (0, "old.yaml: nothing to do\n", "")
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_check_shows_and_writes_nothing(alignkit):
    Path("old.yaml").write_text(f"# x\x1b\n{RECIPE}".replace("\x1b", "\t"))
    Path("new.yaml").write_text(f"schema: 1\n{RECIPE}")
    code, out, err = alignkit("migrate", "--check", "old.yaml", "new.yaml")
    assert (code, err) == (1, "")
    assert out.splitlines()[:5] == ["--- old.yaml", "+++ old.yaml migrated", "@@ -1,4 +1,5 @@", " # x\\t", "+schema: 1"]
    assert "schema" not in Path("old.yaml").read_text()
    assert alignkit("migrate", "--check", "new.yaml") == (0, "", "")


def test_an_older_key_is_answered_with_its_name_and_the_way_there(renames):
    Path("old.yaml").write_text(f"{RECIPE}training: {{shape: linear}}\nlosses.triplet.gap: 1\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe("old.yaml", ["weighting={name: tis, scaling: raw}"])
    way = "run 'alignkit migrate old.yaml'"
    assert str(caught.value).splitlines() == [
        "--set weighting={name: tis, scaling: raw}: weighting.scaling: unknown key; "
        "since schema 2 it is called 'rescale'",
        f"old.yaml:5: training.shape: unknown key; since schema 2 it is called 'schedule'; {way}",
        f"old.yaml:6: losses.0.gap: unknown key; since schema 2 it is called 'margin'; {way}",
    ]


def test_every_shipped_recipe_gets_one_line_and_nothing_else():
    for path in sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml")):
        if is_sweep(path):
            continue
        one = migrated(path, Libraries.here())
        assert one.after.replace("schema: 1\n", "", 1) == one.before, path
        assert one.changes == ([] if "\nschema: 1\n" in one.before else ["schema: 1"]), path

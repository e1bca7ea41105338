"""docs/token-weights.md has a row for each weighting that says what it asks for, recipes that use it, and good YAML."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alignkit.recipe import describe
from alignkit.recipe.load import load_recipe
from alignkit.recipe.recipe import Recipe
from alignkit.registry import Component
from alignkit.weighting import weightings

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "token-weights.md").read_text()
SECTIONS = {title: text for title, _, text in (part.partition("\n") for part in PAGE.split("\n## ")[1:])}
ROWS = {
    name.strip(" `"): [cell.strip() for cell in cells]
    for name, *cells in (line.strip("|").split("|") for line in SECTIONS["All of them"].splitlines())
    if name.startswith(" `")
}
ABSOLUTE = re.search(r"\*\*Absolute weights\.\*\*(.*?) are not\n", PAGE, re.DOTALL)
OF_PAIRS = re.search(r"defaults\. (.*?) are of\npairs", PAGE, re.DOTALL)


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def used(part: Component) -> set[str]:
    """Names of a component and of those inside it."""
    found = {part.name}
    for value in (getattr(part, key) for key in type(part).model_fields):
        for one in value if isinstance(value, tuple) else (value,):
            found |= used(one) if isinstance(one, Component) else set()
    return found


def test_every_weighting_has_a_row_with_what_it_asks_for():
    built_in = [name for name in weightings.names() if weightings.owner(name).startswith("alignkit.")]
    assert list(ROWS) == built_in
    asks = {name: describe.needs_of(weightings, name) or "nothing" for name in built_in}
    assert {name: cells[1] for name, cells in ROWS.items()} == asks


@pytest.mark.parametrize("name", ROWS)
def test_recipes_of_a_row_use_it(name: str):
    for link in re.findall(r"\]\(([^)]+)\)", ROWS[name][3]):
        assert name in used(load_recipe((DOCS / link).resolve()).recipe.weighting)


def test_what_is_said_of_the_defaults_holds():
    assert ABSOLUTE is not None and OF_PAIRS is not None
    absolute = {name for name in ROWS if weightings.get(name).model_fields["rescale"].default == "raw"}
    assert quoted(ABSOLUTE[1]) == absolute
    needs = {name: weightings.build(name, {}).all_needs() for name in ROWS}
    of_pairs = {
        name
        for name, asked in needs.items()
        if any(one.refusal("unpaired", "labelled responses") for one in (*asked.values, *asked.readings))
    }
    assert quoted(OF_PAIRS[1]) == of_pairs


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_recipes_of_the_page_are_good(text: str, tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text(text)
    assert isinstance(load_recipe(tmp_path / "recipe.yaml").recipe, Recipe)


def test_links_lead_somewhere():
    links = {link for link in re.findall(r"\]\(([^)]+)\)", PAGE) if not link.startswith("https://")}
    assert [link for link in sorted(links) if not (DOCS / link).exists()] == []

"""docs/methods.md is what the generator prints, has a row of everything, and each proof that it names exists."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "methods.md"
COMMAND = "python docs/build_methods.py > docs/methods.md"
COMPONENTS = ("loss", "weighting", "pair_weighting", "trainer", "advantage", "sampler", "anchor", "contrast")


def module(path: Path) -> ModuleType:
    """A file as a module of its own, wherever it lies."""
    spec = importlib.util.spec_from_file_location(f"read_by_{Path(__file__).stem}_{path.stem}", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


build = module(ROOT / "docs" / "build_methods.py")
ROWS: list[tuple[str, str, dict[str, Any]]] = [
    (kind, n, fact) for kind, of in build.FACTS.items() for n, fact in of.items()
]


def named(key: str) -> Iterator[tuple[str, str]]:
    """Each proof of a kind, with the row that names it."""
    for kind, name, fact in ROWS:
        yield from ((f"{kind} {name}", proof) for proof in fact["proof"].get(key, ()))


def lines_of(kind: str) -> list[str]:
    """The rows of a section's table."""
    section = PAGE.read_text().partition(f"## {build.TITLES[kind]}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][2:]


def test_the_page_is_what_the_generator_prints() -> None:
    assert PAGE.read_text() == build.page(), f"docs/methods.md is out of date; run: {COMMAND}"
    assert COMMAND in PAGE.read_text().splitlines()[0]


@pytest.mark.parametrize("kind", COMPONENTS)
def test_every_built_in_component_has_one_row(kind: str) -> None:
    found = [line.split(" | ")[0].removeprefix("| ").strip("`") for line in lines_of(kind)]
    assert sorted(found) == build.built_in(kind), f"add a row to docs/methods.yaml, {kind}, then: {COMMAND}"


@pytest.mark.parametrize("kind", build.TITLES)
def test_every_row_has_all_its_cells(kind: str) -> None:
    """A pipe inside a cell is escaped; no cell is empty."""
    for line in lines_of(kind):
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        assert len(cells) == len(build.COLUMNS) and all(map(str.strip, cells)), line


@pytest.mark.parametrize(("kind", "name", "fact"), ROWS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_row_has_proof_of_known_kinds(kind: str, name: str, fact: dict[str, Any]) -> None:
    assert set(fact) == {"proof", "departures", *({"title", "paper"} if kind == "method" else {"recipes"})}
    assert fact["proof"].keys() <= {"worked", "gradcheck", "trl", "trl_steps", "tests"}
    assert fact["proof"] and all(fact["proof"].values()) and fact["departures"]


RUNS = ("test_matrix.py", "test_matrix_on_policy.py", "test_recipes.py")
"""Tests that something runs; they say nothing of its numbers."""


@pytest.mark.parametrize(("kind", "name", "fact"), ROWS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_row_has_proof_of_its_numbers(kind: str, name: str, fact: dict[str, Any]) -> None:
    """A method of several parts may leave the numbers to its parts, whose derivatives hold; a part may not."""
    proof = fact["proof"]
    of_values = [test for test in proof.get("tests", ()) if not test.startswith(RUNS)]
    derived = proof.get("gradcheck", ()) if kind == "method" else ()
    assert proof.keys() & {"worked", "trl", "trl_steps"} or of_values or derived


def test_a_test_that_is_named_asserts_something() -> None:
    silent = []
    for row, test in named("tests"):
        file, *path = test.split("::")
        defined = {
            node.name: node
            for node in ast.walk(ast.parse((TESTS / file).read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        if not asserts(path[-1], defined):
            silent.append((row, test))
    assert silent == []


def asserts(name: str, defined: dict[str, ast.FunctionDef], asked: frozenset[str] = frozenset()) -> bool:
    """Whether a function has an assertion, or calls one that has: of its own file, or by the name of `assert_close`."""
    if name not in defined or name in asked:
        return name.startswith("assert") or name in ("raises", "check_component", "fail")
    nodes = list(ast.walk(defined[name]))
    called = {ast.unparse(node.func).rpartition(".")[2] for node in nodes if isinstance(node, ast.Call)}
    return any(isinstance(node, ast.Assert) for node in nodes) or any(
        asserts(other, defined, asked | {name}) for other in called
    )


def test_worked_numbers_exist_and_are_asserted(worked, examples, newer) -> None:
    """A key counts when a worked test computes it, or the test of the attribution's toy reads it."""
    first, *others = (module(file) for file in sorted(TESTS.glob("test_worked_*.py")))  # test_worked_examples.py first
    asserted = {key for part in first.PARTS for key in part(worked)}
    asserted |= {key for other in others for part in other.PARTS for key in part(worked, worked.pair())}
    toy = (TESTS / "models" / "test_attribution.py").read_text()
    asserted |= {key for key in first.ELSEWHERE if f'"{key}"' in toy}
    assert [(row, key) for row, key in named("worked") if key not in asserted & {*examples, *newer}] == []


def test_gradcheck_variants_exist_and_every_one_is_named() -> None:
    relations = module(TESTS / "losses" / "test_relations.py")
    assert hasattr(relations, "test_derivatives_match_finite_differences")
    assert {variant for _, variant in named("gradcheck")} == set(relations.VARIANTS)
    for kind, name, fact in ROWS:
        own = {variant for variant, loss in relations.VARIANTS.items() if kind == "loss" and loss["name"] == name}
        assert own <= set(fact["proof"].get("gradcheck", ()))


def test_trl_cases_are_recorded() -> None:
    from peer.peer_cases import CASES, TRAJECTORIES
    from peer.rollout_cases import SAME

    cases = {case.name: case.loss["name"] for case in (*CASES, *SAME)}
    recordings = [
        json.loads((TESTS / "reference" / f"trl_{name}.json").read_text()) for name in ("single_step", "rollouts")
    ]
    recorded = {case for recording in recordings for case in recording["cases"]}
    assert [(row, case) for row, case in named("trl") if case not in cases.keys() & recorded] == []
    for kind, name, fact in ROWS:
        own = set(fact["proof"].get("trl", ()))
        assert kind != "loss" or all(cases[case] == name for case in own), name
    steps = {one.name for one in TRAJECTORIES if (TESTS / "reference" / f"trl_{one.name}_20_steps.json").is_file()}
    assert [(row, name) for row, name in named("trl_steps") if name not in steps] == []


def test_named_tests_exist() -> None:
    missing = []
    for row, test in named("tests"):
        file, *path = test.split("::")
        body = ast.parse((TESTS / file).read_text()).body if (TESTS / file).is_file() else []
        for name in path:
            body = next((node.body for node in body if getattr(node, "name", None) == name), None) or []
        if not body or not path[-1].startswith("test_"):
            missing.append((row, test))
    assert missing == []


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE.read_text())
    files = {link for link in links if not link.startswith("https://")}
    assert [file for file in sorted(files) if not (PAGE.parent / file).exists()] == []
    rest = set(links) - files
    assert all(re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{5}", link) for link in rest)


def test_every_recipe_of_a_method_is_linked() -> None:
    rows = "\n".join(line for kind in build.TITLES for line in lines_of(kind))
    recipes = {path.name for path in (ROOT / "recipes" / "methods").iterdir()}
    assert {name for name in recipes if f"(../recipes/methods/{name})" not in rows} == set()


def test_what_is_unverified_says_so() -> None:
    """The three things that no source confirms: limits of TIS, cDPO's summed form, the CPO that the paper cites."""
    for kind, name in (("weighting", "tis"), ("loss", "cdpo"), ("loss", "cpo"), ("method", "methods/cdpo")):
        assert "**unverified" in build.FACTS[kind][name]["departures"].lower()
    assert "whose exact loss is **unverified**" in " ".join(PAGE.read_text().split())

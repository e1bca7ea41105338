"""The start banner, compared whole at two widths."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from alignkit.data.rows import DataReport
from alignkit.recipe.recipe import Recipe
from alignkit.report.banner import Banner, Batch, banner_line, data_line, method_line

TRAIN = DataReport(
    source="data/pairs.jsonl.gz",
    format="prompt, chosen and rejected text",
    rows=2000,
    used=1990,
    dropped={"empty response": 7, "chosen equal to rejected": 3},
    counts={"boundary_moved": 5},
    fingerprint="ff",
)
HELD_OUT = DataReport("data/held_out.csv", "prompt, chosen and rejected text", 1, 1, {}, {}, "ff", part="eval")


def shown(width: int, reports=(TRAIN, HELD_OUT), folder="runs/tidpo-20261123-090000", trainable=12_345) -> list[str]:
    console = Console(width=width, color_system=None, file=io.StringIO())
    banner = Banner(console)
    banner.begun(
        recipe="recipes/[b]tidpo.yaml", method="dpo", folder=folder, loading="data data/pairs.jsonl.gz; model world"
    )
    banner.data(reports)
    banner.model("world", parameters=512_345, trainable=trainable)
    banner.plan(Batch(size=32, micro=8, accumulation=4, processes=1), steps=1000, epochs=16.08)
    return console.file.getvalue().splitlines()


def test_whole_at_100_columns():
    """Not a blank at the end of a line: the output may be a file."""
    assert shown(100) == [
        "recipe  recipes/[b]tidpo.yaml",
        "method  dpo",
        "folder  runs/tidpo-20261123-090000",
        "loading data data/pairs.jsonl.gz; model world",
        "data    data/pairs.jsonl.gz: 1,990 of 2,000 rows used, 10 dropped (3 chosen equal to rejected, 7",
        "        empty response); prompt, chosen and rejected text",
        "eval    data/held_out.csv: 1 of 1 row used; prompt, chosen and rejected text",
        "model   world: 512,345 parameters, 12,345 trained (2.41%)",
        "batch   32 examples a step = 8 x 4 passes x 1 process",
        "steps   1,000, 16.1 passes over the training rows",
    ]


def test_a_narrow_terminal_wraps_under_the_value():
    assert shown(60, [TRAIN], "runs/" + "long-" * 11 + "name")[2:8] == [
        "folder  runs/long-long-long-long-long-long-long-long-long-lo",
        "        ng-long-name",
        "loading data data/pairs.jsonl.gz; model world",
        "data    data/pairs.jsonl.gz: 1,990 of 2,000 rows used, 10",
        "        dropped (3 chosen equal to rejected, 7 empty",
        "        response); prompt, chosen and rejected text",
    ]


def test_each_part_is_printed_when_it_is_known():
    console = Console(width=100, color_system=None, file=io.StringIO())
    Banner(console).begun(recipe="r.yaml", method="dpo", folder="out", loading="data d.jsonl; model m")
    assert console.file.getvalue().count("\n") == 4


def test_full_training_says_so():
    assert "model   world: 512,345 parameters, all trained" in shown(100, trainable=512_345)


def test_names_cannot_command_the_terminal():
    assert banner_line("data", "a\x1b[2Jb\nc", 80).plain == "data    a\\e[2Jb\\nc"


def test_the_method_in_words():
    parts = {
        "model": {"name": "world"},
        "data": {"train": "builtin:world"},
        "losses": [{"name": "dpo"}, {"name": "nll", "coefficient": 0.5}],
        "trainer": {"name": "preference"},
    }
    assert method_line(Recipe.model_validate(parts)) == "dpo + 0.5 nll; token weighting uniform; trainer preference"
    weighted = Recipe.model_validate(parts | {"pair_weighting": {"name": "wpo"}})
    assert method_line(weighted) == ("dpo + 0.5 nll; token weighting uniform; pair weighting wpo; trainer preference")


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        (Batch(64, 8, 4, 2), "64 examples a step = 8 x 4 passes x 2 processes"),
        (Batch(1, 1, 1, 1), "1 example a step = 1 x 1 pass x 1 process"),
        (Batch(30, 8, 4, 1), "30 examples a step < 8 x 4 passes x 1 process"),
    ],
)
def test_the_effective_batch_is_the_product_of_its_parts(batch, text):
    assert str(batch) == text


def test_a_source_that_lost_nothing_does_not_speak_of_losses():
    assert data_line(HELD_OUT) == "data/held_out.csv: 1 of 1 row used; prompt, chosen and rejected text"


def test_what_is_left_out_of_the_rows_is_said():
    counts = {"held_out": 1200, "truncated_prompt": 3, "truncated_response": 0, "earlier_turns_untrained": 1500}
    report = replace(TRAIN, dropped={"too long": 10}, counts=counts, unused_columns=("id", "source"))
    assert data_line(report) == (
        "data/pairs.jsonl.gz: 1,990 of 2,000 rows used, 1,200 of them held out, 10 dropped (10 too long); prompt, "
        "chosen and rejected text; rows whose earlier assistant turns are not trained: 1,500; prompts cut: 3; columns "
        "not used: id, source"
    )


def test_a_template_that_opens_generation_otherwise():
    report = replace(HELD_OUT, counts={"opened_otherwise": 1})
    assert data_line(report) == (
        "data/held_out.csv: 1 of 1 row used; prompt, chosen and rejected text; rows whose generation the template "
        "opens with more than their prompt: 1"
    )

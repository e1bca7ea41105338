"""From answers to lines, and from lines to numbers."""

from __future__ import annotations

import json
import math

import pytest

from alignkit.benchmarks.items import Answer
from alignkit.benchmarks.lines import changed, flat, line_of, read_lines, summarised, write_lines
from alignkit.errors import BenchmarkError
from alignkit.records.fingerprints import prompt_hash


def lines(scores, clusters=None, prompt="p", metric="right"):
    """One line for each score, of items 0, 1, ..."""
    return [
        line_of("b", Answer(str(n), {metric: score}, "t", prompt, cluster=clusters and clusters[n]))
        for n, score in enumerate(scores)
    ]


def test_a_line_has_what_comparisons_read():
    """`printf %s 'What?' | sha256sum | cut -c1-16`"""
    assert line_of("b", Answer("7", {"right": 1}, "so", "What?", sample=2)) == {
        "item": "7",
        "sample": 2,
        "cluster": "7",
        "prompt_hash": "a4949e2c96de2668",
        "scores": {"right": 1.0},
        "text": "so",
    }


def test_clusters_make_the_error_larger():
    """Scores [1,1,1], [0,0], [1,0,1]: mean .625; deviations add up to 1.125, -1.25 and .125 in the clusters, whose
    squares make sqrt(2.84375) / 8 = .210793, times sqrt(3/2) = .258167; without clusters .182981."""
    scores = [1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    clustered = summarised("b", lines(scores, ["a", "a", "a", "b", "b", "c", "c", "c"]))["b/right"]
    assert (clustered.value, clustered.se) == (0.625, pytest.approx(0.258167, abs=1e-6))
    assert summarised("b", lines(scores))["b/right"].se == pytest.approx(0.182981, abs=1e-6)


def test_samples_of_an_item_are_averaged_first():
    """Items 1/2 and 1: mean .75, spread .353553 / sqrt 2 = .25, whatever the number of samples."""
    several = [line_of("b", Answer("0", {"right": s}, "", "p", sample=k)) for k, s in enumerate([0.0, 1.0, 1.0, 0.0])]
    found = flat(summarised("b", [*several, line_of("b", Answer("1", {"right": 1.0}, "", "p"))]))
    assert found == {"b/right": 0.75, "b/right_se": pytest.approx(0.25)}


def test_a_change_is_paired_by_item():
    """A 11010110, B 10010100: differences 0 1 0 0 0 0 1 0, mean .25, error .163663; unpaired it would be .258775."""
    after, before = ([float(one) for one in text] for text in ("11010110", "10010100"))
    found = changed("b", lines(before), lines(after))["b/right"]
    assert (found.value, found.se) == (0.25, pytest.approx(0.163663, abs=1e-6))


def test_nothing_is_said_of_a_change_where_the_prompts_are_others():
    assert changed("b", lines([1.0, 0.0]), lines([1.0, 1.0], prompt="q")) == {}
    assert changed("b", lines([1.0, 0.0]), lines([1.0, 1.0, 1.0])) == {}
    assert changed("b", [], lines([1.0])) == {}


@pytest.mark.parametrize("score", [math.nan, math.inf, True, None, "1"])
def test_a_score_is_a_finite_number(score):
    with pytest.raises(
        BenchmarkError, match=r"^benchmark 'b' gives .* as 'right' of item '3'; expected a finite number$"
    ):
        line_of("b", Answer("3", {"right": score}, "", ""))


def test_what_is_written_is_read_back_moment_by_moment(tmp_path):
    before, after = lines([0.1 + 0.2, 0.0]), lines([1.0, 1 / 3])
    for _ in range(2):  # as after an interruption
        write_lines(tmp_path, "b", "before", before)
        write_lines(tmp_path, "b", "after", after)
        write_lines(tmp_path, "b", "after", after)
    assert read_lines(tmp_path, "b", "before") == before and read_lines(tmp_path, "b", "after") == after
    stored = [json.loads(line) for line in (tmp_path / "eval" / "b.jsonl").read_text().splitlines()]
    assert [line["moment"] for line in stored] == ["before", "before", "after", "after"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"moment": "after"}'])
def test_a_damaged_file_holds_nothing(tmp_path, damage):
    write_lines(tmp_path, "b", "after", lines([1.0]))
    (tmp_path / "eval" / "b.jsonl").write_text(damage)
    assert read_lines(tmp_path, "b", "after") == []


def test_a_hash_is_that_of_the_text_alone():
    assert prompt_hash("a") == prompt_hash("a") != prompt_hash("a ") and len(prompt_hash("\udcff")) == 16

"""What a message repeats stays on its line, does nothing to a terminal, and is short."""

from __future__ import annotations

import pytest

from alignkit.errors import KEY_LENGTH, LINE_LENGTH, MOST_PROBLEMS, SHOWN_LENGTH, Problem, RecipeError, printable, shown


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain, é, 漢字, 😀", "plain, é, 漢字, 😀"),
        ("x\nok: all fine", r"x\nok: all fine"),
        ("a\tb\r\n", r"a\tb\r\n"),
        ("\x1b[2J", r"\e[2J"),
        ("\x1b]0;title\x07", r"\e]0;title\x07"),
        ("\x9b2J\x85\x7f\x00", r"\x9b2J\x85\x7f\x00"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("a\u2028b\ufeff", r"a\u2028b\ufeff"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_has_no_glyph_is_written_as_an_escape(text, line):
    assert printable(text) == line


def test_a_long_text_loses_its_middle():
    assert printable("a" * 200) == "a" * 200
    assert printable("a" * 100 + "b" * 101) == "a" * 100 + "b" * 47 + "..." + "b" * 50
    assert printable("abcdefghij", 8) == "abc...ij"
    assert len(printable("\x00" * 10_000_000)) == SHOWN_LENGTH
    assert printable("a" * 300, limit=None) == "a" * 300


def test_values():
    assert shown("it's") == "'it's'"
    assert shown("a\nb") == r"'a\nb'"
    assert shown(3.5) == "3.5"
    assert len(shown("x" * 1000)) == SHOWN_LENGTH + 2


def test_a_problem_is_one_line_of_bounded_length():
    problem = Problem("--set " + "a" * 200_000, "k\x1b" * 100_000, "m\n" * 100_000)
    assert str(problem).isprintable()
    assert len(str(problem)) == SHOWN_LENGTH + KEY_LENGTH + LINE_LENGTH + 4
    long_path = "folder/" * 100 + "recipe.yaml:12"
    assert str(Problem(long_path, "", "wrong")).endswith("/folder/folder/recipe.yaml:12: wrong")


def test_the_first_problems_are_told_and_the_others_counted():
    problems = [Problem("", "", f"problem {number}") for number in range(19_000)]
    error = RecipeError(problems)
    assert str(error).splitlines() == [f"problem {number}" for number in range(MOST_PROBLEMS)] + ["and 18,950 more"]
    assert error.problems == problems


def test_a_number_that_python_does_not_write_out_is_said_in_words():
    assert shown(16**5000) == shown([16**5000]) == "a number too long to be shown"

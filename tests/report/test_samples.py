"""Sampled responses at the end of a run: a few, cut, and unable to command the terminal."""

from __future__ import annotations

from alignkit.report.samples import CHARACTERS, sample_lines
from alignkit.report.wrapping import cut, cut_start


def sample(row: int, response: str, **more) -> dict:
    return {"row": row, "prompt": f"Question {row}?\n", "response": response, **more}


def shown(before, after, width=80) -> list[str]:
    return [line for text in sample_lines(before, after, width) for line in text.plain.splitlines()]


def test_whole():
    before = [sample(0, "yes", true_reward=0.0), sample(1, "")]
    after = [sample(0, "no", true_reward=1.0), sample(1, "x" * 30 + " y"), sample(2, "two\nlines"), sample(3, "hidden")]
    assert shown(before, after, 40) == [
        "Sampled responses, 3 of 4; all are in samples.jsonl",
        "prompt  Question 0?",
        "before  yes (true reward 0)",
        "after   no (true reward 1)",
        "prompt  Question 1?",
        "before  (nothing)",
        "after   xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx y",
        "prompt  Question 2?",
        "after   two\\nlines",
    ]


def test_nothing_sampled_nothing_shown():
    assert shown([], []) == []


def test_escapes_are_written_out_and_length_is_bounded():
    (_, prompt, response) = (t.plain for t in sample_lines([], [sample(0, "\x1b[2J\u202e" + "y" * 9999)], 10_000))
    assert response.startswith("after   \\e[2J\\u202eyyy") and response.endswith(" ...")
    assert len(response) < CHARACTERS + 20
    long = {"row": 0, "prompt": "p" * 9999 + " the end", "response": "r"}
    (_, prompt, _) = (t.plain for t in sample_lines([], [long], 10_000))
    assert prompt.startswith("prompt  ... ppp") and prompt.endswith("p the end")


def test_cut_text():
    assert cut("abcdef", 3) == "abc ..." and cut("abc", 3) == "abc"
    assert cut_start("abcdef", 3) == "... def" and cut_start("abc", 3) == "abc"

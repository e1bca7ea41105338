"""IFEval-like rows: both accuracies, IFEval's own form, and kinds that cannot be counted."""

from __future__ import annotations

import pytest
from benchmark_toy import Told, asked, built, written

from alignkit.benchmarks.lines import line_of, summarised
from alignkit.errors import BenchmarkError

IFEVAL = {
    "key": 1000,
    "prompt": "Write without commas, in at most 5 words.",
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{"num_words": None}, {"relation": "less than", "num_words": 6}],
}
OWN = {"prompt": "Say so.", "constraints": {"must": ["so"]}}


def test_prompts_and_instructions(tmp_path):
    """Three words with a comma: one of two instructions is kept. `so` is there. Prompts 1 of 2, instructions 2 of 3,
    whose errors are clustered by prompt: residuals add up to -1/3 and 1/3, so sqrt(2/9) / 3 times sqrt 2 = .222222."""
    benchmark = built("constraints", data=written(tmp_path / "c.jsonl", [IFEVAL, OWN]))
    answers = asked(benchmark, Told(["well, so what"]))
    assert [(one.item, one.scores) for one in answers] == [
        ("1000", {"prompt_strict": 0.0}),
        ("1000/0", {"instruction_strict": 0.0}),
        ("1000/1", {"instruction_strict": 1.0}),
        ("1", {"prompt_strict": 1.0}),
        ("1/0", {"instruction_strict": 1.0}),
    ]
    found = summarised("c", [line_of("c", answer) for answer in answers])
    assert found["c/prompt_strict"].value == 0.5 and found["c/instruction_strict"].value == pytest.approx(2 / 3)
    assert found["c/instruction_strict"].se == pytest.approx(0.222222, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "given", "kept", "broken"),
    [
        ("length_constraints:number_words", {"relation": "at least", "num_words": 2}, "one two", "one"),
        ("length_constraints:number_words", {"relation": "less than", "num_words": 2}, "one", "one two"),
        ("length_constraints:number_sentences", {"relation": "at least", "num_sentences": 2}, "A. B.", "A."),
        ("keywords:existence", {"keywords": ["sun"]}, "The sun.", "The sunny."),
        ("keywords:forbidden_words", {"forbidden_words": ["sun"]}, "Rain.", "Sun."),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n* b", "* a"),
        ("startend:end_checker", {"end_phrase": "The end."}, "So. The end.", "So."),
        ("change_case:english_capital", {}, "SO", "So"),
        ("change_case:english_lowercase", {}, "so", "So"),
        ("detectable_format:json_format", {}, "{}", "{"),
        ("punctuation:no_comma", {}, "so", "so,"),
    ],
)
def test_each_kind_of_ifeval_that_is_known(tmp_path, kind, given, kept, broken):
    row = {"prompt": "p", "instruction_id_list": [kind], "kwargs": [given]}
    benchmark = built("constraints", data=written(tmp_path / "c.jsonl", [row]))
    said = [asked(benchmark, Told([response]))[0].scores["prompt_strict"] for response in (kept, broken)]
    assert said == [1.0, 0.0]


def test_other_kinds_are_named_or_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = IFEVAL | {"key": 2, "instruction_id_list": ["language:response_language"], "kwargs": [{"language": "de"}]}
    written(tmp_path / "c.jsonl", [IFEVAL, other])
    with pytest.raises(BenchmarkError) as caught:
        built("constraints", data="c.jsonl").check()
    assert str(caught.value) == (
        "evaluation.benchmarks.constraints.data: 1 of 2 rows have instructions of kinds that cannot be counted here: "
        "'language:response_language'; leave these rows out with unsupported: skip, or take task ifeval of lm_eval"
    )
    assert [item.name for item in built("constraints", data="c.jsonl", unsupported="skip").items()] == ["1000"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (OWN | {"constraints": {"words": 3}}, "'constraints': words: Extra inputs are not permitted; "),
        (OWN | {"constraints": {}}, "'constraints': demands nothing, got {}; "),
        (OWN | {"constraints": None}, "'constraints': demands nothing, got None; "),
        (IFEVAL | {"kwargs": [{}]}, "'kwargs': expected a mapping for each of 'instruction_id_list'; "),
        (IFEVAL | {"kwargs": [{}, {"num_words": "6"}]}, "'constraints': min_words: Input should be a valid integer; "),
    ],
)
def test_rows_that_are_none(tmp_path, monkeypatch, row, said):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "c.jsonl", [row])
    with pytest.raises(BenchmarkError) as caught:
        built("constraints", data="c.jsonl").check()
    assert str(caught.value).startswith(f"c.jsonl:1: {said}")

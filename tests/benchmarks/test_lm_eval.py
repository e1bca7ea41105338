"""lm-evaluation-harness on our model: official definitions, local files, and the same answers as our own benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmark_toy import DATA, asked, built
from pydantic import ValidationError

from alignkit.benchmarks import harness
from alignkit.benchmarks.gsm8k import scores
from alignkit.benchmarks.subject import Subject
from alignkit.conformance.stage import stage
from alignkit.errors import BenchmarkError
from alignkit.registry import RegistryError

FILE = str(DATA / "gsm8k_sample.jsonl")
LOCAL = {"gsm8k": {"train": FILE, "test": FILE}}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def test_gsm8k_by_its_official_definition_and_by_our_own(offline):
    """The harness asks with five shots, cuts and reads as version 3.0 of its task says; we read each of its responses,
    and others, as it does."""
    benchmark = built("lm_eval", tasks=["gsm8k"], local=LOCAL, limit=2)
    benchmark.check()
    answers = asked(benchmark, Subject(stage("pairs").policy))
    (task,) = {item.fields["task"] for item in benchmark.items()}
    rows = [json.loads(line) for line in Path(FILE).read_text().splitlines()]
    assert task.config.num_fewshot == 5 and task.VERSION == 3.0
    for answer in answers:
        row = rows[int(answer.item.removeprefix("gsm8k/"))]
        assert answer.prompt.endswith(f"Question: {row['question']}\nAnswer:") and answer.prompt.count("Question:") == 6
        ours = scores(answer.text, row["answer"])
        assert answer.scores == {
            "gsm8k/exact_match,strict-match": ours["strict_match"],
            "gsm8k/exact_match,flexible-extract": ours["flexible_extract"],
        }
    texts = [
        "#### 18",
        "#### 18.",
        "#### $18",
        "It is $18.00",
        "#### 1,8 or #### 19",
        "18",
        "-18",
        "x",
        "#### -3\n4.",
        "$",
    ]
    doc = rows[0]
    for text in texts:
        ours = scores(text, doc["answer"])
        theirs = {}
        for ensemble in task._filters:
            (kept,) = [[text]]
            for make in ensemble.filters:
                (kept,) = make().apply([kept], [doc])
            theirs[ensemble.name] = task.process_results(doc, [kept])["exact_match"]
        assert theirs == {"strict-match": ours["strict_match"], "flexible-extract": ours["flexible_extract"]}, text


def test_a_file_of_a_task_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchmarkError) as caught:
        built("lm_eval", tasks=["gsm8k"], local={"gsm8k": {"test": "gsm8k.parquet"}}).check()
    assert str(caught.value) == (
        "evaluation.benchmarks.lm_eval.local.gsm8k.test: no file 'gsm8k.parquet'; put that split of the task's data "
        "set there"
    )


@pytest.mark.parametrize(
    ("local", "said"),
    [
        ({"gsm8k_of_nobody": {"test": FILE}}, "x.local: lm-evaluation-harness defines no task 'gsm8k_of_nobody'"),
        ({"gsm8k": {}}, "x.local.gsm8k: expected files of one kind (.jsonl, .json, .csv, .parquet), got none"),
        (
            {"gsm8k": {"test": "a.txt"}},
            "x.local.gsm8k: expected files of one kind (.jsonl, .json, .csv, .parquet), got ",
        ),
    ],
)
def test_files_that_no_task_reads(local, said):
    with pytest.raises(BenchmarkError) as caught:
        harness.require_known("x", local)
    assert str(caught.value).startswith(said)


def test_a_definition_of_ones_own_that_is_broken(tmp_path):
    (tmp_path / "broken.yaml").write_text(
        "task: broken\ndataset_path: json\ndataset_kwargs: {data_files: {test: no.jsonl}}\n"
    )
    with pytest.raises(BenchmarkError, match=r"^lm_eval: task 'broken' cannot be loaded: \w+: [^\n]+$"):
        built("lm_eval", tasks=["broken"], folder=str(tmp_path)).check()


def test_code_is_left_to_the_sandbox():
    with pytest.raises(
        (ValidationError, RegistryError), match="task 'humaneval' runs code of the model outside a sandbox"
    ):
        built("lm_eval", tasks=["humaneval"])


def test_without_the_extra_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        (ValidationError, RegistryError), match=r"which is not installed; run: pip install 'alignkit\[eval\]'"
    ):
        built("lm_eval", tasks=["gsm8k"])

"""A case has the rows of a run, split as the run splits them, and stops at none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alignkit.data.config import DataConfig
from alignkit.data.tables import load_tables
from alignkit.data.wanted import Wanted
from alignkit.doctor.reading import read_case, read_prompts
from alignkit.errors import DataError

HH = Path(__file__).parents[1] / "data" / "hh_harmless.jsonl.gz"
CHATML = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def pairs(responses) -> set:
    return {(row.where, row.prompt.tobytes(), *(ids.tobytes() for ids in row.responses.values())) for row in responses}


@pytest.mark.parametrize("policy", ["drop", "truncate_prompt"])
def test_rows_and_split_are_those_of_a_run(tokenizer, policy):
    options = {"train": str(HH), "max_rows": 300, "max_length": 1000, "on_overflow": policy, "holdout": 40}
    config = DataConfig(**options, on_bad_row="drop")
    tables = load_tables(config, tokenizer, Wanted(("chosen", "rejected")), seed=3)
    case = read_case(DataConfig(**options), Wanted(("chosen", "rejected")), tokenizer, 3)
    assert pairs(row.tokens for row in case.train) == pairs(tables.train)
    assert pairs(row.tokens for row in case.held_out) == pairs(tables.eval)
    (report,) = tables.reports
    assert len(case.refused) + len(case.left_out) == sum(report.dropped.values()) > 0
    assert (case.num_read, case.obstacles) == (300, [])


def test_of_many_rows_some_get_tokens_and_all_are_looked_at(make_case, ask, good, tokenizer):
    case = make_case([*(good(number) for number in range(7)), good(3), good(9, chosen="")])
    few = read_case(case.data, Wanted(("chosen", "rejected")), tokenizer, 0, most=3)
    assert [row.where for row, _ in few.tokenised] == ["rows.jsonl:1", "rows.jsonl:3", "rows.jsonl:6"]
    assert [row.where for row in few.rows] == [row.where for row in case.rows]
    assert (few.num_read, len(few.refused)) == (9, 1)
    assert ask("duplicates", few) == ask("duplicates", case)
    for check in ("round_trip", "truncation", "edit_distance"):
        assert ask(check, few) == []


def test_held_out_rows_of_their_own(make_case, good):
    case = make_case([good(0), good(1)], held=[good(2), good(3, chosen="")])
    assert [(row.where, row.held_out) for row in case.rows] == [
        ("rows.jsonl:1", False),
        ("rows.jsonl:2", False),
        ("held.jsonl:1", True),
    ]
    assert [offender.row.where for offender in case.refused] == ["held.jsonl:2"]


def test_rows_of_which_none_can_be_used(make_case, ask):
    case = make_case([{"prompt": "p", "chosen": "", "rejected": "x"}] * 3)
    assert (case.rows, [finding.count for finding in ask("unusable", case)]) == ([], [3, 3])
    assert case.obstacles == ["no row is left to train on"]


def test_rows_whose_text_the_template_changes_where_weights_are_read_from_it(make_case, tokenizer, monkeypatch):
    monkeypatch.setattr(
        tokenizer, "chat_template", CHATML.replace("m['content'] }}", "' '.join(m['content'].split()) }}")
    )
    replies = {name: [{"role": "assistant", "content": f"{name}  twice"}] for name in ("chosen", "rejected")}
    data = make_case([{"prompt": [{"role": "user", "content": "Who?"}], **replies}]).data
    of_text = {"zero": lambda text, offsets_N2: np.zeros(len(offsets_N2))}
    reads, plain = (
        read_case(data, Wanted(("chosen", "rejected"), of_text=given), tokenizer, 0) for given in (of_text, {})
    )
    assert [offender.reason for offender in reads.refused] == ["template moves characters"]
    assert (len(plain.rows), plain.refused) == (1, [])


def test_a_conversation(make_case, ask, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", CHATML)
    asked = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who?"}]
    replies = {
        name: [{"role": "assistant", "content": text}] for name, text in (("chosen", "Me."), ("rejected", "You."))
    }
    case = make_case([{"prompt": asked, **replies}])
    (row,) = case.rows
    assert (row.prompt, row.question, row.responses) == (
        "Be kind.\nWho?",
        "Who?",
        {"chosen": "Me.", "rejected": "You."},
    )
    assert ask("round_trip", case) == []


def test_a_template_without_an_end_of_turn(make_case, ask, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", CHATML.replace("</s>", "\n"))
    replies = {
        name: [{"role": "assistant", "content": text}] for name, text in (("chosen", "Me."), ("rejected", "You."))
    }
    (found,) = ask("round_trip", make_case([{"prompt": [{"role": "user", "content": "Who?"}], **replies}]))
    assert (found.subject, found.level, found.count, found.total) == ("no end of turn", "warn", 2, 2)


def test_a_token_over_the_boundary(make_case, ask, good, tokenizer, monkeypatch):
    """What the tokenizer makes of the prompt alone ends otherwise than what it makes of prompt and response."""
    case = make_case([good(0), good(1)])
    assert not any(row.straddles for row in case.rows)
    encode = type(tokenizer).__call__

    def joined(self, texts, **options):
        found = encode(self, texts, **options)
        if isinstance(texts, list):
            found["input_ids"] = [
                [*ids[:-1], 99] if text.endswith(": ") and "w1a" in text else ids
                for text, ids in zip(texts, found["input_ids"], strict=True)
            ]
        return found

    monkeypatch.setattr(type(tokenizer), "__call__", joined)
    case = make_case([good(0), good(1)])
    assert [row.straddles for row in case.rows] == [False, True]
    (found,) = ask("round_trip", case)
    assert (found.subject, found.level, found.places) == ("boundary inside a token", "warn", ("rows.jsonl:2",))


def test_several_bos_in_text(make_case, ask, good, tokenizer, monkeypatch):
    """A template that writes BOS makes it legal in text, which may have been rendered before."""
    monkeypatch.setattr(tokenizer, "chat_template", CHATML + "{{ bos_token }}")
    case = make_case([good(0), good(1, prompt="<s>a <s>b")], chat="never")
    assert [int((row.tokens.prompt == tokenizer.bos_token_id).sum()) for row in case.rows] == [0, 2]
    (found,) = (one for one in ask("round_trip", case) if one.subject == "several BOS")
    assert (found.level, found.places, found.key) == ("error", ("rows.jsonl:2",), "data.train")
    assert np.array_equal(case.rows[1].tokens.prompt[:1], [tokenizer.bos_token_id])


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ('{"question": "a", "text": "b"}\n{"question": null}\n{"question": "c"}\n', ["a", "c"]),
        ('{"chosen": "\\n\\nHuman: q\\n\\nAssistant: a", "rejected": "x"}\n', ["\n\nHuman: q"]),
        ('{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n', ["q"]),
    ],
)
def test_prompts_of_a_test_set(tmp_path, text, prompts):
    path = tmp_path / "set.jsonl"
    path.write_text(text)
    assert read_prompts(path) == prompts


def test_a_test_set_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        read_prompts(Path("set.jsonl"))
    assert str(caught.value) == "set.jsonl: no such file"

"""Prompts without responses, for trainers that sample: every layout gives its prompt, and rewards their columns."""

from __future__ import annotations

import json

import pytest

from alignkit.data.config import DataConfig
from alignkit.data.preview import preview
from alignkit.data.splitting import rows_fingerprint
from alignkit.data.tables import load_tables
from alignkit.data.wanted import Wanted
from alignkit.errors import DataError
from alignkit.world.config import WorldConfig
from alignkit.world.tokenizer import build_tokenizer

USER = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Hello."}
BAD = {"role": "assistant", "content": "Go away."}
LAST = {"role": "user", "content": "And now?"}
TALK = [USER, GOOD, LAST]
SCRIPT = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: And now?\n\nAssistant:"

AS_TEXT = [
    ("prompts as text", {"prompt": "Q"}, "Q"),
    ("prompts as text", {"prompt": "Q", "completion": None}, "Q"),
    ("questions", {"question": "2 + 2?", "answer": "#### 4"}, "2 + 2?"),
    ("problems", {"problem": "x?", "solution": "so 4", "answer": "4"}, "x?"),
    ("instructions", {"instruction": "Add.", "input": "1, 2"}, "Add.\n1, 2"),
    ("Alpaca: instruction, input and output", {"instruction": "Add.", "input": "", "output": "3"}, "Add."),
    ("text with a prompt column", {"prompt": "Q", "chosen": "A", "rejected": "B"}, "Q"),
    ("text prompt and completion", {"prompt": "Q", "completion": ""}, "Q"),
    ("text prompt, completion and label", {"prompt": "Q", "completion": "A", "label": True}, "Q"),
    ("HH-RLHF: two transcripts", {"chosen": SCRIPT + " Tea.", "rejected": SCRIPT + " Tar."}, SCRIPT),
    (
        "PKU-SafeRLHF: two responses and the better one's number",
        {"prompt": "Q", "response_0": "A", "response_1": "B", "better_response_id": 1},
        "Q",
    ),
]
AS_MESSAGES = [
    ("prompts as messages", {"prompt": TALK}, TALK),
    ("conversations", {"messages": TALK}, TALK),
    ("conversations", {"messages": [*TALK, GOOD]}, TALK),
    ("ShareGPT: conversations", {"conversations": [{"from": "human", "value": "Hi"}]}, [USER]),
    ("conversations with a label", {"messages": [*TALK, GOOD], "label": 1}, TALK),
    (
        "UltraFeedback-binarized: whole conversations, the prompt repeated as text",
        {"prompt": "Hi", "chosen": [USER, GOOD], "rejected": [USER, BAD], "score_chosen": 7.0, "score_rejected": 1.0},
        [USER],
    ),
    ("two conversations", {"chosen": [*TALK, GOOD], "rejected": [*TALK, BAD]}, TALK),
    (
        "HelpSteer3: two responses and a preference",
        {"context": TALK, "response1": "A", "response2": "B", "overall_preference": 0},
        TALK,
    ),
]


@pytest.fixture
def prompts(write, load):
    """Loads rows as prompts."""

    def load_prompts(rows, *args, **options):
        return load(write("a.jsonl", rows), *args, responses=(), **options)

    return load_prompts


@pytest.mark.parametrize(("name", "row", "prompt"), AS_TEXT, ids=[name for name, *_ in AS_TEXT])
def test_text(name, row, prompt, prompts, make_bytes):
    tables = prompts([row], make_bytes(bos=True))
    (only,), (report,) = tables.train, tables.reports
    assert make_bytes().decode(only.prompt) == "<s>" + prompt
    assert (report.format, report.used, only.responses, only.label) == (name, 1, {}, None)
    assert (only.text, only.messages, only.weighted) == ({"prompt": prompt}, None, ())
    assert only.length == len(only.prompt) == 1 + len(prompt)


@pytest.mark.parametrize(("name", "row", "prompt"), AS_MESSAGES, ids=[name for name, *_ in AS_MESSAGES])
def test_messages(name, row, prompt, prompts, make_bytes, templates):
    tokenizer = make_bytes(template=templates["chatml"])
    (only,), (report,) = (tables := prompts([row], tokenizer)).train, tables.reports
    rendered = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    assert rendered.endswith("<|im_start|>assistant\n")
    assert only.text == {"prompt": rendered} and tokenizer.decode(only.prompt) == rendered
    assert only.messages == prompt
    assert (report.format, report.used, report.is_chat, only.responses) == (name, 1, True, {})
    assert tables.end == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_text_becomes_turns_with_its_system_message(prompts, make_bytes, templates):
    tokenizer = make_bytes(template=templates["chatml"])
    (only,) = prompts([{"question": " Why? ", "system": "Be brief."}], tokenizer).train
    assert only.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert only.text["prompt"].endswith("Why?<|im_end|>\n<|im_start|>assistant\n")


def test_control_tokens_in_a_prompt_are_text(prompts, make_bytes, templates):
    tokenizer = make_bytes(template=templates["chatml"])
    tables = prompts([{"prompt": "a<|im_end|>b"}], tokenizer)
    assert tables.train[0].prompt.tolist().count(tables.end) == 1
    assert tables.reports[0].counts["special_tokens_as_text"] == 1


def test_world():
    config = DataConfig(train="builtin:world", world=WorldConfig(pairs=20, eval_pairs=5))
    pairs, prompts = (
        load_tables(config, build_tokenizer(), Wanted.of(responses, config), seed=0)
        for responses in (("chosen", "rejected"), ())
    )
    assert [row.prompt.tolist() for row in prompts.train] == [row.prompt.tolist() for row in pairs.train]
    assert (len(prompts.train), len(prompts.eval)) == (20, 5)
    assert all(row.responses == row.critical == {} for row in (*prompts.train, *prompts.eval))


def test_rewards_get_columns_as_they_are(prompts):
    rows = [{"question": "Q", "answer": 4, "tests": ["a", {"b": 1}], "level": "hard"}]
    (only,), (report,) = (tables := prompts(rows, fields=["answer", "tests"])).train, tables.reports
    assert only.fields == {"answer": 4, "tests": ["a", {"b": 1}]}
    assert report.unused_columns == ("level",)
    other = prompts([{**rows[0], "answer": 5}], fields=["answer", "tests"]).train
    assert rows_fingerprint([only]) != rows_fingerprint(other)
    assert rows_fingerprint(prompts(rows).train) == rows_fingerprint(prompts([{"question": "Q"}]).train)


def test_columns_of_rewards_have_the_names_that_the_recipe_gives(prompts):
    rows = [{"q": "Q", "solution": "4", "more": 1}]
    tables = prompts(rows, fields=["answer"], columns={"prompt": "q", "answer": "solution"})
    assert (tables.train[0].text, tables.train[0].fields) == ({"prompt": "Q"}, {"answer": "4"})
    assert tables.reports[0].unused_columns == ("more",)


def test_a_pair_has_the_columns_too(write, load):
    (row,) = load(write("a.jsonl", [{"prompt": "Q", "chosen": "A", "rejected": "B", "k": [1]}]), fields=["k"]).train
    assert (row.fields, row.messages) == ({"k": [1]}, None)


def test_a_column_that_no_row_has(prompts):
    with pytest.raises(DataError) as caught:
        prompts([{"question": "Q", "solution": "4"}], fields=["answer"])
    assert str(caught.value) == (
        "a.jsonl: no column 'answer', which the recipe's components need; columns found: question, solution"
    )


def test_a_row_without_its_column_is_bad(prompts, folder):
    rows = [{"prompt": "Q", "answer": "4"}, {"prompt": "R"}, {"prompt": "S", "answer": None}]
    with pytest.raises(DataError) as caught:
        prompts(rows, fields=["answer"])
    assert str(caught.value) == (
        "a.jsonl: 2 of 3 rows cannot be used: 1 missing field, 1 null field\n"
        "  a.jsonl:2: missing field: 'answer'\n"
        "  a.jsonl:3: null field: 'answer'\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )
    tables = prompts(rows, fields=["answer"], on_bad_row="drop", dropped=folder / "dropped.jsonl")
    assert [row.where for row in tables.train] == ["a.jsonl:1"]
    lines = [json.loads(line) for line in (folder / "dropped.jsonl").read_text().splitlines()]
    assert [line["where"] for line in lines] == ["a.jsonl:2", "a.jsonl:3"]


def test_a_column_of_a_reward_that_abstains_may_be_missing(prompts):
    rows = [{"prompt": "Q", "answer": "4"}, {"prompt": "R"}, {"prompt": "S", "answer": None}]
    tables = prompts(rows, where_given=["answer"])
    assert [row.fields for row in tables.train] == [{"answer": "4"}, {"answer": None}, {"answer": None}]
    assert tables.reports[0].unused_columns == ()
    with pytest.raises(DataError) as caught:
        prompts(rows[1:], where_given=["answer"])
    assert str(caught.value) == (
        "a.jsonl: no row has a value in column 'answer', which one of the recipe's rewards reads"
    )
    with pytest.raises(DataError, match="1 missing field, 1 null field"):  # another reward needs it
        prompts(rows, where_given=["answer"], fields=["answer"])


def test_bad_rows(prompts, make_bytes, templates):
    with pytest.raises(DataError) as caught:
        prompts([{"prompt": "Q"}, {"prompt": " \n"}, {"prompt": 3}, {"question": "Q"}])
    assert str(caught.value) == (
        "a.jsonl: 3 of 4 rows cannot be used: 1 empty prompt, 1 wrong type, 1 mixed formats\n"
        "  a.jsonl:2: empty prompt: the prompt holds no text\n"
        "  a.jsonl:3: wrong type: 'prompt': expected text, got int 3\n"
        "  a.jsonl:4: mixed formats: this row is 'questions', most are 'prompts as text'\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )
    rows = [{"messages": [USER]}, {"messages": [GOOD]}, {"messages": [{**USER, "content": " "}]}]
    with pytest.raises(DataError) as caught:
        prompts(rows, make_bytes(template=templates["chatml"]))
    assert str(caught.value).splitlines()[1:-1] == [
        "  a.jsonl:2: prompt without user turn: 'messages': the prompt's last message must be user's, is missing",
        "  a.jsonl:3: empty prompt: the prompt holds no text",
    ]


def test_a_reward_s_column_may_be_called_gold(prompts):
    with pytest.raises(DataError) as caught:
        prompts([{"question": "Q", "answer": "4"}], fields=["gold"])
    assert str(caught.value) == (
        "a.jsonl: no column 'gold', which the recipe's components need; columns found: answer, question"
    )


def test_no_prompt_anywhere(prompts):
    with pytest.raises(DataError) as caught:
        prompts([{"query": "Q", "text": "A"}])
    assert str(caught.value) == (
        "a.jsonl: no known format; columns found: query, text; accepted: chosen + rejected; messages; prompt; "
        "instruction; question; problem; or name the columns, starting from data.columns: {prompt: query}"
    )
    assert prompts([{"query": "Q", "text": "A"}], columns={"prompt": "query"}).train[0].text == {"prompt": "Q"}


LONG = [{"prompt": "Q" * 9}, {"prompt": "Q" * 5}]


def test_long_prompts(prompts, make_bytes):
    tokenizer = make_bytes(bos=True)
    with pytest.raises(DataError) as caught:
        prompts(LONG, tokenizer, max_length=6)
    assert str(caught.value) == (
        "a.jsonl: 1 of 2 rows are longer than data.max_length: 6 tokens, the longest 10: a.jsonl:1 (10); raise it, or "
        "set data.on_overflow to drop or truncate_prompt"
    )
    dropped = prompts(LONG, tokenizer, max_length=6, on_overflow="drop")
    assert [row.where for row in dropped.train] == ["a.jsonl:2"]
    cut = prompts(LONG, tokenizer, max_length=6, on_overflow="truncate_prompt")
    assert [tokenizer.decode(row.prompt) for row in cut.train] == ["<s>QQQQQ", "<s>QQQQQ"]
    with pytest.raises(DataError, match="prompt too long: it has 10 tokens"):
        prompts(LONG, tokenizer, max_length=6, on_overflow="truncate_response")


def test_equal_prompts_are_held_out_together_and_stay_rows(prompts):
    rows = [{"prompt": "Q"}, {"prompt": "R"}, {"prompt": "Q"}, {"prompt": "S"}]
    tables = prompts(rows, holdout=2, seed=3)
    sides = [{row.text["prompt"] for row in side} for side in (tables.train, tables.eval)]
    assert not sides[0] & sides[1]
    assert len(tables.train) + len(tables.eval) == 4
    assert len({row.key for row in (*tables.train, *tables.eval)}) == 4


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            {"label_noise": 0.1},
            "data.label_noise: 0.1 needs pairs or labelled responses; this trainer reads prompts alone",
        ),
        (
            {"train_on": "all_turns"},
            "data.train_on: all_turns is for single responses; this trainer reads prompts alone; take last_turn",
        ),
    ],
)
def test_what_prompts_have_no_use_for(option, message, prompts):
    with pytest.raises(DataError) as caught:
        prompts([{"prompt": "Q"}], **option)
    assert str(caught.value) == message


def test_preview(prompts, make_bytes):
    tokenizer = make_bytes(bos=True)
    (row,) = prompts([{"prompt": "Why?"}], tokenizer).train
    assert preview(row, tokenizer).plain == "a.jsonl:1\nprompt (5 tokens): <s>Why?"

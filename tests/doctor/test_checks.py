"""Each check on a few rows: what it counts, where, at which level, and the whole sentence."""

from __future__ import annotations

import pytest

from alignkit.data.wanted import Wanted
from alignkit.doctor import checks
from alignkit.doctor.reading import read_case

WITHOUT_MODEL = [name for name in checks.names() if not checks.get(name).with_model]


def said(finding) -> tuple:
    return finding.subject, finding.level, finding.count, finding.total, finding.places, finding.key


def test_nothing_is_said_of_good_rows(make_case, ask, good):
    case = make_case([good(number) for number in range(4)])
    found = [finding for name in WITHOUT_MODEL for finding in ask(name, case)]
    assert [(finding.check, said(finding)) for finding in found if finding.level != "report"] == []


def test_all_rows_that_a_run_refuses_are_counted(make_case, ask, good):
    rows = [
        good(0),
        good(1, chosen=" "),
        good(2, chosen="a", rejected="a"),
        {"prompt": "p", "chosen": "c"},
        good(3, rejected=""),
        good(4, chosen="one </s> two"),
    ]
    found = ask("unusable", make_case(rows, max_bad_rows=0, special_tokens_in_text="error"))
    assert [said(finding) for finding in found] == [
        ("empty response", "error", 2, 6, ("rows.jsonl:2", "rows.jsonl:5"), "data.on_bad_row"),
        ("chosen equals rejected", "error", 1, 6, ("rows.jsonl:3",), "data.on_bad_row"),
        ("missing field", "error", 1, 6, ("rows.jsonl:4",), "data.on_bad_row"),
        ("end token inside", "error", 1, 6, ("rows.jsonl:6",), "data.on_bad_row"),
    ]
    assert found[0].sentence == "A run stops at these rows; the first: 'chosen' holds no text."
    dropped = ask("unusable", make_case(rows, on_bad_row="drop"))
    assert dropped[0].sentence == "A run leaves out these rows; the first: 'chosen' holds no text."


@pytest.mark.parametrize(
    ("treated", "level", "words"),
    [("as_text", "report", "are tokenised as the text they are."), ("as_control", "warn", "act as control tokens")],
)
def test_control_tokens_in_text_are_counted(treated, level, words, make_case, ask, good):
    case = make_case([good(0), good(1, prompt="Who wrote </s>?"), good(2)], special_tokens_in_text=treated)
    (found,) = (one for one in ask("round_trip", case) if one.subject == "control tokens in text")
    assert said(found) == ("control tokens in text", level, 1, 3, (), "data.special_tokens_in_text")
    assert words in found.sentence


def test_rows_that_a_trainer_has_no_use_for_are_counted_too(make_case, ask, tokenizer):
    rows = [{"prompt": f"p{n}", "completion": f"c{n}", "label": n > 1} for n in range(5)]
    data = make_case(rows, responses=("completion",)).data
    case = read_case(data, Wanted(("chosen",), to_imitate=True), tokenizer, 0)
    assert (case.num_read, len(case.rows)) == (5, 3)
    (found,) = ask("unusable", case)
    assert said(found) == ("undesirable", "report", 2, 5, ("rows.jsonl:1", "rows.jsonl:2"), "data.train")
    assert found.sentence == ("A run leaves out these rows; the first: 'label' is false, and this trainer imitates.")


def test_several_sources_are_one_case(make_case, ask, good):
    """Their rows are numbered one after the other."""
    case = make_case([good(n) for n in range(3)], held=[good(n) for n in range(3, 5)])
    sources = [{"path": "rows.jsonl"}, {"path": "held.jsonl", "weight": 2}]
    both = make_case([good(n) for n in range(3)], train=sources, holdout=2)
    assert [row.where for row in both.rows] == [row.where for row in case.rows]
    assert [row.example.row.index for row in both.rows] == [0, 1, 2, 3, 4]
    assert sum(row.held_out for row in both.rows) == 2


def test_rows_too_few_to_hold_any_out_are_a_finding_and_not_the_end(make_case, ask, good):
    case = make_case([good(number) for number in range(3)], holdout=None)
    (found,) = ask("unusable", case)
    assert said(found) == ("all rows", "error", 3, 3, (), "data.holdout")
    assert found.sentence == (
        "A run stops: data.holdout: 256 (the default) of 3 rows leaves none to train on; set it to less than 3, or "
        "name held-out data in data.eval."
    )
    assert len(case.train) == 3


def test_labels_of_one_kind_are_a_finding(make_case, ask):
    rows = [{"prompt": f"p{n}", "completion": f"c{n}", "label": True} for n in range(2)]
    (found,) = ask("unusable", make_case(rows, responses=("completion",)))
    assert said(found) == ("all rows", "error", 2, 2, (), "data.train")
    assert found.sentence == (
        "A run stops: rows.jsonl: all 2 training rows have 'label' true; this trainer needs undesirable responses too: "
        "rows with 'label' false."
    )


def test_same_up_to_case_and_blanks(make_case, ask, good):
    case = make_case([good(0), good(1, chosen="A  b\nc", rejected="a B c "), good(2, chosen="a b", rejected="ab")])
    (found,) = ask("same_response", case)
    assert said(found) == ("case or white space only", "error", 1, 3, ("rows.jsonl:2",), "data.train")
    assert found.sentence == (
        "Chosen and rejected say the same, so the pair teaches letters or blanks; take it out of the data."
    )


def test_both_ways_and_in_a_circle(make_case, ask):
    """p: a > b twice, b > a once: of three repeated pairs two disagree. q: a > b > c > a. r: no circle."""
    edges = [("p", "a", "b"), ("p", "a", "b"), ("p", "b", "a"), ("q", "a", "b"), ("q", "b", "c"), ("q", "c", "a")]
    edges += [("r", "a", "b"), ("r", "b", "c"), ("r", "a", "c")]
    case = make_case([{"prompt": p, "chosen": c, "rejected": r} for p, c, r in edges])
    both, circle = ask("contradictions", case)
    places = tuple(f"rows.jsonl:{n}" for n in (1, 2, 3))
    assert said(both) == ("both ways", "error", 3, 9, places, "losses.N.label_smoothing")
    assert both.values == {"disagreement": 0.666667, "flip_rate": 0.5}
    assert said(circle)[:4] == ("in a circle", "report", 3, 9)
    assert circle.places == ("rows.jsonl:4", "rows.jsonl:5", "rows.jsonl:6")


def test_flip_rate_of_pairs_labelled_twice(make_case, ask):
    """1 of 5 prompts labelled twice disagrees: 2 eps (1 - eps) = .2, eps = (1 - sqrt(.6)) / 2 = .1127."""
    rows = [{"prompt": f"p{n}", "chosen": "a", "rejected": "b"} for n in range(5) for _ in range(2)]
    rows[9] = {"prompt": "p4", "chosen": "b", "rejected": "a"}
    (found,) = ask("contradictions", make_case(rows))
    assert found.values == {"disagreement": 0.2, "flip_rate": 0.112702}
    assert found.sentence == (
        "The same two responses to the same prompt are preferred both ways, so one label of each two is wrong; of "
        "pairs labelled twice 20.0% disagree, a flip rate of 11.3%."
    )


def test_a_long_chain_of_preferences_ends(make_case, ask):
    rows = [{"prompt": "p", "chosen": f"r{n}", "rejected": f"r{n + 1}"} for n in range(1200)]
    assert ask("contradictions", make_case(rows)) == []
    (found,) = ask("contradictions", make_case([*rows, {"prompt": "p", "chosen": "r1200", "rejected": "r0"}]))
    assert found.count == 1201


def test_duplicates(make_case, ask, good):
    again = good(1, rejected=" Another one.")
    case = make_case([good(0), good(1), good(1), again, good(2)])
    found = ask("duplicates", case)
    assert [said(finding) for finding in found] == [
        ("whole rows", "warn", 1, 5, ("rows.jsonl:3",), "data.train"),
        ("prompt and chosen", "warn", 2, 5, ("rows.jsonl:3", "rows.jsonl:4"), "training.steps"),
        ("prompts", "report", 2, 5, ("rows.jsonl:3", "rows.jsonl:4"), "data.holdout"),
    ]


def test_one_duplicate_in_a_hundred_is_reported_and_two_warn(make_case, ask, good):
    rows = [good(number) for number in range(98)]
    assert ask("duplicates", make_case([*rows, good(98), good(1)]))[0].level == "report"
    assert ask("duplicates", make_case([*rows, good(1), good(2)]))[0].level == "warn"


WORDS = [f"word{number}" for number in range(24)]
NEARLY = " ".join([*WORDS[:-1], "another"])


def test_near_duplicates(make_case, ask, good):
    case = make_case([good(0), good(1, prompt=" ".join(WORDS)), good(2, prompt=NEARLY), good(3, prompt=NEARLY)])
    (found,) = ask("near_duplicates", case)
    assert said(found) == ("prompts", "warn", 2, 4, ("rows.jsonl:3", "rows.jsonl:4"), "data.train")
    assert found.values == {"prompts": 1, "different_prompts": 3}


def test_leakage_into_held_out_rows_and_other_sets(make_case, ask, good):
    case = make_case(
        [good(0), good(1, prompt=" ".join(WORDS))],
        held=[good(2, prompt=NEARLY), good(3)],
        others={"bench.jsonl": ["Nothing of this", " ".join(WORDS)]},
    )
    found = ask("leakage", case)
    assert [said(finding) for finding in found] == [
        ("held-out rows", "error", 1, 2, ("held.jsonl:1",), "data.eval"),
        ("bench.jsonl", "error", 1, 2, ("bench.jsonl:row 2",), "data.train"),
    ]
    assert found[0].sentence == (
        "Test prompts nearly repeat a training prompt, so what is measured on them is memory in part; take these "
        "prompts out of the training data."
    )


def test_overlap_with_prompts_is_an_error_with_responses_a_warning(make_case, ask, good):
    """The test prompt has 24 words; a training prompt holds 12 of them, half, between others; a response likewise."""
    half = " ".join(WORDS[:12])
    held = [good(9, prompt=" ".join(WORDS))]
    (found,) = ask("overlap", make_case([good(0, prompt=f"before {half} after")], held=held))
    assert said(found) == ("held-out rows in training prompts", "error", 1, 1, ("held.jsonl:1",), "data.eval")
    (found,) = ask("overlap", make_case([good(0, chosen=f"before {half} after")], held=held))
    assert said(found) == ("held-out rows in training responses", "warn", 1, 1, ("held.jsonl:1",), "data.eval")
    assert found.sentence == (
        "At least half of a test prompt's words stand in one of the training responses, in runs of 8; take these rows "
        "out of the training data."
    )
    assert ask("overlap", make_case([good(0, prompt=" ".join(WORDS[:11]))], held=held)) == []


def test_length_bias(make_case, ask, good):
    """Three of four pairs of different lengths have the longer chosen: z = (3 - 1) / sqrt(4) = 1."""
    lengths = [(5, 2), (4, 2), (3, 2), (1, 2), (2, 2)]
    rows = [good(n, chosen=" c" * c, rejected=" r" * r) for n, (c, r) in enumerate(lengths)]
    (found,) = ask("length_bias", make_case(rows))
    assert said(found)[:4] == ("chosen is longer", "report", 3, 4)
    assert found.places == ("rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:3")
    # 3, 4 and 5 beat all five 2s, 2 ties with them: (15 + 2.5) / 25. Means: 3 and 2.
    assert {name: found.values[name] for name in ("share", "z", "auc", "mean_ratio")} == {
        "share": 0.75,
        "z": 1.0,
        "auc": 0.7,
        "mean_ratio": 1.5,
    }
    assert [found.values[f"decile_{n}"] for n in (1, 2, 3, 4)] == [0, 1, 1, 1]
    assert found.sentence == (
        "The chosen response has more words in 0.750 of the pairs of different lengths (z +1.0); a policy learns "
        "length from such a lean, and a loss on mean log-probs does so least."
    )


@pytest.mark.parametrize(("longer", "level"), [(10, "warn"), (5, "report"), (1, "warn"), (3, "report")])
def test_length_bias_warns_of_a_lean_beyond_noise(make_case, ask, good, longer, level):
    """Of 11 pairs: 10 have z 2.7, 5 -.3, 1 -2.7, 3 -1.5."""
    sides = [("c c", "r") if n < longer else ("c", "r r") for n in range(11)]
    rows = [good(n, chosen=chosen, rejected=rejected) for n, (chosen, rejected) in enumerate(sides)]
    (found,) = ask("length_bias", make_case(rows))
    assert (found.level, found.count, found.total) == (level, longer, 11)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("emoji", "fine \U0001f600"),
        ("bold", "this is **very** good"),
        ("list", "Two things:\n1. one\n2. two"),
        ("list", "- one"),
        ("link", "see https://example.org"),
        ("link", "see [here](x)"),
        ("exclamation mark", "fine!"),
        ("affirmative opener", " Sure, here it is"),
        ("affirmative opener", '"Of course'),
        ("refusal", "No. I can\u2019t do that"),
        ("refusal", "I am not able to"),
    ],
)
def test_format_bias(make_case, ask, good, name, text):
    """17 pairs in which the chosen alone has it: z = 17 / sqrt(17) = 4.12 warns; 15 have 3.87."""
    plain = "fine, so it is"
    rows = [good(n, chosen=f"{text} {n}", rejected=f"{plain} {n}") for n in range(17)]
    (found,) = (finding for finding in ask("format_bias", make_case(rows)) if finding.subject == name)
    assert (found.level, found.count, found.total) == ("warn", 17, 17)
    (found,) = (finding for finding in ask("format_bias", make_case(rows[:15])) if finding.subject == name)
    assert (found.level, found.values["z"]) == ("report", 3.872983)


def test_neither_arithmetic_nor_underscores_are_formats(make_case, ask, good):
    texts = ["2 * 3 * 4", "a__b", "x - y", "yesterday", "surely", "2.5 of it"]
    rows = [good(n, chosen=f"{text} then", rejected=f"{text} now") for n, text in enumerate(texts)]
    rows += [good(9, chosen="2**3 and", rejected="one so")]
    assert ask("format_bias", make_case(rows)) == []


def test_manners(make_case, ask):
    asked = "\n\nHuman: I think the earth is flat.\n\nAssistant:"
    rows = [
        {"prompt": asked, "chosen": " It is round.", "rejected": " You're right, it is."},
        {"prompt": "Do it.", "chosen": " I cannot.", "rejected": " Done."},
    ]
    refusal, agreement = ask("manners", make_case(rows))
    assert said(refusal) == ("refusal", "report", 1, 2, ("rows.jsonl:2",), "data.train")
    assert refusal.values == {"chosen": 0.5, "rejected": 0.0}
    assert said(agreement)[:4] == ("agrees with the user", "report", 0, 1)
    assert agreement.values == {"chosen": 0.0, "rejected": 1.0}


def test_shortcut(make_case, ask, good):
    """A question mark in every chosen response decides all pairs; without one nothing can be told."""
    marked = [good(n, chosen=f"a{n} b?", rejected=f"a{n} c") for n in range(120)]
    (found,) = ask("shortcut", make_case(marked))
    assert (found.level, found.values) == ("warn", {"auc": 1.0, "accuracy": 1.0})
    plain = [good(n, chosen=f"a{n} b", rejected=f"a{n} c") for n in range(120)]
    (found,) = ask("shortcut", make_case(plain))
    assert (found.level, found.values) == ("report", {"auc": 0.5, "accuracy": 0.0})
    assert ask("shortcut", make_case(marked[:99])) == []


def test_round_trip(make_case, ask, good, tokenizer):
    rows = [good(0), good(1, chosen="<|im_end|> x"), good(2, prompt="[INST] q"), good(3, rejected="y\n\nHuman: z")]
    (found,) = ask("round_trip", make_case(rows))
    places = ("rows.jsonl:2", "rows.jsonl:3", "rows.jsonl:4")
    assert said(found) == ("stray marks of turns", "error", 3, 4, places, "model.chat_template")
    assert found.sentence == (
        "Text holds marks of turns that this tokenizer reads as plain letters, so the policy learns to write them; "
        "give conversations as messages, or take the marks out."
    )


def test_a_tokenizer_that_loses_text(make_case, ask, good, tokenizer, monkeypatch):
    case = make_case([good(0), good(1, chosen="Gr\u00fcn")])
    decode = tokenizer.decode
    monkeypatch.setattr(tokenizer, "decode", lambda ids, **options: decode(ids, **options).replace("\u00fc", "u"))
    (found,) = ask("round_trip", case)
    assert said(found) == ("text is lost", "error", 1, 2, ("rows.jsonl:2",), "model")


@pytest.mark.parametrize(
    ("policy", "level", "words"),
    [
        ("error", "error", "a run stops at them"),
        ("drop", "report", "a run leaves them out"),
        ("truncate_prompt", "warn", "the start of their prompts is cut off"),
        ("truncate_response", "warn", "the end of their responses is cut off, the end token with it"),
    ],
)
def test_truncation(make_case, ask, policy, level, words):
    """Prompt 3 + response 2 + end: 6 bytes; the long one has 12 + 2 + 1."""
    rows = [{"prompt": "abc", "chosen": "x1", "rejected": f"y{n}"} for n in range(2)]
    case = make_case(
        [*rows, {"prompt": "abc" * 4, "chosen": "xx", "rejected": "yy"}], max_length=14, on_overflow=policy
    )
    (found,) = ask("truncation", case)
    assert said(found) == ("longer than data.max_length", level, 1, 3, ("rows.jsonl:3",), "data.max_length")
    assert found.sentence == (
        f"With data.on_overflow: {policy}, {words}; half of all rows have at most 6 tokens, 99 % 15, the longest 15, "
        "and data.max_length is 14."
    )
    assert len(case.rows) == (2 if policy == "drop" else 3)


def test_edit_distance(make_case, ask, good):
    """Of 31 tokens (the end included) 3 differ, less than a tenth; 4 are more."""
    text = "abcdefghijklmnopqrstuvwxyz0123"
    case = make_case(
        [good(0, chosen=text, rejected=f"{text[:27]}XYZ"), good(1, chosen=text, rejected=f"W{text[1:27]}XYZ")]
    )
    (found,) = ask("edit_distance", case)
    assert said(found) == ("nearly equal", "warn", 1, 2, ("rows.jsonl:1",), "losses")


def test_languages(make_case, ask):
    english = {"prompt": "What is it?", "chosen": "It is the end of the road.", "rejected": "no"}
    german = {"prompt": "Was ist das?", "chosen": "Das ist nicht das Ende und auch nicht gut.", "rejected": "nein"}
    russian = {"prompt": "What is it?", "chosen": "\u042d\u0442\u043e \u043a\u043e\u043d\u0435\u0446", "rejected": "no"}
    japanese = {"prompt": "\u6f22\u5b57", "chosen": "\u304b\u306a\u306e\u3053\u3068", "rejected": "\u6f22\u6f22"}
    mix, crossed = ask("languages", make_case([english, english | {"rejected": "x"}, german, russian, japanese]))
    assert mix.values == {"English": 0.4, "German": 0.2, "Cyrillic": 0.2, "kana": 0.2}
    assert said(mix)[:4] == ("mix", "report", 3, 5)
    assert said(crossed)[2:5] == (1, 5, ("rows.jsonl:4",))


def test_characters(make_case, ask, good):
    case = make_case(
        [good(0), good(1, chosen="caf\u00c3\u00a9"), good(2, prompt="zero\u200bwidth "), good(3, rejected="a\x07")]
    )
    broken, control = ask("characters", case)
    assert said(broken) == ("broken encoding", "report", 1, 4, ("rows.jsonl:2",), "data.train")
    assert said(control)[2:5] == (2, 4, ("rows.jsonl:3", "rows.jsonl:4"))


def test_personal_data(make_case, ask, good):
    texts = [
        "write to jane.doe@example.org",
        "call 555-123-4567 or",
        "+44 20 7946 0958",
        "AKIA" + "A1B2" * 4,
        "1234 5678",
    ]
    found = ask("personal_data", make_case([good(n, chosen=text) for n, text in enumerate(texts)]))
    assert [said(finding)[:5] for finding in found] == [
        ("e-mail addresses", "report", 1, 5, ("rows.jsonl:1",)),
        ("phone numbers", "report", 2, 5, ("rows.jsonl:2", "rows.jsonl:3")),
        ("keys", "report", 1, 5, ("rows.jsonl:4",)),
    ]
    assert not any("jane" in finding.sentence for finding in found)


@pytest.mark.parametrize(
    "text", ["@" * 20_000, "a.b-" * 5_000, "*" * 20_000, "1 " * 10_000, " " * 20_000, "_ " * 10_000]
)
def test_patterns_do_not_hang_on_hostile_text(make_case, ask, good, text):
    case = make_case([good(0, chosen=f"{text}@x", rejected=f"{text}y")], max_length=100_000)
    for name in ("format_bias", "manners", "personal_data", "characters", "languages", "edit_distance", "round_trip"):
        ask(name, case)


def test_single_responses_and_labelled_ones_are_looked_at_too(make_case, ask):
    rows = [{"prompt": "p", "completion": "same words", "label": n % 2 == 0} for n in (0, 1, 2)]
    case = make_case(rows, responses=("completion",))
    assert [said(finding)[:4] for finding in ask("duplicates", case)] == [
        ("whole rows", "warn", 1, 3),
        ("prompts", "report", 2, 3),
    ]
    for name in WITHOUT_MODEL:
        ask(name, case)

"""The two data sets beside these tests, measured: numbers that a change of a rule would move."""

from __future__ import annotations


def by_subject(findings) -> dict:
    return {finding.subject: finding for finding in findings}


def test_hh_harmless(shipped, ask):
    case = shipped("hh_harmless")
    assert (case.num_read, len(case.rows), len(case.refused)) == (2000, 1992, 8)
    (length,) = ask("length_bias", case)
    assert (round(length.values["share"], 3), round(length.values["z"], 1), length.level) == (0.44, -5.3, "report")
    formats = by_subject(ask("format_bias", case))
    opener, refusal = formats["affirmative opener"], formats["refusal"]
    assert (opener.count, opener.total, round(opener.values["z"], 1), opener.level) == (51, 165, -4.9, "warn")
    assert (refusal.count, refusal.total, round(refusal.values["z"], 1), refusal.level) == (174, 265, 5.1, "warn")
    assert by_subject(ask("duplicates", case)).keys() == {"prompts"}
    (leakage,) = ask("leakage", case)
    assert (leakage.count, leakage.total) == (2, 256)
    (overlap,) = ask("overlap", case)
    assert (overlap.subject, overlap.count, overlap.level) == ("held-out rows in training prompts", 21, "error")
    (shortcut,) = ask("shortcut", case)
    assert 0.6 < shortcut.values["auc"] < 0.65


def test_gsm8k_pairs(shipped, ask):
    case = shipped("gsm8k_pairs")
    assert (case.num_read, len(case.rows)) == (1929, 1929)
    found = by_subject(ask("duplicates", case))
    shared = found["prompt and chosen"]
    assert (shared.count, shared.total, shared.level) == (841, 1929, "warn")
    assert found["prompts"].count == 1347
    (length,) = ask("length_bias", case)
    assert (round(length.values["share"], 3), round(length.values["z"], 1)) == (0.564, 5.6)

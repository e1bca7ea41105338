"""The arithmetic behind the checks, against values worked by hand and against the slow way."""

from __future__ import annotations

import numpy as np
import pytest

from alignkit.doctor import minhash
from alignkit.doctor.contradictions import _components
from alignkit.doctor.edit_distance import distance, is_within
from alignkit.doctor.grams import Texts, WordHashes
from alignkit.doctor.minhash import Sketches, near_twins
from alignkit.doctor.overlap import covered
from alignkit.doctor.statistics import auc, holm, out_of_fold, p_value, sign_z


def texts(*given: str) -> Texts:
    return Texts.of(given, WordHashes())


def test_sign_z():
    """8 of 10: (8 - 2) / sqrt(10) = 1.897; the two-sided p of 1.96 is .05."""
    assert sign_z(8, 2) == pytest.approx(1.897366)
    assert sign_z(0, 0) == 0
    assert p_value(-1.959964) == pytest.approx(0.05, abs=1e-6)


def test_holm():
    """Sorted .01, .03, .04 times 3, 2, 1 is .03, .06, .04, and none may be less than the one before it."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_auc_counts_ties_half():
    """Of 2 x 3 comparisons 3 > 1, 3 > 2, 3 = 3, 2 > 1, 2 = 2, 2 < 3: 3 + 2 halves of 6."""
    assert auc(np.array([3, 2]), np.array([1, 2, 3])) == pytest.approx(4 / 6)


def test_a_linear_model_finds_what_decides_and_nothing_in_noise():
    rng = np.random.default_rng(0)
    features, folds = rng.normal(size=(500, 3)), np.arange(500) % 5
    noise = out_of_fold(features, folds)
    assert abs(float((noise > 0).mean()) - 0.5) < 0.1
    features[:, 1] = abs(features[:, 1])  # larger for every chosen response
    assert float((out_of_fold(features, folds) > 0).mean()) > 0.98


def test_a_fold_is_judged_by_the_others():
    """In fold 0 the feature is turned round, which a model that saw the fold would know."""
    features, folds = np.ones((10, 1)), np.arange(10) % 5
    features[folds == 0] = -1
    logits = out_of_fold(features, folds)
    assert (logits[folds == 0] < 0).all() and (logits[folds != 0] > 0).all()


def levenshtein(first, second) -> int:
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        before, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def test_edit_distance_is_exact():
    rng = np.random.default_rng(0)
    for _ in range(100):
        first, second = (rng.integers(0, 4, rng.integers(0, 14)) for _ in range(2))
        true = levenshtein(first.tolist(), second.tolist())
        for limit in range(1, 12):
            assert is_within(first, second, limit) == (true <= limit), (first, second, limit)
        assert not len(first) or distance(first.tolist(), second.tolist()) == true


def test_edit_distance_of_long_responses():
    """900 tokens with 40 replaced, 30 taken out and 20 put in, far apart: 90 edits."""
    first = np.arange(900)
    second = first.copy()
    second[10:410:10] = -1
    second = np.delete(second, np.arange(450, 750, 10))
    second = np.insert(second, np.arange(640, 840, 10), -2)
    assert is_within(first, second, 90) and not is_within(first, second, 89)


def test_circles_of_preferences():
    """Two responses are in one circle if each is reached from the other."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        size = int(rng.integers(2, 9))
        graph = {str(node): {} for node in range(size)}
        for first, second in rng.integers(0, size, (int(rng.integers(1, 14)), 2)):
            graph[str(first)][str(second)] = None
        found = _components(graph)
        for first in graph:
            for second in graph:
                both = second in reached(graph, first) and first in reached(graph, second)
                assert (found[first] == found[second]) == both


def reached(graph, start) -> set[str]:
    seen, waiting = {start}, [start]
    while waiting:
        waiting += (new := set(graph[waiting.pop()]) - seen)
        seen |= new
    return seen


def test_runs_of_words():
    found = texts("A b, c d!", "b c d", "x", "").grams(3, short=True)
    assert found.counts.tolist() == [2, 1, 1, 0]
    assert found.numbers[1] == found.numbers[2]  # "b c d" in both, whatever its case and marks
    assert texts("A b, c d!", "x", "").grams(3, short=False).counts.tolist() == [2, 0, 0]
    assert texts("\u732b\u306f\u597d\u304d cat").lengths.tolist() == [5]


def test_numbers_of_words_are_the_same_in_every_process():
    assert WordHashes()["word"] == 0x4AA4CF27D7C78E95


def test_near_twins():
    """12 words have 8 runs of 5. With the last word changed, 7 of 9 are shared (.78); of 24, 19 of 21 (.90)."""
    words = [f"w{n}" for n in range(24)]
    short, long = " ".join(words[:12]), " ".join(words)
    base = Sketches.of(texts("other words that are not there at all", short, long, " ".join([*words[:-1], "x"])))
    assert near_twins(base, base) == {3: 2}
    asked = Sketches.of(texts(" ".join([*words[:11], "x"]), " ".join(["x", *words[1:]]), "", short))
    assert near_twins(asked, base) == {1: 2, 3: 1}


def test_near_twins_finds_most_and_nothing_else():
    """Of 200 texts of 100 words, each with a copy of which 2 words in the middle were changed: 86 of 106 runs, .81."""
    rng = np.random.default_rng(0)
    originals = [[f"v{word}" for word in rng.integers(0, 5000, 100)] for _ in range(200)]
    copies = [[*words[:50], "x", "y", *words[52:]] for words in originals]
    sketches = Sketches.of(texts(*map(" ".join, originals), *map(" ".join, copies)))
    twins = near_twins(sketches, sketches)
    assert all(twin == number - 200 for number, twin in twins.items())
    assert len(twins) > 180


def test_texts_in_several_chunks_have_the_same_minima(monkeypatch):
    some = texts(*(" ".join(f"w{n}x{place}" for place in range(n)) for n in range(30)))
    whole = Sketches.of(some).keys
    monkeypatch.setattr(minhash, "_AT_ONCE", 20)
    assert (Sketches.of(some).keys == whole).all()
    assert len(np.unique(whole[:, 0])) == 30


def test_cover():
    """A test of 16 words: a text that shares 8 of them in a row covers half, one that shares 7 has no run."""
    words = [f"w{n}" for n in range(16)]
    tests = texts(" ".join(words), "too short for a run")
    assert covered(tests, texts("and " + " ".join(words[4:12]) + " so on")) == [0]
    assert covered(tests, texts("and " + " ".join(words[4:11]) + " so on")) == []
    assert covered(texts(" ".join([*words, "x"])), texts(" ".join(words[4:12]))) == []  # 8 of 17
    assert covered(tests, texts("", "a")) == []


def test_two_texts_do_not_cover_together():
    words = [f"w{n}" for n in range(40)]
    halves = texts(" ".join(words[:12]), " ".join(words[20:32]))
    assert covered(texts(" ".join(words)), halves) == []
    assert covered(texts(" ".join(words)), texts(" ".join([*words[:12], "x", *words[20:32]]))) == [0]


def test_what_more_than_ten_tests_share_is_their_form():
    form = "answer the following question in one short sentence and no more"
    assert covered(texts(*(f"{form} q{n}" for n in range(10))), texts(form)) == list(range(10))
    assert covered(texts(*(f"{form} q{n}" for n in range(11))), texts(form)) == []

"""What two responses say of each other's tokens, by hand and through a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_toy import bench, llama, row, rows

from alignkit.asks.columns import RowColumn
from alignkit.asks.pairs import Changed, PairValues, WithinShorter
from alignkit.data.splitting import swapped


def marks(values: PairValues, chosen: list[int], rejected: list[int]) -> tuple[str, str]:
    """The numbers of both, as text."""
    found = values.of_pair(np.array(chosen), np.array(rejected))
    return tuple("".join(map(str, marks.astype(int))) for marks in found)


class TestChanged:
    def test_blocks_are_found_wherever_they_lie(self) -> None:
        """1 2 3 stands in both, at other places; 9 alone is shorter than a block."""
        assert marks(Changed(), [1, 2, 3, 7, 9], [8, 9, 1, 2, 3]) == ("00011", "11000")
        assert marks(Changed(min_block=4), [1, 2, 3, 7], [8, 1, 2, 3]) == ("1111", "1111")

    def test_only_the_beginning_counts_as_a_prefix(self) -> None:
        """5 6 begin both; what follows differs, be it equal again or not."""
        prefix = Changed(mode="prefix")
        assert marks(prefix, [5, 6, 1, 2, 3, 4], [5, 6, 7, 1, 2, 3, 4]) == ("001111", "0011111")
        assert marks(prefix, [5, 6], [5, 6, 7]) == ("00", "001")
        assert marks(prefix, [1], [2, 1]) == ("1", "11")

    @pytest.mark.parametrize("mode", ["blocks", "prefix"])
    def test_of_equal_responses_nothing_changed(self, mode) -> None:
        assert marks(Changed(mode=mode), [4, 5, 6], [4, 5, 6]) == ("000", "000")

    def test_frequent_tokens_match_in_long_responses_too(self) -> None:
        """Half of 400 tokens are the same one, which difflib would leave out by itself."""
        chosen = [1, *([0, 5] * 200)]
        assert marks(Changed(), chosen, [2, *chosen[1:]]) == ("1" + "0" * 400,) * 2


def test_within_the_shorter_one() -> None:
    assert marks(WithinShorter(), [1, 2, 3], [4, 5, 6, 7]) == ("111", "1110")
    assert marks(WithinShorter(), [1, 2], [3]) == ("10", "1")


@pytest.mark.parametrize("values", [Changed(min_block=1), WithinShorter()], ids=repr)
def test_a_rows_numbers_are_in_the_order_of_its_responses(values) -> None:
    """A gold response has none; of a pair with its responses exchanged each still has its own."""
    some = [row(0, 4, 6, 3), *rows()[1:]]
    golden = [replace(one, responses={**one.responses, "gold": one.prompt}) for one in some]
    of = bench(llama(), some)
    for got_N, one in zip(values.compute(golden, of), some, strict=True):
        chosen, rejected = values.of_pair(*one.responses.values())
        assert got_N.tolist() == [*chosen.tolist(), *rejected.tolist()]
    turned = [*values.compute([swapped(one) for one in some], of)]
    assert [len(numbers) for numbers in turned] == [len(got_N) for got_N in values.compute(some, of)]
    chosen, rejected = WithinShorter().of_pair(*some[0].responses.values())
    if isinstance(values, WithinShorter):
        assert turned[0].tolist() == [*rejected.tolist(), *chosen.tolist()]


@pytest.mark.parametrize("values", [Changed(), WithinShorter()], ids=repr)
def test_they_are_of_pairs(values) -> None:
    assert values.refusal("preference", "pairs") is None
    assert values.refusal("sft", "responses") == (
        f"{values.words} can be had of pairs only, but trainer 'sft' gives responses; use another "
        "weighting, or a trainer that gives pairs"
    )


def test_a_rows_number_stands_at_each_of_its_tokens() -> None:
    """Rows of 9 and 6 response tokens."""
    some = [replace(one, columns={"gap": gap}) for one, gap in zip(rows(), (0.25, 3.0), strict=False)]
    first, second = RowColumn(column="gap").compute(some, bench(llama(), some))
    assert first.tolist() == [0.25] * 9 and second.tolist() == [3.0] * 6

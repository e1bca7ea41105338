"""Components and sections in words."""

from __future__ import annotations

from dataclasses import fields

import pytest

from alignkit.asks.ches import Ches
from alignkit.asks.needs import Needs
from alignkit.models.attribution import Attribution
from alignkit.models.statistics import ForwardKL
from alignkit.recipe.describe import needed, needs_of
from alignkit.recipe.kinds import KINDS
from alignkit.weighting.attention import LastRow


class Planned:
    """Stands for token values or an anchor."""

    words = "numbers of a plan"
    name = "planned"


SOME = {
    "attributions": frozenset({Attribution()}),
    "anchor": Planned(),
    "columns": frozenset({"score"}),
    "nonnegative": frozenset({"score"}),
    "values": frozenset({Planned()}),
    "statistics": frozenset({ForwardKL()}),
    "readings": frozenset({LastRow()}),
    "row_values": frozenset({Ches()}),
}


@pytest.mark.parametrize("field", [field.name for field in fields(Needs)])
def test_every_need_has_words_of_its_own(field):
    assert list(needed(Needs())) == []
    (words,) = needed(Needs(**{field: SOME.get(field, True)}))
    others = Needs(**{other.name: SOME.get(other.name, True) for other in fields(Needs) if other.name != field})
    assert words and words not in list(needed(others))


def test_needs_of_components():
    drawn_alike = "log of the chance that two tokens drawn at a position are the same"
    assert needs_of(KINDS["pair_weighting"], "wpo") == drawn_alike
    assert needs_of(KINDS["loss"], "tdpo") == (
        "a trainer that gives pairs, log-probs of the reference, KL(reference || policy) at each token"
    )

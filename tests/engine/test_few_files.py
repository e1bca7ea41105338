"""How much of the program one has to read to follow one step of the simplest method."""

from __future__ import annotations

import cProfile
from pathlib import Path
from types import CodeType

from engine_toy import llama, move, objective, recipe, rows, scoring

import alignkit

PACKAGE = Path(alignkit.__file__).parent
MOST = 20
"""Files; 21 before the engine had a room of its own."""


def test_one_loss_of_dpo_is_read_through_in_few_files() -> None:
    step = objective(scoring(recipe(), move(llama()), llama()))
    step.prepare(0, rows(), {0: rows()})
    totals = step.totals(rows())
    profile = cProfile.Profile()
    profile.runcall(step.loss, rows(), 0, totals)
    codes = [entry.code for entry in profile.getstats() if isinstance(entry.code, CodeType)]
    called = {Path(code.co_filename) for code in codes}
    ours = sorted(str(path.relative_to(PACKAGE)) for path in called if path.is_relative_to(PACKAGE))
    assert "losses/dpo.py" in ours and len(ours) <= MOST, ours

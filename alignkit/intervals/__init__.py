"""Numbers with their intervals: what was measured, how sure that is, and what could not have been seen.

The formulas are those of Miller, Adding Error Bars to Evals (arXiv 2411.00640), and of the tests that bear their names;
scipy has the distributions. A NaN among the values makes a NaN of what comes of them: nothing is claimed then.
"""

from alignkit.intervals.crossed import added, seeds_and_items, seeds_with_own_items
from alignkit.intervals.interval import Interval, interval
from alignkit.intervals.means import averaged, mean, paired
from alignkit.intervals.verdicts import holm, mcnemar, smallest_visible

__all__ = [
    "Interval",
    "added",
    "averaged",
    "holm",
    "interval",
    "mcnemar",
    "mean",
    "paired",
    "seeds_and_items",
    "seeds_with_own_items",
    "smallest_visible",
]

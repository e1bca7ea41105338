"""Preferences that cannot all hold."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from alignkit.doctor.base import Check, Finding
from alignkit.doctor.case import Case

Graph = dict[str, dict[str, None]]
"""Response -> the responses that it was preferred to, in the order of the data."""


class Contradictions(Check):
    """Preferences of one prompt that cannot all hold: a over b and b over a, or a over b over c over a.

    Where the same two responses were compared several times, d = the share of repeated pairs that disagree gives the
    flip rate without any model: d = 2 eps (1 - eps).
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        graphs = defaultdict[str, Graph](dict)
        given = Counter[tuple[str, str, str]]()
        for pair in case.pairs:
            graphs[pair.row.prompt].setdefault(pair.chosen, {})[pair.rejected] = None
            graphs[pair.row.prompt].setdefault(pair.rejected, {})
            given[pair.row.prompt, pair.chosen, pair.rejected] += 1
        is_both = [pair.chosen in graphs[pair.row.prompt][pair.rejected] for pair in case.pairs]
        if any(is_both):
            places = [pair.row.where for pair, both in zip(case.pairs, is_both, strict=True) if both]
            values = _noise(given)
            yield self.finding(
                "both ways",
                "error",
                places,
                len(case.pairs),
                "The same two responses to the same prompt are preferred both ways, so one label of each two is wrong"
                f"; of pairs labelled twice {values['disagreement']:.1%} disagree, a flip rate of "
                f"{values['flip_rate']:.1%}.",
                key="losses.N.label_smoothing",
                values=values,
            )
        parts = {prompt: _components(graph) for prompt, graph in graphs.items() if len(graph) > 2}
        circles = [
            pair.row.where
            for pair, both in zip(case.pairs, is_both, strict=True)
            if not both and (part := parts.get(pair.row.prompt)) and part[pair.chosen] == part[pair.rejected]
        ]
        if circles:
            yield self.finding(
                "in a circle",
                "report",
                circles,
                len(case.pairs),
                "Preferences go in a circle (a over b over c over a), which no reward can rank.",
                key="losses.N.label_smoothing",
            )


def _noise(given: Mapping[tuple[str, str, str], int]) -> dict[str, float]:
    """Share of two labels of the same two responses that disagree, and the flip rate that this means."""
    disagreeing = compared = 0
    for (prompt, chosen, rejected), number in given.items():
        other = given.get((prompt, rejected, chosen), 0)
        disagreeing += number * other  # each is met from both sides, and counts once in two
        compared += number * other + number * (number - 1)
    share = disagreeing / compared
    return {"disagreement": share, "flip_rate": (1 - math.sqrt(max(0.0, 1 - 2 * share))) / 2}


def _components(graph: Graph) -> dict[str, str]:
    """Response -> one that stands for all that it is in a circle with (Kosaraju's algorithm)."""
    backwards = defaultdict[str, list[str]](list)
    for node, edges in graph.items():
        for other in edges:
            backwards[other].append(node)
    found: dict[str, str] = {}
    for root in reversed(_finished(graph)):
        waiting = [root]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found[node] = root
                waiting += backwards[node]
    return found


def _finished(graph: Graph) -> list[str]:
    """The responses in the order in which a search to the depth leaves them."""
    finished: list[str] = []
    seen: set[str] = set()
    for root in graph:
        path = [] if root in seen else [(root, iter(graph[root]))]
        seen.add(root)
        while path:
            node, edges = path[-1]
            following = next((other for other in edges if other not in seen), None)
            if following is None:
                finished.append(node)
                path.pop()
            else:
                seen.add(following)
                path.append((following, iter(graph[following])))
    return finished

"""What anchors promise."""

from __future__ import annotations

from collections.abc import Iterator

from alignkit.conformance.stage import Stage, stage
from alignkit.data.rows import TokenRow
from alignkit.registry import dump_component
from alignkit.rollouts.base import Anchor, ResponseAnchor, TokenAnchor
from alignkit.rollouts.sampler import Sampler


def _drawn(anchor: ResponseAnchor, of: Stage, rows: list[TokenRow]) -> list[list[int]]:
    return [[int(id) for id in ids] for ids in anchor.respond(rows, Sampler(of.policy, 5, 3))]


def _is_one_of_two(anchor: Anchor) -> Iterator[str]:
    """is a response of its own, or tokens along the first response"""
    if not isinstance(anchor, ResponseAnchor | TokenAnchor):
        yield "derives from neither ResponseAnchor nor TokenAnchor"
    elif isinstance(anchor, ResponseAnchor) and not anchor.longest >= 1:
        yield f"'longest' is {anchor.longest}, and the model must be asked whether it can take that many tokens"


def _gives_responses(anchor: Anchor) -> Iterator[str]:
    """gives each row a response of at most max_new_tokens tokens of the vocabulary"""
    if not isinstance(anchor, ResponseAnchor):
        return
    of = stage("pairs")
    found = anchor.respond(list(of.train), Sampler(of.policy, 5, 3))
    if len(found) != len(of.train):
        yield f"gives {len(found)} responses for {len(of.train)} rows"
    most = len(of.policy.tokenizer)
    for row, ids in zip(of.train, found, strict=False):
        if getattr(ids, "ndim", None) != 1 or not str(getattr(ids, "dtype", "")).startswith(("int", "uint")):
            yield f"row {row.index}: expected a numpy array of token ids, [T], got {type(ids).__name__}"
        elif not 1 <= len(ids) <= anchor.longest:
            yield f"row {row.index}: {len(ids)} tokens; expected 1 to {anchor.longest} (max_new_tokens)"
        elif not ((ids >= 0) & (ids < most)).all():
            yield f"row {row.index}: an id outside the vocabulary of {most} tokens"


def _belongs_to_its_row(anchor: Anchor) -> Iterator[str]:
    """gives a row the same response alone, among others, again and when it is built again"""
    if not isinstance(anchor, ResponseAnchor):
        return
    of, again = stage("pairs"), type(anchor).model_validate(dump_component(anchor))
    rows = list(of.train)
    together = _drawn(anchor, of, rows)
    if together != _drawn(anchor, of, rows):
        yield "gives other responses when it is asked again; draw with the sampler, which holds seed and step"
    elif [one for row in rows for one in _drawn(anchor, of, [row])] != together:
        yield "gives a row another response alone than among others"
    elif _drawn(again, of, rows) != together:
        yield "gives other responses when it is built again, as a resume does; its state is lost"


CHECKS = (_is_one_of_two, _gives_responses, _belongs_to_its_row)

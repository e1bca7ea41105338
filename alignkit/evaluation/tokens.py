"""What is known of single tokens of held-out rows: what they weigh, of what, how likely they are, how undecided it is.

It goes to `token_rows.jsonl` before training and after it, and pages are drawn from that file without a model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignkit.data.pieces import pieces_of
from alignkit.data.rows import TokenRow
from alignkit.lazy import torch
from alignkit.models.layout import Example
from alignkit.models.scorer import Want
from alignkit.models.statistics import Entropy, ReverseKL, Statistic
from alignkit.rollouts.pool import AnchorPool
from alignkit.scores import RowScores, Span, TokenScores
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from alignkit.engine.scoring import Scoring
    from alignkit.evaluation.scene import HeldOut

MOST_ROWS = 40
"""Held-out rows whose tokens a run records."""

DIGITS = 5
"""Significant digits of a number."""


def token_records(held_out: HeldOut) -> list[dict[str, Any]]:
    """Of each row its place, text and label, and of each of its responses the tokens with their numbers."""
    rows = held_out.rows
    scoring, kl = held_out.scene.scoring, ReverseKL()
    also: frozenset[Statistic] = frozenset({Entropy(), kl} if scoring.has_live_reference else {Entropy()})
    with torch.set_grad_enabled(bool(scoring.needs.attributions)):
        scores = scoring.score(rows, also=also)
    columns = [_columns(scoring.method.weighting, scores, r) for r in range(len(scores.responses))]
    if kl not in also and held_out.scene.has_loaded_reference:
        kl_BRT = held_out.statistic(kl)
        columns = [{**known, "kl": kl_BRT[:, r]} for r, known in enumerate(columns)]
    tokenizer = scoring.policy.tokenizer
    records = [_record(row, b, tokenizer, columns, scores) for b, row in enumerate(rows)]
    for record, row, anchor in zip(records, rows, _anchors(scoring, rows), strict=False):
        record["responses"]["anchor"] = _drawn(row, tokenizer, *anchor)
    return records


def _anchors(scoring: Scoring, rows: Sequence[TokenRow]) -> list[tuple[list[int], dict[str, list[float | None]]]]:
    """Of each row the ids of the anchor that a step would draw for it now, and their log-probs; empty without anchors.

    The same randomness each time, so those before and after training differ by the policy.
    """
    if scoring.pool is None or scoring.reference is None:
        return []
    pool = AnchorPool(scoring.pool.anchor, scoring.policy, scoring.reference, scoring.method.seed)
    with torch.no_grad(), scoring.autocast():
        pool.complete(0, rows)
        drawn = [pool[row] for row in rows]
        batch = scoring.policy.collate([Example(r.prompt, [one.ids]) for r, one in zip(rows, drawn, strict=True)])
        logp_BT = scoring.policy.scorer(batch, Want()).logp_BRT[:, 0].float().cpu()
    return [
        (
            one.ids.tolist(),
            {
                "logp": [*_rounded(logp_T[: len(one.ids)].tolist())],
                "reference": [*_rounded(one.reference_T.tolist())],
            },
        )
        for one, logp_T in zip(drawn, logp_BT, strict=True)
    ]


def _drawn(
    row: TokenRow, tokenizer: PreTrainedTokenizerBase, ids: list[int], columns: Mapping[str, list[float | None]]
) -> dict[str, Any]:
    pieces = pieces_of(tokenizer, ids, row.prompt.tolist())
    return {"tokens": pieces, "ids": ids, "forms": _forms(tokenizer, ids, pieces), "cut": False, **columns}


def _record(
    row: TokenRow,
    b: int,
    tokenizer: PreTrainedTokenizerBase,
    columns: Sequence[Mapping[str, Tensor]],
    scores: RowScores,
) -> dict[str, Any]:
    responses = {
        name: _response(row, name, tokenizer, _packed(of_response, b, response))
        for name, of_response, response in zip(row.weighted, columns, scores.responses, strict=True)
    }
    if "gold" in row.responses:
        gold = {} if scores.gold is None else _packed({"logp": scores.gold.policy_BT}, b, scores.gold)
        responses["gold"] = _response(row, "gold", tokenizer, gold)
    prompt = str(tokenizer.decode(row.prompt.tolist(), skip_special_tokens=True))
    given = row.text.get("prompt", prompt)
    cut = ["prompt"] * (len(prompt.strip()) < len(given.strip()))
    cut += [name for name, said in responses.items() if said["cut"]]
    label = {} if row.label is None else {"label": row.label}
    return {"where": row.where, "prompt": given, **label, "cut": cut, "responses": responses}


def _response(
    row: TokenRow, name: str, tokenizer: PreTrainedTokenizerBase, columns: Mapping[str, list[float | None]]
) -> dict[str, Any]:
    ids = row.responses[name].tolist()
    drawn = _drawn(row, tokenizer, ids, columns)
    is_cut = len("".join(drawn["tokens"]).strip()) < len(row.text.get(name, "").strip())
    critical = {"critical": [int(flag) for flag in row.critical[name]]} if name in row.critical else {}
    return drawn | {"cut": is_cut} | critical


def _forms(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], pieces: Sequence[str]) -> dict[str, str]:
    """Place -> what the vocabulary calls a token, of those that share their characters with another one."""
    shared = [t for t in range(len(ids)) if not (pieces[t] and all(pieces[t + 1 : t + 2]))]
    return {str(t): str(tokenizer.convert_ids_to_tokens(ids[t])) for t in shared}


def _columns(weighting: TokenWeighting, scores: RowScores, r: int) -> dict[str, Tensor]:
    """Name -> [B, T] of one response."""
    response = scores.responses[r]
    found = {"weight": response.weights_BT, "logp": response.policy_BT.detach()}
    if response.reference_BT is not None:
        found["reference"] = response.reference_BT
    found |= _parts(weighting, scores.spans[r])
    named = {"entropy": Entropy(), "kl": ReverseKL()}
    return found | {
        name: response.statistics[key].detach() for name, key in named.items() if key in response.statistics
    }


def _parts(weighting: TokenWeighting, span: Span) -> dict[str, Tensor]:
    """On the scale of weights of mean 1, so that a mixture of them is the weight."""
    length_B1 = span.length_B[:, None]
    parts = weighting.parts(span).items()
    return {f"part/{name}": (share_BS.detach() * length_B1)[:, span.num_prompt :] for name, share_BS in parts}


def _packed(columns: Mapping[str, Tensor], b: int, response: TokenScores) -> dict[str, list[float | None]]:
    """The numbers of one row without its padding."""
    mask_T = response.mask_BT[b]
    return {name: [*_rounded(value_BT[b][mask_T].tolist())] for name, value_BT in columns.items()}


def _rounded(values: Sequence[float]) -> Iterator[float | None]:
    """JSON has neither NaN nor infinity: they become null."""
    for value in values:
        yield float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None

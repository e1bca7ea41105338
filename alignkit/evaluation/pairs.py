"""Whether the policy prefers what it should, and how likely it makes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignkit.evaluation.base import Measure, Value, by_row
from alignkit.evaluation.summary import Accuracy, Auc, Mean, PerToken, Records
from alignkit.scores import TokenScores

if TYPE_CHECKING:
    from torch import Tensor

    from alignkit.evaluation.scene import HeldOut, Scene


class Pairs(Measure):
    """Accuracies and margin of held-out pairs, AUC of labelled responses, NLL. Unweighted: the same for every method.

    preference_accuracy: share of pairs whose chosen log-ratio is above the rejected one's; a tie counts one half.
    ranking_accuracy: the same with log-probs of the policy alone.
    margin: chosen log-ratio minus rejected, nats.
    reward_auc: labelled responses: chance that a desirable one's log-ratio is above an undesirable one's.
    nll: negative log-prob per token of the first response, of labelled responses of the desirable ones, nats.
    With `evaluation.weighted`, also `weighted_preference_accuracy`, `weighted_margin` and `weighted_reward_auc`.
    """

    values = (
        Value("preference_accuracy", Accuracy("margin"), "preference accuracy", better="higher"),
        Value("ranking_accuracy", Accuracy("ranking"), "ranking accuracy", better="higher"),
        Value("margin", Mean("margin"), "margin, nats"),
        Value("reward_auc", Auc("logratio"), "AUC of log-ratios by label", better="higher"),
        Value("nll", PerToken(), "NLL of chosen, nats/token", better="lower"),
        Value("weighted_preference_accuracy", Accuracy("weighted_margin"), better="higher"),
        Value("weighted_margin", Mean("weighted_margin")),
        Value("weighted_reward_auc", Auc("weighted_logratio"), better="higher"),
    )

    def weighs(self, scene: Scene) -> bool:
        """Only for the weighted values."""
        return scene.settings.weighted

    def per_row(self, held_out: HeldOut) -> Sequence[Mapping[str, Any]]:
        """Log-probs and log-ratios, summed over tokens; nats."""
        scores, weighted = held_out.scores, held_out.scene.settings.weighted
        first = scores.responses[0]
        columns = {"nll": -first.policy_BT.sum(-1), "tokens": first.length_B}
        if len(scores.responses) == 2:
            columns |= _pair_columns(*scores.responses, weighted=weighted)
        elif held_out.rows[0].label is not None:
            columns |= {"desirable": scores.desirable_B} | _labelled_columns(first, weighted=weighted)
        return by_row(columns)

    def counts(self, records: Records) -> dict[str, float]:
        """`pairs`, or `responses` where they are labelled."""
        scored = [record for record in records if "nll" in record]
        if not scored:
            return {}
        return {"responses" if "desirable" in scored[0] else "pairs": float(len(scored))}

    def notes(self, after: Mapping[str, float]) -> Iterator[str]:
        """How many there were."""
        if "pairs" in after:
            yield f"{after['pairs']:,.0f} pairs"
        if "responses" in after:
            yield f"{after['responses']:,.0f} labelled responses"


def _pair_columns(chosen: TokenScores, rejected: TokenScores, *, weighted: bool) -> dict[str, Tensor]:
    columns = {"ranking": chosen.policy_BT.sum(-1) - rejected.policy_BT.sum(-1)}
    if chosen.reference_BT is not None:
        columns["margin"] = chosen.logratio_BT.sum(-1) - rejected.logratio_BT.sum(-1)
        if weighted:
            columns["weighted_margin"] = chosen.logratio_B - rejected.logratio_B
    return columns


def _labelled_columns(response: TokenScores, *, weighted: bool) -> dict[str, Tensor]:
    if response.reference_BT is None:
        return {}
    columns = {"logratio": response.logratio_BT.sum(-1)}
    return columns | ({"weighted_logratio": response.logratio_B} if weighted else {})

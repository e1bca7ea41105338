"""The data that flows: sums, spans and the union of needs."""

from __future__ import annotations

import pytest
import torch

from alignkit.asks.needs import Needs
from alignkit.errors import RecipeError
from alignkit.models.attribution import Attribution
from alignkit.models.statistics import ForwardKL, ReverseKL
from alignkit.rollouts.sample_prompt import SamplePrompt
from alignkit.rollouts.teacher_forced import TeacherForced
from alignkit.scores import Span, TokenScores


def test_sums_are_weighted_and_kl_is_not() -> None:
    """Log-ratios 1, -2, 0 (padding) with weights 0.5, 1.5: 0.5 - 3 = -2.5; log-probs -1, -3: -0.5 - 4.5 = -5."""
    scores = TokenScores(
        policy_BT=torch.tensor([[-1.0, -3.0, 0.0]]),
        mask_BT=torch.tensor([[True, True, False]]),
        weights_BT=torch.tensor([[0.5, 1.5, 0.0]]),
        reference_BT=torch.tensor([[-2.0, -1.0, 0.0]]),
        statistics={ForwardKL(): torch.tensor([[0.25, 0.5, 0.0]])},
    )
    assert scores.length_B.tolist() == [2]
    assert scores.logratio_B.tolist() == [-2.5]
    assert scores.policy_B.tolist() == [-5.0]
    assert scores.statistic_B(ForwardKL()).tolist() == [0.75]


def test_means_and_the_plain_view() -> None:
    """Log-probs -1, -3 with weights 0.5, 1.5 over two tokens: -5 / 2; unweighted -4 / 2. Log-ratios 1, -2: -2.5 / 2."""
    scores = TokenScores(
        policy_BT=torch.tensor([[-1.0, -3.0, 0.0]]),
        mask_BT=torch.tensor([[True, True, False]]),
        weights_BT=torch.tensor([[0.5, 1.5, 0.0]]),
        reference_BT=torch.tensor([[-2.0, -1.0, 0.0]]),
        statistics={ReverseKL(): torch.tensor([[0.25, 0.5, 0.0]])},
    )
    assert (scores.mean_policy_B.item(), scores.mean_logratio_B.item()) == (-2.5, -1.25)
    assert (scores.plain.mean_policy_B.item(), scores.plain.mean_logratio_B.item()) == (-2.0, -0.5)
    assert scores.statistic_B(ReverseKL(), weighted=True).item() == 0.875  # weighted, unlike TDPO's
    assert scores.plain.weights_BT.tolist() == [[1.0, 1.0, 0.0]]


def test_by_index_lines_up_tokens_wherever_the_padding_lies() -> None:
    mask_BT = torch.tensor([[False, True, False, True], [True, True, False, False]])
    values_BT = torch.tensor([[9.0, 1.0, 9.0, 2.0], [3.0, 4.0, 9.0, 9.0]])
    scores = TokenScores(values_BT, mask_BT, mask_BT.float())
    assert scores.by_index(values_BT, 3).tolist() == [[1.0, 2.0, 0.0], [3.0, 4.0, 0.0]]


def test_span_counts_over_the_mask() -> None:
    span = Span(torch.tensor([[False, True, True], [True, False, True]]))
    assert span.length_B.tolist() == [2, 2]
    assert span.index_BS[span.mask_BS].tolist() == [0, 1, 0, 1]


def test_needs_are_united() -> None:
    first, second = Attribution(), Attribution(norm="l2")
    left = Needs(reference=True, attributions=frozenset({first}), anchor=SamplePrompt(), columns=frozenset({"a"}))
    more = {"statistics": frozenset({ForwardKL()}), "prompt": True, "gold": True}
    right = Needs(attributions=frozenset({second}), full_sequence=True, anchor=SamplePrompt(), **more)
    assert left | right == right | left
    assert left | right == Needs(
        reference=True,
        attributions=frozenset({first, second}),
        full_sequence=True,
        anchor=SamplePrompt(),
        columns=frozenset({"a"}),
        **more,
    )
    assert Needs() | left == left


def test_two_different_anchors_are_refused() -> None:
    sampled, forced = SamplePrompt(refresh_every=4), TeacherForced()
    with pytest.raises(RecipeError) as caught:
        Needs(anchor=sampled) | Needs(anchor=forced)
    assert str(caught.value) == (
        "losses: one anchor is sampled per pair, but two are asked for, "
        "SamplePrompt(temperature=0.8, top_k=50, top_p=0.95, max_new_tokens=64, refresh_every=4) and "
        "TeacherForced(temperature=0.8, top_k=50, top_p=0.95); give these losses the same anchor"
    )

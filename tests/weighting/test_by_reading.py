"""Weightings that read hidden states and attention: transport against plain loops, options, mistakes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from alignkit.models.layout import Example, collate
from alignkit.models.readings import States
from alignkit.weighting import weightings
from alignkit.weighting.attention import LastRow, Received
from alignkit.weighting.transport import Nearest, Transported, costs, rounds, sinkhorn

LENGTHS = ((5, 3), (1, 4), (6, 6), (1, 1))


def states(lengths=LENGTHS, scale: float = 1.0, seed: int = 0) -> States:
    """Random states of width 4, each of which depends on its pair, response and place alone."""
    examples = [Example(np.arange(2), [np.arange(n) for n in both]) for both in lengths]
    pieces = [
        torch.randn(16, 4, generator=torch.Generator().manual_seed(seed + 100 * LENGTHS.index(both) + r))[:n]
        for both in lengths
        for r, n in enumerate(both)
    ]
    return States(collate(examples, "packed", pad_id=0), scale * torch.cat(pieces))


def by_hand(given: States, b: int, reg: float, mass: float) -> list[np.ndarray]:
    """Weights of pair b, by the formula as it stands, in float64."""
    (w, m), (chosen, rejected) = given.mask_BRT[b].sum(-1).tolist(), given.hidden_BRTD[b].double().numpy()
    cost = np.array([[np.linalg.norm(chosen[i] - rejected[j]) + 1e-6 for j in range(m)] for i in range(w)])
    kernel = np.exp(-cost / max(1, cost.max()) / reg)
    power, v = mass / (mass + reg), np.ones(m)
    for _ in range(500):
        u = (1 / (kernel @ v)) ** power
        v = (1 / (kernel.T @ u)) ** power
    plan = u[:, None] * kernel * v
    return [plan.sum(axis) * min(w, m) / plan.sum() for axis in (1, 0)]


@pytest.mark.parametrize(("reg", "mass"), [(0.1, 0.2), (0.05, 1.0), (1.0, 0.1)])
def test_transport_is_the_formula(reg: float, mass: float) -> None:
    given = states()
    found_BRT = Transported(reg=reg, mass=mass).read(given)
    for b, lengths in enumerate(LENGTHS):
        for r, wanted in enumerate(by_hand(given, b, reg, mass)):
            assert found_BRT[b, r, : lengths[r]].tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-6)
            assert not found_BRT[b, r, lengths[r] :].any()


@pytest.mark.parametrize("reading", [Transported(reg=0.1, mass=0.2), Nearest()])
def test_a_pair_is_weighed_alone_as_among_others(reading) -> None:
    together_BRT = reading.read(states())
    for b, both in enumerate(LENGTHS):
        alone_RT = reading.read(states([both]))[0]
        for r, length in enumerate(both):
            torch.testing.assert_close(alone_RT[r, :length], together_BRT[b, r, :length], rtol=1e-5, atol=1e-6)


def test_swapping_the_responses_swaps_the_weights() -> None:
    given = states([(6, 6)])
    turned = States(
        collate([Example(np.arange(2), [np.arange(6)] * 2)], "packed", pad_id=0), given._hidden_ND.roll(6, 0)
    )
    found, other = (Transported(reg=0.1, mass=0.2).read(one)[0] for one in (given, turned))
    torch.testing.assert_close(found, other.flip(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_weights_of_a_response_sum_to_the_shorter_length(scale: float) -> None:
    """However large the hidden states are, and where the kernel alone would leave the range of float32."""
    for reg, mass in ((0.1, 0.2), (1e-3, 2e-3), (1e-3, 0.04)):
        found_BRT = Transported(reg=reg, mass=mass).read(states(scale=scale))
        assert found_BRT.min() >= 0
        torch.testing.assert_close(found_BRT.sum(-1), torch.tensor([[3.0] * 2, [1.0] * 2, [6.0] * 2, [1.0] * 2]))


def test_equal_responses_weigh_equally_near_equal_states() -> None:
    """One state for all tokens: every token is the nearest of every other, and nothing tells them apart."""
    given = states()
    same = States(collate([Example(np.arange(2), [np.arange(5), np.arange(2)])], "packed", pad_id=0), torch.ones(7, 4))
    found_BRT = Transported(reg=0.1, mass=0.2).read(same)
    torch.testing.assert_close(found_BRT[0], torch.tensor([[0.4] * 5, [1.0] * 2 + [0.0] * 3]))
    assert (Nearest().read(given)[given.mask_BRT] > 0).all()


@pytest.mark.parametrize("reg", [1e-4, 1e-2, 1.0])
def test_float32_is_float64(reg: float) -> None:
    cost_BCJ, valid_BCJ = costs(states())
    number = rounds(reg, 2 * reg)
    narrow, wide = (
        sinkhorn(cost_BCJ.to(kind), valid_BCJ, reg, 2 * reg, number) for kind in (torch.float32, torch.float64)
    )
    # Of logarithms as large as 1 / reg float32 has 7 digits.
    torch.testing.assert_close(narrow[valid_BCJ].double(), wide[valid_BCJ], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("reg", "mass"), [(0.1, 0.2), (0.1, 4.0), (1.0, 1e-9)])
def test_enough_rounds(reg: float, mass: float) -> None:
    """More of them change nothing."""
    cost_BCJ, valid_BCJ = costs(states())
    few, many = (sinkhorn(cost_BCJ.double(), valid_BCJ, reg, mass, n) for n in (rounds(reg, mass), 800))
    torch.testing.assert_close(few[valid_BCJ], many[valid_BCJ], rtol=0, atol=1e-8)


def attended(rows: list[list[float]], mask: list[bool]) -> States:
    """One response with this attention table, padded."""
    size, length = len(mask), sum(mask)
    laid = collate([Example(np.arange(2), [np.arange(length)]), Example(np.arange(2), [np.arange(size)])], "packed", 0)
    table_BRTT = torch.zeros(2, 1, size, size)
    table_BRTT[0, 0, :length, :length] = torch.tensor(rows)
    table_BRTT[1, 0] = torch.eye(size)
    return States(laid, torch.zeros(length + size, 1), table_BRTT)


def test_attention_of_a_response_shorter_than_its_table() -> None:
    """Received: of itself and the later token (0.5 + 0.25) / 2; last: the second token's row."""
    given = attended([[0.5, 0.0], [0.25, 0.75]], [True, True, False, False])
    assert LastRow().read(given)[:, 0].tolist() == [[0.25, 0.75, 0, 0], [0, 0, 0, 1]]
    received_T = Received().read(given)[:, 0]
    assert received_T[0, :2].tolist() == [0.375, 0.75]
    assert received_T[1].tolist() == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1])


MISTAKES = {
    "reg of distance": (
        {"name": "transport", "by": "distance", "reg": 0.2},
        "'reg' has no use with by 'distance'; leave it out",
    ),
    "too many rounds": (
        {"name": "transport", "mass": 5.0},
        "mass 5 is more than 40 times reg 0.1, which takes too many rounds; give a larger 'reg' or a smaller 'mass'",
    ),
    "no mass": ({"name": "transport", "mass": 0.0}, "Input should be greater than 0"),
    "model": ({"name": "attention", "model": "guide"}, "Input should be 'policy' or 'reference'"),
    "of": ({"name": "attention", "of": "first"}, "Input should be 'last' or 'received'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str) -> None:
    settings, message = MISTAKES[mistake]
    with pytest.raises(ValidationError) as caught:
        weightings.get(settings["name"]).model_validate(settings)
    (error,) = caught.value.errors()
    assert error["msg"] == message


def test_a_recorded_recipe_has_the_defaults_that_have_no_use() -> None:
    nearest = weightings.build("transport", {"by": "distance"})
    assert type(nearest).model_validate(nearest.model_dump()) == nearest


def test_the_reference_is_asked_once() -> None:
    for name in ("transport", "attention"):
        live, static = (weightings.build(name, {"model": model}).needs() for model in ("policy", "reference"))
        (reading,), (values,) = live.readings, static.values
        assert not live.values and not static.readings and values.reading == reading and values.lasting
        assert values.words == f"{reading.words} of the reference"


def test_settings_are_part_of_the_request() -> None:
    one, other = (weightings.build("transport", {"reg": reg}).reading for reg in (0.1, 0.2))
    assert one != other and one == Transported(reg=0.1, mass=0.2)
    assert math.isclose(rounds(0.1, 0.2), 29)

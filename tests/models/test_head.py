"""Log-probs without logits, and drawing tokens with given randomness."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from alignkit.models.head import Draw, Predictions, _likeliest, token_logps
from alignkit.models.statistics import Collision, Entropy, ForwardKL, MeanLogp, ReverseKL

D, V = 3, 101

EVERY = (ForwardKL(), ReverseKL(), Collision(), Entropy(), MeanLogp())


def predictions(num: int, seed: int, dtype: torch.dtype = torch.float32) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    head = torch.nn.Linear(D, V, bias=False, dtype=dtype)
    with torch.no_grad():
        head.weight.copy_(torch.randn(V, D, generator=generator))
    return Predictions(torch.randn(num, D, generator=generator, dtype=dtype).requires_grad_(), head)


def tokens(num: int) -> torch.Tensor:
    return torch.arange(num) * 7 % V


class LargestMatrix(TorchDispatchMode):
    """Most rows of any tensor that is as wide as the vocabulary."""

    rows = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(one, torch.Tensor) and one.dim() and one.shape[-1] == V:
                self.rows = max(self.rows, one.numel() // V)
        return result


class TestTokenLogps:
    @pytest.mark.parametrize("chunk", [1, 5, 20, 4096])
    def test_chunks_are_the_full_matrix(self, chunk: int) -> None:
        """Values and gradients of log-softmax over all positions at once."""
        ours, theirs = predictions(20, 0), predictions(20, 1)
        logp_N, found = token_logps(ours, tokens(20), chunk, EVERY, theirs)
        kl_N, reverse_N, collision_N, entropy_N, mean_N = found.values()
        plain_NV, other_NV = (p.head(p.hidden_ND).log_softmax(-1) for p in (ours, theirs))
        expected_N = plain_NV.gather(-1, tokens(20)[:, None]).squeeze(-1)
        expected_kl_N = torch.nn.functional.kl_div(plain_NV, other_NV.detach(), log_target=True, reduction="none")
        torch.testing.assert_close(logp_N, expected_N, rtol=1e-6, atol=1e-6)
        expected_reverse_N = (plain_NV.exp() * (plain_NV - other_NV.detach())).sum(-1)
        torch.testing.assert_close(kl_N, expected_kl_N.sum(-1), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(reverse_N, expected_reverse_N, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(collision_N, plain_NV.detach().exp().square().sum(-1).log(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(entropy_N, -(plain_NV.exp() * plain_NV).sum(-1).detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(mean_N, plain_NV.mean(-1).detach(), rtol=1e-5, atol=1e-6)
        assert not any(value_N.requires_grad for value_N in (collision_N, entropy_N, mean_N))
        inputs = [ours.hidden_ND, ours.head.weight]
        mix = torch.linspace(-1, 1, 20)
        got = torch.autograd.grad((mix * logp_N + kl_N + 2 * reverse_N).sum(), inputs)
        wanted = torch.autograd.grad((mix * expected_N + expected_kl_N.sum(-1) + 2 * expected_reverse_N).sum(), inputs)
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)

    def test_kl_by_hand(self) -> None:
        """KL((.5, .5) || (.25, .75)) = .5 ln 2 + .5 ln(2/3) = 0.143841, the other way .75 ln 1.5 - .25 ln 2 = 0.130812.

        To itself it is 0. The squares of (.25, .75) sum to .625, whose logarithm is -0.470004; the entropy is
        .25 ln 4 + .75 ln(4/3) = 0.562335, and the mean of the logarithms (ln .25 + ln .75) / 2 = -0.836988.
        """
        half, quarter = (Predictions(torch.tensor([[1.0, 1.0]]), torch.nn.Linear(2, 2, bias=False)) for _ in range(2))
        with torch.no_grad():
            half.head.weight.copy_(torch.zeros(2, 2))
            quarter.head.weight.copy_(torch.tensor([[0.0, 0.0], [0.0, math.log(3)]]))
        _, found = token_logps(quarter, torch.tensor([0]), 8, EVERY, half)
        kl_N, reverse_N, collision_N, entropy_N, mean_N = found.values()
        assert kl_N.item() == pytest.approx(0.143841, abs=1e-6)
        assert reverse_N.item() == pytest.approx(0.130812, abs=1e-6)
        assert collision_N.item() == pytest.approx(-0.470004, abs=1e-6)
        assert entropy_N.item() == pytest.approx(0.562335, abs=1e-6)
        assert mean_N.item() == pytest.approx(-0.836988, abs=1e-6)
        assert token_logps(half, torch.tensor([0]), 8, EVERY, half)[1][ForwardKL()].item() == 0

    def test_no_gradient_to_the_other_model(self) -> None:
        ours, theirs = predictions(6, 0), predictions(6, 1)
        _, found = token_logps(ours, tokens(6), 4, (ForwardKL(), ReverseKL()), theirs)
        sum(found.values()).sum().backward()
        assert theirs.hidden_ND.grad is None and theirs.head.weight.grad is None
        assert ours.head.weight.grad.abs().max() > 0

    def test_only_what_is_asked_for(self) -> None:
        ours = predictions(6, 0)
        assert token_logps(ours, tokens(6), 4)[1] == {}
        assert list(token_logps(ours, tokens(6), 4, (Collision(),), predictions(6, 1))[1]) == [Collision()]

    def test_of_no_tokens(self) -> None:
        """Prompts of one token have none that is predicted."""
        logp_N, found = token_logps(predictions(0, 0), tokens(0), 4, (Collision(),))
        assert logp_N.shape == found[Collision()].shape == (0,)

    @pytest.mark.parametrize("with_kl", [False, True])
    def test_the_full_matrix_never_exists(self, with_kl: bool) -> None:
        """With chunks of 8 no tensor of the forward or backward pass has more than 8 rows of the vocabulary."""
        ours, theirs = predictions(64, 0), predictions(64, 1)
        with LargestMatrix() as largest:
            logp_N, found = token_logps(ours, tokens(64), 8, EVERY if with_kl else (), theirs)
            (logp_N + sum(found.values())).sum().backward()
        assert largest.rows == 8

    def test_no_logits_are_kept_between_forward_and_backward(self) -> None:
        kept = []
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t)
        ours = predictions(64, 0)
        with hooks:
            token_logps(ours, tokens(64), 8)
        assert not [shape for shape in kept if shape[-1:] == (V,) and shape[0] > D]

    def test_half_precision_is_reduced_in_float32(self) -> None:
        ours = predictions(6, 0, torch.bfloat16)
        logp_N = token_logps(ours, tokens(6), 4)[0]
        exact_NV = ours.head(ours.hidden_ND).double().log_softmax(-1)
        assert logp_N.dtype == torch.float32
        torch.testing.assert_close(logp_N.double(), exact_NV.gather(-1, tokens(6)[:, None])[:, 0], rtol=0, atol=1e-5)


class TestDraw:
    """Probabilities (.2, .5, .3): cumulative .2, .7, 1."""

    LOGITS = torch.tensor([0.2, 0.5, 0.3]).log()

    def drawn(self, draw: Draw, *uniforms: float) -> list[int]:
        return draw(self.LOGITS.expand(len(uniforms), 3), torch.tensor(uniforms, dtype=torch.float64)).tolist()

    def test_inverts_the_cumulative_distribution(self) -> None:
        assert self.drawn(Draw(), 0.0, 0.199, 0.201, 0.699, 0.701, 1 - 2**-53) == [0, 0, 1, 1, 2, 2]

    def test_temperature(self) -> None:
        """At 0.5 the squares (.04, .25, .09) / .38: cumulative .1053, .7632, 1."""
        assert self.drawn(Draw(temperature=0.5), 0.105, 0.106, 0.763, 0.764) == [0, 1, 1, 2]

    def test_almost_no_temperature_takes_the_likeliest(self) -> None:
        assert self.drawn(Draw(temperature=1e-4), 0.0, 0.5, 1 - 2**-53) == [1, 1, 1]

    def test_top_k(self) -> None:
        """The best two, (0, .625, .375); the cut token is not drawn even at 0. More than there are keeps all."""
        assert self.drawn(Draw(top_k=2), 0.0, 0.624, 0.626, 1 - 2**-53) == [1, 1, 2, 2]
        assert self.drawn(Draw(top_k=50), 0.1, 0.5, 0.9) == self.drawn(Draw(), 0.1, 0.5, 0.9)

    @pytest.mark.parametrize(("top_p", "kept"), [(0.45, {1}), (0.75, {1, 2}), (0.85, {0, 1, 2}), (1.0, {0, 1, 2})])
    def test_top_p_keeps_the_smallest_set_that_reaches_it(self, top_p: float, kept: set[int]) -> None:
        assert set(self.drawn(Draw(top_p=top_p), *torch.linspace(0, 0.999, 40).tolist())) == kept

    @pytest.mark.parametrize("vocabulary", [3, 40, 401, 1000])
    @pytest.mark.parametrize("count", [1, 3, 50])
    def test_of_equal_tokens_the_first_are_kept(self, vocabulary: int, count: int) -> None:
        """As a stable sort has them, whatever is looked through on the way; -0 equals 0."""
        logits_NV = torch.randn(4, vocabulary, generator=torch.Generator().manual_seed(0)).mul(2).round().div(2)
        logits_NV[1, ::2], logits_NV[2], logits_NV[3] = -torch.inf, 0.0, -0.0
        wanted_NV = logits_NV.sort(dim=-1, descending=True, stable=True).indices
        kept = min(count, vocabulary)
        assert torch.equal(_likeliest(logits_NV, kept), wanted_NV[:, :kept])

    def test_follows_the_distribution(self) -> None:
        """Evenly spread uniforms give each token its probability, to one in a thousand."""
        counts = torch.bincount(torch.tensor(self.drawn(Draw(), *((torch.arange(1000) + 0.5) / 1000).tolist())))
        assert counts.tolist() == [200, 500, 300]

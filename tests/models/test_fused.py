"""The short way through a plain linear head against autograd's, derivative by derivative; and what it keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from alignkit.models.fused import LinearHead, linear_logps, plain_linear
from alignkit.models.head import Head, HeadTransform, Predictions, token_logps
from alignkit.models.statistics import Collision, Entropy, ForwardKL, ReverseKL, Statistic, Vocabulary

N, D, V = 12, 5, 37
IDS = torch.arange(N) * 7 % V
TRANSFORMS = {
    "plain": HeadTransform(),
    "bent": HeadTransform(divisor=2.0, scale=1.5, softcap=3.0),
}
CHUNKS = [3, 5, 12, 64]


def parts(transform: HeadTransform, dtype: torch.dtype = torch.float64, bias: bool = True, temperature: float = 0.7):
    """Predictions; and the same through a head that is no plain layer, on copies of all leaves."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for kind in (torch.nn.Linear, type("Other", (torch.nn.Linear,), {})):
        linear = kind(D, V, bias=bias, dtype=dtype)
        with torch.no_grad():
            generator.manual_seed(1)
            for parameter in linear.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
            hidden_ND = torch.randn(N, D, generator=generator).to(dtype)
        found.append(Predictions(hidden_ND.requires_grad_(), Head(linear, transform), temperature))
    return found


def leaves(predictions: Predictions) -> list[torch.Tensor]:
    return [predictions.hidden_ND, *predictions.head.linear.parameters()]


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_derivatives_are_those_of_differences(transform, chunk):
    """In float64, by hidden states, weight and bias."""
    ours, _ = parts(transform)
    head = ours.head.linear

    def logps(hidden_ND, weight_VD, bias_V):
        plain = LinearHead(weight_VD, bias_V, transform.scale, transform.softcap, 0.7)
        return linear_logps(plain, hidden_ND, IDS, chunk)[0]

    assert torch.autograd.gradcheck(logps, (ours.hidden_ND, head.weight, head.bias), fast_mode=True)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_equals_autograds_way(transform, bias, chunk):
    """Values, statistics without gradient, and gradients, in float32."""
    share_N = torch.linspace(-1, 1, N)
    results = []
    for predictions in parts(transform, torch.float32, bias):
        logp_N, found = token_logps(predictions, IDS, chunk, (Entropy(), Collision()))
        results.append([logp_N, *found.values(), *torch.autograd.grad(logp_N @ share_N, leaves(predictions))])
    assert plain_linear(predictions.head.linear) is None
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunk", [5, 64])
def test_a_graph_is_traversed_again(chunk):
    """As attribution does it: by the hidden states first, then by all; and once more."""
    ours, _ = parts(TRANSFORMS["bent"])
    logp_N, _ = token_logps(ours, IDS, chunk)
    total = (logp_N * torch.linspace(-1, 1, N)).sum()
    (alone_ND,) = torch.autograd.grad(total, ours.hidden_ND, retain_graph=True)
    first = torch.autograd.grad(total, leaves(ours), retain_graph=True)
    total.backward()
    assert torch.equal(alone_ND, first[0])
    assert all(torch.equal(leaf.grad, gradient) for leaf, gradient in zip(leaves(ours), first, strict=True))


class Products(TorchDispatchMode):
    """Counts products, and the most rows of any tensor that is as wide as the vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.rows = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.count += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm)
        for one in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(one, torch.Tensor) and one.shape[-1:] == (V,):
                self.rows = max(self.rows, one.numel() // V)
        return out


def products(chunk: int, frozen: bool, by_hidden: bool) -> tuple[int, int]:
    """Of the forward pass, and of the backward pass."""
    ours, _ = parts(HeadTransform(), torch.float32, bias=False)
    ours.head.linear.requires_grad_(not frozen)
    with Products() as forward:
        total = token_logps(ours, IDS, chunk)[0].sum()
    with Products() as backward:
        torch.autograd.grad(total, ours.hidden_ND) if by_hidden else total.backward()
    assert forward.rows <= max(chunk, D) and backward.rows <= max(chunk, D)
    return forward.count, backward.count


def test_how_many_products_there_are():
    """Kept: logits, hidden states' gradient, weight's gradient. Not kept: the logits once more. None for nobody."""
    assert products(N, frozen=False, by_hidden=False) == (2, 1)
    assert products(N // 2, frozen=False, by_hidden=False) == (2 * 2, 2 * 3)  # of 18, 18 and 1 token
    assert products(N, frozen=False, by_hidden=True) == (2, 0)
    assert products(N, frozen=True, by_hidden=False) == (2, 0)
    ours, _ = parts(HeadTransform(), torch.float32, bias=False)
    with Products() as forward, torch.no_grad():
        token_logps(ours, IDS, N)
    assert forward.count == 1


def test_with_and_without_gradient_gives_the_same_bits():
    """A policy that has not moved is its reference, exactly."""
    ours, _ = parts(TRANSFORMS["bent"], torch.float32)
    with torch.no_grad():
        expected_N, _ = token_logps(ours, IDS, 5)
    assert torch.equal(token_logps(ours, IDS, 5)[0], expected_N)


@pytest.mark.parametrize("chunk", [5, 64])
@pytest.mark.parametrize("kind", ["autocast", "bf16"])
def test_half_precision_is_as_near_as_autograds_way(kind, chunk):
    """To the derivatives of float64; gradients come in the format of what they belong to."""
    share_N = torch.linspace(-1, 1, N)
    exact, _ = parts(HeadTransform())
    wanted = torch.autograd.grad(token_logps(exact, IDS, 64)[0] @ share_N.double(), leaves(exact))
    errors = []
    for predictions in parts(HeadTransform(), torch.float32 if kind == "autocast" else torch.bfloat16):
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
            logp_N, _ = token_logps(predictions, IDS, chunk)
        assert logp_N.dtype == torch.float32
        found = torch.autograd.grad(logp_N @ share_N, leaves(predictions))
        assert [one.dtype for one in found] == [one.dtype for one in leaves(predictions)]
        errors.append([float((a - b).norm() / b.norm()) for a, b in zip(found, wanted, strict=True)])
    assert max(errors[0]) < 0.01
    assert all(ours < 1.5 * theirs for ours, theirs in zip(*errors, strict=True))


def test_autocast_reaches_the_head():
    """Of policy and reference: their products are those of a linear layer under autocast."""
    ours, theirs = parts(HeadTransform(), torch.float32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logp_N, found = token_logps(ours, IDS, 5, (ReverseKL(),), ours)
        wanted_N, _ = token_logps(theirs, IDS, 5)
    torch.testing.assert_close(logp_N, wanted_N, rtol=1e-6, atol=1e-6)
    assert found[ReverseKL()].abs().max() < 1e-6


class Lowest(Statistic):
    """lowest logit, as a view that would change with its matrix."""

    has_gradient = False

    def reduce(self, vocabulary: Vocabulary) -> torch.Tensor:
        return vocabulary.logits_NV[:, 0]


def test_what_takes_autograds_way():
    """Statistics that are trained through, and heads that are more than their weight."""
    ours, _ = parts(HeadTransform(), torch.float32)
    found = token_logps(ours, IDS, 64, (ForwardKL(),), ours)[1][ForwardKL()]
    assert found.requires_grad
    plain = torch.nn.Linear(2, 3)
    assert plain_linear(plain) is plain
    assert plain_linear(torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 3))) is None
    hook = plain.register_forward_hook(lambda *_: None)
    assert plain_linear(plain) is None
    hook.remove()
    plain.forward = plain.forward
    assert plain_linear(plain) is None


def test_of_no_tokens_the_gradient_is_zero():
    ours, _ = parts(HeadTransform(), torch.float32)
    none = replace(ours, hidden_ND=torch.zeros(0, D, requires_grad=True))
    gradients = torch.autograd.grad(token_logps(none, IDS[:0], 4)[0].sum(), leaves(none))
    assert [float(one.abs().sum()) for one in gradients] == [0.0, 0.0, 0.0]


def test_a_statistic_may_be_a_view_of_the_logits():
    ours, _ = parts(HeadTransform(), torch.float32)
    found = token_logps(ours, IDS, 5, (Lowest(),))[1][Lowest()]
    torch.testing.assert_close(found, replace(ours).logits()[:, 0].detach())

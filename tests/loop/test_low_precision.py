"""bf16 parameters go where float32 ones go, and a checkpoint holds all that it takes."""

from __future__ import annotations

import os
import signal

import torch
from loop_toy import ToyStep, make_config, run_toy, weights_of

from alignkit.loop.accelerator import own_state
from alignkit.loop.checkpoint import CheckpointFolder, read_tensors
from alignkit.loop.low_precision import SplitAdamW, joined, split
from alignkit.loop.optimizer import load_optimizer_tensors, make_optimizer, not_finite, optimizer_tensors


def test_a_number_is_its_upper_half_and_the_rest():
    """1 + 2^-9 lies below the middle between the bf16 numbers 1 and 1 + 2^-7: it is 1 and 2^14 last bits (2^-23)."""
    nearest, rest = split(torch.tensor([1 + 2**-9, 1 + 3 * 2**-9, -(1 + 2**-9)]))
    assert nearest.tolist() == [1.0, 1 + 2**-7, -1.0]
    assert rest.tolist() == [2**14, -(2**14), 2**14]


def test_halves_joined_are_the_number():
    """But for the middle between two bf16 numbers, which may differ in the last bit."""
    drawn = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * torch.logspace(-30, 30, 10_000)
    assert torch.equal(joined(*split(drawn)), drawn)
    middle = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8])
    assert (joined(*split(middle)) - middle).abs().max() <= 2**-23
    assert joined(*split(torch.tensor([torch.inf, -torch.inf, torch.nan]))).isfinite().tolist() == [False] * 3


def trajectory(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """1,000 updates of 1e-6 each at weights of about 1, along a gradient that does not depend on them."""
    for step in range(1000):
        parameter.grad = torch.tensor([1.0, -1.0, 0.5]).to(parameter.dtype) * (1 + step % 3)
        optimizer.step()
    return parameter.detach().float()


def test_small_updates_are_not_lost():
    """AdamW moves by 1e-6 a step, a 4,000th of what bf16 tells apart at 1: plain bf16 stands still."""
    start, options = torch.tensor([1.0, 0.7, -1.3]).bfloat16(), {"lr": 1e-6, "weight_decay": 0.1}
    whole, halved, plain = (torch.nn.Parameter(start.to(dtype)) for dtype in (torch.float32, *[torch.bfloat16] * 2))
    expected = trajectory(whole, torch.optim.AdamW([whole], **options))
    optimizer = SplitAdamW([halved], **options)
    nearest = trajectory(halved, optimizer)
    assert torch.equal(joined(halved.detach(), optimizer.state[halved]["rest"]), expected)
    assert torch.equal(nearest, expected.bfloat16().float())
    assert torch.equal(trajectory(plain, torch.optim.AdamW([plain], **options)), start.float())
    assert (expected - start.float()).abs().min() > 5e-4


def test_what_it_takes_is_counted():
    """Of 1,000 parameters: 2 bytes each and 2 of gradient, 4 + 4 of moments, 2 of what bf16 has no room for."""
    parameter = torch.nn.Parameter(torch.zeros(1000, dtype=torch.bfloat16))
    parameter.grad = torch.ones_like(parameter)
    optimizer = make_optimizer({"p": parameter}, make_config(parameters="bf16", precision="auto"))
    optimizer.step()
    state = optimizer_tensors(optimizer, {"p": parameter})
    sizes = {name: tensor.nbytes for name, tensor in state.items()}
    assert sizes == {"p/step": 4, "p/exp_avg": 4000, "p/exp_avg_sq": 4000, "p/rest": 2000}
    assert (parameter.nbytes, parameter.grad.nbytes) == (2000, 2000)
    assert not_finite(state) is None


def test_a_state_keeps_its_number_formats():
    """float32 moments stay so beside a bf16 parameter, and the next update is the same."""
    parameters = [torch.nn.Parameter(torch.tensor([1.0, 2.0]).bfloat16()) for _ in range(2)]
    optimizers = [SplitAdamW([parameter], lr=0.1) for parameter in parameters]
    parameters[0].grad = torch.tensor([0.3, 0.7]).bfloat16()
    optimizers[0].step()
    saved = optimizer_tensors(optimizers[0], {"p": parameters[0]})
    parameters[1].data = parameters[0].data.clone()
    load_optimizer_tensors(optimizers[1], {"p": parameters[1]}, {name: one.clone() for name, one in saved.items()}, "")
    parameters[1].grad = parameters[0].grad.clone()
    for optimizer in optimizers:
        optimizer.step()
    again = optimizer_tensors(optimizers[1], {"p": parameters[1]})
    assert {name: one.dtype for name, one in again.items()} == {name: one.dtype for name, one in saved.items()}
    assert torch.equal(parameters[0], parameters[1]) and all(torch.equal(saved[name], again[name]) for name in saved)


def halved() -> ToyStep:
    """The toy with bf16 parameters."""
    step = ToyStep()
    step.module.to(torch.bfloat16)
    return step


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    """Weights, moments and rests, bit for bit."""
    held = {"parameters": "bf16", "precision": "auto", "learning_rate": 1e-4}

    def stop(done: int, line: object) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with own_state():
        _, _, whole = run_toy(tmp_path / "whole", halved(), **held)
        run_toy(tmp_path / "parts", halved(), on_log=stop, **held)
        result, _, resumed = run_toy(tmp_path / "parts", halved(), resume=True, **held)
    assert result.steps == 7 and torch.equal(weights_of(whole), weights_of(resumed))
    states = [
        read_tensors(CheckpointFolder(tmp_path / name / "checkpoints", 2).path(7) / "optimizer.safetensors")
        for name in ("whole", "parts")
    ]
    assert states[0].keys() == states[1].keys() and states[0]["embedding.weight/rest"].count_nonzero() > 0
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])

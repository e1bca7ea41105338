"""AdamW over parameters held in bf16, which go the way that they would go in float32.

A bf16 number near 1 cannot move by less than 0.004, so updates of an alignment, 1e-6 of a weight, would all be lost. A
float32 number is a bf16 number and 16 bits more: this optimizer keeps those beside its moments, puts both together for
an update and takes them apart again. It is what compensated (Kahan) summation does, without its rounding. Model,
gradient and reference take half the memory; optimizer states are float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alignkit.lazy import adamw, torch

if TYPE_CHECKING:
    from torch import Tensor

_HALF = 2**15
"""Half of what the 16 bits count to."""

REST = "rest"
"""What the optimizer's state calls the bits that a bf16 parameter has no room for."""


def split(whole: Tensor) -> tuple[Tensor, Tensor]:
    """A float32 tensor as the nearest bf16 one and the int16 distance to it, in units of the last float32 bit.

    `joined` gives it back; but for the last bit where it lies in the middle between two bf16 numbers.
    """
    nearest = whole.bfloat16()
    distance = whole.view(torch.int32) - nearest.float().view(torch.int32)
    return nearest, distance.clamp(-_HALF, _HALF - 1).to(torch.int16)


def joined(nearest: Tensor, rest: Tensor) -> Tensor:
    """The float32 tensor that was `split`."""
    return (nearest.float().view(torch.int32) + rest).view(torch.float32)


class SplitAdamW(torch.optim.AdamW):
    """torch's AdamW on bf16 parameters; its state has `exp_avg`, `exp_avg_sq` (float32), `rest` (int16), `step`."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401 -- as torch has it
        """One update, a parameter at a time, so that only one of them is there as float32."""
        assert closure is None, "the loop computes the gradient"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.float32)
            state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.float32)
            state[REST] = torch.zeros_like(parameter, dtype=torch.int16)
        whole = joined(parameter, state[REST])
        adamw.adamw(
            [whole],
            [parameter.grad.float()],  # type: ignore[union-attr]
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            foreach=False,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
        nearest, rest = split(whole)
        parameter.copy_(nearest)
        state[REST].copy_(rest)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Puts a state back in the number formats that it has; torch's own gives it those of the parameters."""
        super().load_state_dict(state_dict)
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for number, quantities in state_dict["state"].items():
            state = self.state[parameters[number]]
            for name, value in quantities.items():
                state[name] = value.clone() if name == "step" else value.to(parameters[number].device, copy=True)

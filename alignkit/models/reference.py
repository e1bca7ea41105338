"""The reference: where its log-probs come from.

With an adapter it is the model with the adapter off (or with the frozen adapter that the policy started from);
otherwise a frozen copy; or, when nothing needs its distribution, per-token log-probs computed once and kept on disk,
where other runs, losses and seeds on the same model and rows find them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from alignkit.lazy import peft, torch
from alignkit.models.base import REFERENCE_ADAPTER
from alignkit.models.layout import Batch
from alignkit.models.policy import Policy
from alignkit.models.scorer import Scored, Scorer, Want
from alignkit.parallel.sharding import reshard
from alignkit.parallel.tensors import piece


class Reference:
    """A frozen model that scores responses; its parameters never get a gradient.

    Args:
        scorer: the module that scores; the policy's own when an adapter tells them apart.
        policy: whose adapter is switched, or None for a model of its own.
    """

    def __init__(self, scorer: Scorer, policy: Policy | None = None) -> None:
        self.scorer = scorer
        self._policy = policy

    @contextmanager
    def active(self) -> Iterator[Scorer]:
        """The scorer, answering as the reference; the policy is itself again afterwards."""
        with nullcontext() if self._policy is None else _adapter_off(self._policy):
            yield self.scorer

    def score(self, batch: Batch, want: Want) -> Scored:
        """Scores without gradient."""
        with torch.no_grad(), self.active() as scorer:
            scored: Scored = scorer(batch, want)
            return scored


@contextmanager
def _adapter_off(policy: Policy) -> Iterator[None]:
    model = policy.model
    assert isinstance(model, peft.PeftModel)
    if REFERENCE_ADAPTER not in model.peft_config:
        with model.disable_adapter():
            yield
        return
    trained = model.active_adapter
    try:
        _activate(model, REFERENCE_ADAPTER)
        yield
    finally:
        _activate(model, trained)


def _activate(model: peft.PeftModel, adapter: str) -> None:
    """Makes `adapter` the one in use; peft also switches what is trained, which is put back."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    model.set_adapter(adapter)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)


def mix_in(reference: Reference, policy: Policy, share: float) -> None:
    """Moves a reference with parameters of its own a part of the way to the policy, in place; 1 is the whole way.

    Of models that are cut into pieces each process moves its own.
    """
    for module in (reference.scorer, policy.scorer):
        reshard(module)
    goals = dict(policy.scorer.named_parameters())
    for name, parameter in reference.scorer.named_parameters():
        piece(parameter).lerp_(piece(goals[name]), share)


def frozen_copy(policy: Policy) -> Reference:
    """A copy of the policy as it is now."""
    scorer = copy.deepcopy(policy.scorer).requires_grad_(False)
    return Reference(scorer.eval())

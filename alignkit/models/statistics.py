"""What the whole vocabulary says at a response token, as one number: a KL, a collision probability, an entropy.

A statistic is computed where the logits are, chunk by chunk, so that no [tokens, vocabulary] matrix is kept. What needs
one holds it in its needs and finds the answer under the same key; that of a plugin is no different.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar

from alignkit.registry import Component, Registry

if TYPE_CHECKING:
    from torch import Tensor


class Vocabulary:
    """The next-token distributions of one chunk of N positions.

    Args:
        logits_NV: [N, V] float32 logits of the model that is scored, with gradient where gradient is enabled.
        reference_logits_NV: the same of the reference, without gradient; None when no statistic reads it.
        ids_N: [N] int64 the tokens that stand there; None for a look at distributions alone.
    """

    def __init__(self, logits_NV: Tensor, reference_logits_NV: Tensor | None, ids_N: Tensor | None = None) -> None:
        self.logits_NV = logits_NV
        self._reference_logits_NV = reference_logits_NV
        self._ids_N = ids_N

    @cached_property
    def logp_NV(self) -> Tensor:
        """[N, V] log-probs, nats."""
        return self.logits_NV.log_softmax(-1)

    @cached_property
    def reference_NV(self) -> Tensor:
        """[N, V] log-probs of the reference, nats."""
        assert self._reference_logits_NV is not None, "a statistic that reads the reference must say so"
        return self._reference_logits_NV.log_softmax(-1).detach()

    @property
    def ids_N(self) -> Tensor:
        """[N] int64 tokens that stand there."""
        assert self._ids_N is not None, "tokens are known where they are scored"
        return self._ids_N

    def of(self, ids_N: Tensor) -> Tensor:
        """[N] log-probs of these tokens, nats."""
        if "logp_NV" in vars(self):
            return self.logp_NV.gather(-1, ids_N[:, None]).squeeze(-1)
        # The log-softmax of one column: nobody needs the whole matrix of log-probs.
        return self.logits_NV.gather(-1, ids_N[:, None]).squeeze(-1) - self.logits_NV.logsumexp(-1)


class Statistic(Component):
    """Base of the statistics. Its parameters are part of the request: two that differ are two answers."""

    reads_reference: ClassVar[bool] = False
    """Whether the reference's distribution is needed too."""

    has_gradient: ClassVar[bool] = True
    """Whether it is trained through; False lets the log-probs beside it be computed in less time and memory."""

    can_be_negative: ClassVar[bool] = False
    """Whether its values can be below 0, beyond rounding."""

    @property
    def words(self) -> str:
        """What it is, as `alignkit describe` says it of a component that needs it: the start of its docstring."""
        return (type(self).__doc__ or type(self).__name__).split(",")[0]

    @abstractmethod
    def reduce(self, vocabulary: Vocabulary) -> Tensor:
        """[N] float32, one number per position; with gradient where the statistic is to be trained through."""

    # As a key it is its class and parameters, whether a recipe named it or a component made it.

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))


class ForwardKL(Statistic):
    """KL(reference || policy) at each token, nats, with gradient: TDPO's penalty.

    Formula: sum_v ref(v) (log ref(v) - log pi(v))
    """

    reads_reference = True

    def reduce(self, vocabulary: Vocabulary) -> Tensor:
        reference_NV = vocabulary.reference_NV
        kl_N: Tensor = (reference_NV.exp() * (reference_NV - vocabulary.logp_NV)).sum(-1)
        return kl_N


class ReverseKL(Statistic):
    """KL(policy || reference) at each token, nats, with gradient: TIS-DPO's penalty.

    Formula: sum_v pi(v) (log pi(v) - log ref(v))
    """

    reads_reference = True

    def reduce(self, vocabulary: Vocabulary) -> Tensor:
        logp_NV = vocabulary.logp_NV
        kl_N: Tensor = (logp_NV.exp() * (logp_NV - vocabulary.reference_NV)).sum(-1)
        return kl_N


class Collision(Statistic):
    """log of the chance that two tokens drawn at a position are the same, nats, without gradient: WPO's alignment.

    Formula: log sum_v pi(v)^2
    """

    has_gradient = False
    can_be_negative = True

    def reduce(self, vocabulary: Vocabulary) -> Tensor:
        logits_NV = vocabulary.logits_NV.detach()
        return (2 * logits_NV).logsumexp(-1) - 2 * logits_NV.logsumexp(-1)


class Entropy(Statistic):
    """entropy of the policy at each token, nats, without gradient: how undecided it is.

    Formula: -sum_v pi(v) log pi(v)
    """

    has_gradient = False

    def reduce(self, vocabulary: Vocabulary) -> Tensor:
        logp_NV = vocabulary.logits_NV.detach().log_softmax(-1)
        entropy_N: Tensor = -(logp_NV.exp() * logp_NV).sum(-1)
        return entropy_N


class MeanLogp(Statistic):
    """mean log-prob of all tokens of the vocabulary, nats, without gradient: how flat the distribution is.

    Formula: mean_v log pi(v)
    """

    has_gradient = False
    can_be_negative = True

    def reduce(self, vocabulary: Vocabulary) -> Tensor:
        logits_NV = vocabulary.logits_NV.detach()
        return logits_NV.mean(-1) - logits_NV.logsumexp(-1)


statistics: Registry[Statistic] = Registry(
    "statistic",
    Statistic,
    {
        "forward_kl": "alignkit.models.statistics:ForwardKL",
        "reverse_kl": "alignkit.models.statistics:ReverseKL",
        "collision": "alignkit.models.statistics:Collision",
        "entropy": "alignkit.models.statistics:Entropy",
        "mean_logp": "alignkit.models.statistics:MeanLogp",
    },
)

StatisticSlot = Annotated[Statistic, statistics]
"""A recipe slot that holds a statistic."""

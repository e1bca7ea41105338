"""What every model source shares: adapter, reference, precision, layout."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from alignkit.registry import Component, Section

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


REFERENCE_ADAPTER = "reference"
"""Name of the frozen copy of the adapter that a policy started from; the trained one is called `default`."""


class LoRA(Section):
    """A low-rank adapter (peft) that is trained instead of the model."""

    rank: int = Field(16, gt=0, le=8192)
    """Rank of the update matrices."""

    alpha: int = Field(32, gt=0, le=1_000_000)
    """Scale of the update; it is multiplied by alpha / rank."""

    targets: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | Literal["all-linear"] = "all-linear"
    """Modules that get an adapter; by default all linear layers that peft finds, but the head (a run on a mixture of
    experts says which these are)."""


ADAPTERS_DO_NOT_MIX = (
    "it mixes the parameters of policy and reference, and an adapter is a product of two matrices: the product of the "
    "mixed ones is no mixture; leave it out, or train all parameters (without model.adapter)"
)
"""Why a reference does not follow a policy that is an adapter."""


class ReferenceUpdate(Section):
    """A reference that follows the policy, as TR-DPO has it (arXiv:2404.09656).

    Formula: reference <- mix * policy + (1 - mix) * reference, each parameter
    """

    every: int = Field(512, gt=0, le=1_000_000_000)
    """Optimizer steps from one move to the next, the first of which comes after so many; TRL's default."""

    mix: float = Field(0.6, gt=0, le=1)
    """Share of the policy; 1 makes the reference the policy as it is then. TRL's default."""


class ModelSource(Component):
    """Base of the model sources."""

    adapter: LoRA | None = None
    """Train a LoRA adapter; null trains all parameters."""

    reference: Literal["auto", "adapter_off", "copy", "cache"] = "auto"
    """Where reference log-probs come from; auto: the adapter switched off, else the cheapest that serves the losses."""

    reference_update: ReferenceUpdate | None = None
    """Move the reference towards the policy while training; null leaves it where it is. It is a copy then, all
    parameters are trained, and what is measured is still measured to the first reference."""

    layout: Literal["auto", "packed", "shared", "separate"] = "auto"
    """`packed` puts a micro-batch into one row without padding, each prompt once; `shared` gives each prompt a row with
    its responses, `separate` each response; auto takes the first of these that the model allows."""

    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""

    head_chunk: Annotated[int, Field(gt=0, le=2**24)] | Literal["auto"] = "auto"
    """Response tokens whose logits exist at once: memory and speed, but for rounding never the result; auto: 256 MiB of
    them. As many are kept for the backward pass, which computes those of larger micro-batches again."""

    may_be_adapter: ClassVar[bool] = False
    """Whether what it names may turn out to be an adapter; that is seen when it is loaded."""

    @property
    def positions(self) -> int | None:
        """Longest prompt + response, tokens, where the recipe alone decides it."""
        return None

    def commits(self) -> dict[str, str | None]:
        """What was taken from the Hub (`model`, `model.base`, `model.tokenizer`) -> its commit, None where that is not
        known; asked when all is loaded."""
        return {}

    @abstractmethod
    def load_tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerBase:
        """The tokenizer; `texts` are the training texts, for sources that learn it from them."""

    @abstractmethod
    def load_model(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel | PeftModel:
        """The policy before training, in evaluation mode, without a new adapter.

        A source that starts from an adapter gives it trainable, with a frozen copy named `REFERENCE_ADAPTER`.
        """

    def outline(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel | PeftModel:
        """The model that `load_model` gives, with whatever numbers: a plan asks for its shapes and types alone.

        Called where torch's default device is `meta`, which holds no numbers. A source that reads weights builds it
        from the model's configuration instead.
        """
        return self.load_model(tokenizer, seed=0)

"""The data that flows through a training step.

Legend of the shape letters used in names everywhere:
    B examples (preference pairs, or single responses)
    R responses laid out per example (chosen, rejected, gold, anchor: in this order)
    T response tokens, padded to the longest of the batch; EOS is a response token
    P prompt tokens
    S tokens of the span that a weighting is normalised over (T, or P + T with `scope: full_sequence`)
    X rows of the model's input (B when the prompt is shared, B * R when it is not)
    L positions of such a row
    V vocabulary, D embedding, N response tokens of a batch packed without padding
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from alignkit.asks.row_values import RowValues
    from alignkit.asks.values import TokenValues
    from alignkit.asks.whole_step import Facts, WholeStep
    from alignkit.models.attribution import Attribution
    from alignkit.models.readings import Reading
    from alignkit.models.statistics import Statistic


Sees = str
"""What a trainer gives its losses, in words: `pairs`, `responses`, `labelled responses`, or what a plugin brings."""

Unit = Literal["examples", "tokens", "sequence_tokens", "gold_tokens"]
"""What a sum over the step's examples is divided by: their number; the tokens of their first response (the chosen one);
those and the prompt's but its first; or the tokens of their gold responses."""


Columns = Mapping["str | RowValues", "Tensor"]
"""Numbers of each example, [B] float: a data column by its name, and by itself what is known before training."""


@dataclass(frozen=True)
class Span:
    """All that a token weighting may look at: one response per row, tensors only, everything detached.

    Attributes:
        mask_BS: [B, S] bool; True on the tokens that weights are shared among.
        num_prompt: the first `num_prompt` columns are prompt tokens (0 with `scope: response`).
        importance: attribution -> [B, S] float >= 0, 0 off the mask; raw, not normalised.
        seeds_B: one integer per row, fixed by (run seed, data row, response); for random weightings.
        policy_BS: [B, S] log-probs of the tokens under the policy, nats; 0 off the mask and on the prompt.
        reference_BS: the same under the reference, or None when nobody needs it.
        desirable_B: [B] bool; True for responses to be made likelier (chosen ones), False for the others.
        values: what is known before training -> [B, S] float, any sign, 0 off the mask.
        statistics: what the vocabulary was reduced to -> [B, S] float, 0 off the mask and on the prompt.
        decided: what looks at the whole optimizer step -> name -> a scalar, or [B, S], 0 off the mask.
        readings: what hidden states or attention were asked -> [B, S] float, 0 off the mask and on the prompt.
    """

    mask_BS: Tensor
    num_prompt: int = 0
    importance: Mapping[Attribution, Tensor] = field(default_factory=dict)
    seeds_B: tuple[int, ...] = ()
    policy_BS: Tensor | None = None
    reference_BS: Tensor | None = None
    desirable_B: Tensor | None = None
    values: Mapping[TokenValues, Tensor] = field(default_factory=dict)
    statistics: Mapping[Statistic, Tensor] = field(default_factory=dict)
    decided: Mapping[WholeStep, Facts] = field(default_factory=dict)
    readings: Mapping[Reading, Tensor] = field(default_factory=dict)

    @property
    def length_B(self) -> Tensor:
        """[B] int; tokens of each row's span."""
        return self.mask_BS.sum(-1)

    @property
    def index_BS(self) -> Tensor:
        """[B, S] int; 0 for the first token of the span, counted over the mask, so padding may lie anywhere."""
        return self.mask_BS.cumsum(-1) - 1


@dataclass(frozen=True)
class TokenScores:
    """Log-probs of one response per example, token weights included.

    Attributes:
        policy_BT: [B, T] log pi(y_t | x, y_<t), nats, with gradient; 0 off the mask.
        mask_BT: [B, T] bool; True on response tokens, EOS included.
        weights_BT: [B, T] detached, 0 off the mask, mean 1 over each response (`rescale: mean1`).
        reference_BT: [B, T] the same under the reference, no gradient, 0 off the mask; None when nobody needs it.
        statistics: what the vocabulary was reduced to -> [B, T], 0 off the mask; those that a component needs, with
            gradient where they have one.
        prompt_BP: [B, P] log-probs of the prompt tokens, nats, with gradient, 0 off `prompt_mask_BP`; or None.
        prompt_mask_BP: [B, P] bool; True on prompt tokens but the first, which nothing predicts; or None.
        decided: what looks at the whole optimizer step -> name -> a scalar, or [B]; read it through `View.decided`.
    """

    policy_BT: Tensor
    mask_BT: Tensor
    weights_BT: Tensor
    reference_BT: Tensor | None = None
    statistics: Mapping[Statistic, Tensor] = field(default_factory=dict)
    prompt_BP: Tensor | None = None
    prompt_mask_BP: Tensor | None = None
    decided: Mapping[WholeStep, Facts] = field(default_factory=dict)

    @property
    def plain(self) -> TokenScores:
        """The same scores with weight 1 on every token."""
        return replace(self, weights_BT=self.mask_BT.to(self.policy_BT.dtype))

    @property
    def length_B(self) -> Tensor:
        """[B] int; response tokens, EOS included."""
        return self.mask_BT.sum(-1)

    @property
    def logratio_BT(self) -> Tensor:
        """[B, T] log pi - log ref per token, nats, unweighted; 0 off the mask; no gradient to ref."""
        assert self.reference_BT is not None, "a component that reads log-ratios must need the reference"
        return self.policy_BT - self.reference_BT.detach()

    @property
    def logratio_B(self) -> Tensor:
        """[B] sum over tokens of weight x log-ratio, nats."""
        return (self.weights_BT * self.logratio_BT).sum(-1)

    @property
    def policy_B(self) -> Tensor:
        """[B] sum over tokens of weight x log pi, nats."""
        return (self.weights_BT * self.policy_BT).sum(-1)

    @property
    def mean_logratio_B(self) -> Tensor:
        """[B] `logratio_B` / response tokens, nats per token: a weighted mean where the weights have mean 1."""
        return self.logratio_B / self.length_B

    @property
    def mean_policy_B(self) -> Tensor:
        """[B] `policy_B` / response tokens, nats per token: a weighted mean where the weights have mean 1."""
        return self.policy_B / self.length_B

    def statistic_B(self, statistic: Statistic, *, weighted: bool = False) -> Tensor:
        """[B] sum over tokens of a statistic that a component needs, each token times its weight if asked for."""
        value_BT = self.statistics[statistic]
        return (self.weights_BT * value_BT if weighted else value_BT).sum(-1)

    def by_index(self, values_BT: Tensor, width: int) -> Tensor:
        """[B, width] the value of the response's n-th token in column n, wherever its padding lies; 0 beyond."""
        index_BT = (self.mask_BT.cumsum(-1) - 1).clamp_min(0)
        values_BT = values_BT.masked_fill(~self.mask_BT, 0.0)
        return values_BT.new_zeros(len(values_BT), width).scatter_add(1, index_BT, values_BT)


class View:
    """Base of what a trainer lets its losses see of a micro-batch."""

    @property
    def first(self) -> TokenScores:
        """The response whose tokens are counted."""
        raise NotImplementedError

    def decided(self, by: WholeStep) -> Facts:
        """What a component decided of the whole optimizer step, of these examples."""
        return self.first.decided[by]

    def count(self, unit: Unit) -> Tensor | float:
        """How many of `unit` there are; a tensor where the device knows it, which is not asked yet."""
        if unit == "examples":
            return float(len(self.first.mask_BT))
        tokens = self.first.mask_BT.sum()
        if unit == "tokens":
            return tokens
        assert unit == "sequence_tokens" and self.first.prompt_mask_BP is not None
        return tokens + self.first.prompt_mask_BP.sum()


@dataclass(frozen=True)
class ResponseScores(View):
    """What a loss of the `sft` trainer sees.

    Attributes:
        response: the response of each example.
        columns: data columns that a component needs, name -> [B] float; and row values.
    """

    response: TokenScores
    columns: Columns = field(default_factory=dict)

    @property
    def first(self) -> TokenScores:
        return self.response


@dataclass(frozen=True)
class PairScores(View):
    """What a loss of the `preference` trainer sees.

    Attributes:
        chosen: the preferred response of each pair.
        rejected: the other one.
        sampled: the anchor, when a loss needs one; read it through `anchor`.
        columns: data columns that a component needs, name -> [B] float; and row values.
        gold_response: the gold response of each pair, with weight 1 on every token, when a loss needs one; read it
            through `gold`.
    """

    chosen: TokenScores
    rejected: TokenScores
    sampled: TokenScores | None = None
    columns: Columns = field(default_factory=dict)
    gold_response: TokenScores | None = None

    @property
    def first(self) -> TokenScores:
        return self.chosen

    def count(self, unit: Unit) -> Tensor | float:
        return self.gold.mask_BT.sum() if unit == "gold_tokens" else super().count(unit)

    @property
    def anchor(self) -> TokenScores:
        """The sampled third response."""
        assert self.sampled is not None, "a loss that reads the anchor must need one"
        return self.sampled

    @property
    def gold(self) -> TokenScores:
        """The gold response."""
        assert self.gold_response is not None, "a loss that reads the gold response must need one"
        return self.gold_response


@dataclass(frozen=True)
class UnpairedScores(View):
    """What a loss of the `unpaired` trainer sees.

    Attributes:
        response: the response of each example.
        desirable_B: [B] bool; True where it is labelled desirable.
        mismatch: scalar, no gradient; mean over the optimizer step's examples of the log-ratio, nats, of another
            example's response under this one's prompt, when a loss needs it; read it through `mismatched`.
        columns: data columns that a component needs, name -> [B] float; and row values.
    """

    response: TokenScores
    desirable_B: Tensor
    mismatch: Tensor | None = None
    columns: Columns = field(default_factory=dict)

    @property
    def first(self) -> TokenScores:
        return self.response

    @property
    def mismatched(self) -> Tensor:
        """The mean log-ratio of mismatched responses."""
        assert self.mismatch is not None, "a loss that reads the mismatch must need it"
        return self.mismatch


@dataclass(frozen=True)
class RolloutScores(View):
    """What a loss of the `on_policy` trainer sees: sampled responses with their advantages.

    Attributes:
        response: the response of each example, at the temperature that it was sampled at.
        advantage_BT: [B, T] how much likelier each token should become; 0 off the mask.
        old_BT: [B, T] log-probs under the policy that sampled, nats, no gradient; 0 off the mask.
        max_new_tokens: longest response that may be sampled; tokens.
        columns: data columns that a component needs, name -> [B] float; none here.
    """

    response: TokenScores
    advantage_BT: Tensor
    old_BT: Tensor
    max_new_tokens: int
    columns: Columns = field(default_factory=dict)

    @property
    def first(self) -> TokenScores:
        return self.response


@dataclass(frozen=True)
class RowScores:
    """What the rows of a micro-batch scored to, before a trainer gives its losses their view of it.

    Attributes:
        responses: the responses that carry token weights, in the order of the rows.
        spans: what the token weighting saw of each of them.
        desirable_B: [B] bool; whether each row's first response is one to be made likelier.
        sampled: the anchor, or None.
        gold: the gold response, or None.
        columns: data columns that a component needs, name -> [B] float; and row values.
        mismatch: see `UnpairedScores`.
        per_token: what rows bring along, name -> [B, T] of the first response, 0 off the mask.
        max_new_tokens: longest response that may be sampled to train on, tokens; 0 where none is.
    """

    responses: tuple[TokenScores, ...]
    spans: tuple[Span, ...]
    desirable_B: Tensor
    sampled: TokenScores | None = None
    gold: TokenScores | None = None
    columns: Columns = field(default_factory=dict)
    mismatch: Tensor | None = None
    per_token: Mapping[str, Tensor] = field(default_factory=dict)
    max_new_tokens: int = 0

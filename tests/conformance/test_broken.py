"""What a component may do wrong is found, each by the sentence that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ConfigDict, Field, PrivateAttr

from alignkit.advantages.base import Advantage
from alignkit.asks.needs import Needs
from alignkit.asks.pairs import PairValues
from alignkit.asks.texts import TextValues
from alignkit.asks.whole_step import WholeStep
from alignkit.cli import main
from alignkit.conformance import NotConforming, check_component
from alignkit.data.raw import RawRow
from alignkit.data.sources.base import Source
from alignkit.errors import RecipeError
from alignkit.evaluation.base import Measure, Value
from alignkit.evaluation.summary import Mean
from alignkit.losses.base import PairLoss
from alignkit.models.readings import Reading
from alignkit.models.statistics import Entropy, Statistic
from alignkit.pair_weighting.base import PairWeighting
from alignkit.registry import Component
from alignkit.rewards.base import Reward
from alignkit.rollouts.base import ResponseAnchor
from alignkit.rollouts.generate import Generate
from alignkit.rollouts.groups import Drawn as Response
from alignkit.rollouts.groups import Sampler
from alignkit.scores import View
from alignkit.views.base import Trainer
from alignkit.weighting.base import TokenWeighting


def said_of(cls: type[Component], **parameters: Any) -> list[str]:
    with pytest.raises(NotConforming) as caught:
        check_component(cls, **parameters)
    return str(caught.value).splitlines()


def starts(sentences: list[str], wanted: str) -> bool:
    return any(sentence.startswith(wanted) for sentence in sentences)


# --- all kinds ---


class Open(TokenWeighting):
    model_config = ConfigDict(frozen=False, extra="allow")
    count: int = 2

    def raw(self, span):
        return span.mask_BS.float()


class Three(TextValues):
    """Three numbers of whatever text."""

    def of_text(self, text, offsets_N2):
        return np.ones(3)


class Drawn(TextValues):
    """Other numbers each time."""

    def of_text(self, text, offsets_N2):
        return np.random.default_rng().random(len(offsets_N2))


@pytest.mark.parametrize(
    ("kind", "said"),
    [(Three, f"{Three().key}: gives shape [3] for 5 tokens; expected [N]"), (Drawn, "Drawn reads other numbers from ")],
)
def test_numbers_that_are_read_from_texts(kind, said):
    class Read(TokenWeighting):
        """Weights that are read."""

        def needs(self):
            return Needs(values=frozenset({kind()}))

        def raw(self, span):
            return 1 + span.values[kind()]

    assert starts(said_of(Read), said)


class Short(PairValues):
    """One number for both responses, another each time."""

    def of_pair(self, chosen, rejected):
        return np.random.default_rng().random(1), np.ones(len(rejected))


def test_numbers_that_compare_a_pair():
    class Compared(TokenWeighting):
        """Weights that are compared."""

        def needs(self):
            return Needs(values=frozenset({Short()}))

        def raw(self, span):
            return 1 + span.values[Short()]

    assert starts(said_of(Compared), "Short gives 1 numbers for 5 tokens of one response beside 3 of the other")
    assert starts(said_of(Compared), "Short compares the same two responses in another way each time")


def test_parameters_that_are_not_closed_or_explained():
    class Bare(Open):
        pass

    Bare.__doc__ = None
    said = said_of(Bare)
    frozen = "model_config['frozen'] is False, so parameters can change after they were checked; leave it to the base"
    assert starts(said, frozen) and starts(said, "model_config['extra'] is 'allow', so a mistyped parameter is")
    assert starts(said, "Bare has no docstring") and starts(said, "parameter 'count' has no text below it")


def test_a_class_of_no_kind():
    class Alone(Component):
        """Nothing."""

    with pytest.raises(RecipeError, match="Alone has no base class of a kind of component; there are TokenWeighting, "):
        check_component(Alone)


def test_parameters_that_do_not_fit():
    with pytest.raises(RecipeError, match="Counted: count: Field required; give its parameters"):
        check_component(Counted)


class Counted(TokenWeighting):
    """As many tokens as are said."""

    count: int = Field(gt=0)
    """How many."""

    def raw(self, span):
        return (span.index_BS < self.count).float()


def test_parameters_are_given_as_in_a_recipe():
    check_component(Counted, count=3)


# --- token weightings ---


class Sums(TokenWeighting):
    """One weight per response."""

    def raw(self, span):
        return span.length_B.float()


class Whole(TokenWeighting):
    """Whole numbers."""

    def raw(self, span):
        return span.mask_BS.long()


class Columns(TokenWeighting):
    """Looks at the place in the batch's tensor."""

    def raw(self, span):
        return torch.arange(span.mask_BS.shape[1]).expand(span.mask_BS.shape) + 1.0


class Neighbours(TokenWeighting):
    """Looks at the other responses of the batch."""

    def raw(self, span):
        return span.policy_BS.abs() + 10 * torch.arange(len(span.mask_BS))[:, None] * span.index_BS


class Spread(TokenWeighting):
    """Divides by what one token does not have."""

    def raw(self, span):
        spread_B1 = (span.index_BS * span.mask_BS).amax(-1, keepdim=True)
        return span.index_BS / spread_B1


class Attached(TokenWeighting):
    """Keeps the gradient."""

    def weights(self, span):
        return span.policy_BS.abs() * (span.length_B / span.policy_BS.abs().sum(-1))[:, None]

    def raw(self, span):
        return span.policy_BS.abs()


class Dice(TokenWeighting):
    """Draws from everybody's generator."""

    def raw(self, span):
        return torch.rand(span.mask_BS.shape)


class Counting(TokenWeighting):
    """Weighs by how often it was asked."""

    _asked: list = PrivateAttr(default_factory=list)

    def raw(self, span):
        self._asked.append(1)
        return (span.index_BS + len(self._asked)).float()


class Unasked(TokenWeighting):
    """Reads the reference without asking."""

    def raw(self, span):
        return span.reference_BS.abs()


class Undeclared(TokenWeighting):
    """Reads a statistic without asking."""

    def raw(self, span):
        return span.statistics[Entropy()]


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (Sums, "weighting 'sums' returned weights of shape [4], expected [B, S] = [4, 8]"),
        (Whole, "raw() gives torch.int64, not floating-point numbers"),
        (Columns, "weights of a response of 5 tokens with padding on the left: "),
        (Neighbours, "weights of a response of 8 tokens alone: "),
        (Spread, "weighting 'spread' returned a weight that is negative, NaN or infinite"),
        (Attached, "weights carry a gradient; leave weights() to the base class, which detaches them"),
        (Dice, "draws from torch's global generator; seed one of your own with span.seeds_B"),
        (Dice, "weights asked for again: "),
        (Counting, "weights of one that is built again, as a resume does; its state is lost: "),
        (Unasked, "reads log-probs of the reference, which needs() does not ask for (AttributeError)"),
        (Undeclared, "raised KeyError: "),
    ],
)
def test_a_weighting(cls, sentence):
    assert starts(said_of(cls), sentence), said_of(cls)


def test_a_difference_is_told_with_its_size_and_place():
    """Columns 5 to 9 instead of 0 to 4: 6 7 8 9 10 of mean 8 instead of 1 2 3 4 5 of mean 3."""
    (first, *_) = [line for line in said_of(Columns) if "5 tokens with padding on the left" in line]
    assert first.endswith(": 0.75, not 0.3333 at 0")


# --- losses ---


class Mean2(PairLoss):
    """A mean over the batch."""

    def per_example(self, scores):
        return scores.chosen.policy_B.mean()


class Longest(PairLoss):
    """Divides by the width of the batch."""

    def per_example(self, scores):
        return -scores.chosen.policy_B / scores.chosen.mask_BT.shape[1]


class Flat(PairLoss):
    """Has no gradient."""

    def per_example(self, scores):
        return -scores.chosen.policy_B.detach()


class Variance(PairLoss):
    """Divides by tokens but one."""

    def per_example(self, scores):
        return -scores.chosen.policy_B / (scores.chosen.length_B - 1)


class Exponential(PairLoss):
    """Overflows."""

    def per_example(self, scores):
        return (scores.rejected.policy_B - scores.chosen.policy_B).exp()


class Silent(PairLoss):
    """Reads the reference without asking."""

    def per_example(self, scores):
        return -scores.chosen.logratio_B


class Moving(PairLoss):
    """Trains the reference too."""

    def needs(self):
        return Needs(reference=True)

    def per_example(self, scores):
        return -((scores.chosen.policy_BT - scores.chosen.reference_BT) ** 2).sum(-1)


class Logging(PairLoss):
    """Keeps a graph in its log."""

    def per_example(self, scores):
        return -scores.chosen.policy_B

    def rewards(self, scores):
        return scores.chosen.policy_B, scores.rejected.policy_B


class Nowhere(PairLoss):
    """Sees what nobody gives."""

    sees = "triples"

    def per_example(self, scores):
        return -scores.chosen.policy_B


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (Mean2, "term 'mean2' has shape [], not [B] = [4]"),
        (Longest, "values with 0 columns of padding on the left and 2 on the right: "),
        (Flat, "nothing that the policy says has a gradient, on random scores and where the policy is the reference"),
        (Variance, "responses of one token: the loss is [inf, inf]"),
        (Exponential, "log-probs 10,000 times as large: the loss is "),
        (Silent, "reads what needs() does not ask for: AssertionError: "),
        (Moving, "a gradient flows into the reference; take its log-probs by .detach(), as logratio_BT does"),
        (Logging, "'rewards/chosen' carries a gradient; detach it"),
        (Nowhere, "raised LookupError: sees 'triples', which no trainer gives; install or name the trainer that does"),
    ],
)
def test_a_loss(cls, sentence):
    assert starts(said_of(cls), sentence), said_of(cls)


# --- what looks at whole optimizer steps ---


class Margins(PairLoss, WholeStep):
    """DPO without beta on the margins of a step, from their mean; as it should be."""

    def needs(self):
        return Needs(reference=True, whole_step=frozenset({self}))

    def initial_state(self):
        return {"mean": torch.zeros((), dtype=torch.float64)}

    def margin(self, scores):
        return scores.chosen.logratio_B - scores.rejected.logratio_B

    def observe(self, scores):
        return self.margin(scores)[:, None]

    def decide(self, seen, state, seed):
        carried = {"mean": 0.9 * state["mean"] + 0.1 * seen.mean()}
        return {"usual": carried["mean"], "lead": seen[:, 0] - carried["mean"]}, carried

    def at_rest(self, state):
        return {"usual": state["mean"], "lead": torch.zeros(())}

    def per_example(self, scores):
        facts = scores.decided(self)
        return -torch.nn.functional.logsigmoid(self.margin(scores) - facts["usual"] + facts["lead"])


def test_one_that_keeps_its_promises():
    check_component(Margins)


class Beside(Margins):
    """Observes how a margin lies in its micro-batch."""

    def observe(self, scores):
        return (self.margin(scores) - self.margin(scores).mean())[:, None]


class Thrown(Margins):
    """Draws from everybody's generator."""

    def decide(self, seen, state, seed):
        facts, carried = super().decide(seen, state, seed)
        return {**facts, "usual": torch.rand(())}, carried


class Overwriting(Margins):
    """Changes the state that it is given."""

    def decide(self, seen, state, seed):
        state["mean"].add_(seen.mean())
        return super().decide(seen, state, seed)


class Renaming(Margins):
    """Carries on something else, and rests on more."""

    def decide(self, seen, state, seed):
        facts, carried = super().decide(seen, state, seed)
        return facts, {"usual": carried["mean"]}

    def at_rest(self, state):
        return {**super().at_rest(state), "more": torch.zeros(())}


class Lonely(Margins):
    """Divides by the spread of the step, and decides of fewer examples than there are."""

    def decide(self, seen, state, seed):
        facts, carried = super().decide(seen, state, seed)
        return {**facts, "usual": 1 / seen.std(correction=0), "lead": facts["lead"][1:]}, carried


class Uneven(Margins):
    """Reads what was decided by the place in the micro-batch."""

    def per_example(self, scores):
        lead_B = scores.decided(self)["lead"]
        return super().per_example(scores) + torch.arange(len(scores.chosen.mask_BT)) * lead_B


class Remembering(Margins):
    """Keeps its own state."""

    _mean: list = PrivateAttr(default_factory=list)

    def decide(self, seen, state, seed):
        self._mean.append(seed)
        facts, carried = super().decide(seen, state, seed)
        return {**facts, "usual": torch.tensor(float(len(set(self._mean))))}, carried


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (Beside, "what it observes of example 0 alone: "),
        (Thrown, "decide() draws from torch's global generator; seed one of your own with its argument"),
        (Overwriting, "the state that decide() was given, afterwards: 'mean': "),
        (Renaming, "decide() carries on usual, and begins with mean; names must stay the same"),
        (Renaming, "at_rest() gives lead, more, usual, and decide() lead, usual; expected scalars, of those names"),
        (Lonely, "'lead' has 3 values for 4 examples; expected a scalar or one for each"),
        (Lonely, "'usual' is not finite for a step of one example"),
        (Uneven, "values of a micro-batch of the examples 2, 0: "),
        (
            Remembering,
            "what one that is built again decides of the next step, with the state of a checkpoint: 'usual': ",
        ),
    ],
)
def test_what_looks_at_whole_steps(cls, sentence):
    assert starts(said_of(cls), sentence), said_of(cls)


class Larger(TokenWeighting, WholeStep):
    """Tokens with more than a step's mean surprise."""

    def needs(self):
        return Needs(whole_step=frozenset({self}))

    def observe(self, span):
        return -span.policy_BS

    def decide(self, seen, state, seed):
        return {"is_large": (seen > seen.nanmean()).double().where(~seen.isnan(), torch.nan)}, {}

    def at_rest(self, state):
        return {"is_large": torch.ones(())}

    def raw(self, span):
        return span.decided[self]["is_large"].expand(span.mask_BS.shape).float() + 0.1


def test_a_weighting_that_looks_at_whole_steps(monkeypatch):
    check_component(Larger)
    monkeypatch.setattr(Larger, "observe", lambda self, span: -span.policy_BS / span.mask_BS.sum())
    assert starts(said_of(Larger), "what it observes of example 0 alone: ")


# --- readings ---


class Beneath(Reading):
    """Norm of a hidden state, of the batch's largest."""

    def read(self, states):
        size_BRT = states.hidden_BRTD.norm(dim=-1)
        return size_BRT / size_BRT.amax()


class Columnwise(Reading):
    """What the token attends to, as a mean over what is padded too."""

    reads_attention = True

    def read(self, states):
        return states.attention_BRTT.mean(-1)


class Doubled(Reading):
    """A norm in float64."""

    def read(self, states):
        return states.hidden_BRTD.double().norm(dim=-1)


@pytest.mark.parametrize(
    ("reading", "sentence"),
    [
        (Beneath, "Beneath: what is read of response 0 of example 0 alone: "),
        (Columnwise, "Columnwise: what is read of response 0 of example 0 alone: "),
        (Doubled, "Doubled: read() gives torch.float64 of shape [4, 2, 7], not float32 of [B, R, T]"),
    ],
)
def test_a_reading(reading, sentence):
    class Read(TokenWeighting):
        """Weights that are read."""

        def needs(self):
            return Needs(readings=frozenset({reading()}))

        def raw(self, span):
            return 1 + span.readings[reading()]

    assert starts(said_of(Read), sentence), said_of(Read)


# --- pair weightings ---


class Negative(PairWeighting):
    """Below 0."""

    def per_pair(self, scores):
        return scores.chosen.policy_BT.sum(-1)


class Ranks(PairWeighting):
    """The place in the batch."""

    def per_pair(self, scores):
        return torch.arange(len(scores.chosen.mask_BT)).double()


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (Negative, "factors must be finite and >= 0, got ["),
        (Ranks, "factor of pair 1 alone: 0, not 1 at 0"),
    ],
)
def test_a_pair_weighting(cls, sentence):
    assert starts(said_of(cls), sentence), said_of(cls)


# --- what looks at models and rows ---


class Future(Statistic):
    """entropy of what comes next, nats."""

    def reduce(self, vocabulary):
        return Entropy().reduce(vocabulary).roll(-1)


class Unbounded(Statistic):
    """likelihood of the likeliest token in percent."""

    def reduce(self, vocabulary):
        return -vocabulary.logp_NV.amax(-1).exp() * 100


class Leaky(Statistic):
    """Distance of the logits, with a gradient to both models."""

    reads_reference = True

    def reduce(self, vocabulary):
        return (vocabulary.logits_NV - vocabulary._reference_logits_NV).square().sum(-1)


class Cut(Statistic):
    """surprise at the likeliest token, nats."""

    has_gradient = False

    def reduce(self, vocabulary):
        return vocabulary.logp_NV.amax(-1).neg()


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (Cut, "says 'has_gradient = False', which cuts the gradient that it has; "),
        (Future, "value at position 0 without the positions before and after it: "),
        (Unbounded, "gives -"),
        (Leaky, "a gradient flows into the reference; read it as vocabulary.reference_NV"),
    ],
)
def test_a_statistic(cls, sentence):
    assert starts(said_of(cls), sentence), said_of(cls)


class Blind(Trainer):
    """Shows constants and counts the other response."""

    gives = "pairs"
    responses = ("chosen", "rejected")
    reads = "chosen, rejected"

    def totals(self, rows, needs):
        return {"examples": float(len(rows)), "tokens": 7.0}

    def view(self, scores):
        return SimpleView(scores.responses[1])


class SimpleView(View):
    def __init__(self, response):
        self.response = response

    @property
    def first(self):
        return self.response


def test_a_trainer():
    said = said_of(Blind)
    assert starts(said, "the view's tokens are not those of the first response that is laid out, which totals() counts")
    assert starts(said, "'tokens' of all rows is 7, and 21 of the rows one by one")


class Rewards(Advantage):
    """Rewards added up by place in the group."""

    def per_token(self, groups):
        return groups.rewards_PG[:, :, None].cumsum(1) * groups.mask_PGT


class Unscored(Advantage):
    """Divides by how many other rewards there are, prefers bad ones, and leaves tokens to others."""

    def per_token(self, groups):
        return -(groups.rewards_PG / (groups.scored_PG.sum(-1, keepdim=True) - 1))[:, :, None]


class Unmeasured(Unscored):
    """The same for each token."""

    def per_token(self, groups):
        return super().per_token(groups) * groups.mask_PGT


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (Rewards, "advantages of responses in another order: "),
        (Rewards, "advantages of equal rewards: "),
        (Unscored, "shape [3, 4, 1], not [P, G, T] = [3, 4, 6]"),
        (Unmeasured, "an advantage is not finite with 1 of 4 rewards in a group"),
        (Unmeasured, "a response with reward 1 gets -1, and one of its group with reward 0 gets 0"),
    ],
)
def test_an_advantage(cls, sentence):
    assert starts(said_of(cls), sentence), said_of(cls)


class Endless(ResponseAnchor):
    """More tokens than it says, another number of them each time."""

    _asked: list = PrivateAttr(default_factory=list)

    def respond(self, rows, sampler):
        self._asked.append(1)
        return [np.arange(self.max_new_tokens + len(self._asked)) for _ in rows]


def test_an_anchor():
    said = said_of(Endless, max_new_tokens=4)
    assert starts(said, "row 0: 5 tokens; expected 1 to 4 (max_new_tokens)")
    assert starts(
        said, "gives other responses when it is asked again; draw with the sampler, which holds seed and step"
    )


class Together(Measure):
    """Says the same of all rows."""

    values = (Value("size", Mean("size"), "size"), Value("size", Mean("size")))

    def per_row(self, held_out):
        return [{"size": float(len(held_out.rows)), "row": torch.zeros(1)}] * len(held_out.rows)


def test_a_measure():
    said = said_of(Together)
    assert starts(said, "'row' is Tensor, not a number, a flag or text")
    assert starts(said, "'row' is there already; rename it")
    assert starts(said, "says another thing of row 0 alone: size")
    assert starts(said, "values must have different names that do not end with '_se', got size, size")


class FromOne(Source):
    """Numbers from 1, other rows each time, and all of them in one place."""

    _asked: list = PrivateAttr(default_factory=list)

    def read(self, part, seed, limit, columns):
        self._asked.append(1)
        return [RawRow(n, "here", {"text": f"{n} {len(self._asked)}"}) for n in (1, 2)]


def test_a_source():
    said = said_of(FromOne)
    assert starts(said, "its first rows are numbered 1, 2; expected 0, 1, 2, ...")
    assert starts(said, "'where' must tell rows apart and be one line each")
    assert starts(said, "gives other rows when it is asked again, the first at here; runs could not be resumed")


class Hasty(Reward):
    """Takes every column for text."""

    def columns(self):
        return ["answer"]

    def score(self, samples):
        return [float(sample.columns["answer"].strip() in sample.response) for sample in samples]


class Missing(Reward):
    """Leaves out what it cannot score."""

    def score(self, samples):
        return [1.0 for sample in samples if sample.response]


class Silence(Reward):
    """Divides by nothing."""

    def score(self, samples):
        return [float("nan") if not sample.response else 0.0 for sample in samples]


class Ranking(Reward):
    """Says how long a response is beside the longest of those that it sees."""

    def score(self, samples):
        longest = max(len(sample.response) for sample in samples)
        return [len(sample.response) / max(1, longest) for sample in samples]


class Tiring(Reward):
    """Says less each time."""

    _asked: list = PrivateAttr(default_factory=list)

    def score(self, samples):
        self._asked.append(1)
        return [-float(len(self._asked))] * len(samples)


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (Hasty, "columns() gives ['answer'], not a frozenset of names"),
        (Hasty, "reward 'hasty' raises AttributeError: 'float' object has no attribute 'strip' (test_broken.py:"),
        (Missing, "reward 'missing' returns 12 scores for 13 samples"),
        (Silence, "reward 'silence' returns nan (row 7 of the data); expected a finite number"),
        (Ranking, "response '6 x 7 is 42, so\\n#### 42': 1.0 alone, not 0.5"),
        (Tiring, "response '6 x 7 is 42, so\\n#### 42': -1.0 when it is built again, as a resume does, not -2.0"),
    ],
)
def test_a_reward(cls, sentence):
    assert starts(said_of(cls), sentence), said_of(cls)


class Canned(Sampler):
    """The same long response to everything, one to each prompt."""

    def sample(self, prompts, seeds, policy, step):
        ids = np.full(self.max_new_tokens + 1, 10**6)
        return [[Response(ids, np.zeros(len(ids)))] for _ in prompts]


class Restless(Generate):
    """Other seeds for each prompt of a call."""

    def sample(self, prompts, seeds, policy, step):
        others = [[seed + place for seed in own] for place, own in enumerate(seeds)]
        return super().sample(prompts, others, policy, step)


class Hot(Generate):
    """Draws at another temperature than it says."""

    def sample(self, prompts, seeds, policy, step):
        cold = Generate(name="generate", responses=self.responses, max_new_tokens=self.max_new_tokens)
        return cold.sample(prompts, seeds, policy, step)


@pytest.mark.parametrize(
    ("cls", "parameters", "sentence"),
    [
        (Canned, {}, "gives groups of [1, 1, 1, 1] responses for 4 prompts; expected 3 each"),
        (Canned, {}, "a response has 7 tokens; expected 1 to 6 (max_new_tokens)"),
        (Restless, {}, "draws other responses for a prompt alone; the seeds decide all of it"),
        (Hot, {"temperature": 0.5}, "log-probs of a response: -"),
    ],
)
def test_a_sampler(cls, parameters, sentence):
    assert starts(said_of(cls, **parameters), sentence), said_of(cls, **parameters)


# --- the command ---


def test_the_command_says_what_is_kept_and_what_is_broken(capsys, tmp_path):
    code = "from alignkit.weighting.base import TokenWeighting\n\nclass Sums(TokenWeighting):\n    '''Sums.'''\n\n"
    (tmp_path / "sums.py").write_text(f"{code}    def raw(self, span):\n        return span.length_B.float()\n")
    assert exit_code("check-component", str(tmp_path / "sums.py")) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["weighting Sums", "  ok: it has fixed parameters and refuses unknown ones"]
    assert lines[-2:] == [
        "  broken: it gives one weight >= 0 per response token, mean 1 over each response and 0 off it",
        "    weighting 'Sums' returned weights of shape [4], expected [B, S] = [4, 8]",
    ]


def test_the_command_finds_a_component_by_name_and_takes_its_parameters(capsys):
    assert exit_code("check-component", "column", "--kind", "pair_weighting", "--set", "column=trust") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pair_weighting column" and all(line.startswith("  ok: it ") for line in lines[1:])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["column"], "'column' is a weighting and a pair_weighting and a reward; add --kind\n"),
        (["uniformm"], "no component is called 'uniformm'; did you mean 'uniform'? known: "),
        (["dpo", "--kind", "loss", "--set", "beta=x"], "--set beta=x: beta: expected a number, got 'x' (a string)\n"),
        (["./none.py"], "/none.py'\n"),
        (["broken.py"], "/broken.py: cannot be imported: ZeroDivisionError: division by zero\n"),
        (["empty.py"], "/empty.py: holds no component; expected a class that derives from one of alignkit's bases\n"),
    ],
)
def test_what_cannot_be_checked_is_said_in_one_line(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "empty.py").write_text("from alignkit.weighting.uniform import Uniform\n")
    assert exit_code("check-component", *arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and said in err


def test_a_package_is_checked_as_its_entry_points_say(capsys):
    assert exit_code("check-component", str(Path(__file__).parents[2] / "plugins" / "last_tokens")) == 0
    assert capsys.readouterr().out.startswith("weighting last_tokens\n  ok: ")


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)

"""Each kind of token values against a plain computation, for pairs and single responses in one list."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_toy import CLOSE, EOS, bench, full_logp, llama, move, policy, recipe, row, rows, with_lora
from torch import Tensor

from alignkit.asks.columns import TokenColumns
from alignkit.asks.importance import ReferenceImportance
from alignkit.asks.planted import DOUBT, Forks, Planted
from alignkit.asks.reference_logps import ReferenceLogps
from alignkit.asks.table import load_table
from alignkit.asks.values import TokenValues
from alignkit.contrasts import contrasts
from alignkit.contrasts.base import Contrast
from alignkit.contrasts.values import Estimate, GuideRatio, LogRatio
from alignkit.data.rows import TokenRow
from alignkit.data.unpairing import unpair
from alignkit.models.attribution import Attribution
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scorer, causal_lm

POSITIVE, NEGATIVE = move(llama(), seed=1), move(llama(), seed=2)


class Given(Contrast):
    """Two models at hand."""

    def scored(self, rows, bench):
        both = (bench.scored(Reference(Scorer(m, bench.head_chunk)), rows) for m in (POSITIVE, NEGATIVE))
        for (batch, positive), (_, negative) in zip(*both, strict=True):
            yield batch, positive, negative

    def depends_on(self, bench):
        return {}


class Letters:
    """A tokenizer of them."""

    eos_token_id, bos_token_id = EOS, None

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) % 40 for letter in text]}


GIVEN = Given(name="given")
PAIRS = [*rows(), row(3, 3, 2, 8), row(4, 5, 5, 1)]


def mixed() -> list[TokenRow]:
    """Two single responses, a pair, a single response, and two pairs."""
    first, second, *others = unpair(PAIRS[:2])
    return [first, second, PAIRS[2], others[0], PAIRS[3], PAIRS[4]]


def computed(
    values: TokenValues, some: list[TokenRow], of_model=None, layout: str = "packed", head_chunk: int = 64, **sections
) -> list[Tensor]:
    """[N] of each row, `of_model` being the reference."""
    of = bench(of_model or llama(), some, of=recipe(**sections))
    of.policy.scorer.head_chunk = head_chunk
    return list(values.compute(some, replace(of, policy=replace(of.policy, layout=layout))))


def plain(one: TokenRow, of_response) -> Tensor:
    """`of_response(prompt, ids)` of the weighted responses, one after the other."""
    return torch.cat([of_response(one.prompt, one.responses[name]) for name in one.weighted])


def own(logp_TV: Tensor, ids: np.ndarray) -> Tensor:
    return logp_TV.gather(-1, torch.from_numpy(ids)[:, None]).squeeze(-1)


def log_ratio(prompt: np.ndarray, ids: np.ndarray) -> Tensor:
    return own(full_logp(POSITIVE, prompt, ids) - full_logp(NEGATIVE, prompt, ids), ids)


def estimate(strength: float):
    """softmax((1 + s) z+ - s z-) at the token; z may as well be log-probs, which differ by a constant."""

    def of_response(prompt: np.ndarray, ids: np.ndarray) -> Tensor:
        z = (1 + strength) * full_logp(POSITIVE, prompt, ids) - strength * full_logp(NEGATIVE, prompt, ids)
        return own(z.softmax(-1), ids)

    return of_response


def compare(got: list[Tensor], some: list[TokenRow], of_response) -> None:
    assert len(got) == len(some)
    for one, values_N in zip(some, got, strict=True):
        assert not values_N.requires_grad
        torch.testing.assert_close(values_N, plain(one, of_response).detach(), rtol=1e-4, atol=1e-5)


SOME = pytest.mark.parametrize("some", [PAIRS, mixed(), unpair(PAIRS)], ids=["pairs", "mixed", "single"])
BATCHES = pytest.mark.parametrize("batch_size", [1, 2, 32])


class TestContrastive:
    @SOME
    @BATCHES
    def test_log_ratio(self, some, batch_size) -> None:
        got = computed(LogRatio(contrast=GIVEN), some, evaluation={"batch_size": batch_size})
        compare(got, some, log_ratio)

    @SOME
    def test_guide_ratio(self, some) -> None:
        """The positive model alone, against the reference."""

        def of_response(prompt: np.ndarray, ids: np.ndarray) -> Tensor:
            return own(full_logp(POSITIVE, prompt, ids) - full_logp(llama(), prompt, ids), ids)

        compare(computed(GuideRatio(contrast=GIVEN), some, evaluation={"batch_size": 2}), some, of_response)

    def test_a_prompt_is_a_guide_too(self) -> None:
        """Its text stands before the prompt of the guide, not of the reference."""
        prompts = contrasts.build("prompts", {"positive": "a b", "negative": "c"})
        of = bench(llama(), PAIRS, of=recipe())
        of = replace(of, policy=replace(of.policy, tokenizer=Letters()))
        before = np.array([ord(letter) % 40 for letter in "a b"])

        def of_response(prompt: np.ndarray, ids: np.ndarray) -> Tensor:
            guide = full_logp(llama(), np.concatenate([before, prompt]), ids)
            return own(guide - full_logp(llama(), prompt, ids), ids)

        compare(list(GuideRatio(contrast=prompts).compute(PAIRS, of)), PAIRS, of_response)

    @SOME
    @BATCHES
    @pytest.mark.parametrize("strength", [0.5, 1.0, 3.0])
    def test_estimate(self, some, batch_size, strength) -> None:
        values = Estimate(contrast=GIVEN, strength=strength)
        got = computed(values, some, evaluation={"batch_size": batch_size})
        compare(got, some, estimate(strength))
        assert all((s_N >= 0).all() and (s_N <= 1).all() for s_N in got)

    @pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
    @pytest.mark.parametrize("head_chunk", [1, 7])
    def test_pieces_of_the_vocabulary_and_the_layout_do_not_matter(self, layout, head_chunk) -> None:
        values = Estimate(contrast=GIVEN, strength=1.0)
        got = computed(values, PAIRS, layout=layout, head_chunk=head_chunk)
        compare(got, PAIRS, estimate(1.0))

    def test_of_equal_models_the_estimate_is_the_probability(self) -> None:
        """(1 + s) z - s z = z; with one prompt for both, the two models are one."""
        contrast = contrasts.build("prompts", {"positive": "x", "negative": "x"})
        of = bench(llama(), PAIRS)
        tokenizer = type("Tokenizer", (), {"eos_token_id": 40, "bos_token_id": None})()
        type(tokenizer).__call__ = lambda self, text, add_special_tokens=True: {"input_ids": [5]}
        of = replace(of, policy=replace(of.policy, tokenizer=tokenizer))
        got = list(Estimate(contrast=contrast, strength=2.0).compute(PAIRS, of))
        compare(got, PAIRS, lambda prompt, ids: own(full_logp(llama(), np.array([5, *prompt]), ids).exp(), ids))
        assert all((ratio_N == 0).all() for ratio_N in LogRatio(contrast=contrast).compute(PAIRS, of))

    def test_a_gold_response_is_left_out(self) -> None:
        golden = [replace(one, responses={**one.responses, "gold": one.prompt}) for one in PAIRS]
        for values in (LogRatio(contrast=GIVEN), Estimate(contrast=GIVEN, strength=1.0)):
            got, wanted = computed(values, golden), computed(values, PAIRS)
            assert all(torch.equal(one, other) for one, other in zip(got, wanted, strict=True))

    def test_no_rows_give_nothing(self) -> None:
        assert computed(LogRatio(contrast=GIVEN), []) == computed(Estimate(contrast=GIVEN, strength=1.0), []) == []

    def test_strength_and_contrast_tell_them_apart(self) -> None:
        kinds = {
            Estimate(contrast="sft", strength=1.0),
            Estimate(contrast="sft", strength=2.0),
            Estimate(contrast="dpo", strength=1.0),
            LogRatio(contrast="sft"),
            LogRatio(contrast={"name": "sft", "steps": 100}),
        }
        assert len(kinds) == 4  # the last one's steps are the default


def separately(model, attribution: Attribution, prompt: np.ndarray, ids: np.ndarray) -> Tensor:
    """[P + T] sizes of the gradient, in a pass of its own."""
    language_model = causal_lm(model)
    whole = torch.from_numpy(np.concatenate([prompt, ids]))
    leaf = language_model.get_input_embeddings()(whole).detach().requires_grad_()
    logits_LV = language_model(inputs_embeds=leaf[None]).logits[0]
    if attribution.target == "response_nll":
        target = -own(logits_LV[len(prompt) - 1 : -1].log_softmax(-1), ids).sum()
    else:
        target = logits_LV[-2 if attribution.position == "predict_last" else -1].max()
    (gradient_LD,) = torch.autograd.grad(target, leaf)
    return gradient_LD.norm(p=1 if attribution.norm == "l1" else 2, dim=-1)


KINDS = {
    "max logit": Attribution(model="reference"),
    "last token": Attribution(position="last_token", model="reference"),
    "NLL, l2": Attribution("response_nll", norm="l2", model="reference"),
}


class TestReferenceImportance:
    @SOME
    @BATCHES
    @pytest.mark.parametrize("kind", KINDS)
    def test_of_the_response(self, kind, some, batch_size) -> None:
        model = llama()
        got = computed(ReferenceImportance(attribution=KINDS[kind]), some, model, evaluation={"batch_size": batch_size})
        compare(got, some, lambda prompt, ids: separately(model, KINDS[kind], prompt, ids)[len(prompt) :])

    @SOME
    @pytest.mark.parametrize("kind", KINDS)
    def test_of_the_prompt_before_each_response(self, kind, some) -> None:
        model, values = llama(), ReferenceImportance(attribution=KINDS[kind], full_sequence=True)
        got = computed(values, some, model, "separate", evaluation={"batch_size": 2})
        compare(got, some, lambda prompt, ids: separately(model, KINDS[kind], prompt, ids))

    @pytest.mark.parametrize("full_sequence", [False, True])
    def test_is_found_at_its_tokens(self, full_sequence, tmp_path, monkeypatch) -> None:
        """Through the table, in another order and batch than it was computed in."""
        monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path))
        model, attribution = llama(), Attribution(model="reference")
        of = bench(model, PAIRS, of=recipe(evaluation={"batch_size": 2}))
        of = replace(of, policy=replace(of.policy, layout="separate"))
        values = ReferenceImportance(attribution=attribution, full_sequence=full_sequence)
        table, picked = load_table(values, PAIRS, of), [PAIRS[3], PAIRS[0]]
        laid = of.policy.batch(picked)
        prompt_BRP = laid.prompt_mask_BP[:, None].expand(-1, 2, -1)
        mask_BRS = torch.cat([prompt_BRP, laid.mask_BRT], -1) if full_sequence else laid.mask_BRT
        found_BRS = table.lookup(picked, mask_BRS)
        for b, one in enumerate(picked):
            for r, ids in enumerate(one.responses.values()):
                wanted = separately(model, attribution, one.prompt, ids)[0 if full_sequence else len(one.prompt) :]
                torch.testing.assert_close(found_BRS[b, r][mask_BRS[b, r]], wanted, rtol=1e-4, atol=1e-5)
        assert (found_BRS[~mask_BRS] == 0).all()

    def test_it_is_the_reference_that_is_asked_and_nothing_stays_behind(self) -> None:
        """With an adapter, the model with the adapter off."""
        model = with_lora(llama())
        of = bench(model, PAIRS)
        of = replace(of, reference=lambda: Reference(of.policy.scorer, of.policy))
        before = {name: (p.detach().clone(), p.requires_grad) for name, p in model.named_parameters()}
        attribution = Attribution(model="reference")
        got = list(ReferenceImportance(attribution=attribution).compute(PAIRS, of))
        compare(got, PAIRS, lambda prompt, ids: separately(llama(), attribution, prompt, ids)[len(prompt) :])
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, before[name][0]) and parameter.requires_grad is before[name][1]
            assert parameter.grad is None

    def test_the_order_of_the_rows_does_not_matter(self) -> None:
        values = ReferenceImportance(attribution=Attribution(model="reference"))
        got, turned = (computed(values, some, evaluation={"batch_size": 2}) for some in (mixed(), mixed()[::-1]))
        for one, other in zip(got, turned[::-1], strict=True):
            torch.testing.assert_close(one, other, **CLOSE)


@SOME
def test_reference_log_probs(some) -> None:
    model = llama()
    got = computed(ReferenceLogps(), some, model, evaluation={"batch_size": 2})
    compare(got, some, lambda prompt, ids: own(full_logp(model, prompt, ids), ids))


def numbered(one: TokenRow) -> TokenRow:
    """Row i's responses count 100 i, 100 i + 1, ... and 100 i + 50, ..."""
    starts = dict(zip(one.responses, (100 * one.index, 100 * one.index + 50), strict=False))
    of = {name: np.arange(start, start + len(one.responses[name]), dtype=np.float32) for name, start in starts.items()}
    return replace(one, token_columns={"_weight": of, ".mark": {name: -values for name, values in of.items()}})


class TestTokenColumns:
    @pytest.mark.parametrize(("suffix", "sign"), [("_weight", 1.0), (".mark", -1.0)])
    def test_by_hand(self, suffix, sign) -> None:
        """Row 0 has 6 chosen and 3 rejected tokens, row 1 one and five."""
        first, second = computed(TokenColumns(suffix=suffix), [numbered(one) for one in rows()[:2]])
        assert (sign * first).tolist() == [0, 1, 2, 3, 4, 5, 50, 51, 52]
        assert (sign * second).tolist() == [100, 150, 151, 152, 153, 154]

    def test_mixed_rows(self) -> None:
        """The halves of a pair have what the pair has."""
        first, second, third = (numbered(one) for one in rows())
        pair, *halves, other = computed(TokenColumns(suffix="_weight"), [first, *unpair([second]), third])
        whole = computed(TokenColumns(suffix="_weight"), [first, second, third])
        assert torch.equal(pair, whole[0]) and torch.equal(torch.cat(halves), whole[1]) and torch.equal(other, whole[2])

    def test_a_gold_response_has_none(self) -> None:
        golden = replace(numbered(rows()[0]), responses={**rows()[0].responses, "gold": rows()[0].prompt})
        assert torch.equal(*computed(TokenColumns(suffix="_weight"), [golden, numbered(rows()[0])]))


class TestPlanted:
    def test_by_hand(self) -> None:
        """Through the table, which holds numbers: 1 where it is true."""
        some = [
            replace(
                one,
                critical={name: np.arange(len(ids)) % 3 == r for r, (name, ids) in enumerate(one.responses.items())},
            )
            for one in rows()[:2]
        ]
        some = [some[0], *unpair([some[1]])]
        table = load_table(Planted(), some, bench(llama(), some))
        found_BRT = table.lookup(some[:1], policy(llama()).batch(some[:1]).mask_BRT)
        assert found_BRT.tolist() == [[[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]]] and found_BRT.dtype == torch.float32
        for half, wanted in ((some[1], [[[1]]]), (some[2], [[[0, 1, 0, 0, 1]]])):
            assert table.lookup([half], policy(llama()).batch([half]).mask_BRT).tolist() == wanted

    @SOME
    @BATCHES
    def test_forks_are_planted_tokens_where_the_reference_has_the_entropy(self, some, batch_size) -> None:
        """Every second token is planted; about half of all entropies of the toy are above the bound that is set."""
        some = [
            replace(one, critical={name: np.arange(len(ids)) % 2 == 0 for name, ids in one.responses.items()})
            for one in some
        ]
        got = computed(Forks(), some, evaluation={"batch_size": batch_size})
        for one, found_N in zip(some, got, strict=True):
            logp = [full_logp(llama(), one.prompt, one.responses[name]) for name in one.weighted]
            entropy_N = torch.cat([-(logp_TV.exp() * logp_TV).sum(-1) for logp_TV in logp])
            planted_N = torch.cat([torch.from_numpy(one.critical[name]) for name in one.weighted])
            assert torch.equal(found_N, planted_N & (entropy_N >= DOUBT))

    def test_a_sure_reference_leaves_no_fork(self, monkeypatch) -> None:
        some = [
            replace(one, critical={name: np.ones(len(ids), bool) for name, ids in one.responses.items()})
            for one in PAIRS
        ]
        assert all(found_N.all() for found_N in computed(Forks(), some))
        monkeypatch.setattr("alignkit.asks.planted.DOUBT", 9.0)
        assert not any(found_N.any() for found_N in computed(Forks(), some))


KEPT = {
    LogRatio(contrast=GIVEN): True,
    Estimate(contrast=GIVEN, strength=1.0): True,
    ReferenceImportance(attribution=Attribution(model="reference")): True,
    ReferenceLogps(): True,
    TokenColumns(suffix="_weight"): False,
    Planted(): False,
}


@pytest.mark.parametrize("values", KEPT, ids=lambda values: type(values).__name__)
def test_only_what_costs_something_is_kept_on_disk(values, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path))
    critical = {name: np.zeros(len(ids), dtype=bool) for name, ids in rows()[0].responses.items()}
    some = [replace(numbered(rows()[0]), critical=critical)]
    first = load_table(values, some, bench(llama(), some))
    again = load_table(values, some, bench(llama(), some))
    mask = policy(llama()).batch(some).mask_BRT
    assert torch.equal(first.lookup(some, mask), again.lookup(some, mask))
    assert len(list(tmp_path.rglob("*.safetensors"))) == KEPT[values]

"""From rows to scores: what is computed for which recipe, and that the batch around a row does not matter."""

from __future__ import annotations

from functools import partial
from unittest.mock import Mock

import pytest
import torch
from each_tensor import tensors
from engine_toy import (
    CLOSE,
    DPO,
    HYBRID,
    TRIPLET,
    computed,
    full_logp,
    gold_logp,
    llama,
    move,
    recipe,
    rows,
    scoring,
    view_of,
)

from alignkit.asks.reference_logps import ReferenceLogps
from alignkit.asks.table import Table
from alignkit.models.attribution import Attribution
from alignkit.models.decoding import uniforms
from alignkit.models.head import Draw
from alignkit.models.scorer import Scorer
from alignkit.models.statistics import Collision, ForwardKL, ReverseKL
from alignkit.scores import TokenScores
from alignkit.seeds import derive

TEACHER = TRIPLET | {"anchor": {"name": "teacher_forced", "temperature": 0.8, "top_k": 10, "top_p": None}}
SAMPLED = TRIPLET | {"anchor": {"name": "sample_prompt", "max_new_tokens": 5}}
RESCALES = ("mean1", "sum1", "raw", "max1")


def ready(of, layout: str = "packed", **more):
    """A scoring whose policy has moved from its reference, its anchors drawn."""
    found = scoring(of, move(llama()), llama(), layout, **more)
    if found.pool:
        found.pool.refresh(0, rows())
    return found


def sides(view) -> dict[str, TokenScores]:
    return {name: value for name, value in vars(view).items() if isinstance(value, TokenScores)}


def alike(first: TokenScores, second: TokenScores, row: int) -> None:
    """Row `row` of `first` is the only row of `second`; columns beyond either are 0."""
    for many, alone in zip(tensors(first), tensors(second), strict=True):
        together, width = many[row], alone.shape[-1]
        torch.testing.assert_close(together[:width], alone[0], **CLOSE)
        assert not together[width:].any()


class TestAgainstPlainComputation:
    @pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
    def test_policy_and_reference(self, layout) -> None:
        view = view_of(ready(recipe(), layout), rows(), 0)
        for b, row in enumerate(rows()):
            for name, ids in row.responses.items():
                side, width = sides(view)[name], len(ids)
                for model, got in ((move(llama()), side.policy_BT), (llama(), side.reference_BT)):
                    torch.testing.assert_close(got[b, :width], gold_logp(model, row.prompt, ids), **CLOSE)
                assert side.mask_BT[b].tolist() == [t < width for t in range(side.mask_BT.shape[1])]
                assert not side.reference_BT.requires_grad and side.policy_BT.requires_grad

    @pytest.mark.parametrize("losses", [[{"name": "tdpo"}], [{"name": "tdpo"}, SAMPLED], [{"name": "tdpo"}, TEACHER]])
    def test_kl_to_the_reference(self, losses) -> None:
        """KL(reference || policy) over the vocabulary, with and without an anchor in the batch."""
        view = view_of(ready(recipe(losses)), rows(), 0)
        for b, row in enumerate(rows()):
            for name, ids in row.responses.items():
                ours_TV, theirs_TV = (full_logp(m, row.prompt, ids) for m in (move(llama()), llama()))
                wanted_T = (theirs_TV.exp() * (theirs_TV - ours_TV)).sum(-1)
                torch.testing.assert_close(sides(view)[name].statistics[ForwardKL()][b, : len(ids)], wanted_T, **CLOSE)

    @pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
    def test_kl_of_the_policy_and_squared_probabilities(self, layout) -> None:
        """KL(policy || reference) with gradient, the log of the sum of squares without."""
        of = recipe([{"name": "tis_dpo", "kl_alpha": 0.5}], pair_weighting={"name": "wpo"})
        view = view_of(ready(of, layout), rows(), 0)
        for b, row in enumerate(rows()):
            for name, ids in row.responses.items():
                ours_TV, theirs_TV = (full_logp(m, row.prompt, ids) for m in (move(llama()), llama()))
                side, width = sides(view)[name], len(ids)
                wanted_T = (ours_TV.exp() * (ours_TV - theirs_TV)).sum(-1)
                torch.testing.assert_close(side.statistics[ReverseKL()][b, :width], wanted_T, **CLOSE)
                torch.testing.assert_close(
                    side.statistics[Collision()][b, :width], (2 * ours_TV).logsumexp(-1), **CLOSE
                )
        assert view.chosen.statistics[ReverseKL()].requires_grad
        assert not view.chosen.statistics[Collision()].requires_grad

    @pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
    def test_prompt(self, layout) -> None:
        """Every prompt token but the first, with gradient; 0 elsewhere."""
        chosen = view_of(ready(recipe([{"name": "orpo", "nll_on": "full"}]), layout), rows(), 0).chosen
        for b, row in enumerate(rows()):
            num = len(row.prompt)
            wanted_P = gold_logp(move(llama()), row.prompt[:1], row.prompt[1:])
            torch.testing.assert_close(chosen.prompt_BP[b, 1:num], wanted_P, **CLOSE)
            assert chosen.prompt_mask_BP[b].tolist() == [0 < p < num for p in range(chosen.prompt_BP.shape[1])]
            assert (chosen.prompt_BP[b] != 0).tolist() == chosen.prompt_mask_BP[b].tolist()
        assert chosen.prompt_BP.requires_grad

    def test_sampled_anchor(self) -> None:
        """Scored by the policy with gradient; its reference log-probs are those that were kept."""
        found = ready(recipe([DPO, SAMPLED]))
        anchor = view_of(found, rows(), 0).anchor
        for b, row in enumerate(rows()):
            kept = found.pool[row]
            wanted_T = gold_logp(move(llama()), row.prompt, kept.ids)
            torch.testing.assert_close(anchor.policy_BT[b, : len(kept.ids)], wanted_T, **CLOSE)
            assert torch.equal(anchor.reference_BT[b, : len(kept.ids)], kept.reference_T)
            torch.testing.assert_close(kept.reference_T, gold_logp(llama(), row.prompt, kept.ids), **CLOSE)
        assert anchor.policy_BT.requires_grad and not anchor.reference_BT.requires_grad

    @pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
    def test_teacher_forced_anchor(self, layout) -> None:
        """Tokens drawn from the policy along the chosen response; both models' log-probs of exactly these tokens."""
        found = ready(recipe([DPO, TEACHER]), layout)
        view = view_of(found, rows(), 4)
        for b, row in enumerate(rows()):
            chosen = row.responses["chosen"]
            ours_TV, theirs_TV = (full_logp(m, row.prompt, chosen) for m in (move(llama()), llama()))
            uniform_T = torch.from_numpy(uniforms([derive(0, "anchor", 4, row.index)], len(chosen)))[0]
            ids_T1 = Draw(0.8, top_k=10)(ours_TV, uniform_T)[:, None]
            for got, logp_TV in ((view.anchor.policy_BT, ours_TV), (view.anchor.reference_BT, theirs_TV)):
                torch.testing.assert_close(got[b, : len(chosen)], logp_TV.gather(-1, ids_T1).squeeze(-1), **CLOSE)
        assert torch.equal(view.anchor.mask_BT, view.chosen.mask_BT)


class TestTheBatchDoesNotMatter:
    @pytest.mark.parametrize(
        "losses",
        [[DPO], [{"name": "tdpo"}, SAMPLED], [DPO, TEACHER], [{"name": "orpo", "nll_on": "full"}]],
        ids=["dpo", "tdpo", "tf", "orpo"],
    )
    @pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
    def test_a_row_alone_is_the_row_among_longer_ones(self, losses, layout) -> None:
        """Log-probs, reference, KL, weights of every response; importances too."""
        of = recipe(losses, weighting=HYBRID)
        found = ready(of, layout)
        together = found.score(rows(), 0)
        for b, row in enumerate(rows()):
            alone = found.score([row], 0)
            for name, side in sides(of.trainer.view(alone)).items():
                alike(sides(of.trainer.view(together))[name], side, b)
            for whole, single in zip(together.spans, alone.spans, strict=True):
                assert whole.seeds_B[b] == single.seeds_B[0]
                (one,), (other,) = whole.importance.values(), single.importance.values()
                torch.testing.assert_close(one[b, : other.shape[-1]], other[0], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("rescale", RESCALES)
    def test_layouts_agree_on_the_weights(self, rescale) -> None:
        of = recipe(weighting=HYBRID | {"rescale": rescale})
        packed, separate = (view_of(ready(of, layout), rows(), 0) for layout in ("packed", "separate"))
        for name in ("chosen", "rejected"):
            torch.testing.assert_close(sides(packed)[name].weights_BT, sides(separate)[name].weights_BT, **CLOSE)

    def test_the_weights_have_mean_1_and_no_gradient(self) -> None:
        for side in sides(view_of(ready(recipe(weighting=HYBRID)), rows(), 0)).values():
            assert not side.weights_BT.requires_grad
            torch.testing.assert_close(side.weights_BT.sum(-1), side.length_B.float(), **CLOSE)

    def test_full_sequence_weighs_prompt_and_response_together(self) -> None:
        """Weights of mean 1 over prompt and response, of which the response's part is left."""
        found = ready(recipe(weighting=HYBRID | {"scope": "full_sequence"}), "separate")
        scores = found.score(rows(), 0)
        for span, side in zip(scores.spans, scores.responses, strict=True):
            assert span.num_prompt == 7 and span.length_B.tolist() == (side.length_B + torch.tensor([4, 2, 7])).tolist()
            assert (span.policy_BS[:, :7] == 0).all()
            assert torch.equal(span.policy_BS[:, 7:], side.policy_BT.detach())
            assert ((side.weights_BT > 0) <= side.mask_BT).all()


class TestOnlyWhatIsNeeded:
    def test_no_reference_without_a_need(self) -> None:
        side = view_of(scoring(recipe([{"name": "sft"}], "sft"), llama()), rows(), 0).response
        assert side.reference_BT is None and not side.statistics

    def test_no_attribution_in_an_unweighted_evaluation(self) -> None:
        scores = ready(recipe(weighting=HYBRID)).score(rows(), weigh=False)
        assert not any(span.importance for span in scores.spans)
        assert all(torch.equal(s.weights_BT, s.mask_BT.float()) for s in scores.responses)

    def test_no_anchor_in_an_evaluation(self) -> None:
        for losses in ([DPO, SAMPLED], [DPO, TEACHER]):
            assert view_of(ready(recipe(losses)), rows()).sampled is None

    def test_the_wrapped_module_is_called_once_in_training_and_never_in_evaluation(self) -> None:
        """What DDP can follow."""
        for losses in ([DPO], [{"name": "tdpo"}, SAMPLED], [DPO, TEACHER]):
            found = ready(recipe(losses, weighting=HYBRID))
            found.module = Mock(side_effect=found.policy.scorer)
            found.score(rows(), 0)
            assert found.module.call_count == 1
            found.score(rows())
            assert found.module.call_count == 1

    def test_a_cache_stands_in_for_the_reference(self) -> None:
        packed = {
            row.key: torch.cat([gold_logp(llama(), row.prompt, ids) for ids in row.responses.values()])
            for row in rows()
        }
        tables = {ReferenceLogps(): Table({key: value.detach() for key, value in packed.items()})}
        cached = view_of(scoring(recipe(), move(llama()), tables=tables), rows(), 0)
        for name, side in sides(view_of(ready(recipe()), rows(), 0)).items():
            torch.testing.assert_close(sides(cached)[name].reference_BT, side.reference_BT, **CLOSE)

    def test_columns(self) -> None:
        found = scoring(recipe([{"name": "sft"}], "sft"), llama())
        found.needs = type(found.needs)(columns=frozenset({"quality"}))
        numbered = [type(r)(r.index, r.where, r.prompt, r.responses, {"quality": r.index / 2}) for r in rows()]
        assert view_of(found, numbered, 0).columns["quality"].tolist() == [0.0, 0.5, 1.0]


def test_attribution_of_the_reference() -> None:
    """Its importances, not the policy's; neither model gets a parameter gradient."""
    of = recipe(weighting={"name": "gradient", "model": "reference"})
    found = ready(of, tables=computed(of.needs(), llama()))
    scores = found.score(rows(), 0)
    theirs = scoring(recipe(weighting={"name": "gradient"}), llama(), llama()).score(rows(), 0)
    for span, other in zip(scores.spans, theirs.spans, strict=True):
        torch.testing.assert_close(
            span.importance[Attribution(model="reference")], other.importance[Attribution()], **CLOSE
        )
    models = (found.policy.model, found.reference.scorer)
    assert all(p.grad is None for model in models for p in model.parameters())


@pytest.mark.parametrize("losses", [[{"name": "tdpo"}, SAMPLED], [DPO, TEACHER]], ids=["tdpo", "tf"])
def test_bf16(losses) -> None:
    """Scores come out in float32, near those of full precision; gradients are finite."""
    of = recipe(losses, weighting=HYBRID)
    exact = sides(view_of(ready(of), rows(), 0))
    found = ready(of, autocast=partial(torch.autocast, "cpu", torch.bfloat16))
    view = view_of(found, rows(), 0)
    for name, side in sides(view).items():
        assert all(value.dtype in (torch.float32, torch.bool) for value in tensors(side))
        assert all(value.isfinite().all() for value in tensors(side))
        if name != "sampled":
            torch.testing.assert_close(side.policy_BT, exact[name].policy_BT, rtol=0, atol=0.2)
    sum(loss.per_example(view).sum() for loss in of.losses).backward()
    assert all(p.grad.isfinite().all() for p in found.policy.model.parameters())


def test_scores_are_of_the_policy_that_is_wrapped() -> None:
    """The loop replaces the module; the scores must come from there."""
    found = ready(recipe())
    found.module = Scorer(llama(seed=9), 4096)
    other = view_of(scoring(recipe(), llama(seed=9), llama()), rows(), 0)
    torch.testing.assert_close(view_of(found, rows(), 0).chosen.policy_BT, other.chosen.policy_BT)

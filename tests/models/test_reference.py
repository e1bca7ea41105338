"""The reference: which way is taken, that it is the model before training, and that scoring it leaves no trace."""

from __future__ import annotations

import peft
import pytest
import torch
from engine_toy import CLOSE, batch, llama, move, policy, rows, with_lora

from alignkit.asks.needs import Needs
from alignkit.engine.setup import keeps_logps, reference_kind
from alignkit.errors import ModelError
from alignkit.models.attribution import Attribution
from alignkit.models.base import REFERENCE_ADAPTER, ReferenceUpdate
from alignkit.models.importances import importances
from alignkit.models.pretrained import Pretrained
from alignkit.models.reference import Reference, frozen_copy
from alignkit.models.scorer import Scorer, Want
from alignkit.models.statistics import ForwardKL

MOVING = ReferenceUpdate(every=4)
NEEDS = {
    "log-probs": Needs(reference=True),
    "distribution": Needs(reference=True, statistics=frozenset({ForwardKL()})),
    "anchor": Needs(reference=True, anchor=object()),
    "attribution": Needs(reference=True, attributions=frozenset({Attribution(model="reference")})),
    "log-ratio": Needs(reference=True, attributions=frozenset({Attribution("log_ratio")})),
    "mismatch": Needs(reference=True, mismatched=True),
    "policy attribution": Needs(reference=True, attributions=frozenset({Attribution()})),
}


class TestKind:
    @pytest.mark.parametrize(
        ("asked", "has_adapter", "needs", "kind"),
        [
            ("auto", True, "log-probs", "adapter_off"),
            ("auto", True, "distribution", "adapter_off"),
            ("auto", False, "log-probs", "cache"),
            ("auto", False, "policy attribution", "cache"),
            ("auto", False, "distribution", "copy"),
            ("auto", False, "anchor", "copy"),
            ("auto", False, "attribution", "cache"),
            ("auto", False, "log-ratio", "copy"),
            ("auto", False, "mismatch", "copy"),
            ("adapter_off", True, "anchor", "adapter_off"),
            ("copy", True, "log-probs", "copy"),
            ("cache", True, "log-probs", "cache"),
        ],
    )
    def test_the_cheapest_that_serves(self, asked, has_adapter, needs, kind) -> None:
        source = Pretrained(path="owner/model", reference=asked)
        assert reference_kind(source, has_adapter, NEEDS[needs]) == kind

    @pytest.mark.parametrize("asked", ["auto", "copy"])
    @pytest.mark.parametrize("needs", list(NEEDS))
    def test_one_that_moves_is_a_copy_and_nothing_of_it_is_looked_up(self, asked, needs) -> None:
        source = Pretrained(path="owner/model", reference=asked, reference_update=MOVING)
        assert reference_kind(source, False, NEEDS[needs]) == "copy"
        assert not keeps_logps(source, "copy", NEEDS[needs])

    @pytest.mark.parametrize(
        ("asked", "has_adapter", "message"),
        [
            (
                "auto",
                True,
                "model.reference_update: it mixes the parameters of policy and reference, and an adapter is a product "
                "of two matrices: the product of the mixed ones is no mixture; leave it out, or train all parameters "
                "(without model.adapter)",
            ),
            ("cache", False, "model.reference: 'cache' holds a reference that stays; use auto or copy"),
        ],
    )
    def test_one_that_cannot_move_is_refused(self, asked, has_adapter, message) -> None:
        source = Pretrained(path="owner/model", reference=asked, reference_update=MOVING)
        with pytest.raises(ModelError) as caught:
            reference_kind(source, has_adapter, NEEDS["log-probs"])
        assert str(caught.value) == message

    @pytest.mark.parametrize(
        ("asked", "needs", "message"),
        [
            (
                "adapter_off",
                "log-probs",
                "model.reference: 'adapter_off' needs an adapter, and the model has none; use auto",
            ),
            *(
                (
                    "cache",
                    needs,
                    "model.reference: 'cache' holds log-probs of the data only, this recipe needs more; use auto",
                )
                for needs in ("distribution", "anchor", "log-ratio", "mismatch")
            ),
        ],
    )
    def test_refused(self, asked, needs, message) -> None:
        with pytest.raises(ModelError) as caught:
            reference_kind(Pretrained(path="owner/model", reference=asked), False, NEEDS[needs])
        assert str(caught.value) == message


def logps(scorer: Scorer) -> torch.Tensor:
    with torch.no_grad():
        return scorer(batch(rows()), Want()).logp_BRT


def flags(model) -> dict[str, bool]:
    return {name: p.requires_grad for name, p in model.named_parameters()}


@pytest.fixture
def adapter_folder(tmp_path):
    """A policy that starts from an adapter folder, as `Pretrained.load_model` gives it."""
    with_lora(llama(), seed=5).save_pretrained(tmp_path)
    model = peft.PeftModel.from_pretrained(llama(), tmp_path, is_trainable=True)
    model.load_adapter(tmp_path, REFERENCE_ADAPTER, is_trainable=False)
    return policy(model.eval())


class TestAdapterOff:
    def test_is_the_base_model_after_the_adapter_moved(self) -> None:
        trained = policy(with_lora(llama()))
        reference = Reference(trained.scorer, trained)
        for _ in range(2):
            torch.testing.assert_close(
                reference.score(batch(rows()), Want()).logp_BRT, logps(Scorer(llama(), 4096)), **CLOSE
            )
            move(trained.model)
        assert (logps(trained.scorer) - logps(Scorer(llama(), 4096))).abs().max() > 0.1

    def test_is_the_starting_adapter_of_an_adapter_folder(self, adapter_folder) -> None:
        """Training moves the trained adapter only; the frozen one keeps answering for it."""
        start = logps(adapter_folder.scorer)
        torch.testing.assert_close(start, logps(Scorer(with_lora(llama(), seed=5), 4096)), **CLOSE)
        reference = Reference(adapter_folder.scorer, adapter_folder)
        move(adapter_folder.model)
        assert (logps(adapter_folder.scorer) - start).abs().max() > 0.1
        assert torch.equal(reference.score(batch(rows()), Want()).logp_BRT, start)

    @pytest.mark.parametrize("kind", ["fresh", "folder"])
    def test_scoring_leaves_no_trace(self, kind, adapter_folder) -> None:
        """Same trained parameters, active adapter and log-probs afterwards, also when scoring fails."""
        trained = adapter_folder if kind == "folder" else policy(with_lora(llama()))
        reference = Reference(trained.scorer, trained)
        move(trained.model)
        before = flags(trained.model), trained.model.active_adapter, logps(trained.scorer)
        assert not reference.score(batch(rows()), Want()).logp_BRT.requires_grad
        with pytest.raises(ZeroDivisionError), reference.active():
            raise ZeroDivisionError
        assert flags(trained.model) == before[0] and trained.model.active_adapter == before[1]
        assert torch.equal(logps(trained.scorer), before[2])
        assert {n for n, on in before[0].items() if on} == {n for n in before[0] if ".default." in n}

    @pytest.mark.parametrize("kind", ["fresh", "folder"])
    def test_between_forward_and_backward(self, kind, adapter_folder) -> None:
        """Scored in the middle of a step, with recomputed activations, the policy's gradients stay what they were."""
        trained = adapter_folder if kind == "folder" else policy(with_lora(llama()))
        trained.model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
        trained.scorer.train()
        found = []
        for with_reference in (False, True):
            scored = trained.scorer(batch(rows()), Want())
            if with_reference:
                Reference(trained.scorer, trained).score(batch(rows()), Want())
            scored.logp_BRT.sum().backward()
            found.append({n: p.grad.clone() for n, p in trained.model.named_parameters() if p.grad is not None})
            trained.model.zero_grad(set_to_none=True)
        assert found[0].keys() == found[1].keys() and all("default" in name for name in found[0])
        assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])

    def test_its_attribution_is_the_base_models(self) -> None:
        """Taken with gradient, yet no parameter gets one."""
        trained, asked, laid = policy(with_lora(llama())), Attribution(model="reference"), batch(rows())
        with Reference(trained.scorer, trained).active() as scorer:
            got = importances(scorer(laid, Want(frozenset({asked}))), laid, 2)[asked]
        wanted = importances(Scorer(llama(), 4096)(laid, Want(frozenset({asked}))), laid, 2)[asked]
        torch.testing.assert_close(got, wanted, **CLOSE)
        assert all(p.grad is None for p in trained.model.parameters())


class TestFrozenCopy:
    def test_stays_when_the_policy_moves(self) -> None:
        trained = policy(llama())
        reference, start = frozen_copy(trained), logps(trained.scorer)
        move(trained.model)
        assert torch.equal(reference.score(batch(rows()), Want()).logp_BRT, start)
        assert (logps(trained.scorer) - start).abs().max() > 0.1

    def test_shares_nothing_and_trains_nothing(self) -> None:
        trained = policy(llama(tie_word_embeddings=True))
        reference = frozen_copy(trained)
        theirs = dict(reference.scorer.named_parameters())
        ours = dict(trained.scorer.named_parameters())
        assert theirs.keys() == ours.keys()
        assert not any(p.requires_grad for p in theirs.values()) and all(p.requires_grad for p in ours.values())
        assert not {p.data_ptr() for p in theirs.values()} & {p.data_ptr() for p in ours.values()}

    def test_a_copy_of_a_checkpointing_policy_scores_the_same(self) -> None:
        trained = policy(llama())
        trained.model.activation_checkpointing_enable({"use_reentrant": False})
        trained.scorer.train()
        reference = frozen_copy(trained)
        assert not reference.scorer.training and trained.scorer.training
        assert torch.equal(reference.score(batch(rows()), Want()).logp_BRT, logps(trained.scorer))

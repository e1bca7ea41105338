"""One model under two instructions: exactly which tokens it reads, and what it then says of the responses."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine_toy import CLOSE, EOS, bench, gold_logp, llama, recipe, rows, with_lora

from alignkit.contrasts import contrasts
from alignkit.contrasts.base import Contrast
from alignkit.data.rows import TokenRow
from alignkit.engine.workbench import Workbench
from alignkit.errors import DataError
from alignkit.models.reference import Reference

BOS = 39
BEFORE = {"positive": "kind", "negative": "unkind"}


class Letters(SimpleNamespace):
    """A tokenizer with one token a letter; `opening` is what it puts before every text."""

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        ids = [ord(letter) % 32 for letter in text]
        return {"input_ids": [*self.opening, *ids] if add_special_tokens else ids}


def prompts(**values: str) -> Contrast:
    return contrasts.build("prompts", BEFORE | values)


def bench_with(train, with_bos: bool, model=None, named_bos: int | None = BOS, **sections) -> Workbench:
    tokenizer = Letters(eos_token_id=EOS, bos_token_id=named_bos, opening=[BOS] if with_bos else [])
    of = bench(model or llama(), train, of=recipe(**sections))
    return replace(of, policy=replace(of.policy, tokenizer=tokenizer))


def begun(train: list[TokenRow]) -> list[TokenRow]:
    """The rows with BOS at the start of their prompts."""
    return [replace(row, prompt=np.concatenate([[BOS], row.prompt])) for row in train]


def letters(text: str) -> list[int]:
    return Letters(opening=[])(text)["input_ids"]


def scored(contrast: Contrast, some, of: Workbench) -> list[dict[str, torch.Tensor]]:
    """For each row, `positive` and `negative` log-probs of its responses, one after the other."""
    found = []
    for batch, *both in contrast.scored(some, of):
        for b, mask_RT in enumerate(batch.mask_BRT):
            found.append({name: s.logp_BRT[b][mask_RT] for name, s in zip(BEFORE, both, strict=True)})
    return found


@pytest.mark.parametrize("batch_size", [1, 2, 32])
@pytest.mark.parametrize("kind", ["adds BOS", "has no BOS", "names a BOS that it does not add"])
def test_the_text_stands_after_bos_and_before_the_prompt(kind, batch_size) -> None:
    model, some = llama(), begun(rows()) if kind == "adds BOS" else rows()
    named_bos = None if kind == "has no BOS" else BOS
    of = bench_with(some, kind == "adds BOS", model, named_bos, evaluation={"batch_size": batch_size})
    found = scored(prompts(), some, of)
    assert len(found) == len(some)
    for row, plain, got in zip(some, rows(), found, strict=True):
        for name, text in BEFORE.items():
            read = [*([BOS] if kind == "adds BOS" else []), *letters(text), *plain.prompt]
            wanted = torch.cat([gold_logp(model, np.array(read), ids) for ids in row.responses.values()])
            torch.testing.assert_close(got[name], wanted, **CLOSE)


def test_a_prompt_of_bos_alone() -> None:
    model = llama()
    (row,) = [replace(rows()[0], prompt=np.array([BOS]))]
    (got,) = scored(prompts(), [row], bench_with([row], True, model))
    wanted = [gold_logp(model, np.array([BOS, *letters("kind")]), ids) for ids in row.responses.values()]
    torch.testing.assert_close(got["positive"], torch.cat(wanted), **CLOSE)


def test_the_text_stands_after_all_that_opens_a_text() -> None:
    """Some tokenizers put more than BOS before a text; what overflowing prompts keep stays in front here too."""
    opening, model = [37, BOS], llama()
    (row,) = [replace(rows()[0], prompt=np.array([*opening, *rows()[0].prompt]))]
    of = bench_with([row], True, model)
    tokenizer = Letters(eos_token_id=EOS, bos_token_id=BOS, opening=opening)
    (got,) = scored(prompts(), [row], replace(of, policy=replace(of.policy, tokenizer=tokenizer)))
    read = np.array([*opening, *letters("kind"), *rows()[0].prompt])
    wanted = torch.cat([gold_logp(model, read, ids) for ids in row.responses.values()])
    torch.testing.assert_close(got["positive"], wanted, **CLOSE)


def test_equal_texts_leave_no_difference_and_the_rows_stay_as_they_were() -> None:
    some = rows()
    before = [row.prompt.copy() for row in some]
    for got in scored(prompts(negative="kind"), some, bench_with(some, False)):
        assert torch.equal(got["positive"], got["negative"])
    assert all(np.array_equal(row.prompt, prompt) for row, prompt in zip(some, before, strict=True))


def test_single_responses_are_scored_as_those_of_a_pair() -> None:
    """A labelled one between two pairs: each response has what it has as part of its own pair."""
    first, second, third = rows()
    alone = replace(second, responses={"completion": second.responses["rejected"]}, label=False)
    of = bench_with(rows(), False)
    in_pairs, mixed = scored(prompts(), rows(), of), scored(prompts(), [first, alone, third], of)
    num_chosen = len(second.responses["chosen"])
    for name in BEFORE:
        torch.testing.assert_close(mixed[0][name], in_pairs[0][name], **CLOSE)
        torch.testing.assert_close(mixed[1][name], in_pairs[1][name][num_chosen:], **CLOSE)
        torch.testing.assert_close(mixed[2][name], in_pairs[2][name], **CLOSE)


def test_it_is_the_reference_that_is_asked() -> None:
    """With an adapter, the model with the adapter off."""
    of = bench_with(rows(), False, with_lora(llama()))
    of = replace(of, reference=lambda: Reference(of.policy.scorer, of.policy))
    bare = scored(prompts(), rows(), bench_with(rows(), False, llama()))
    for got, wanted in zip(scored(prompts(), rows(), of), bare, strict=True):
        torch.testing.assert_close(got["positive"], wanted["positive"], **CLOSE)


def test_too_long_for_the_models_positions() -> None:
    """The longest row has 7 + 4 = 11 tokens, and the toy 64 positions: 53 letters fit, 54 do not."""
    of = bench_with(rows(), False)
    assert len(scored(prompts(positive="a" * 53), rows(), of)) == 3
    with pytest.raises(DataError) as caught:
        scored(prompts(negative="b" * 54), rows(), of)
    assert str(caught.value) == (
        f"contrast 'prompts': with '{'b' * 54}' before it the longest row has 65 tokens, but the model has 64 "
        "positions; give a shorter text or a smaller data.max_length"
    )


def test_no_rows_give_nothing() -> None:
    """A process may have no share of the work."""
    assert scored(prompts(), [], bench_with(rows(), False)) == []


def test_it_depends_on_its_texts_tokens_and_not_on_the_training() -> None:
    facts = prompts().depends_on(bench_with(rows(), True))
    assert facts == {"before": [letters("kind"), letters("unkind")]}
    assert facts == prompts().depends_on(bench_with(rows()[:1], True, training={"steps": 7}, seed=3))
    assert facts != prompts(positive="kin").depends_on(bench_with(rows(), True))

"""What model sources promise."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from alignkit.lazy import torch
from alignkit.models.base import ModelSource
from alignkit.models.policy import Policy, build_policy

TEXTS = ("What is good for a cold? Rest and drink tea.", "What is good for a burn? Cool it with water.")
"""For sources that learn their tokenizer from the data."""


def _policy(source: ModelSource) -> Policy:
    return _built(source.model_dump_json(), type(source))


@cache
def _built(record: str, cls: type[ModelSource]) -> Policy:
    source = cls.model_validate_json(record, strict=False)
    tokenizer = source.load_tokenizer(TEXTS)
    return build_policy(source, tokenizer, seed=0, separate=False, device=torch.device("cpu"))


def _has_a_tokenizer(source: ModelSource) -> Iterator[str]:
    """has a tokenizer with an end token, whose ids the model knows"""
    tokenizer = source.load_tokenizer(TEXTS)
    if tokenizer.eos_token_id is None:
        yield "its tokenizer has no EOS token, so a response could not end"
    known = len(next(iter(source.load_model(tokenizer, 0).get_input_embeddings().parameters())))
    if len(tokenizer) > known:
        yield f"its tokenizer has {len(tokenizer)} tokens, and the model knows {known}"


def _is_ready(source: ModelSource) -> Iterator[str]:
    """gives the same model for the same seed, in evaluation mode, and draws nothing from torch's global generator"""
    tokenizer, before = source.load_tokenizer(TEXTS), torch.get_rng_state()
    first, again = source.load_model(tokenizer, 0), source.load_model(tokenizer, 0)
    if first.training:
        yield "the model is in training mode; call eval()"
    pairs = zip(first.named_parameters(), again.named_parameters(), strict=True)
    if changed := [name for (name, one), (_, other) in pairs if not torch.equal(one, other)]:
        yield f"the same seed gives another model, for one in {changed[0]}"
    if not torch.equal(before, torch.get_rng_state()):
        yield "draws from torch's global generator; fork it, and seed it with the seed that is given"


def _is_scored_exactly(source: ModelSource) -> Iterator[str]:
    """gives a causal model that alignkit scores exactly"""
    _policy(source)  # refuses any other in words
    yield from ()


CHECKS = (_has_a_tokenizer, _is_ready, _is_scored_exactly)

"""What samplers of groups promise, on the world's model and a few of its prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from alignkit.conformance.check import difference
from alignkit.conformance.stage import stage
from alignkit.lazy import numpy as np
from alignkit.lazy import torch
from alignkit.registry import dump_component
from alignkit.rollouts.groups import Drawn, Sampler
from alignkit.seeds import derive

if TYPE_CHECKING:
    from numpy import ndarray

Groups = list[list[Drawn]]


def _short(sampler: Sampler) -> Sampler:
    """The same with small groups of short responses."""
    few = {"responses": min(3, sampler.responses), "max_new_tokens": min(6, sampler.max_new_tokens)}
    return sampler.model_copy(update=few)


def _prompts() -> list[ndarray]:
    return [row.prompt for row in stage("pairs").train]


def _drawn(sampler: Sampler, places: Sequence[int] | None = None) -> Groups:
    """The groups of some of the prompts, of all by default."""
    policy, prompts = stage("pairs").policy, _prompts()
    places = range(len(prompts)) if places is None else places
    seeds = [[derive(0, "kit", place, number) for number in range(sampler.responses)] for place in places]
    sampler.begin(policy, 0)
    return sampler.sample([prompts[place] for place in places], seeds, policy, 0)


def _gives_groups(sampler: Sampler) -> Iterator[str]:
    """gives each prompt its responses: tokens of the vocabulary, not too many, each with its log-prob"""
    sampler = _short(sampler)
    groups, prompts = _drawn(sampler), _prompts()
    most = len(stage("pairs").policy.tokenizer)
    if [len(group) for group in groups] != [sampler.responses] * len(prompts):
        sizes = [len(group) for group in groups]
        yield f"gives groups of {sizes} responses for {len(prompts)} prompts; expected {sampler.responses} each"
    for one in chain.from_iterable(groups):
        if one.ids.ndim != 1 or one.ids.dtype.kind not in "iu":
            yield f"ids are {one.ids.dtype} of shape {list(one.ids.shape)}, not whole numbers, [T]"
        elif not 1 <= len(one.ids) <= sampler.max_new_tokens:
            yield f"a response has {len(one.ids)} tokens; expected 1 to {sampler.max_new_tokens} (max_new_tokens)"
        elif not ((one.ids >= 0) & (one.ids < most)).all():
            yield f"an id lies outside the vocabulary of {most} tokens"
        elif one.logp_T.shape != one.ids.shape or not (np.isfinite(one.logp_T) & (one.logp_T < 1e-3)).all():
            yield f"log-probs of {len(one.ids)} tokens must be as many finite numbers, at most 0"


def _keeps_to_its_seeds(sampler: Sampler) -> Iterator[str]:
    """draws what the seeds say, alone, among others and again, where it says that it is exact"""
    if not sampler.is_exact:
        return
    sampler = _short(sampler)
    again = type(sampler).model_validate(dump_component(sampler))
    places = range(len(_prompts()))
    wanted = _ids(_drawn(sampler))
    for way, found in (
        ("when it is asked again", _drawn(sampler)),
        ("when it is built again, as a resume does", _drawn(again)),
        ("for a prompt alone", [group for place in places for group in _drawn(sampler, [place])]),
    ):
        if _ids(found) != wanted:
            yield f"draws other responses {way}; the seeds decide all of it"


def _ids(groups: Groups) -> list[list[list[int]]]:
    return [[one.ids.tolist() for one in group] for group in groups]


def _tells_how_likely(sampler: Sampler) -> Iterator[str]:
    """gives the log-probs of the distribution that it draws from, where it says that it is exact"""
    if not sampler.is_exact or sampler.top_k is not None or sampler.top_p not in (None, 1):
        return
    sampler, model = _short(sampler), stage("pairs").policy.model
    for prompt, group in zip(_prompts(), _drawn(sampler), strict=True):
        for one in group:
            ids_1S = torch.tensor([[*prompt.tolist(), *one.ids.tolist()]])
            with torch.no_grad():
                logits_TV = model(input_ids=ids_1S).logits[0, len(prompt) - 1 : -1].double()
            logp_TV = (logits_TV / sampler.temperature).log_softmax(-1)
            wanted_T = logp_TV.gather(-1, ids_1S[0, len(prompt) :, None]).squeeze(-1)
            yield from difference("log-probs of a response", torch.from_numpy(one.logp_T), wanted_T, 1e-3)


CHECKS = (_gives_groups, _keeps_to_its_seeds, _tells_how_likely)

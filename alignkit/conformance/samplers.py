"""What samplers of groups promise, on the built-in world's model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alignkit.conformance.check import difference
from alignkit.conformance.stage import stage
from alignkit.lazy import numpy as np
from alignkit.lazy import torch
from alignkit.models.layout import Example
from alignkit.models.scorer import Want
from alignkit.registry import dump_component
from alignkit.rollouts.groups import Drawn, Sampler

ROWS = (0, 1, 2)


def _drawn(sampler: Sampler, places: Sequence[int] = ROWS) -> list[list[Drawn]]:
    """The groups of some training rows, as a run asks for them; a row's seeds are its own."""
    of = stage("pairs")
    seeds = [[1000 * n + place for place in range(sampler.responses)] for n in places]
    sampler.begin(of.policy, 0)
    return sampler.sample([of.train[n].prompt for n in places], seeds, of.policy, 0)


def _gives_groups(sampler: Sampler) -> Iterator[str]:
    """gives each prompt as many responses as it is given seeds, and nothing where there is no prompt"""
    sizes = [len(group) for group in _drawn(sampler)]
    if sizes != [sampler.responses] * len(ROWS):
        yield f"gives groups of {sizes} responses to {len(ROWS)} prompts; expected {sampler.responses} each"
    if len(_drawn(sampler, ())):
        yield "gives groups where there is no prompt"


def _gives_responses(sampler: Sampler) -> Iterator[str]:
    """gives at most max_new_tokens tokens of the vocabulary, the end token at most once and last, with log-probs"""
    policy = stage("pairs").policy
    for place, one in enumerate(one for group in _drawn(sampler) for one in group):
        what = f"response {place}"
        if not 1 <= len(one.ids) <= sampler.max_new_tokens:
            yield f"{what}: {len(one.ids)} tokens; expected 1 to {sampler.max_new_tokens} (max_new_tokens)"
        elif one.ids.dtype != np.int32 or not ((one.ids >= 0) & (one.ids < len(policy.tokenizer))).all():
            yield f"{what}: ids {one.ids.dtype}; expected int32, from 0 to {len(policy.tokenizer) - 1}"
        elif (one.ids[:-1] == policy.end_id).any():
            yield f"{what}: goes on after the end token {policy.end_id}"
        if one.logp_T.dtype != np.float32 or one.logp_T.shape != one.ids.shape:
            yield f"{what}: log-probs {one.logp_T.dtype} {list(one.logp_T.shape)}; expected float32, one per token"
        elif not (np.isfinite(one.logp_T) & (one.logp_T <= 0)).all():
            yield f"{what}: a log-prob is above 0 or not finite"


def _says_how_likely(sampler: Sampler) -> Iterator[str]:
    """gives the log-probs of the model's forward pass at its temperature, if it says that the model itself draws"""
    if not sampler.is_exact:
        return
    of = stage("pairs")
    for n, group in zip(ROWS, _drawn(sampler), strict=True):
        batch = of.policy.collate([Example(of.train[n].prompt, [one.ids]) for one in group])
        with torch.no_grad():
            logp_BT = of.policy.scorer(batch, Want(temperature=sampler.temperature)).logp_BRT[:, 0]
        for own_T, one in zip(logp_BT, group, strict=True):
            got_T = torch.from_numpy(one.logp_T)
            yield from difference("log-probs of a response", got_T, own_T[: len(one.ids)], 1e-3)


def _belongs_to_its_seed(sampler: Sampler) -> Iterator[str]:
    """gives a prompt and a seed the same response alone, in another order, again and when it is built again, if the
    model itself draws"""
    if not sampler.is_exact:
        return
    together = _ids(_drawn(sampler))
    again = type(sampler).model_validate(dump_component(sampler))
    for way, found in (
        ("in another order", _drawn(sampler, ROWS[::-1])[::-1]),
        ("alone", [_drawn(sampler, [n])[0] for n in ROWS]),
        ("when it is asked again", _drawn(sampler)),
        ("when it is built again, as a resume does", _drawn(again)),
    ):
        if _ids(found) != together:
            yield f"gives other responses {way}; draw with the seeds alone"


def _ids(groups: Sequence[Sequence[Drawn]]) -> list[list[list[int]]]:
    return [[one.ids.tolist() for one in group] for group in groups]


CHECKS = (_gives_groups, _gives_responses, _says_how_likely, _belongs_to_its_seed)

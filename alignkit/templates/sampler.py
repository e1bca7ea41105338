"""How responses are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignkit.lazy import numpy as np
from alignkit.lazy import torch
from alignkit.rollouts.groups import Drawn, Sampler

if TYPE_CHECKING:
    from numpy import ndarray

    from alignkit.models.policy import Policy


class Template(Sampler):
    """The policy itself, one response after the other and each token from the start: slow, and easy to change.

    It draws from the whole vocabulary, whatever `top_k` and `top_p` say.
    """

    def sample(
        self, prompts: Sequence[ndarray], seeds: Sequence[Sequence[int]], policy: Policy, step: int
    ) -> list[list[Drawn]]:
        with torch.no_grad():
            return [
                [self._drawn(prompt.tolist(), seed, policy) for seed in own]
                for prompt, own in zip(prompts, seeds, strict=True)
            ]

    def _drawn(self, prompt: list[int], seed: int, policy: Policy) -> Drawn:
        generator = torch.Generator().manual_seed(seed)
        ids: list[int] = []
        logps: list[float] = []
        while len(ids) < self.max_new_tokens and ids[-1:] != [policy.end_id]:
            text_1S = torch.tensor([prompt + ids], device=policy.device)
            logits_V = policy.model(input_ids=text_1S).logits[0, -1].float().cpu()
            logp_V = (logits_V / self.temperature).log_softmax(-1)
            ids.append(int(torch.multinomial(logp_V.exp(), 1, generator=generator)))
            logps.append(float(logp_V[ids[-1]]))
        return Drawn(np.array(ids, dtype=np.int32), np.array(logps, dtype=np.float32))

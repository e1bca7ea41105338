"""How much of a card a training uses."""

from __future__ import annotations

from pricing.job import GROUP, Job, sizes

PEAKS = {
    "NVIDIA A100": 312,
    "NVIDIA H100 PCIe": 756,
    "NVIDIA H100 80GB HBM3": 989,
    "NVIDIA H200": 989,
    "NVIDIA L40S": 362,
    "NVIDIA L4": 121,
}
"""Beginning of a card's name -> its dense bf16 peak, 10**12 operations a second, from NVIDIA's data sheets, which give
twice as much where they count on sparsity. Of other cards no share is given."""


def peak_of(card: str) -> float | None:
    """Operations a second, or None where it is not known."""
    known = [name for name in PEAKS if card.startswith(name)]
    return PEAKS[max(known, key=len)] * 1e12 if known else None


def operations_of(job: Job, method: str) -> float:
    """Floating-point operations that a step needs, each prompt once, nothing computed again.

    Two for each parameter of a linear layer and token forward, as many by the input backward, and as many again by the
    weights unless they are frozen below adapters; the same of the head on response tokens. Attention: 4 x width for
    each layer and each pair of tokens that see each other forward, twice as many backward. Of GRPO also a forward pass
    over what is sampled. What token weights, anchors and adapters need beside is not counted, so it lowers the share.
    """
    size = tokens_of(job, method)
    linear = sum(a * b for a, b in job.shape.linear)
    head = job.shape.width * job.shape.vocabulary
    passes = 4 if job.lora else 6
    found = passes * (linear * (size["prompts"] + size["responses"]) + head * size["responses"])
    found += 12 * job.shape.layers * job.shape.width * size["seen"]
    if method == "grpo":
        found += 2 * (linear + head) * size["responses"] + 4 * job.shape.layers * job.shape.width * size["seen"]
    return float(found)


def tokens_of(job: Job, method: str) -> dict[str, int]:
    """Tokens of the first batch: of prompts, of responses, and pairs of tokens that see each other."""
    rows = job.batch(0)
    size = sizes(rows)
    if method == "grpo":
        lengths = [(len(row["prompt"]), [job.longest] * GROUP) for row in rows]
        size["responses"] = len(rows) * GROUP * job.longest
    else:
        lengths = [(len(row["prompt"]), [len(row["chosen"]), len(row["rejected"])]) for row in rows]
    seen = sum(p * (p + 1) // 2 + sum(r * p + r * (r + 1) // 2 for r in each) for p, each in lengths)
    return size | {"seen": seen}

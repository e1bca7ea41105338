"""Token weightings: how much each response token counts in the loss."""

from __future__ import annotations

from typing import Annotated

from alignkit.registry import Registry
from alignkit.weighting.base import TokenWeighting

weightings: Registry[TokenWeighting] = Registry(
    "weighting",
    TokenWeighting,
    {
        "uniform": "alignkit.weighting.uniform:Uniform",
        "prior": "alignkit.weighting.prior:Prior",
        "gradient": "alignkit.weighting.gradient:Gradient",
        "hybrid": "alignkit.weighting.hybrid:Hybrid",
        "random": "alignkit.weighting.random:Random",
        "softmax": "alignkit.weighting.softmax:Softmax",
        "tis": "alignkit.weighting.tis:TIS",
        "contrastive": "alignkit.weighting.contrastive:ContrastiveEstimate",
        "statistic": "alignkit.weighting.statistic:ByStatistic",
        "entropy": "alignkit.weighting.entropy:ByEntropy",
        "top_entropy": "alignkit.weighting.top_entropy:TopEntropy",
        "surprisal": "alignkit.weighting.surprisal:Surprisal",
        "self": "alignkit.weighting.self_log_ratio:SelfLogRatio",
        "column": "alignkit.weighting.column:Column",
        "oracle": "alignkit.weighting.oracle:Oracle",
        "influence": "alignkit.weighting.influence:Influence",
        "shuffled": "alignkit.weighting.shuffled:Shuffled",
        "transport": "alignkit.weighting.transport:Transport",
        "attention": "alignkit.weighting.attention:Attention",
        "diff": "alignkit.weighting.diff:Diff",
        "guide": "alignkit.weighting.guide:Guide",
        "confidence": "alignkit.weighting.confidence:Confidence",
        "decay": "alignkit.weighting.decay:Decay",
        "shared_length": "alignkit.weighting.shared_length:SharedLength",
        "side": "alignkit.weighting.side:Side",
        "product": "alignkit.weighting.product:Product",
        "mix": "alignkit.weighting.mix:Mix",
        "select": "alignkit.weighting.select:Select",
    },
)

Weighting = Annotated[TokenWeighting, weightings]
"""A recipe slot that holds a token weighting."""

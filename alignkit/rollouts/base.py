"""What every anchor shares: how its tokens are drawn from the policy."""

from __future__ import annotations

from pydantic import Field

from alignkit.registry import Component


class Anchor(Component):
    """Base of the anchors. Token ids are drawn without gradient; their log-probs are then scored with it."""

    temperature: float = Field(0.8, gt=0)
    """Divides the logits before sampling; dimensionless, usual 0.5 to 1.2."""

    top_k: int | None = Field(50, gt=0)
    """Keep the k likeliest tokens; null keeps all."""

    top_p: float | None = Field(0.95, gt=0, le=1)
    """Keep the likeliest tokens that together reach this probability; null keeps all."""

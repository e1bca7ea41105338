"""The conformance kit: what every component of a kind promises, checked on made-up scores and the built-in world."""

from __future__ import annotations

from alignkit.conformance.kit import NotConforming, Outcome, check_component, outcomes

__all__ = ["NotConforming", "Outcome", "check_component", "outcomes"]

"""What a dry run says it did."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from engine_toy import recipe
from rollout_toy import on_policy, prompts

from alignkit.report.start import dry_run_line


def test_only_a_check_that_was_made_is_claimed() -> None:
    """That of sampled responses waits for the first drawing."""
    setup: Any = SimpleNamespace(looked_up=SimpleNamespace(visited=prompts(3)), left_out=[])
    rest = "not computed: evaluation, training; nothing was written"
    with_kl = on_policy([{"name": "policy_gradient", "kl": {"coefficient": 0.1}}])
    assert with_kl.needs().reference
    assert dry_run_line(setup, with_kl) == f"dry run: {rest}"
    assert dry_run_line(setup, recipe([{"name": "dpo"}])) == f"dry run: checked on 2 rows; {rest}"

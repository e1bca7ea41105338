"""docs/on-policy.md: its recipe is the shipped one, its numbers come out again, its reward trains."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from alignkit import trusted
from alignkit.cli import main
from alignkit.recipe.load import load_recipe
from alignkit.rewards import rewards

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "on-policy.md").read_text(encoding="utf-8")
SMALL = (
    "data.world={pairs: 8, eval_pairs: 2}",
    "sampler={responses: 4, max_new_tokens: 40}",
    "training={steps: 2, batch_size: 2, micro_batch_size: 8}",
    "evaluation={samples: 2, max_new_tokens: 16}",
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d*\.\d+", text)]


def row(start: str) -> str:
    """What the table's row with this first cell says."""
    (found,) = re.findall(rf"^\| {re.escape(start)} \| (.*) \|$", PAGE, re.MULTILINE)
    return str(found)


def test_the_recipe_is_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(blocks("yaml")[0])
    assert load_recipe(tmp_path / "r.yaml").recipe == load_recipe("alignkit:methods/grpo").recipe


def test_the_table_has_every_method_that_samples() -> None:
    names = re.findall(r"^\| `(\w+)` \| .* \| (?:arXiv:|ours)", PAGE, re.MULTILINE)
    found = {path.stem: load_recipe(path).recipe for path in (ROOT / "recipes" / "methods").glob("*.yaml")}
    assert sorted(names) == sorted(name for name, recipe in found.items() if recipe.trainer.draws)


def test_weights_are_no_baseline() -> None:
    """Two binary tokens; the gradient of a token's log-prob by its logit is token - p, and the reward is 1."""
    p, gradient = 0.6, [0.0, 0.0]
    for tokens in itertools.product((0, 1), repeat=2):
        probability = (p if tokens[0] else 1 - p) * (p if tokens[1] else 1 - p)
        for t, weight in enumerate((2, 0) if all(tokens) else (1, 1)):
            gradient[t] += probability * weight * (tokens[t] - p)
    (said,) = re.findall(r"by the two logits is\n?\s*(\(.*?\))", PAGE)
    assert numbers(said) == pytest.approx(gradient)


def test_gradients_of_the_kl() -> None:
    """Of what is expected of each estimator, where the policy itself draws the token."""
    logits_V = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log().requires_grad_()
    logp_V = logits_V.log_softmax(-1)
    x_V, drawn_V = logp_V + torch.tensor(4.0).log(), logp_V.exp().detach()
    k3_V = (-x_V).exp() - 1 + x_V
    expected = {
        "true": (logp_V.exp() * x_V).sum(),
        "k2": (drawn_V * x_V.square() / 2).sum(),
        "k3_corrected": (drawn_V * (logp_V - logp_V.detach()).exp() * k3_V).sum(),
        "k1_in_reward": (drawn_V * x_V.detach() * logp_V).sum(),
        "k3": (drawn_V * k3_V).sum(),
    }
    found = {name: torch.autograd.grad(value, logits_V, retain_graph=True)[0] for name, value in expected.items()}
    for name in ("true", "k2", "k3_corrected", "k1_in_reward"):
        assert found[name].tolist() == pytest.approx(numbers(row("KL(policy to reference)")), abs=1e-6), name
    assert found["k3"].tolist() == pytest.approx(numbers(row("`k3`")))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user who trusts nothing yet; what is registered is forgotten again."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    before = dict(rewards._classes)
    trusted._scanned.cache_clear()
    yield tmp_path
    rewards._classes.clear()
    rewards._classes.update(before)
    for name in [name for name in sys.modules if name.startswith("trusted_")]:
        del sys.modules[name]
    trusted._scanned.cache_clear()


def test_its_reward_is_checked_trusted_and_trained_with(home: Path) -> None:
    (code,), (commands,) = blocks("python"), blocks("sh")
    assert len([line for line in code.splitlines() if line]) <= 15
    (home / "brief.py").write_text(code)
    for line in commands.splitlines():
        _, verb, *rest = shlex.split(line)
        extra = {"plugins": ["--yes"], "run": ["--output", "out", *(f"--set={one}" for one in SMALL)]}.get(verb, [])
        with pytest.raises(SystemExit) as caught:
            main([verb, *rest, *extra])
        assert caught.value.code == 0, line
    log = [json.loads(line) for line in (home / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2]
    for line in log:
        assert line["reward"] == pytest.approx(line["rewards/world/mean"] + 0.5 * line["rewards/brief/mean"])
    table = PAGE.partition("| key of `metrics.jsonl` |")[2].partition("\n\n")[0]
    for key in re.findall(r"`([a-z_/]+(?:/NAME/mean|/\*)?)`", "\n".join(re.findall(r"^\| (`.*?) \|", table, re.M))):
        assert any(name.startswith(key.partition("NAME")[0].removesuffix("*")) for name in log[0]), key
    first = json.loads((home / "out" / "samples" / "step_00001.jsonl").read_text().splitlines()[0])
    assert {"rewards", "advantage", "tokens", "weights"} <= first.keys() and set(first["rewards"]) == {"world", "brief"}


def test_its_links_lead_somewhere() -> None:
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", PAGE)}
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []

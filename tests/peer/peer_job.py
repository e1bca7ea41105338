"""Hands the inputs to TRL's environment, runs it, and writes what is kept under `tests/reference`.

From the repository, `PYTHONPATH=tests:benchmarks .venv/bin/python -m peer.peer_job` records anew.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from peer.peer_cases import CASES, ORDER_SEED, TRAJECTORIES, Case
from peer.peer_inputs import (
    DATA,
    MODEL_SEED,
    MOVE_SEED,
    RECORDED,
    Rows,
    fingerprint,
    make_model,
    make_policy,
    read_rows,
    tokenizer,
)
from peer.rollout_cases import (
    LONGEST,
    ROLLOUT_CASES,
    ROLLOUT_TRAJECTORIES,
    STEP_SEED,
    RolloutCase,
    prompts,
    responses,
    trained,
)
from peer_environment import checked, environment
from torch import Tensor


@dataclass(frozen=True)
class Peer:
    """What TRL found.

    Attributes:
        values: its `values.json`.
        gradients: case -> parameter -> gradient.
    """

    values: dict[str, Any]
    gradients: dict[str, dict[str, Tensor]]


def run_peer(folder: Path) -> Peer:
    """Runs TRL on the inputs; `folder` is empty."""
    given, out = folder / "in", folder / "out"
    out.mkdir(parents=True)
    for name, model in (("policy", make_policy()), ("reference", make_model())):
        model.save_pretrained(given / name)
        tokenizer().save_pretrained(given / name)
    for moved in {case.moved for case in ROLLOUT_CASES}:
        trained(moved).save_pretrained(given / f"moved_{moved}")
    (given / "job.json").write_text(json.dumps(_job(read_rows())))
    checked([environment(), "-I", Path(__file__).with_name("trl_side.py"), given, out])
    names = [case.name for case in (*CASES, *ROLLOUT_CASES)]
    gradients = {name: safetensors.torch.load_file(out / f"{name}.safetensors") for name in names}
    return Peer(json.loads((out / "values.json").read_text()), gradients)


def _job(rows: Rows) -> dict[str, Any]:
    def case_of(case: Case) -> dict[str, Any]:
        return {**asdict(case), "rows": case.trainer}

    trajectories = []
    for one in TRAJECTORIES:
        batches = one.batches(one.case.rows(rows))
        trajectories.append({**asdict(one), "case": case_of(one.case), "batches": batches})
    return {
        "rows": {"preference": _pairs_of(rows), "unpaired": _halves_of(rows)},
        "cases": [case_of(case) for case in CASES],
        "trajectories": trajectories,
        "rollouts": _rollouts_of(rows),
    }


def _rollouts_of(rows: Rows) -> dict[str, Any]:
    def case_of(case: RolloutCase) -> dict[str, Any]:
        return {**asdict(case), "updates": case.updates, "rewards": case.rewards}

    return {
        "texts": [rows.pairs[row.index].prompt for row in prompts(rows)],
        "prompt_ids": [row.prompt.tolist() for row in prompts(rows)],
        "ids": [[ids.tolist() for ids in group] for group in responses(rows)],
        "longest": LONGEST,
        "cases": [case_of(case) for case in ROLLOUT_CASES],
        "trajectories": [{**asdict(one), "case": case_of(one.case)} for one in ROLLOUT_TRAJECTORIES],
    }


def _pairs_of(rows: Rows) -> list[dict[str, Any]]:
    found = []
    for index, (pair, row) in enumerate(zip(rows.pairs, rows.paired(gold=True), strict=True)):
        ids = {"prompt": row.prompt, **row.responses}
        ids["reference"] = ids.pop("gold")
        text = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        text["reference"] = rows.pairs[rows.gold(index)].chosen
        found.append({**text, "ids": {name: one.tolist() for name, one in ids.items()}})
    return found


def _halves_of(rows: Rows) -> list[dict[str, Any]]:
    found = []
    for row in rows.unpaired():
        pair = rows.pairs[row.index // 2]
        ids = {"prompt": row.prompt.tolist(), "completion": row.responses["completion"].tolist()}
        text = {"prompt": pair.prompt, "completion": pair.chosen if row.label else pair.rejected}
        found.append({**text, "label": row.label, "ids": ids})
    return found


def record(peer: Peer) -> None:
    """Writes the values under `tests/reference`, with all that is needed to make them again."""
    rows = read_rows()
    made_from = {
        "versions": peer.values["versions"],
        "data": {"file": DATA.name, "lines": [pair.line for pair in rows.pairs]},
        "seeds": {"model": MODEL_SEED, "move": MOVE_SEED, "order": ORDER_SEED},
        "fingerprint": fingerprint(rows, make_policy(), make_model()),
    }
    steps = {
        case.name: {"peer": case.peer, "arguments": case.arguments, **peer.values["cases"][case.name]} for case in CASES
    }
    RECORDED.mkdir(exist_ok=True)
    _write("trl_single_step.json", {**made_from, "cases": steps})
    for one in TRAJECTORIES:
        how = {key: value for key, value in asdict(one).items() if key not in ("case", "name")}
        how |= {"peer": one.case.peer, "arguments": one.case.arguments, "batches": one.batches(one.case.rows(rows))}
        _write(f"trl_{one.name}_20_steps.json", {**made_from, **how, "losses": peer.values["trajectories"][one.name]})
    kept = {case.name: _kept(case, peer) for case in ROLLOUT_CASES}
    steps = {one.name: peer.values["trajectories"][one.name] for one in ROLLOUT_TRAJECTORIES}
    _write("trl_rollouts.json", {**made_from, "step_seed": STEP_SEED, "cases": kept, "trajectories": steps})


def _kept(case: RolloutCase, peer: Peer) -> dict[str, Any]:
    how = {"peer": case.peer, "arguments": case.arguments, "moved": case.moved, "rewards": case.rewards}
    return how | peer.values["rollouts"][case.name] | {"gradient_norm": gradient_norm(peer.gradients[case.name])}


def gradient_norm(gradients: dict[str, Tensor]) -> float:
    """Of all parameters together."""
    return float(torch.cat([gradient.flatten() for gradient in gradients.values()]).norm())


def _write(name: str, values: dict[str, Any]) -> None:
    lines = [f"{json.dumps(key)}: {_value(value)}" for key, value in values.items()]
    (RECORDED / name).write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _value(value: Any) -> str:
    """JSON; of the cases one line each."""
    if isinstance(value, dict) and all(isinstance(one, dict) for one in value.values()):
        return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(one)}" for key, one in value.items()) + "\n}"
    return json.dumps(value)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        record(run_peer(Path(scratch)))

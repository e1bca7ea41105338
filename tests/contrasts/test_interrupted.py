"""A short training that is interrupted goes on where it was, and nowhere else."""

from __future__ import annotations

import os
import signal

import pytest
from contrast_toy import bench_in, contrast, same, trained

from alignkit.engine.objective import ObjectiveStep

pytestmark = pytest.mark.slow  # each trains side models several times over


@pytest.fixture
def interrupt(monkeypatch):
    """Makes SIGTERM come in the so-manieth micro-batch from now."""
    real, left = ObjectiveStep.loss, [-1]

    def loss(*arguments, **keywords):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **keywords)

    monkeypatch.setattr(ObjectiveStep, "loss", loss)
    return lambda count: left.__setitem__(0, count)


@pytest.mark.parametrize("count", [1, 3, 6])
@pytest.mark.parametrize("name", ["dpo", "sft"])
def test_interrupted_and_resumed_it_gives_the_same(name, count, tmp_path, interrupt) -> None:
    """Two micro-batches a step: in the first, a middle and the last one of three steps."""
    whole = trained(contrast(name), bench_in(tmp_path / "whole"))
    cut = bench_in(tmp_path / "cut")
    interrupt(count)
    with pytest.raises(SystemExit) as stopped:
        contrast(name).train("positive", cut.train, cut)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert [path.name for path in (tmp_path / "cut").rglob("checkpoints/*")] == [f"step-{(count + 1) // 2:08d}"]
    assert same(trained(contrast(name), bench_in(tmp_path / "cut")), whole)


def test_killed_without_a_checkpoint_it_begins_anew(tmp_path, monkeypatch) -> None:
    whole, real, calls = trained(contrast("dpo"), bench_in(tmp_path / "whole")), ObjectiveStep.loss, []

    def dying(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments, **keywords)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ObjectiveStep, "loss", dying)
        trained(contrast("dpo"), bench_in(tmp_path / "cut"))
    assert same(trained(contrast("dpo"), bench_in(tmp_path / "cut")), whole)
    (log,) = (tmp_path / "cut").rglob("metrics.jsonl")
    assert log.read_text().count("\n") == 3


OTHERS = {
    "other beta": contrast("dpo", beta=2.0),
    "other method": contrast("sft"),
    "other steps": contrast("dpo", steps=4),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_second_contrast_of_a_run_does_not_go_on_where_the_first_was_interrupted(other, tmp_path, interrupt) -> None:
    """A mixture may hold two of them; what the first left in the run's folder is not the second's."""
    alone = trained(OTHERS[other], bench_in(tmp_path / "alone"))
    interrupt(3)
    with pytest.raises(SystemExit):
        trained(contrast("dpo"), bench_in(tmp_path / "run"))
    trained(contrast("dpo"), bench_in(tmp_path / "run"))
    assert same(trained(OTHERS[other], bench_in(tmp_path / "run")), alone)

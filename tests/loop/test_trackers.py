"""Curves, recipe, run name and folder as a tracker gets them; TensorBoard's own reader finds them in a real folder."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import accelerate
import pytest
from loop_toy import run_toy

from alignkit.loop.accelerator import start_trackers

SETTINGS = {
    "seed": 3,
    "losses.0.name": "dpo",
    "losses.0.beta": 0.5,
    "data.eval": None,
    "data.rows": [],
    "weighted": True,
}


@pytest.fixture
def read_events():
    """TensorBoard's reader of event files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its own imports complain of is not ours
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from torch.utils import tensorboard  # noqa: F401 -- accelerate imports it later
    return lambda folder: EventAccumulator(str(folder)).Reload()


def test_a_real_event_file(tmp_path, read_events):
    """3 steps, each with all the numbers of `metrics.jsonl`; below the run folder, whose name names the run."""
    folder = tmp_path / "my-run"
    lines = []
    run_toy(
        folder,
        steps=3,
        trackers=["tensorboard"],
        settings=SETTINGS,
        eval_every=2,
        on_eval=lambda step: {"margin": 1.5},
        on_log=lambda step, line: lines.append(dict(line)),
    )
    events = read_events(folder / "trackers" / "alignkit")
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (step, pytest.approx(line["loss"])) for step, line in enumerate(lines, start=1)
    ]
    assert [(event.step, event.value) for event in events.Scalars("eval/margin")] == [(2, 1.5)]
    settings = [path.parent for path in (folder / "trackers" / "alignkit").glob("*/events*")]
    (hparams,) = [
        data.plugin_data.content
        for path in settings
        for tag, data in read_events(path).summary_metadata.items()
        if tag.endswith("session_start_info")
    ]
    for expected in (b"losses.0.beta", b"losses.0.name", b"dpo", b"data.eval", b"null"):
        assert expected in hparams
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "metrics.jsonl", "trackers"]


def test_what_other_trackers_are_told(tmp_path):
    told = {}
    accelerator = SimpleNamespace(
        log_with=["wandb"],
        is_main_process=True,
        init_trackers=lambda project, config, init_kwargs: told.update(project=project, config=config, **init_kwargs),
    )
    (tmp_path / "my-run").mkdir()
    start_trackers(accelerator, tmp_path / "my-run", SETTINGS)
    assert told["project"] == "alignkit"
    assert told["config"] == {
        "seed": 3,
        "losses.0.name": "dpo",
        "losses.0.beta": 0.5,
        "data.eval": "null",
        "data.rows": "[]",
        "weighted": True,
    }
    assert told["wandb"] == {"name": "my-run", "dir": str(tmp_path / "my-run" / "trackers")}
    assert told["mlflow"] == {"run_name": "my-run"}


def test_names_given_for_options_are_accelerates(tmp_path):
    options = {}
    accelerator = SimpleNamespace(
        log_with=["x"],
        is_main_process=True,
        init_trackers=lambda project, config, init_kwargs: options.update(init_kwargs),
    )
    start_trackers(accelerator, tmp_path, {})
    assert options.keys() <= accelerate.tracking.LOGGER_TYPE_TO_CLASS.keys()


def test_without_trackers_nothing_is_made(tmp_path):
    run_toy(tmp_path, steps=1, settings=SETTINGS)
    assert not (tmp_path / "trackers").exists()

"""The loop with a toy step: normalisation, log, resume and refusals, signals, non-finite values."""

from __future__ import annotations

import json
import math
import os
import signal
import threading

import pytest
import torch
from loop_toy import FINGERPRINT, ToyStep, make_rows, run_toy, weights_of

from alignkit.errors import CheckpointError, NonFiniteError, RewardError, RunFolderError
from alignkit.finite import require
from alignkit.loop.checkpoint import CheckpointFolder, find_damage, read_tensors
from alignkit.loop.loop import _Loop
from alignkit.loop.order import DataOrder
from alignkit.loop.signals import Interrupted, Interruptible


def log_of(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_micro_batches_do_not_matter(tmp_path):
    """1 x 8 = 8 x 1, 3 + 3 + 2, and 10 tokens each, up to the order of sums; the last batch of 5 rows included."""
    cuts = {"8": {"micro_batch_size": 8}, "1": {"micro_batch_size": 1}, "3": {}, "tokens": {"micro_batch_tokens": 10}}
    runs = [run_toy(tmp_path / name, **cut)[2] for name, cut in cuts.items()]
    for run in runs[1:]:
        torch.testing.assert_close(weights_of(run), weights_of(runs[0]), rtol=0, atol=1e-6)
    for size in ("1", "3", "tokens"):
        for one, other in zip(log_of(tmp_path / "8"), log_of(tmp_path / size), strict=True):
            assert other == pytest.approx(one, rel=1e-4, abs=1e-6)


def test_a_step_is_that_of_plain_torch(tmp_path):
    """Two steps at a constant rate against a loop of five lines: mean over all tokens of the batch, clip, AdamW."""
    _, _, step = run_toy(tmp_path, steps=2, warmup=0.0, schedule="constant", max_grad_norm=0.5, weight_decay=0.1)
    plain = ToyStep()
    optimizer = torch.optim.AdamW([plain.plain.embedding.weight], lr=0.1, weight_decay=0.1)
    order = DataOrder(make_rows(21), 8, seed=3)
    for number in range(2):
        plain.prepare(number, (), {})
        rows = order.batch(number)
        optimizer.zero_grad()
        plain.loss(rows, number, plain.totals(rows))[0].backward()
        torch.nn.utils.clip_grad_norm_([plain.plain.embedding.weight], 0.5)
        optimizer.step()
    torch.testing.assert_close(weights_of(step), weights_of(plain), rtol=0, atol=1e-6)


def test_lines_of_the_log(tmp_path):
    """21 rows, batch 8: epochs 8/21, 16/21, 1; rate 0.1 x (0, 1, 1/2) for a warm-up of 1 of 3 steps, then linear."""
    seen = {}
    result, notes, _ = run_toy(
        tmp_path, steps=3, warmup=0.3, schedule="linear", on_log=lambda number, line: seen.update({number: line})
    )
    lines = log_of(tmp_path)
    assert [line["step"] for line in lines] == list(seen) == [1, 2, 3]
    assert [line["epoch"] for line in lines] == [8 / 21, 16 / 21, 1.0]
    assert [line["lr"] for line in lines] == pytest.approx([0.0, 0.1, 0.05])
    assert [line["examples"] for line in lines] == [8, 8, 5]
    tokens = [sum(len(row.responses["chosen"]) for row in DataOrder(make_rows(21), 8, 3).batch(i)) for i in range(3)]
    assert [line["tokens"] for line in lines] == tokens
    # At the first step the anchor is the weights' own mean: the pull is 0 and the loss is the mean of all tokens' nll.
    assert lines[0]["loss"] == pytest.approx(lines[0]["nll"], rel=1e-6)
    assert list(lines[0]) == ["step", "epoch", "loss", "grad_norm", "lr", "examples", "tokens", "nll", "anchor"]
    assert (result.steps, result.stopped_by_signal, notes) == (3, None, [])
    assert {key: value for key, value in result.metrics.items() if key != "seconds"} == lines[-1]


def test_log_every_and_eval_every(tmp_path):
    """7 steps: logged at 3, 6 and the last; evaluated at 2, 4 and 6, which are logged too. NaN becomes null."""
    run_toy(tmp_path, log_every=3, eval_every=2, on_eval=lambda number: {"margin": math.nan, "at": number})
    lines = log_of(tmp_path)
    assert [line["step"] for line in lines] == [2, 3, 4, 6, 7]
    assert [line.get("eval/at") for line in lines] == [2, None, 4, 6, None]
    assert lines[0]["eval/margin"] is None


def test_prepare_sees_the_coming_steps_of_the_run_only(tmp_path):
    """`lookahead` 2: this step and the next one, and at the last step this one alone."""
    _, _, step = run_toy(tmp_path, steps=4)
    order = DataOrder(make_rows(21), 8, 3)
    rows = {number: [row.index for row in order.batch(number)] for number in range(4)}
    assert step.prepared == [{n: rows[n] for n in range(start, min(start + 2, 4))} for start in range(4)]


def test_the_plain_module_is_put_back(tmp_path):
    _, _, step = run_toy(tmp_path, steps=1)
    assert step.module is step.plain
    assert step.plain.head.weight is step.plain.embedding.weight


# --- signals ---


@pytest.fixture
def interruptible():
    """SIGINT as in a terminal; a shell that starts the tests in the background has it ignored."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_and_stops_at_the_boundary_and_the_resumed_run_is_exact(tmp_path, interruptible, number):
    """No `save_every`, so the only checkpoint is the one of step 4; the anchor is of step 3, so it must come back."""
    handler = signal.getsignal(number)
    result, _, _ = run_toy(
        tmp_path / "a", ToyStep(noise=True), on_log=lambda n, line: os.kill(os.getpid(), number) if n == 4 else None
    )
    assert (result.steps, result.stopped_by_signal) == (4, number)
    assert [path.name for path in (tmp_path / "a" / "checkpoints").iterdir()] == ["step-00000004"]
    assert signal.getsignal(number) is handler
    result, notes, resumed = run_toy(tmp_path / "a", ToyStep(noise=True), resume=True)
    _, _, straight = run_toy(tmp_path / "b", ToyStep(noise=True))
    assert notes == [f"resuming after step 4 from {tmp_path / 'a' / 'checkpoints' / 'step-00000004'}"]
    assert (result.steps, result.stopped_by_signal) == (7, None)
    assert torch.equal(weights_of(resumed), weights_of(straight))
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")


def test_an_ignored_signal_stays_ignored(tmp_path, interruptible):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    result, _, _ = run_toy(tmp_path, steps=2, on_log=lambda n, line: os.kill(os.getpid(), signal.SIGINT))
    assert (result.steps, result.stopped_by_signal) == (2, None)


def test_a_second_interrupt_interrupts(tmp_path, interruptible):
    def press_twice(number, line):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_toy(tmp_path, on_log=press_twice)


def test_trains_off_the_main_thread(tmp_path):
    """Python installs signal handlers in the main thread only."""
    results = []
    thread = threading.Thread(target=lambda: results.append(run_toy(tmp_path, steps=2)[0].steps))
    thread.start()
    thread.join()
    assert results == [2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", ["save", "trained"])
def test_a_signal_after_the_last_step_is_answered(tmp_path, interruptible, monkeypatch, number, moment):
    """While the last checkpoint is written, or the caller's model after it: all is saved, and the signal is told."""
    save = CheckpointFolder.commit

    def signalled(folder, step):
        os.kill(os.getpid(), number)
        return save(folder, step)

    if moment == "save":
        monkeypatch.setattr(CheckpointFolder, "commit", signalled)
    trained = []
    result, _, _ = run_toy(
        tmp_path, on_trained=lambda: trained.append(os.kill(os.getpid(), number) if moment == "trained" else None)
    )
    assert (result.steps, result.stopped_by_signal, trained) == (7, number, [None])
    assert find_damage(tmp_path / "checkpoints" / "step-00000007") is None


def test_a_signal_that_nobody_could_agree_on_ends_the_run(tmp_path, interruptible, monkeypatch):
    """It comes when all processes have asked each other for the last time."""
    agree = _Loop._agreed

    def late(loop, stop):
        agreed = agree(loop, stop)
        if loop.saver.last_good:
            os.kill(os.getpid(), signal.SIGTERM)
        return agreed

    monkeypatch.setattr(_Loop, "_agreed", late)
    with pytest.raises(Interrupted) as stopped:
        run_toy(tmp_path)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert find_damage(tmp_path / "checkpoints" / "step-00000007") is None


def test_outside_the_loop_a_signal_ends_the_program_at_once(interruptible):
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Interrupted) as stopped, Interruptible():
        os.kill(os.getpid(), signal.SIGINT)
    assert (stopped.value.code, stopped.value.message) == (130, "stopped by SIGINT")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_a_scheduler_may_warn_twice():
    """Slurm signals each process itself and the launcher passes on what it got."""
    handler = signal.getsignal(signal.SIGUSR1)
    with Interruptible():
        with pytest.raises(Interrupted) as stopped:
            os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
    assert stopped.value.code == 128 + signal.SIGUSR1
    assert signal.getsignal(signal.SIGUSR1) is handler


# --- non-finite ---


def test_a_loss_that_is_not_finite_stops_before_the_optimizer_step(tmp_path):
    """By length the third step has the micro-batches (10, 14, 13) and (20, 8) under seed 3; row i stands in line i + 1.

    The weights are still those of a run that was stopped after two steps, and its checkpoint is whole.
    """
    step = ToyStep(bad_row=20)
    with pytest.raises(NonFiniteError) as caught:
        run_toy(tmp_path / "a", step, save_every=1)
    last_good = tmp_path / "a" / "checkpoints" / "step-00000002"
    assert str(caught.value) == (
        "step 3: the loss is nan in the micro-batch of toy.jsonl:21, toy.jsonl:9 (process 0); "
        f"stopped before the optimizer step; last good checkpoint: {last_good}"
    )
    _, _, stopped = run_toy(tmp_path / "b", on_log=_stop_at(2))
    assert torch.equal(weights_of(step), weights_of(stopped))
    assert [line["step"] for line in log_of(tmp_path / "a")] == [1, 2]
    assert find_damage(last_good) is None


def _stop_at(number):
    return lambda done, line: os.kill(os.getpid(), signal.SIGTERM) if done == number else None


class InfiniteGradient(ToyStep):
    """A finite loss whose gradient is not: the square root at 0."""

    def loss(self, rows, step, totals):
        loss, metrics = super().loss(rows, step, totals)
        return loss + (0.0 * self.plain.embedding.weight.sum()).sqrt(), metrics


def test_a_gradient_that_is_not_finite_stops(tmp_path):
    with pytest.raises(NonFiniteError) as caught:
        run_toy(tmp_path, InfiniteGradient())
    batch = DataOrder(make_rows(21), 8, 3).batch(0)
    names = ", ".join(row.where for row in batch)
    assert str(caught.value) == (
        f"step 1: the gradient norm is nan in the batch of {names}; stopped before the optimizer step; "
        "last good checkpoint: none"
    )


def one_line_stop(folder, **values):
    with pytest.raises(NonFiniteError) as caught:
        run_toy(folder, save_every=1, warmup=0.0, schedule="constant", **values)
    assert [path.name for path in (folder / "checkpoints").glob("*")] == []  # nothing infinite is ever written
    return str(caught.value)


def test_weights_that_an_update_made_infinite_stop_the_run_and_are_not_saved(tmp_path):
    """Decoupled decay multiplies by 1 - rate x decay = -1e39, beyond float32."""
    batch = ", ".join(row.where for row in DataOrder(make_rows(21), 8, 3).batch(0))
    assert one_line_stop(tmp_path, learning_rate=1e20, weight_decay=1e19) == (
        "step 1: parameter 'embedding.weight' is NaN or infinite after the optimizer step; the learning rate is 1e+20, "
        f"the batch {batch}; last good checkpoint: none"
    )


def test_a_rate_that_the_optimizer_cannot_hold_stops_the_run(tmp_path):
    """Adam divides it by 1 - beta1 = 1e-9."""
    batch = ", ".join(row.where for row in DataOrder(make_rows(21), 8, 3).batch(0))
    assert one_line_stop(tmp_path, learning_rate=1e30, betas=(1 - 1e-9, 0.999)) == (
        "step 1: parameter 'embedding.weight' is NaN or infinite after the optimizer step; the learning rate is 1e+30, "
        f"the batch {batch}; last good checkpoint: none"
    )


class BadWeights(ToyStep):
    """A part of the objective that knows no step and no rows refuses its own result at the third step."""

    def loss(self, rows, step, totals):
        if step == 2:
            raise NonFiniteError("weighting 'x' returned a weight that is infinite")
        return super().loss(rows, step, totals)


class UnmetRequirement(ToyStep):
    """The same, found on the device: it is asked after the last backward, when the loss is NaN too."""

    def loss(self, rows, step, totals):
        loss, metrics = super().loss(rows, step, totals)
        is_fine = torch.tensor(step != 2)
        require(is_fine, "weighting 'x' returned a weight that is infinite")
        return torch.where(is_fine, loss, torch.nan), metrics


@pytest.mark.parametrize("kind", [BadWeights, UnmetRequirement])
def test_a_weight_that_is_not_finite_is_placed(kind, tmp_path):
    with pytest.raises(NonFiniteError) as caught:
        run_toy(tmp_path, kind(), save_every=1, schedule="constant", warmup=0.0)
    last_good = tmp_path / "checkpoints" / "step-00000002"
    assert str(caught.value) == (
        "step 3: weighting 'x' returned a weight that is infinite, on toy.jsonl:11, toy.jsonl:15, toy.jsonl:14 "
        f"(process 0); the learning rate of the step before was 0.1; last good checkpoint: {last_good}"
    )


# --- refusals ---


def test_a_second_run_in_the_folder_is_refused(tmp_path):
    run_toy(tmp_path, steps=1)
    with pytest.raises(RunFolderError) as caught:
        run_toy(tmp_path, steps=1)
    path = tmp_path / "metrics.jsonl"
    assert str(caught.value) == f"{path}: already there; resume its run, or give the new run another folder"


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"fingerprint": FINGERPRINT | {"data": "d2"}}, "data: 'd1', this run has 'd2'"),
        ({"fingerprint": FINGERPRINT | {"recipe": "r2"}}, "recipe: 'r1', this run has 'r2'"),
        ({"seed": 4}, "seed: 3, this run has 4"),
        ({"num_rows": 22}, "rows: 21, this run has 22"),
        ({"learning_rate": 0.2}, "training.learning_rate: 0.1, this run has 0.2"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, changed, difference):
    run_toy(tmp_path, save_every=7)
    with pytest.raises(CheckpointError) as caught:
        run_toy(tmp_path, save_every=7, resume=True, **changed)
    path = tmp_path / "checkpoints" / "step-00000007"
    assert str(caught.value) == f"{path}: made with other {difference}; resume with the same, or start a new run"


def test_what_does_not_change_the_training_may_change_on_resume(tmp_path):
    run_toy(tmp_path / "a", on_log=_stop_at(3))
    _, _, resumed = run_toy(tmp_path / "a", resume=True, micro_batch_size=8, save_every=2, keep_checkpoints=1)
    _, _, straight = run_toy(tmp_path / "b")
    torch.testing.assert_close(weights_of(resumed), weights_of(straight), rtol=0, atol=1e-6)


def test_a_log_that_lost_lines_is_refused(tmp_path):
    run_toy(tmp_path, save_every=7)
    path = tmp_path / "metrics.jsonl"
    size = path.stat().st_size
    os.truncate(path, 10)
    with pytest.raises(CheckpointError) as caught:
        run_toy(tmp_path, save_every=7, resume=True)
    assert str(caught.value) == (
        f"{path}: has 10 bytes, but {size} when the checkpoint was made; restore the file, or start a new run"
    )


def test_a_log_that_was_changed_is_refused_at_equal_length(tmp_path):
    run_toy(tmp_path)
    path = tmp_path / "metrics.jsonl"
    content = path.read_text()
    path.write_text(content.replace('"step": 3', '"step": 8'))
    with pytest.raises(CheckpointError) as caught:
        run_toy(tmp_path, resume=True)
    assert str(caught.value) == (
        f"{path}: its first {len(content)} bytes have changed since they were written (sha256); "
        "restore the file, or start a new run"
    )


# --- more steps than were planned ---

CONSTANT = {"schedule": "constant", "warmup": 0.0}


def test_a_run_is_extended_as_if_it_had_been_planned_so(tmp_path):
    run_toy(tmp_path / "a", ToyStep(noise=True), steps=4, **CONSTANT)
    started = []
    result, _, longer = run_toy(
        tmp_path / "a", ToyStep(noise=True), steps=7, resume=True, on_start=started.append, **CONSTANT
    )
    _, _, straight = run_toy(tmp_path / "b", ToyStep(noise=True), steps=7, **CONSTANT)
    assert (result.steps, started) == (7, [4])
    assert torch.equal(weights_of(longer), weights_of(straight))
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")


def test_a_warm_up_that_stays_as_long_may_be_extended(tmp_path):
    """2 of 4 steps, given as the share that the refusal of 8 steps advises."""
    path = tmp_path / "a" / "checkpoints" / "step-00000004"
    run_toy(tmp_path / "a", steps=4, schedule="constant", warmup=0.5)
    with pytest.raises(CheckpointError) as caught:
        run_toy(tmp_path / "a", steps=8, schedule="constant", warmup=0.5, resume=True)
    assert str(caught.value) == (
        f"{path}: cannot go on to step 8: constant over 8 steps with a warm-up of 4 has other learning rates than "
        "constant over 4 steps with a warm-up of 2: 0.025 at step 2, where 0.05 was used; "
        "give training.warmup=0.188 too, which keeps the warm-up of 2 steps"
    )
    _, _, longer = run_toy(tmp_path / "a", steps=8, schedule="constant", warmup=0.188, resume=True)
    _, _, straight = run_toy(tmp_path / "b", steps=8, schedule="constant", warmup=0.25)
    assert torch.equal(weights_of(longer), weights_of(straight))


def test_a_decay_cannot_be_extended(tmp_path):
    run_toy(tmp_path, steps=4, warmup=0.0)
    path = tmp_path / "checkpoints" / "step-00000004"
    with pytest.raises(CheckpointError) as caught:
        run_toy(tmp_path, steps=8, warmup=0.0, resume=True)
    # (1 + cos(pi / 8)) / 2 = 0.9619, (1 + cos(pi / 4)) / 2 = 0.8536
    assert str(caught.value) == (
        f"{path}: cannot go on to step 8: cosine over 8 steps with a warm-up of 0 has other learning rates than "
        "cosine over 4 steps with a warm-up of 0: 0.09619 at step 2, where 0.08536 was used; "
        "undo the change, or start a new run"
    )


def test_a_run_cannot_have_fewer_steps_than_it_has_made(tmp_path):
    run_toy(tmp_path, steps=4, **CONSTANT)
    path = tmp_path / "checkpoints" / "step-00000004"
    with pytest.raises(CheckpointError) as caught:
        run_toy(tmp_path, steps=3, resume=True, **CONSTANT)
    assert str(caught.value) == f"{path}: 4 steps are done, this run has 3; give training.steps >= 4"


def test_a_finished_training_is_saved_before_its_caller_goes_on(tmp_path):
    """By default, too; and what the caller saves then comes after the checkpoint, once, also when nothing is left."""
    seen = []
    last = tmp_path / "checkpoints" / "step-00000007"
    run_toy(tmp_path, on_trained=lambda: seen.append(find_damage(last)))
    assert seen == [None]
    result, _, _ = run_toy(tmp_path, resume=True, on_trained=lambda: seen.append("again"))
    assert (result.steps, seen) == (7, [None, "again"])


def test_versions_that_changed_are_told(tmp_path):
    """The state file is written anew with its manifest, as an older torch would have."""
    run_toy(tmp_path, on_log=_stop_at(3))
    folder = CheckpointFolder(tmp_path / "checkpoints", 2)
    record = json.loads((folder.path(3) / "state.json").read_text())
    now = record["versions"]["torch"]
    record["versions"]["torch"] = "1.0"
    folder.path(3).rename(folder.staging(3))
    (folder.staging(3) / "manifest.json").unlink()
    (folder.staging(3) / "state.json").write_text(json.dumps(record))
    folder.commit(3)
    _, notes, _ = run_toy(tmp_path, resume=True)
    assert notes[0] == f"{folder.path(3)}: made with torch 1.0, now {now}; the last bits may differ"


def test_a_step_without_rows_leaves_parameters_and_optimizer(tmp_path):
    """What is left are the steps before and after it; the schedule and the log go on."""
    constant = {"warmup": 0.0, "schedule": "constant", "save_every": 1, "keep_checkpoints": 9}
    result, _, step = run_toy(tmp_path / "idle", ToyStep(idle=(1, 3)), steps=4, **constant)
    lines = log_of(tmp_path / "idle")
    assert lines[1] == {
        "step": 2,
        "epoch": pytest.approx(16 / 21),
        "loss": 0.0,
        "grad_norm": 0.0,
        "lr": 0.1,
        "drawn": 0.0,
    }
    assert [line["step"] for line in lines] == [1, 2, 3, 4] and result.steps == 4
    for file in ("optimizer.safetensors", "model/parameters.safetensors"):
        one, other, later = (
            read_tensors(tmp_path / "idle" / "checkpoints" / f"step-0000000{number}" / file) for number in (1, 2, 3)
        )
        assert one.keys() == other.keys() and all(torch.equal(other[key], value) for key, value in one.items())
        assert not all(torch.equal(later[key], value) for key, value in one.items())
    resumed = ToyStep(idle=(1, 3))
    run_toy(tmp_path / "again", resumed, steps=4, **constant)
    assert torch.equal(weights_of(resumed), weights_of(step))


def test_what_was_trained_is_saved_before_a_step_whose_rows_cannot_be_had(tmp_path):
    with pytest.raises(RewardError) as caught:
        run_toy(tmp_path / "a", ToyStep(noise=True, refused=4))
    assert str(caught.value) == f"no word; last good checkpoint: {tmp_path}/a/checkpoints/step-00000004"
    with pytest.raises(RewardError, match=r"step-00000004$"):  # which is there already
        run_toy(tmp_path / "a", ToyStep(noise=True, refused=4), resume=True)
    _, _, resumed = run_toy(tmp_path / "a", ToyStep(noise=True), resume=True)
    _, _, straight = run_toy(tmp_path / "b", ToyStep(noise=True))
    assert torch.equal(weights_of(resumed), weights_of(straight))
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")
    with pytest.raises(RewardError, match=r"^no word$"):
        run_toy(tmp_path / "c", ToyStep(refused=0))
    assert not list((tmp_path / "c").glob("checkpoints/*"))


def test_a_batch_is_there_for_several_steps(tmp_path):
    """21 rows, batch 8, each for 2 steps: 6 steps are an epoch, and the rows of two steps in a row are the same."""
    step = ToyStep()
    step.updates, step.lookahead = 2, 1
    result, _, _ = run_toy(tmp_path, step, steps=None, epochs=1.0)
    assert result.steps == 6
    seen = [rows for of_step in step.prepared for rows in of_step.values()]
    assert seen[0::2] == seen[1::2] and sorted(seen[0] + seen[2] + seen[4]) == list(range(21))
    epochs = [line["epoch"] for line in log_of(tmp_path)]
    assert epochs == pytest.approx([4 / 21, 8 / 21, 12 / 21, 16 / 21, 18.5 / 21, 1.0])

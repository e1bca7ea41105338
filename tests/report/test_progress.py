"""Progress in a pipe, in a terminal and in a narrow one, with a clock of the test's own."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from alignkit.report.progress import Progress, duration, progress_line

METRICS = {
    "step": 40.0,
    "loss": 0.55123,
    "rewards/margins": 0.8123,
    "rewards/accuracies": 0.75,
    "lr": 1e-4,
    "tokens": 617.0,
    "seconds": 0.5,
    "grad_norm": 1.0,
}


class Clock:
    """Seconds that the test sets."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, height=20, force_terminal=True, color_system=None)


def frames(console: Console) -> list[str]:
    """What was drawn, frame by frame, without cursor movements and the spaces that fill a line."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", console.file.getvalue().replace("\r", "\n"))
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_the_line_shows_what_is_known_in_its_order():
    assert progress_line(40, 100, METRICS, 12.4) == (
        "step  40/100  0:12 left  loss 0.5512  margin +0.812  accuracy 0.750  1,234 tokens/s  lr 1.0e-04"
    )
    assert progress_line(3, 3, {"loss": 0.6931, "tokens": 5.0, "seconds": 0.0}, None) == "step 3/3  loss 0.6931"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (7, "0:07"), (59.7, "1:00"), (750, "12:30"), (11100, "3:05:00")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_pipe_gets_the_first_step_one_line_per_interval_and_the_last():
    """Steps take 2 s. Shown: step 1, then steps 6 and 11 (10 s later each), and step 12, the last.

    Time left at step 6: 12 s for 6 steps, 6 to go: 12 s.
    """
    clock, console = Clock(), Console(file=io.StringIO(), width=30)
    with Progress(12, console=console, every=10, clock=clock) as progress:
        for step in range(1, 13):
            clock.now += 2
            progress.update(step, {"loss": 1 / step})
    assert console.file.getvalue() == (
        "step  1/12  0:22 left  loss 1.0000\n"
        "step  6/12  0:12 left  loss 0.1667\n"
        "step 11/12  0:02 left  loss 0.0909\n"
        "step 12/12  0:00 left  loss 0.0833\n"
    )


def test_time_left_counts_only_the_steps_of_this_process():
    """Resumed after step 90; steps 91 and 92 took 3 s each, so 8 more take 24 s."""
    clock, console = Clock(), Console(file=io.StringIO())
    with Progress(100, start=90, console=console, every=0, clock=clock) as progress:
        for step in (91, 92):
            clock.now += 3
            progress.update(step, {})
    assert console.file.getvalue() == "step  91/100  0:27 left\nstep  92/100  0:24 left\n"


def test_time_left_after_a_resume_that_is_found_out_late():
    """As above, but the steps done before are known only when the checkpoint was read, 7 seconds later."""
    clock, console = Clock(), Console(file=io.StringIO())
    with Progress(100, console=console, every=0, clock=clock) as progress:
        clock.now += 7
        progress.begin(90)
        clock.now += 3
        progress.update(91, {})
    assert console.file.getvalue() == "step  91/100  0:27 left\n"


def test_a_terminal_gets_one_line_with_a_bar():
    clock, console = Clock(), terminal(120)
    with Progress(2, console=console, clock=clock) as progress:
        for step in (1, 2):
            clock.now += 1
            progress.update(step, METRICS)
    tail = "loss 0.5512  margin +0.812  accuracy 0.750  1,234 tokens/s  lr 1.0e-04"
    bar = "━━━━━━━━"
    assert [line.replace("╸", " ").rstrip() for line in frames(console)] == [
        f"{bar}         step 1/2  0:01 left  {tail}",
        f"{bar}{bar} step 2/2  0:00 left  {tail}",
        f"{bar}{bar} step 2/2  0:00 left  {tail}",  # left standing at the end
    ]


def test_a_narrow_terminal_has_no_bar_and_stays_on_one_line():
    clock, console = Clock(), terminal(60)
    with Progress(2, console=console, clock=clock) as progress:
        clock.now += 1
        progress.update(1, METRICS)
    assert set(frames(console)) == {"step 1/2  0:01 left  loss 0.5512  margin +0.812  accuracy 0."}


def test_frames_are_not_drawn_faster_than_they_can_be_seen():
    """Steps of 0.04 s: 1, 4 and 7 are at least 0.1 s after the frame before, 8 is the last step."""
    clock, console = Clock(), terminal(60)
    with Progress(8, console=console, clock=clock) as progress:
        for step in range(1, 9):
            clock.now += 0.04
            progress.update(step, {})
    assert [line[:8] for line in dict.fromkeys(frames(console))] == ["step 1/8", "step 4/8", "step 7/8", "step 8/8"]


def test_the_live_line_is_closed_when_training_fails():
    console = terminal(60)
    with pytest.raises(ZeroDivisionError), Progress(2, console=console, clock=Clock()):
        raise ZeroDivisionError
    assert console.file.getvalue().endswith("\x1b[?25h")  # the cursor is shown again


def test_notes_are_printed_as_they_are():
    console = Console(file=io.StringIO(), width=20)
    with Progress(2, console=console) as progress:
        progress.note("runs/[bold]x: resuming after step 7")
    assert console.file.getvalue() == "runs/[bold]x: resuming after step 7\n"

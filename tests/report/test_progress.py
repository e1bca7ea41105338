"""Progress in a pipe, in a terminal and in a narrow one, with a clock of the test's own."""

from __future__ import annotations

import io
import re
import sys
import types

import pytest
from rich.console import Console

from alignkit.progress.display import Display, counted, duration, fitting, showing
from alignkit.progress.steps import Progress, progress_parts

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
    assert "  ".join(progress_parts(40, 100, METRICS, 12.4)) == (
        "step  40/100  0:12 left  loss 0.5512  margin +0.812  accuracy 0.750  lr 1.0e-04  1,234 tokens/s"
    )
    assert progress_parts(3, 3, {"loss": 0.6931, "tokens": 5.0, "seconds": 0.0}, None) == ["step 3/3", "loss 0.6931"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (7, "0:07"), (59.7, "1:00"), (750, "12:30"), (11100, "3:05:00")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_pipe_gets_the_first_step_one_line_per_interval_and_the_last():
    """Steps take 2 s. Shown: step 1, then steps 6 and 11 (10 s later each), and step 12, the last.

    Time left at step 1 by the step's own time, 11 times 3 s; at step 6 by the 10 s since step 1, for 5 steps: 6 more
    take 12 s.
    """
    clock, console = Clock(), Console(file=io.StringIO(), width=30)
    with Progress(12, display=Display(console, every=10, clock=clock)) as progress:
        for step in range(1, 13):
            clock.now += 2
            progress.update(step, {"loss": 1 / step, "seconds": 3.0})
    assert console.file.getvalue() == (
        "step  1/12  0:33 left  loss 1.0000\n"
        "step  6/12  0:12 left  loss 0.1667\n"
        "step 11/12  0:02 left  loss 0.0909\n"
        "step 12/12  0:00 left  loss 0.0833\n"
    )


def test_time_left_counts_only_the_steps_of_this_process():
    """Resumed after step 90, for which restoring took a minute; steps 91 and 92 took 3 s each, so 8 more take 24 s."""
    clock, console = Clock(), Console(file=io.StringIO())
    with Progress(100, display=Display(console, every=0, clock=clock)) as progress:
        clock.now += 60
        for step in (91, 92):
            clock.now += 3
            progress.update(step, {"seconds": 3.0})
    assert console.file.getvalue() == "step  91/100  0:27 left\nstep  92/100  0:24 left\n"


def test_a_terminal_gets_one_line_with_a_bar():
    clock, console = Clock(), terminal(120)
    with Progress(2, display=Display(console, clock=clock)) as progress:
        for step in (1, 2):
            clock.now += 1
            progress.update(step, METRICS)
    tail = "loss 0.5512  margin +0.812  accuracy 0.750  lr 1.0e-04  1,234 tokens/s"
    bar = "━━━━━━━━"
    assert [line.replace("╸", " ").rstrip() for line in frames(console)] == [
        f"{bar}         step 1/2  0:00 left  {tail}",  # half a second
        f"{bar}{bar} step 2/2  0:00 left  {tail}",
        f"{bar}{bar} step 2/2  0:00 left  {tail}",  # left standing at the end
    ]


def test_a_narrow_terminal_has_no_bar_and_stays_on_one_line():
    clock, console = Clock(), terminal(60)
    with Progress(2, display=Display(console, clock=clock)) as progress:
        clock.now += 1
        progress.update(1, METRICS)
    assert set(frames(console)) == {
        "step 1/2  0:00 left  loss 0.5512  margin +0.812  lr 1.0e-04"
    }  # no room for accuracy


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "step 40/99  loss 0.5512  margin +0.812  accuracy 0.750  lr 1.0e-04"),
        (85, "step 40/99  loss 0.5512  margin +0.812  accuracy 0.750  lr 1.0e-04  1,234 tokens/s"),
        (45, "step 40/99  loss 0.5512  margin +0.812"),
        (3, "step 40/99"),
    ],
)
def test_a_part_is_shown_whole_or_not_at_all(width, line):
    assert fitting(progress_parts(40, 99, METRICS, None), width) == line


def test_frames_are_not_drawn_faster_than_they_can_be_seen():
    """Steps of 0.04 s: 1, 4 and 7 are at least 0.1 s after the frame before, 8 is the last step."""
    clock, console = Clock(), terminal(60)
    with Progress(8, display=Display(console, clock=clock)) as progress:
        for step in range(1, 9):
            clock.now += 0.04
            progress.update(step, {})
    assert [line[:8] for line in dict.fromkeys(frames(console))] == ["step 1/8", "step 4/8", "step 7/8", "step 8/8"]


def test_the_live_line_is_closed_when_training_fails():
    console = terminal(60)
    with pytest.raises(ZeroDivisionError), Progress(2, display=Display(console, clock=Clock())):
        raise ZeroDivisionError
    assert console.file.getvalue().endswith("\x1b[?25h")  # the cursor is shown again


def test_an_evaluation_during_training_gets_a_line_of_its_own():
    console = Console(file=io.StringIO(), width=30)
    with Progress(9, display=Display(console, clock=Clock())) as progress:
        progress.update(1, {"loss": 0.5})
        progress.update(2, {"loss": 0.5, "eval/kl": 0.25, "eval/preference_accuracy": 0.625, "eval/pairs": 8.0})
    assert console.file.getvalue() == (
        "step 1/9  loss 0.5000\nevaluation after step 2: preference_accuracy 0.625, kl 0.250\n"
    )


def test_notes_are_printed_as_they_are():
    console = Console(file=io.StringIO(), width=20)
    with Progress(2, display=Display(console)) as progress:
        progress.note("runs/[bold]x: resuming after step 7")
    assert console.file.getvalue() == "runs/[bold]x: resuming after step 7\n"


def count(display: Display, clock: Clock, seconds: float, total: int = 4, each: int = 1) -> None:
    with showing(display), counted("tokenising", total) as advance:
        for _ in range(0, total, each):
            clock.now += seconds
            for _ in range(each):
                advance(1)


def test_short_work_says_nothing_in_a_pipe():
    clock, console = Clock(), Console(file=io.StringIO())
    count(Display(console, clock=clock), clock, 2.4)
    assert console.file.getvalue() == ""


def test_long_work_says_how_far_it_is_every_so_often_and_how_long_it_took():
    """Batches of 2 rows, 6 s each. Due at 12 s, when the first row of the second batch is told: 2 rows in the 6 s since
    the first row, so the 997 left take 2,991 s; and at 24 s."""
    clock, console = Clock(), Console(file=io.StringIO())
    with showing(Display(console, clock=clock)), counted("tokenising", 1000) as advance:
        for _ in range(4):
            clock.now += 6
            advance(1)
            advance(1)
    assert console.file.getvalue() == (
        "tokenising 3/1,000  49:51 left\ntokenising 7/1,000  49:39 left\ntokenising 8/1,000  took 0:24\n"
    )


def test_a_terminal_shows_work_from_its_beginning_and_clears_it():
    clock, console = Clock(), terminal(60)
    count(Display(console, clock=clock), clock, 1)
    assert list(dict.fromkeys(frames(console))) == [
        "tokenising 0/4",
        "tokenising 1/4",
        "tokenising 2/4  0:02 left",
        "tokenising 3/4  0:01 left",
        "tokenising 4/4  0:00 left",
    ]
    assert console.file.getvalue().endswith("\x1b[2K")  # the line is erased


def test_work_within_a_training_stands_below_its_line():
    clock, console = Clock(), terminal(60)
    display = Display(console, clock=clock)
    with showing(display), Progress(2, display=display) as progress:
        progress.update(1, {"loss": 0.5})
        count(display, clock, 1, total=1)
        progress.update(2, {"loss": 0.4})
    shown = frames(console)
    assert shown[shown.index("tokenising 1/1") - 1] == "step 1/2  loss 0.5000"
    assert shown[-1] == "step 2/2  0:00 left  loss 0.4000"


def test_without_a_display_work_is_silent(capsys):
    with counted("tokenising", 3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_work_that_fails_leaves_no_live_line():
    console = terminal(60)
    with pytest.raises(ZeroDivisionError), showing(Display(console, clock=Clock())), counted("tokenising", 3):
        raise ZeroDivisionError
    assert "\x1b[?25h" in console.file.getvalue()  # the cursor is shown again


def test_work_in_a_generator_that_is_held_by_an_error_leaves_no_live_line():
    """Its own end comes only when the traceback is gone, after the message."""
    console, held = terminal(60), []

    def batches():
        with counted("tokenising", 3) as advance:
            for _ in range(3):
                yield 1
                advance(1)

    with pytest.raises(ZeroDivisionError), showing(Display(console, clock=Clock())):
        held.append(batches())
        next(held[0])
        raise ZeroDivisionError
    assert console.file.getvalue().endswith("\x1b[2K")
    held[0].close()  # does no harm


def test_a_notebook_gets_plain_lines(monkeypatch):
    """As a pipe does: a live line would need ipywidgets. `display` is IPython's, which rich hands what it prints."""
    shown = []
    ipython = types.ModuleType("IPython.display")
    ipython.display = lambda rendered: shown.append(rendered.text)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", ipython)
    clock = Clock()
    with Progress(3, display=Display(Console(force_jupyter=True), every=10, clock=clock)) as progress:
        for step in range(1, 4):
            clock.now += 2
            progress.update(step, {"loss": 1 / step, "seconds": 2.0})
        progress.note("saved")
    assert "".join(shown) == "step 1/3  0:04 left  loss 1.0000\nstep 3/3  0:00 left  loss 0.3333\nsaved\n"

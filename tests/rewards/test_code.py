"""Programs of responses: how they are put together, what passes, and what a program cannot do to the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from slow_rewards import Told, sample

from alignkit.errors import RewardError
from alignkit.rewards import rewards, sandbox
from alignkit.rewards.base import Sample
from alignkit.rewards.code import Code, program_of
from alignkit.rewards.judge import Judge
from alignkit.rewards.permission import granting
from alignkit.rewards.sandbox import passes, require

PROMPT = '''from typing import List


def largest(numbers: List[int]) -> int:
    """The largest of some numbers.
    >>> largest([1, 3, 2])
    3
    """
'''
RIGHT = "    return sorted(numbers)[-1]\n"
TEST = "def check(candidate):\n    assert candidate([1, 3, 2]) == 3\n    assert candidate([-1]) == -1\n"


def row(response: str, prompt: str = PROMPT, chat: bool = False, test: object = TEST) -> Sample:
    """A sample of a row as in HumanEval."""
    messages = [{"role": "user", "content": prompt}] if chat else None
    plain = sample(response, test=test, entry_point="largest")
    return Sample(f"<user>{prompt}" if chat else prompt, response, plain.response_ids, True, plain.columns, messages)


@pytest.fixture(scope="module")
def is_isolated() -> Iterator[bool]:
    """Code may be run: in a sandbox where this kernel gives one, else as the message says that it can be."""
    with granting("sandbox"):
        try:
            require([Code(name="code")])
        except RewardError as error:
            assert "--execute-code-without-sandbox" in str(error)
        else:
            yield True
            return
    with granting("bare"):
        yield False


CHAT = f"Please complete this function:\n```python\n{PROMPT}```"
RESPONSES = {
    "continuation": (row(RIGHT), 1.0),
    "goes on with other things": (row(f"{RIGHT}\nprint(largest('a'))\n# and so on"), 1.0),
    "whole function": (row(f"def largest(numbers):\n{RIGHT}"), 1.0),
    "block of a chat": (
        row(f"Sure:\n```python\nx = 1\n```\nor\n```python\ndef largest(numbers: List):\n{RIGHT}```", CHAT, True),
        1.0,
    ),
    "block that is not closed": (row(f"```py\ndef largest(numbers):\n{RIGHT}", "Write it.", True), 1.0),
    "wrong": (row("    return numbers[0]\n"), 0.0),
    "no Python": (row("I cannot do that."), 0.0),
    "leaves before the tests": (row("    import sys; sys.exit(0)\n"), 0.0),
    "assert lines": (row(RIGHT, test=["assert largest([2, 5]) == 5", "assert largest([7]) == 7"]), 1.0),
    "no tests": (row(RIGHT, test=""), None),
}


@pytest.mark.usefixtures("is_isolated")
@pytest.mark.parametrize("case", RESPONSES)
def test_a_response_passes_or_fails(case: str):
    given, score = RESPONSES[case]
    assert Code(name="code").score([given]) == [score]


def test_what_continues_the_prompt_ends_with_the_function():
    assert program_of(row(f"{RIGHT}\ndef other():\n    pass\n"), "largest") == f"{PROMPT}{RIGHT}\n"


def test_tests_that_define_check_need_the_name_of_what_they_check():
    with granting("bare"), pytest.raises(RewardError, match="so 'entry_point' must name a column"):
        Code(name="code", entry_point=None).score([row(RIGHT)])


def test_columns_and_limits():
    assert Code(name="code").columns() == {"test", "entry_point"}
    assert Code(name="code", tests="test_list", entry_point=None).columns() == {"test_list"}
    with pytest.raises(ValidationError, match=r"time_limit must be less than timeout, got 20 and 10"):
        Code(name="code", time_limit=20.0)


@pytest.mark.usefixtures("is_isolated")
def test_what_cannot_begin_in_time_has_no_score():
    assert passes("pass", 1e-6) is None


# --- what a program cannot do ---


def test_the_clock_ends_an_endless_loop(is_isolated: bool):
    begun = time.monotonic()
    assert not passes("while True:\n    pass", 0.5)
    assert time.monotonic() - begun < 5


def test_memory_and_files_are_bounded(is_isolated: bool):
    assert not passes("b'x' * 2**31", 5.0)
    assert not passes("open('big', 'wb').write(b'x' * 2**21)", 5.0)


def is_running(mark: str) -> bool:
    """Whether a process has this in its arguments."""
    return mark in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def becomes(condition: Callable[[], bool]) -> bool:
    """Whether something is so within seconds."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def sleeper(seconds: float) -> tuple[str, str]:
    """Python that turns into a process, and what that can be known by."""
    mark = f"{seconds + os.getpid() / 1e8:.8f}"
    return f"os.execv('/bin/sleep', ['sleep', '{mark}'])", f"sleep {mark}"


def test_a_process_that_is_left_behind_ends_too(is_isolated: bool):
    sleep, mark = sleeper(60)
    leaves = "os.setsid()" if is_isolated else "pass"
    assert passes(f"import os, time\nif not os.fork():\n    {leaves}\n    {sleep}\ntime.sleep(0.2)", 10.0)
    assert becomes(lambda: not is_running(mark))


def test_a_program_does_not_outlive_the_one_that_asked_for_it(is_isolated: bool):
    sleep, mark = sleeper(61)
    asking = (
        "from alignkit.rewards.permission import granting\nfrom alignkit.rewards.sandbox import passes\n"
        f"with granting({'sandbox' if is_isolated else 'bare'!r}):\n    passes({'import os; ' + sleep!r}, 60.0)"
    )
    with subprocess.Popen([sys.executable, "-c", asking]) as process:
        assert becomes(lambda: is_running(mark))
        process.kill()
    assert becomes(lambda: not is_running(mark))


OUTSIDE = {
    "writes a file": "open({file!r}, 'w')",
    "takes write access back": "import ctypes\nassert not ctypes.CDLL(None).mount(None, b'/', None, 4128, None)",
    "opens a device": "open('/dev/null', 'wb')",
    "connects to this machine": "import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)",
    "sees processes": "import os\nassert '1' in os.listdir('/proc')",
    "sees the environment": "import os\nassert 'HOME' in os.environ",
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_program_does_not_get_out(is_isolated: bool, case: str):
    file = Path(__file__).with_name("written_by_a_program")
    with socket.create_server(("127.0.0.1", 0)) as server:
        program = OUTSIDE[case].format(file=str(file), port=server.getsockname()[1])
        assert not passes(program, 5.0) or not is_isolated
    assert not file.exists() or not is_isolated
    file.unlink(missing_ok=True)


def test_sets_have_the_same_order_each_time(is_isolated: bool):
    assert passes("import sys; assert sys.flags.hash_randomization == 0", 5.0)


# --- leave ---


@pytest.mark.parametrize("given", [True, "yes", "Sandbox", None])
def test_leave_is_said_in_the_words_there_are(given: Any):
    with pytest.raises(RewardError) as caught, granting(given):
        pass
    assert str(caught.value) == f"execute_code: expected 'none', 'sandbox' or 'bare', got {given!r}"


def test_nothing_runs_without_leave():
    with granting("none"), pytest.raises(RewardError) as caught:
        require([Told(name="told"), Code(name="code", label="unit")])
    assert str(caught.value) == (
        "rewards.unit: runs code that the model writes; give --execute-code on the command line "
        "(execute_code='sandbox' from Python) to allow that on this machine"
    )
    with granting("none"), pytest.raises(RewardError, match="not run without --execute-code"):
        Code(name="code").score([row(RIGHT)])
    require([Told(name="told")])


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["no-such-command"], "there is no 'no-such-command'"),
        (["sh", "-c", "echo unshare: Operation not permitted >&2; exit 1"], "unshare: Operation not permitted"),
        (["false"], "a program of a line does not come to its end in it"),
    ],
)
def test_a_kernel_that_refuses_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch, command: list[str], why: str):
    monkeypatch.setattr(sandbox, "_NAMESPACES", command)
    with granting("sandbox"), pytest.raises(RewardError) as caught:
        require([Code(name="code")])
    assert str(caught.value) == (
        f"this machine has no sandbox for code that the model writes ({why}); where that code may do all that you "
        "may, --execute-code-without-sandbox runs it without one"
    )


def test_workers_have_the_leave_of_their_run(is_isolated: bool):
    with Judge([rewards.build("code", {})], 2) as judge:
        assert judge([row(RIGHT), row("    return 0\n"), row(RIGHT)]) == [[1.0, 0.0, 1.0]]

"""Processes that do not work on the same thing are refused, on all of them alike."""

from __future__ import annotations

import socket

import pytest

from alignkit.errors import LaunchError
from alignkit.loop import agreement
from alignkit.loop.agreement import alike, same_folder, same_program


@pytest.fixture
def three(monkeypatch):
    """This process is one of three; the others' part of an exchange is made by a function of this one's."""
    others = {}
    monkeypatch.setattr(agreement, "num_processes", lambda: 3)
    monkeypatch.setattr("accelerate.utils.gather_object", lambda mine: others["gather"](mine[0]))
    monkeypatch.setattr("accelerate.utils.broadcast_object_list", lambda values: others["broadcast"](values))
    return others


def test_alone_nothing_is_asked():
    alike("recipe", lambda: pytest.fail("asked"), "")
    same_program()


def test_the_first_that_differs_is_named_with_what_differs(three):
    three["gather"] = lambda mine: [mine, mine, {**mine, "training.steps": "5", "seed": "1"}]
    with pytest.raises(LaunchError) as caught:
        alike("recipe", lambda: {"training.steps": 4, "trainer": "preference"}, "start all with the same files")
    assert str(caught.value) == (
        "process 2 of 3 has another recipe: training.steps 5, process 0: 4; seed 1, process 0: absent; "
        "start all with the same files"
    )
    assert caught.value.exit_code == 2


def test_of_many_differences_three_are_named(three):
    three["gather"] = lambda mine: [mine, dict.fromkeys(mine, "no"), mine]
    with pytest.raises(LaunchError, match=r"a no, process 0: 1; b no, .*; c no, process 0: 1; and 1 more; mend$"):
        alike("recipe", lambda: dict.fromkeys("abcd", 1), "mend")


def test_the_same_everywhere_passes(three):
    three["gather"] = lambda mine: [mine] * 3
    same_program()
    alike("recipe", lambda: {"seed": 1}, "")


def test_another_code_of_alignkit_is_refused(three):
    three["gather"] = lambda mine: [mine, {**mine, "alignkit's code": "'0'"}, mine]
    with pytest.raises(LaunchError, match=r"^process 1 of 3 has another installation: alignkit's code '0', "):
        same_program()


def test_a_folder_that_one_process_does_not_see_is_refused(three, tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "SECONDS", 0.05)
    (tmp_path / ".holder").write_text("process 1 on host 'a'")
    three["broadcast"] = lambda values: None
    three["gather"] = lambda mine: [mine, "b", mine]
    with pytest.raises(LaunchError) as caught:
        same_folder(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: process 1 of 3 on host 'b' does not see this run folder as process 0 does; give an --output on "
        "a disk that all machines share, and start all in the same folder"
    )


def test_what_the_main_process_has_written_is_looked_for(three, tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "SECONDS", 0.05)
    seen = []
    three["gather"] = lambda mine: seen.append(mine) or [None] * 3
    three["broadcast"] = lambda values: values.__setitem__(0, "process 1 on host 'a'")
    (tmp_path / ".holder").write_text("process 1 on host 'a'")
    same_folder(tmp_path)
    (tmp_path / ".holder").write_text("process 9 on host 'c'")
    same_folder(tmp_path)
    assert seen == [None, socket.gethostname()]

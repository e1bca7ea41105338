"""Where the processes of a run are, from options and from what Slurm and SkyPilot leave in the environment."""

from __future__ import annotations

import pytest

from alignkit.errors import LaunchError
from alignkit.launch.placement import Placement, Wish, hosts_of, placed

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NODELIST": "gpu[01-03,07]",
    "SLURM_NNODES": "4",
    "SLURM_NODEID": "3",
    "SLURM_GPUS_ON_NODE": "8",
}
ONE_SHELL = "the allocation has 4 nodes, and this is one shell of it; start it with srun, or give --nodes 1"
SKYPILOT = {"SKYPILOT_NODE_IPS": "10.0.0.4\n10.0.0.5\n", "SKYPILOT_NODE_RANK": "1", "SKYPILOT_NUM_GPUS_PER_NODE": "4"}


def two() -> int:
    return 2


def none() -> int:
    return 0


def asked() -> int:
    raise AssertionError("the machine's devices were counted")


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("gpu01", ["gpu01"]),
        ("a,b.example,c-1", ["a", "b.example", "c-1"]),
        ("gpu[01-03,07]", ["gpu01", "gpu02", "gpu03", "gpu07"]),
        ("gpu[9-11],login1", ["gpu9", "gpu10", "gpu11", "login1"]),
        ("r[1-2]n[08-09]x", ["r1n08x", "r1n09x", "r2n08x", "r2n09x"]),
        ("n[099-101]", ["n099", "n100", "n101"]),
    ],
)
def test_a_list_of_hosts_is_expanded_as_slurm_does(text, hosts):
    assert hosts_of(text, "X") == hosts


@pytest.mark.parametrize("text", ["", "gpu[1-2", "gpu1,,gpu2", "gpu[1-]", "gpu[a]", "gpu]1", "gpu[5-2]"])
def test_a_list_that_is_none_is_refused(text):
    with pytest.raises(LaunchError, match=r"^SLURM_JOB_NODELIST='.*': expected hosts such as gpu\[01-03,07\]"):
        hosts_of(text, "SLURM_JOB_NODELIST")


def test_a_machine_by_itself_has_a_process_for_each_device_or_one():
    assert placed(Wish(), {}, two) == Placement(2)
    assert placed(Wish(), {}, none) == Placement(1)
    assert placed(Wish("gpu"), {}, two) == Placement(2)
    assert placed(Wish("3"), {}, asked) == Placement(3)
    assert [Placement(1).is_alone, Placement(2).is_alone, Placement(1, 2).is_alone] == [True, False, False]


def test_slurm_says_where_the_nodes_are():
    """Port 20000 + 4711; nobody counts the devices, as Slurm has."""
    assert placed(Wish(), SLURM, asked) == Placement(8, 4, 3, "gpu01", 24711)
    assert placed(Wish("2"), SLURM, asked) == Placement(2, 4, 3, "gpu01", 24711)
    assert placed(Wish(), SLURM | {"SLURM_GPUS_ON_NODE": ""}, none) == Placement(1, 4, 3, "gpu01", 24711)
    alone = SLURM | {"SLURM_JOB_NODELIST": "gpu07", "SLURM_NNODES": "1", "SLURM_NODEID": "0"}
    assert placed(Wish(), alone, asked) == Placement(8)


def test_a_step_of_slurm_may_use_a_part_of_the_job():
    step = {"SLURM_STEP_NODELIST": "gpu[02-03]", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "2"}
    assert placed(Wish(), SLURM | step | {"SLURM_NODEID": "1"}, asked) == Placement(8, 2, 1, "gpu02", 24711)


def test_skypilot_says_where_the_nodes_are():
    assert placed(Wish(), SKYPILOT, asked) == Placement(4, 2, 1, "10.0.0.4", 29500)
    alone = SKYPILOT | {"SKYPILOT_NODE_IPS": "10.0.0.4", "SKYPILOT_NODE_RANK": "0"}
    assert placed(Wish(), SLURM | alone, asked) == Placement(4)


def test_options_come_before_the_allocation():
    assert placed(Wish("2", nodes=1), SLURM, asked) == Placement(2)
    wish = Wish("2", 3, 0, "[fe80::1]:29612")
    assert placed(wish, SLURM | SKYPILOT, asked) == Placement(2, 3, 0, "fe80::1", 29612)
    assert wish.words == "--processes 2 --nodes 3 --node-rank 0 --head '[fe80::1]:29612'"
    assert Wish().words == ""


@pytest.mark.parametrize(
    ("wish", "environment", "said"),
    [
        (Wish("gpu"), {}, "--processes gpu: there is no GPU here; give a number"),
        (Wish("0"), {}, "--processes '0': expected a number from 1, or gpu for one to each GPU"),
        (
            Wish("2", nodes=2),
            {},
            "--node-rank and --head: missing; several nodes need all of --nodes N --node-rank R --head HOST:PORT, "
            "unless Slurm or SkyPilot say them",
        ),
        (Wish("1", 2, 2, "a:1"), {}, "--node-rank 2: there are 2 nodes, so expected 0 to 1"),
        (Wish("1", 2, 0, "a"), {}, "--head 'a': expected HOST:PORT, such as gpu01:29500"),
        (Wish("1", 2, 0, "a:70000"), {}, "--head 'a:70000': expected HOST:PORT, such as gpu01:29500"),
        (
            Wish(),
            SLURM | {"SLURM_NNODES": "2"},
            "SLURM_JOB_NODELIST='gpu[01-03,07]': names 4 nodes, but Slurm says 2",
        ),
        (
            Wish(),
            SLURM | {"SLURM_NODEID": "x"},
            "SLURM_NODEID='x': expected a number; give --nodes, --node-rank and --head instead",
        ),
        (
            Wish(),
            SLURM | {"SLURM_STEP_NUM_TASKS": "32"},
            "srun has started several tasks a node; one launcher a node is enough: --ntasks-per-node=1",
        ),
        (Wish(), SLURM | {"ENVIRONMENT": "BATCH"}, ONE_SHELL),
        (Wish(), {name: value for name, value in SLURM.items() if name != "SLURM_NODEID"}, ONE_SHELL),
        (Wish(), SKYPILOT | {"SKYPILOT_NODE_RANK": "2"}, "SKYPILOT_NODE_RANK=2: SKYPILOT_NODE_IPS has 2 addresses"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(wish, environment, said):
    with pytest.raises(LaunchError) as caught:
        placed(wish, environment, none)
    assert str(caught.value) == said

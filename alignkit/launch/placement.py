"""Where the processes of a run are: what the command line says, else what Slurm or SkyPilot say of the allocation."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from alignkit.errors import LaunchError, shown

PORT: Final = 29500
"""At which the nodes meet where nothing else is said; the one that torchrun has too."""

SLURM_PORTS: Final = range(20000, 30000)
"""Jobs of one machine meet at different ports, chosen by their numbers."""

_HEAD: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:]+\]|[^\s:\[\]]+):(?P<port>[0-9]{1,5})")
_RANGE: Final = re.compile(r"(?P<first>[0-9]+)(?:-(?P<last>[0-9]+))?")
_ITEM: Final = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")

Devices = Callable[[], int]
"""Counts the accelerators of this machine."""


@dataclass(frozen=True)
class Placement:
    """The processes of a run as one node sees them.

    Attributes:
        processes: of this node.
        nodes: machines.
        rank: this machine's number, from 0.
        head: machine number 0, where the nodes meet; empty with one node.
        port: of the head.
    """

    processes: int
    nodes: int = 1
    rank: int = 0
    head: str = ""
    port: int = PORT

    @property
    def is_alone(self) -> bool:
        """Whether the run is one process."""
        return self.processes * self.nodes == 1


@dataclass(frozen=True)
class Wish:
    """What the command line says.

    Attributes:
        processes: a number, `gpu` for one to each accelerator, or None.
        nodes: machines; None for those of the allocation.
        rank: this machine's number.
        head: `HOST:PORT` of machine number 0.
    """

    processes: str | None = None
    nodes: int | None = None
    rank: int | None = None
    head: str | None = None

    @property
    def words(self) -> str:
        """The options that say it."""
        options = {"processes": self.processes, "nodes": self.nodes, "node-rank": self.rank, "head": self.head}
        return " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in options.items() if value is not None)


def placed(wish: Wish, environment: Mapping[str, str], devices: Devices) -> Placement:
    """Where this node stands.

    Args:
        wish: comes before all else; `nodes`, `rank` and `head` belong together.
        environment: its variables.
        devices: asked when neither the command line nor the allocation say how many processes there are.

    Raises:
        LaunchError: something is missing, contradicts, or cannot be read.
    """
    if wish.nodes is not None or wish.rank is not None or wish.head is not None:
        return _as_wished(wish, _processes(wish.processes, None, devices))
    if "SKYPILOT_NODE_IPS" in environment:
        return _of_skypilot(wish, environment, devices)
    if "SLURM_JOB_NODELIST" in environment:
        return _of_slurm(wish, environment, devices)
    return Placement(_processes(wish.processes, None, devices))


def _as_wished(wish: Wish, processes: int) -> Placement:
    nodes, rank = wish.nodes or 1, wish.rank
    if nodes == 1 and not rank and wish.head is None:
        return Placement(processes)
    missing = [
        option
        for option, value in (("--nodes", wish.nodes), ("--node-rank", rank), ("--head", wish.head))
        if value is None
    ]
    if missing or rank is None or wish.head is None:
        raise LaunchError(
            f"{' and '.join(missing)}: missing; several nodes need all of --nodes N --node-rank R --head HOST:PORT, "
            "unless Slurm or SkyPilot say them"
        )
    if rank >= nodes:
        raise LaunchError(f"--node-rank {rank}: there are {nodes} nodes, so expected 0 to {nodes - 1}")
    found = _HEAD.fullmatch(wish.head)
    if found is None or not 0 < int(found["port"]) < 2**16:
        raise LaunchError(f"--head {shown(wish.head)}: expected HOST:PORT, such as gpu01:{PORT}")
    return Placement(processes, nodes, rank, found["host"].strip("[]"), int(found["port"]))


def _of_slurm(wish: Wish, environment: Mapping[str, str], devices: Devices) -> Placement:
    is_step = "SLURM_STEP_NODELIST" in environment  # srun's, which may use a part of the job's nodes
    variable = "SLURM_STEP_NODELIST" if is_step else "SLURM_JOB_NODELIST"
    hosts = hosts_of(environment[variable], variable)
    nodes = _number(environment, "SLURM_STEP_NUM_NODES" if is_step else "SLURM_NNODES", len(hosts))
    if nodes != len(hosts):
        raise LaunchError(
            f"{variable}={shown(environment[variable])}: names {len(hosts)} nodes, but Slurm says {nodes}"
        )
    if _number(environment, "SLURM_STEP_NUM_TASKS", 1) > nodes:
        raise LaunchError("srun has started several tasks a node; one launcher a node is enough: --ntasks-per-node=1")
    is_one = environment.get("ENVIRONMENT") == "BATCH" or "SLURM_NODEID" not in environment  # sbatch's, salloc's shell
    if nodes > 1 and not is_step and is_one:
        raise LaunchError(
            f"the allocation has {nodes} nodes, and this is one shell of it; start it with srun, or give --nodes 1"
        )
    rank = _number(environment, "SLURM_NODEID", 0)
    processes = _processes(wish.processes, _number(environment, "SLURM_GPUS_ON_NODE", 0), devices)
    if nodes == 1:
        return Placement(processes)
    port = SLURM_PORTS[_number(environment, "SLURM_JOB_ID", 0) % len(SLURM_PORTS)]
    return Placement(processes, nodes, rank, hosts[0], port)


def _of_skypilot(wish: Wish, environment: Mapping[str, str], devices: Devices) -> Placement:
    hosts = environment["SKYPILOT_NODE_IPS"].split()
    rank = _number(environment, "SKYPILOT_NODE_RANK", 0)
    if rank >= max(1, len(hosts)):
        raise LaunchError(f"SKYPILOT_NODE_RANK={rank}: SKYPILOT_NODE_IPS has {len(hosts)} addresses")
    processes = _processes(wish.processes, _number(environment, "SKYPILOT_NUM_GPUS_PER_NODE", 0), devices)
    return Placement(processes, len(hosts), rank, hosts[0]) if len(hosts) > 1 else Placement(processes)


def _processes(wished: str | None, allocated: int | None, devices: Devices) -> int:
    """As many as are wished, else one to each accelerator, else one."""
    if wished is None:
        return allocated or devices() or 1
    if wished == "gpu":
        count = allocated or devices()
        if not count:
            raise LaunchError("--processes gpu: there is no GPU here; give a number")
        return count
    if not re.fullmatch("[1-9][0-9]{0,5}", wished):
        raise LaunchError(f"--processes {shown(wished)}: expected a number from 1, or gpu for one to each GPU")
    return int(wished)


def _number(environment: Mapping[str, str], variable: str, default: int) -> int:
    text = environment.get(variable, "").strip()
    if text and not re.fullmatch("[0-9]{1,9}", text):
        raise LaunchError(f"{variable}={shown(text)}: expected a number; give --nodes, --node-rank and --head instead")
    return int(text) if text else default


def hosts_of(text: str, variable: str) -> list[str]:
    """The hosts of a list as Slurm writes it: `gpu[01-03,07],login1` are five. Slurm's own program is not asked.

    Args:
        text: the list.
        variable: where it is from, for the message.

    Raises:
        LaunchError: it cannot be read.
    """
    items = _ITEM.findall(text)
    if not items or ",".join(items) != text:
        raise LaunchError(f"{variable}={shown(text)}: expected hosts such as gpu[01-03,07]")
    return [host for item in items for host in _expanded(item, text, variable)]


def _expanded(item: str, text: str, variable: str) -> Iterator[str]:
    before, bracket, rest = item.partition("[")
    if not bracket:
        yield item
        return
    numbers, _, after = rest.partition("]")
    for part in numbers.split(","):
        found = _RANGE.fullmatch(part)
        if found is None or int(found["last"] or found["first"]) < int(found["first"]):
            raise LaunchError(
                f"{variable}={shown(text)}: expected hosts such as gpu[01-03,07], got {shown(part)} in it"
            )
        first, last = found["first"], found["last"] or found["first"]
        for number in range(int(first), int(last) + 1):
            for end in _expanded(after, text, variable) if after else ("",):
                yield f"{before}{number:0{len(first)}d}{end}"

"""The inside of the sandbox: a script for a Python of its own, which imports the standard library alone.

It reads a program from its input, shuts itself in, runs the program and writes a word when that comes to its end. The
word is another one each time, so that a program that leaves early, with whatever exit code, does not pass.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys

MEBIBYTE = 2**20
_RECURSIVE, _HERE, _MOUNT_SETATTR = 0x8000, -100, 442
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXEC = 1, 2, 4, 8
_DEATH_SIGNAL, _DROP_BOUND, _NO_NEW_PRIVILEGES, _CAPSET_VERSION = 1, 24, 38, 0x20080522


def main() -> None:
    """Runs the program that the input holds."""
    order = json.load(sys.stdin)
    answer, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
    if order["isolate"]:
        _isolate()
    elif sys.platform == "linux":
        _libc().prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    _limit(order["seconds"], order["isolate"])
    os.write(answer, b"ready ")
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    try:
        exec(compile(order["program"], "<program>", "exec"), {"__name__": "program"})
    except BaseException:
        os._exit(1)
    os.write(answer, order["word"].encode())
    os._exit(0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        raise SystemExit(f"{what}: {os.strerror(ctypes.get_errno())}")


def _isolate() -> None:
    """In namespaces of its own: all files read-only but an empty /tmp; devices, sockets and processes out of reach.

    Capabilities go last, or the program would take all this back with them.
    """
    libc = _libc()
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY | _NO_SUID | _NO_DEVICES)
    result = libc.syscall(_MOUNT_SETATTR, _HERE, b"/", _RECURSIVE, attributes, ctypes.sizeof(attributes))
    _check(result, "making files read-only")
    flags = _NO_SUID | _NO_DEVICES | _NO_EXEC
    _check(libc.mount(b"tmpfs", b"/tmp", b"tmpfs", flags, b"size=16m,mode=700"), "mounting /tmp")
    for folder in (b"/proc", b"/run"):
        if os.path.isdir(folder):
            _check(libc.mount(b"tmpfs", folder, b"tmpfs", flags | _READ_ONLY, b"size=4k"), f"hiding {folder!r}")
    os.chdir("/tmp")
    _check(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "giving up privileges")
    capability = 0
    while libc.prctl(_DROP_BOUND, capability, 0, 0, 0) == 0:
        capability += 1
    _check(libc.capset((ctypes.c_uint32 * 2)(_CAPSET_VERSION), (ctypes.c_uint32 * 6)()), "dropping capabilities")


def _limit(seconds: int, isolated: bool) -> None:
    limits = {"CPU": seconds, "AS": 1024 * MEBIBYTE, "FSIZE": MEBIBYTE, "NOFILE": 64, "CORE": 0}
    if isolated:  # elsewhere all processes of the user count
        limits["NPROC"] = 32
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


if __name__ == "__main__":
    main()

"""Reads /proc by bare system calls: a step may have a hundred processes, and each asks at once.

Source: proc_pid_stat(5), proc_pid_task(5), proc_pid_fd(5). Everything here raises OSError where
the process has ended, or is not ours to look into.
"""
# ruff: noqa: PTH115, PTH208  # pathlib takes six times as long

import os
from collections.abc import Iterator
from contextlib import suppress

from ci_identity._record import Record

_MAX_SIZE = 1 << 16


class Process(Record):
    """A process as it is right now.

    Attributes:
        pid: its number. Together with `started` it is unique until the next boot.
        name: its program's name; at most 15 bytes, which it may change.
        parent: the pid of its parent.
        started: when it was started, in clock ticks since boot.
    """

    pid: int
    name: str
    parent: int
    started: int


def look_at(pid: int) -> Process:
    """Return the process that has this pid."""
    head, _, rest = _read(f"/proc/{pid}/stat").rpartition(b")")  # a name may hold a `)` too
    fields = rest.split()
    name = head.partition(b"(")[2].decode(errors="replace")
    return Process(pid=pid, name=name, parent=int(fields[1]), started=int(fields[19]))


def pids() -> list[int]:
    """Return the pids of all processes that there are."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def tree(root: int) -> list[int]:
    """Return `root` and the pids of all below it, from the top down. Some may have ended."""
    found = [root]
    for pid in found:  # grows as we go
        with suppress(OSError):
            found += _children(pid)
    return found


def _children(pid: int) -> Iterator[int]:
    for thread in os.listdir(f"/proc/{pid}/task"):
        yield from map(int, _read(f"/proc/{pid}/task/{thread}/children").split())


def open_files(pid: int) -> set[str]:
    """Return what the process has open, as the kernel names it: `socket:[INODE]`, paths, ..."""
    found: set[str] = set()
    folder = f"/proc/{pid}/fd"
    for number in os.listdir(folder):
        with suppress(FileNotFoundError):  # closed since
            found.add(os.readlink(f"{folder}/{number}"))
    return found


def environ(pid: int) -> list[bytes]:
    """Return the variables that the process was started with, `NAME=value` each.

    Source: proc_pid_environ(5).
    """
    with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123  # as above
        return (file.readall() or b"").split(b"\0")


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _MAX_SIZE)
    finally:
        os.close(descriptor)

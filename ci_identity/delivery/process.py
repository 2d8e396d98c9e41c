"""One process tree: started with an environment of its own, kept in reach, and ended for good."""

import ctypes
import errno
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ci_identity._record import Record

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h."""

KILL_AFTER = 2.0
"""Seconds between SIGTERM and SIGKILL for what is left of a step."""


class Streams(Record):
    """What the child gets as its stdout and stderr: two descriptors, or a terminal.

    Attributes:
        stdout, stderr: the descriptors.
        terminal: the path of a terminal, which goes before them and becomes the child's own.
        is_typed: whether the terminal is its stdin as well.
    """

    stdout: int = 1
    stderr: int = 2
    terminal: str | None = None
    is_typed: bool = False


def hide_memory() -> bool:
    """Keep other processes of this user from reading our memory; False where that is not known.

    Source: prctl(2), PR_SET_DUMPABLE; ptrace(2), access mode checking. Root can still read it.
    """
    return _prctl(_PR_SET_DUMPABLE, 0)


def adopt_orphans() -> bool:
    """Become the parent of descendants whose own parent ends, so that a double fork stays in reach.

    For a process that is ours alone: its strays are reaped and, at the end, killed. False where
    the system has no such thing. Source: prctl(2), PR_SET_CHILD_SUBREAPER.
    """
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> bool:
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def locate(program: str, environ: Mapping[str, str]) -> str:
    """Return the path of `program`, looked for on the PATH of `environ` as execvp(3) does.

    Raises:
        FileNotFoundError: it is not there.
        PermissionError: it is there, but is not a file that this user may execute.
    """
    path = environ.get("PATH", os.defpath)
    import shutil  # noqa: PLC0415  # with four compressors, on demand

    if found := shutil.which(program, path=path):
        return found
    is_path = os.path.dirname(program) and os.path.exists(program)  # noqa: PTH110, PTH120  # as text
    if is_path or shutil.which(program, mode=os.F_OK, path=path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    raise FileNotFoundError(errno.ENOENT, "not found")


def spawn(
    path: str,
    command: Sequence[str],
    environ: Mapping[str, str],
    streams: Streams,
    blocked: Iterable[int],
) -> int:
    """Start `command` and return its pid. It inherits stdin and our process group.

    With a terminal it leads a session of its own, whose terminal that becomes.

    Args:
        path: the program's file; one without `#!` is a script of sh(1), as execvp(3) has it.
        command: the program and its arguments, as it will see them.
        environ: the whole environment of the new process.
        streams: what it writes to.
        blocked: the signals that stay blocked in it, as they were before we blocked ours.

    Raises:
        OSError: it could not be started, as execve(2) says.
    """
    try:
        return _spawn(path, command, environ, streams, blocked)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    return _spawn("/bin/sh", ["/bin/sh", path, *command[1:]], environ, streams, blocked)


def _spawn(
    path: str,
    command: Sequence[str],
    environ: Mapping[str, str],
    streams: Streams,
    blocked: Iterable[int],
) -> int:
    return os.posix_spawn(
        path,
        list(command),
        environ,
        file_actions=_file_actions(streams),
        setsid=streams.terminal is not None,
        setsigmask=blocked,
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores them; a program expects them
    )


def _file_actions(streams: Streams) -> list[tuple[int, ...] | tuple[int, int, str, int, int]]:
    if streams.terminal is None:
        return [
            (os.POSIX_SPAWN_DUP2, streams.stdout, 1),
            (os.POSIX_SPAWN_DUP2, streams.stderr, 2),
        ]
    # The first terminal that the leader of a session opens becomes the session's own.
    opened = (os.POSIX_SPAWN_OPEN, 1, streams.terminal, os.O_RDWR, 0)
    copies = (2, 0) if streams.is_typed else (2,)
    return [opened, *((os.POSIX_SPAWN_DUP2, 1, copy) for copy in copies)]


def descendants(roots: Sequence[int]) -> list[int]:
    """Return the pids of `roots` and of everything below them that is alive, nearest first."""
    found: list[int] = []
    waiting = list(roots)
    while waiting:
        pid = waiting.pop(0)
        found.append(pid)
        waiting += children(pid)
    return found


def children(pid: int) -> list[int]:
    """Return the pids of the living children of `pid`, of all its threads; none where unknown."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except (OSError, ValueError):
        return found
    return [child for child in found if _is_alive(child)]


def _is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] not in {b"Z", b"X"}


def end_tree(find: Callable[[], list[int]], is_over: Callable[[], bool]) -> bool:
    """End what `find` finds: SIGTERM, and SIGKILL for who is left after 2 s; True if all ended.

    Args:
        find: returns the pids of the tree as it is now: whose parent ends is found elsewhere then.
        is_over: tells whether anything of it is left at all; a chain of forks may be in nobody's
            snapshot and still be there.
    """
    _signal_all(find(), signal.SIGTERM)
    deadline = time.monotonic() + KILL_AFTER
    while not is_over() and time.monotonic() < deadline:
        time.sleep(0.02)
    deadline = time.monotonic() + KILL_AFTER
    while not is_over() and time.monotonic() < deadline:
        _signal_all(find(), signal.SIGKILL)
    return is_over()


def _signal_all(pids: Iterable[int], signo: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, signo)
        except (ProcessLookupError, PermissionError):  # gone already, or `sudo` made it root's
            continue

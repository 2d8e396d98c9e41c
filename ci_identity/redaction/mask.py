"""The CI's own masking: `::add-mask::` on GitHub, told to the step's log and to nothing else.

The command is itself a leak wherever else it goes: into a file, a pipe to another program, a shell
variable. So it is written only to a descriptor that is the running step's own log.
"""

import os
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from ci_identity import _log
from ci_identity.redaction.needles import mask_lines

_PROC = Path("/proc")


def mask_in_log(values: Iterable[str], environ: Mapping[str, str]) -> bool:
    """Have GitHub's runner mask `values` in the rest of the job's log; True if it was told.

    Elsewhere nothing is written: GitLab's runner has no such command that a job can rely on, and
    would print the line (docs/redaction.md).
    """
    lines = [line for value in values for line in mask_lines(value)]
    if environ.get("GITHUB_ACTIONS") != "true" or not lines:
        return False
    step = _step_process()
    log = _log_descriptor(step) if step is not None else None
    if log is None:
        _warn()
        return False
    sys.stdout.flush()
    sys.stderr.flush()
    # Whoever wrote before us may have left a line unfinished, and a command starts a line.
    start = "" if step == os.getpid() else "\n"
    _write(log, (start + "".join(f"::add-mask::{_escaped(line)}\n" for line in lines)).encode())
    return True


@cache
def _warn() -> None:
    """Say it once, however many grants there are, and however often they are renewed."""
    _log.warning("GitHub cannot be told to mask: our output is not the step's log itself")


def is_step_log(fd: int, environ: Mapping[str, str]) -> bool:
    """True if `fd`, 1 or 2, is where GitHub's runner reads the log of the running step from."""
    step = _step_process() if environ.get("GITHUB_ACTIONS") == "true" else None
    return step is not None and _log_descriptor(step, (fd,)) is not None


def _escaped(line: str) -> str:
    return line.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _step_process() -> int | None:
    """Return the pid of the step's top process: the child of the runner that we descend from.

    The runner itself was not started with the variables that it gives to its steps. `None` if
    that cannot be told.
    """
    pid = os.getpid()
    try:
        while parent := _parent(pid):
            if not _is_of_a_step(parent):
                return pid
            pid = parent
    except OSError:
        return None
    return pid


def _is_of_a_step(pid: int) -> bool:
    # Not by `Path`, at ten times the cost: it is asked of every process of the machine.
    with open(f"{_PROC}/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123
        return b"\0GITHUB_ACTIONS=true\0" in b"\0" + file.readall()


def _parent(pid: int) -> int:
    fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[1])


def _log_descriptor(step: int, candidates: Sequence[int] = (1, 2)) -> int | None:
    """Return our stdout or stderr if it is one of those that the runner gave to the step."""
    logs = {_log_identity(_PROC / str(step) / "fd" / str(fd), step) for fd in (1, 2)}
    for fd in candidates:
        found = _log_identity(_PROC / "self" / "fd" / str(fd), step)
        if found is not None and found in logs and not _is_read_by_a_step(found, step):
            return fd
    return None


def _log_identity(path: Path, step: int) -> tuple[int, int] | None:
    """Return which file `path` is if a runner may read it line by line: a pipe, or a terminal.

    The terminal must be the step's own, not a person's: act gives one to each step, and makes the
    step's top process the leader of its session.
    """
    try:
        found = path.stat()
        is_terminal = stat.S_ISCHR(found.st_mode) and os.getsid(step) == step
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISFIFO(found.st_mode) or is_terminal else None


def _is_read_by_a_step(log: tuple[int, int], step: int) -> bool:
    """True if what reads this pipe may be a program of the step: `exec > >(tee file)` makes one.

    One that cannot be looked into, as `sudo tee` cannot, counts if it comes from the step.
    """
    pids = filter(str.isdecimal, os.listdir(_PROC))  # noqa: PTH208  # as in `_is_of_a_step`
    for pid in map(int, pids):
        try:
            is_reader = _is_of_a_step(pid) and _has_reading_end(pid, log)
        except PermissionError:
            is_reader = pid != os.getpid() and _comes_from(pid, step)
        except OSError:  # it has ended
            continue
        if is_reader:
            return True
    return False


def _comes_from(pid: int, ancestor: int) -> bool:
    try:
        while pid and pid != ancestor:
            pid = _parent(pid)
    except OSError:
        return False
    return pid == ancestor


def _has_reading_end(pid: int, pipe: tuple[int, int]) -> bool:
    for link in (_PROC / str(pid) / "fd").iterdir():
        found = link.stat()
        is_ours = stat.S_ISFIFO(found.st_mode) and (found.st_dev, found.st_ino) == pipe
        if is_ours and link.lstat().st_mode & stat.S_IRUSR:  # proc(5): how it was opened
            return True
    return False


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]

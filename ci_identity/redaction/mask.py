"""The CI's own masking: `::add-mask::` on GitHub, told to the step's log and to nothing else.

The command is itself a leak wherever else it goes: into a file, a pipe to another program, a shell
variable. So it is written only to a descriptor that is the running step's own log.
"""

import logging
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from ci_identity.redaction.needles import mask_lines

_log = logging.getLogger("ci_identity")

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
        _log.warning("GitHub cannot be told to mask: our output is not the step's log itself")
        return False
    sys.stdout.flush()
    sys.stderr.flush()
    # Whoever wrote before us may have left a line unfinished, and a command starts a line.
    start = "" if step == os.getpid() else "\n"
    _write(log, (start + "".join(f"::add-mask::{_escaped(line)}\n" for line in lines)).encode())
    return True


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
            environ = (_PROC / str(parent) / "environ").read_bytes().split(b"\0")
            if b"GITHUB_ACTIONS=true" not in environ:
                return pid
            pid = parent
    except OSError:
        return None
    return pid


def _parent(pid: int) -> int:
    fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[1])


def _log_descriptor(step: int) -> int | None:
    """Return our stdout or stderr if it is one of those that the runner gave to the step."""
    logs = {_log_identity(_PROC / str(step) / "fd" / str(fd), step) for fd in (1, 2)}
    for fd in (1, 2):
        found = _log_identity(_PROC / "self" / "fd" / str(fd), step)
        if found is not None and found in logs:
            return fd
    return None


def _log_identity(path: Path, step: int) -> tuple[int, int] | None:
    """Return which file `path` is, unless it is one that no runner reads line by line.

    That is a plain file, and a person's terminal: act gives each step a terminal of its own, and
    makes the step's top process the leader of its session.
    """
    try:
        found = path.stat()
        is_terminal = stat.S_ISCHR(found.st_mode) and os.getsid(step) != step
    except OSError:
        return None
    return None if stat.S_ISREG(found.st_mode) or is_terminal else (found.st_dev, found.st_ino)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]

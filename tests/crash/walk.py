"""Walks every point of a command's work, with a job that is killed at each."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ci_identity._record import Record
from tests.step import Job

DYING = (sys.executable, "-I", "-B", str(Path(__file__).with_name("dying.py")))
AT_ONCE = 3

Found = TypeVar("Found")


class Death(Record):
    """A job that was killed, and where."""

    point: str
    job: Job

    @property
    def ledger(self) -> Path:
        return self.job.state / "ledger.jsonl"


def points(job: Job, *words: str) -> list[str]:
    """Return every point that lies on the way of a command that nobody kills."""
    log = job.state.with_suffix(".points")
    done = _run(job, log, "", words)
    assert done.returncode == 0, done.stderr.decode()
    return log.read_text().splitlines()


def walk(where: Iterable[str], make: Callable[[str], Job], words: Sequence[str]) -> list[Death]:
    """Kill a job of its own at each of these points.

    Args:
        where: the points.
        make: makes the job with this name.
        words: the command of ci-identity.
    """

    def die(name: str, point: str) -> Death:
        job = make(name)
        done = _run(job, job.state.with_suffix(".points"), point, words)
        assert done.returncode == -9, f"{point}: {done.stderr.decode()}"
        return Death(point=point, job=job)

    return at_each(where, die)


def at_each(where: Iterable[str], die: Callable[[str, str], Found]) -> list[Found]:
    """Call `die` with a name that no other has and with the point, for each of them."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        names = (f"{number:03}" for number in itertools.count())
        return list(pool.map(die, names, where))


def dying(log: Path, last: str, words: Sequence[str]) -> list[str]:
    """Return the command that is killed at the point `last`, and tells `log` what it passes."""
    return [*DYING, str(log), last, *words]


def _run(
    job: Job, log: Path, last: str, words: Sequence[str]
) -> subprocess.CompletedProcess[bytes]:
    return job.run(dying(log, last, words), timeout=60)

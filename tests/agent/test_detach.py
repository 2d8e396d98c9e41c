"""Leaving the step: what is left behind, and what whoever waits is told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LEAVING = """
import ctypes, os, sys
from pathlib import Path
from ci_identity.agent.detach import detach
from ci_identity.errors import CiIdentityError
try:
    ready = detach()
except CiIdentityError as error:
    print(error, error.hint)
    sys.exit(error.exit_code)
if isinstance(ready, int):
    sys.exit(ready)
print("the child speaks to the step", flush=True)
{child}
"""
READY = """
ready(Path({log!r}))
print("said later", flush=True)
print("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
sys.stdin.read()
print("over", flush=True)
"""


def start(child: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-c", LEAVING.format(child=child)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_ready(tmp_path: Path) -> None:
    """The parent ends with 0; what the child says from then on goes to the log, and no further."""
    log = tmp_path / "log"
    parent = start(READY.format(log=str(log)))
    said, _ = parent.communicate()  # which waits until nobody has the stream any more
    assert (parent.returncode, said) == (0, "the child speaks to the step\n")
    while not log.read_text().endswith("over\n"):
        time.sleep(0.01)
    assert log.read_text() == "said later\ndumpable 0\nover\n"


@pytest.mark.parametrize(
    ("child", "code"),
    [("sys.exit(4)", 4), ("os._exit(0)", 1)],
    ids=["exit", "no failure"],
)
def test_not_ready(child: str, code: int) -> None:
    """The parent ends as the child did, and never as if it were ready."""
    parent = start(child)
    parent.communicate()
    assert parent.returncode == code


def test_killed() -> None:
    """A child that could say nothing itself is spoken for: what happened, and what to do."""
    parent = start("os.kill(os.getpid(), 9)")
    said, _ = parent.communicate()
    assert parent.returncode == 7
    assert "ended by signal 9 (Killed) while it started" in said
    assert "ci-identity agent stop" in said


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
def test_cancelled(signo: signal.Signals) -> None:
    """A signal goes on to the child, whose end is waited for."""
    child = """
import signal
print("waiting", flush=True)
sys.exit(signal.sigwait({2, 15}))
"""
    parent = start(child)
    assert parent.stdout
    while parent.stdout.readline() != "waiting\n":
        pass
    os.kill(parent.pid, signo)
    parent.communicate()
    assert parent.returncode == signo


def test_the_log_is_no_link(tmp_path: Path) -> None:
    """Whoever put a link there does not get what is said."""
    log, target = tmp_path / "log", tmp_path / "target"
    log.symlink_to(target)
    parent = start(READY.format(log=str(log)))
    parent.communicate()
    assert parent.returncode == 1
    assert not target.exists()

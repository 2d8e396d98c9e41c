"""What /proc says of processes, also of those whose names are made to confuse."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ci_identity.delivery import proc


def test_ourselves() -> None:
    """A process has a parent and a start."""
    found = proc.look_at(os.getpid())
    assert (found.pid, found.parent) == (os.getpid(), os.getppid())
    assert found.name == Path("/proc/self/comm").read_text().removesuffix("\n")
    assert found.started >= proc.look_at(os.getppid()).started > 0


def test_name_that_confuses() -> None:
    """A name that looks like the fields after it does not shift them."""
    code = "import sys; open('/proc/self/comm', 'w').write(') S 1 1 1 (x'); print(flush=True);"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code + "sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        found = proc.look_at(process.pid)
        process.communicate()
    assert (found.name, found.parent) == (") S 1 1 1 (x", os.getpid())


def test_tree() -> None:
    """Children are found whichever thread has started them, and their children too."""
    script = "sleep 300 & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as shell:
        assert shell.stdout
        grandchild = int(shell.stdout.readline())
        assert proc.tree(shell.pid) == [shell.pid, grandchild]
        assert {os.getpid(), shell.pid, grandchild} <= set(proc.tree(os.getpid()))
        assert {os.getpid(), shell.pid, grandchild} <= set(proc.pids())
        os.kill(grandchild, 9)
        shell.wait()
    assert proc.tree(shell.pid) == [shell.pid]


def test_open_files() -> None:
    """A socket is named by its inode."""
    with socket.socket() as held:
        name = f"socket:[{os.fstat(held.fileno()).st_ino}]"
        assert name in proc.open_files(os.getpid())
    assert name not in proc.open_files(os.getpid())


def test_process_that_has_ended() -> None:
    """Of a process that has ended there is nothing to read."""
    with subprocess.Popen(["true"]) as process:
        pass
    with pytest.raises(OSError, match=r".*"):
        proc.look_at(process.pid)
    with pytest.raises(OSError, match=r".*"):
        proc.open_files(process.pid)

"""One process tree: found as execvp finds it, started, kept in reach, and ended."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.delivery.process import (
    Streams,
    children,
    descendants,
    end_tree,
    locate,
    spawn,
)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def tree() -> Iterator[subprocess.Popen[bytes]]:
    """A shell with two children, of which one has a child, that say when they are there."""
    script = "sleep 300 & sh -c 'sleep 300 & echo ready; wait' & wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield process
        end_tree(
            lambda: descendants([process.pid]) if process.poll() is None else [],
            lambda: process.poll() is not None,
        )


# ── locate ───────────────────────────────────────────────────────────────────────────────────


def test_name_is_looked_for_on_the_given_path(program: Path) -> None:
    """A bare name is looked for on the PATH that is given, whatever our own is."""
    assert locate("program", {"PATH": f"/nowhere:{program.parent}"}) == str(program)


def test_default_path() -> None:
    """Without PATH the system's default is searched, as execvp(3) does."""
    assert Path(locate("sh", {})).name == "sh"


def test_path_is_taken_as_it_is(program: Path) -> None:
    """A name with a slash is not looked for."""
    assert locate(str(program), {"PATH": "/nowhere"}) == str(program)


@pytest.mark.parametrize("name", ["missing", "/nowhere/missing"])
def test_missing_program(name: str) -> None:
    """What is not there is `FileNotFoundError`."""
    with pytest.raises(FileNotFoundError):
        locate(name, {"PATH": "/nowhere"})


def test_no_program(program: Path) -> None:
    """What is there but cannot be executed is `PermissionError`: a plain file, a folder."""
    program.chmod(0o644)
    for name in ("program", str(program), str(program.parent)):
        with pytest.raises(PermissionError):
            locate(name, {"PATH": str(program.parent)})


# ── spawn ────────────────────────────────────────────────────────────────────────────────────


def output_of(path: str, command: list[str], environ: dict[str, str]) -> tuple[bytes, bytes, int]:
    """Spawn, and return what comes out of stdout and stderr, and the exit code."""
    out, err = os.pipe(), os.pipe()
    try:
        pid = spawn(path, command, environ, Streams(stdout=out[1], stderr=err[1]), [])
    finally:
        os.close(out[1])
        os.close(err[1])
    with os.fdopen(out[0], "rb") as stdout, os.fdopen(err[0], "rb") as stderr:
        said = stdout.read(), stderr.read()
    return *said, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_environment_is_the_whole_one() -> None:
    """The process has the environment that it is given and nothing of ours."""
    assert output_of("/usr/bin/env", ["env"], {"ONE": "1"}) == (b"ONE=1\n", b"", 0)


def test_streams_and_arguments() -> None:
    """stdout, stderr and arguments are as given; the exit code comes back."""
    command = ["sh", "-c", "echo $0 $1; echo err >&2; exit 4", "zero", "a b"]
    assert output_of("/bin/sh", command, {}) == (b"zero a b\n", b"err\n", 4)


def test_script_without_interpreter_line(tmp_path: Path) -> None:
    """A file without `#!` is given to sh with its arguments, as execvp(3) does."""
    script = tmp_path / "script"
    script.write_text('echo "$1"')
    script.chmod(0o755)
    assert output_of(str(script), ["script", "a b"], {}) == (b"a b\n", b"", 0)


def test_what_cannot_be_started(tmp_path: Path) -> None:
    """What execve(2) refuses is an `OSError` that says why."""
    with pytest.raises(FileNotFoundError):
        output_of(str(tmp_path / "missing"), ["missing"], {})
    with pytest.raises(OSError, match="too long") as caught:
        output_of("/bin/true", ["true", "x" * (1 << 18)], {})
    assert caught.value.errno == errno.E2BIG


def test_blocked_and_default_signals() -> None:
    """The signals named stay blocked; SIGPIPE and SIGXFSZ, which Python ignores, do not."""
    out = os.pipe()
    shown = ["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"]
    blocked = [signal.SIGUSR1, 40]
    pid = spawn("/bin/grep", shown, {}, Streams(stdout=out[1], stderr=2), blocked)
    os.close(out[1])
    with os.fdopen(out[0]) as stdout:
        bits = {name: int(value, 16) for name, _, value in (li.partition(":") for li in stdout)}
    os.waitpid(pid, 0)
    assert bits["SigBlk"] == sum(1 << (number - 1) for number in blocked)
    assert not bits["SigIgn"] & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


# ── the tree ─────────────────────────────────────────────────────────────────────────────────


def test_descendants(tree: subprocess.Popen[bytes]) -> None:
    """Everything below a process is found, nearest first; a process that is gone has nothing."""
    found = descendants([tree.pid])
    assert len(found) == 4
    assert found[0] == tree.pid
    assert set(found[1:3]) == set(children(tree.pid))
    assert children(2**22 + 1) == []


def test_end_tree(tree: subprocess.Popen[bytes]) -> None:
    """Everything is gone afterwards."""
    pids = descendants([tree.pid])
    ended = end_tree(
        lambda: descendants([tree.pid]) if tree.poll() is None else [],
        lambda: tree.poll() is not None,
    )
    assert ended
    assert tree.returncode == -signal.SIGTERM
    assert not any(Path(f"/proc/{pid}/task/{pid}/children").exists() for pid in pids[:1])


def test_stubborn_process_is_killed() -> None:
    """Who ignores SIGTERM gets SIGKILL, and is gone when `end_tree` returns."""
    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        assert end_tree(
            lambda: [process.pid] if process.poll() is None else [],
            lambda: process.poll() is not None,
        )
        assert process.returncode == -signal.SIGKILL


def test_nothing_to_end() -> None:
    """An empty tree is ended at once."""
    assert end_tree(list, lambda: True)


def test_who_cannot_be_ended_is_not_waited_for_without_end() -> None:
    """Another user's process may stay: that is said, by False."""
    assert not end_tree(list, lambda: False)


ADOPTION = """
import os, subprocess, sys
from ci_identity.delivery.process import adopt_orphans, children
assert adopt_orphans()
subprocess.run(["sh", "-c", "setsid -f sleep 300 >/dev/null 2>&1"], check=True)
(orphan,) = children(os.getpid())
print(open(f"/proc/{orphan}/comm").read().strip() in {"sleep", "setsid"})
os.kill(orphan, 9)
"""


def test_orphans_are_adopted() -> None:
    """A process that forked twice becomes our child, and so stays in reach."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", ADOPTION], stdout=subprocess.PIPE, check=True
    )
    assert done.stdout == b"True\n"

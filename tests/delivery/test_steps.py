"""Of which step a process is: told by what the runner started, not by what the process says."""

import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ci_identity.delivery import steps as module
from ci_identity.delivery.endpoint import Reply, Route
from ci_identity.delivery.steps import Steps, descends_from, find_runner
from tests.delivery.asking import PATH, served

HOLDER = """
import os, socket, sys
held = socket.socket()
print(os.getpid(), os.fstat(held.fileno()).st_ino, flush=True)
sys.stdin.read()
"""
ABOVE = """
import os, subprocess, sys
environ = eval(sys.argv[1])
command = [sys.executable, "-I", "-S", "-c", *sys.argv[2:]]
sys.exit(subprocess.run(command, env=environ).returncode)
"""
FIND = "from ci_identity.delivery.steps import find_runner; print(find_runner())"


@contextmanager
def holder(*argv: str, **variables: str) -> Iterator[tuple[int, int]]:
    """A process that we start as a runner starts a step, and the inode of a socket it holds."""
    command = argv or (sys.executable, "-I", "-S", "-c", HOLDER)
    environ = {"PATH": os.environ["PATH"]} | variables
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        pid, inode = process.stdout.readline().split()
        yield int(pid), int(inode)
        process.communicate()


def step_of(inode: int) -> str | None:
    """Return the step of who holds it, with ourselves as the runner."""
    found = Steps(os.getpid()).owners({inode})
    return found[inode].step if inode in found else None


def test_the_step_that_the_runner_started() -> None:
    """Its id is in the environment of the runner's child."""
    with holder(GITHUB_ACTION="deploy") as (pid, inode):
        (peer,) = Steps(os.getpid()).owners({inode}).values()
        assert (peer.pid, peer.step) == (pid, "deploy")
        assert str(peer).endswith(" of the step deploy")


def test_a_descendant_that_says_otherwise() -> None:
    """Every process below is of the step of the one at the top."""
    forged = repr({"GITHUB_ACTION": "deploy"})
    argv = (sys.executable, "-I", "-S", "-c", ABOVE, forged, HOLDER)
    with holder(*argv, GITHUB_ACTION="build") as (_, inode):
        assert step_of(inode) == "build"


def test_an_environment_that_hides_its_step() -> None:
    """A child without any variable is of its step all the same."""
    argv = (sys.executable, "-I", "-S", "-c", ABOVE, "{}", HOLDER)
    with holder(*argv, GITHUB_ACTION="build") as (_, inode):
        assert step_of(inode) == "build"


def test_a_process_of_no_step() -> None:
    """What the runner started without an id is none."""
    with holder() as (_, inode):
        assert step_of(inode) is None


def test_the_runner_itself() -> None:
    """Nor is the runner of a step."""
    with socket.socket() as held:
        assert step_of(os.fstat(held.fileno()).st_ino) is None


def test_a_process_that_lost_its_parents() -> None:
    """A double fork has no way up to the runner, and is not served."""
    leave = (
        f"import os\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n{HOLDER}"
    )
    argv = (sys.executable, "-I", "-S", "-c", leave)
    with holder(*argv, GITHUB_ACTION="deploy") as (pid, inode):
        while _parent(pid) == os.getpid():
            pass
        assert step_of(inode) is None


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("step", ["dep\nloy", "\x1b[2J::add-mask::x"])
def test_an_id_is_made_printable(step: str) -> None:
    """A step's own process can forge its id: it is text for people."""
    with holder(GITHUB_ACTION=step) as (_, inode):
        found = step_of(inode)
        assert found
        assert found.isprintable()


def test_a_step_that_hides_its_memory_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once seen, a step is known as long as its process lives."""
    with holder(GITHUB_ACTION="deploy") as (_, inode):
        steps = Steps(os.getpid())
        assert steps.owners({inode})[inode].step == "deploy"

        def refuse(_: int) -> list[bytes]:
            raise PermissionError

        monkeypatch.setattr(module, "environ", refuse)
        assert steps.owners({inode})[inode].step == "deploy"
        assert not Steps(os.getpid()).owners({inode})


def test_two_ids_in_one_environment_are_none() -> None:
    """A block of variables that says two things says nothing."""
    code = f"""
import ctypes, os, sys
block = (ctypes.c_char_p * 4)(b"GITHUB_ACTION=build", b"GITHUB_ACTION=deploy", None, None)
python = {sys.executable.encode()!r}
argv = (ctypes.c_char_p * 6)(python, b"-I", b"-S", b"-c", {HOLDER.encode()!r}, None)
ctypes.CDLL(None).execve(python, argv, block)
"""
    with holder(sys.executable, "-I", "-S", "-c", code) as (_, inode):
        assert step_of(inode) is None


def test_a_route_may_be_for_some_of_them() -> None:
    """Whoever the endpoint serves in general is refused what is not for it, and recorded."""
    with served(Steps(os.getpid())) as stage:
        route = Route(
            answer=lambda _: Reply(status=200, body=b"{}"),
            serves=lambda peer: peer.step == "deploy",
        )
        stage.endpoint.add(PATH, route)
        host, port = stage.server
        ask = f"""
import socket
with socket.create_connection({(host, port)!r}) as connection:
    connection.sendall({stage.request()!r})
    print(connection.recv(65536).split()[1].decode())
"""
        said = [
            subprocess.run(
                [sys.executable, "-I", "-S", "-c", ask],
                env={"GITHUB_ACTION": step},
                stdout=subprocess.PIPE,
                check=True,
            ).stdout.strip()
            for step in ("deploy", "build")
        ]
        assert said == [b"200", b"403"]
        accesses, refusals = stage.reports()
        assert [peer.step for _, peer in accesses] == ["deploy"]
        assert [(path, str(one.reason), one.peer.step) for path, one in refusals] == [
            (PATH, "endpoint-peer", "build")
        ]


def test_the_runner_is_found() -> None:
    """It is the first process above that has not the variables of a step."""
    environ = os.environ | {"GITHUB_ACTIONS": "true"}
    argv = [sys.executable, "-I", "-c", FIND]
    done = subprocess.run(argv, env=environ, stdout=subprocess.PIPE, check=True)
    assert int(done.stdout) == os.getpid()


def test_outside_a_step_there_is_no_runner() -> None:
    """Whoever is above us then is nobody's runner."""
    assert "GITHUB_ACTIONS" not in os.environ
    assert find_runner() is None


def test_ancestors() -> None:
    """What is above us, and nothing else; not even we ourselves."""
    assert descends_from(os.getppid())
    assert not descends_from(os.getpid())
    with subprocess.Popen(["sleep", "60"]) as other:
        assert not descends_from(other.pid)
        other.kill()
    assert not descends_from(ctypes.c_int32(2**31 - 1).value)

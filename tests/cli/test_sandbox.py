"""`sandbox` and `demo`: a world to try things in, of which nothing is left."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.step import COMMAND, EXEC, Job

Start = Callable[..., tuple[subprocess.Popen[bytes], dict[str, str], str]]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A shell outside of any CI, with temporary files of its own."""
    kept = {n: v for n, v in os.environ.items() if n == "PATH" or n.startswith("COVERAGE_")}
    return Job(environ=kept | {"TMPDIR": str(tmp_path)}, state=tmp_path)


@pytest.fixture
def start(job: Job) -> Iterator[Start]:
    """Starts a sandbox, and returns its process, the variables it printed and all that it said."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        *options: str, under: tuple[str, ...] = ()
    ) -> tuple[subprocess.Popen[bytes], dict[str, str], str]:
        process = job.start([*under, *COMMAND, "sandbox", *options])
        started.append(process)
        last = b"}\n" if "--json" in options else b"# this process: "
        said = b""
        assert process.stdout
        while not said.splitlines(keepends=True)[-1:] or not said.splitlines(keepends=True)[
            -1
        ].startswith(last):
            line = process.stdout.readline()
            assert line, process.communicate()
            said += line
        exports = re.findall(r"(?m)^export (\w+)=(.*)$", said.decode())
        variables = {name: "".join(shlex.split(value)) for name, value in exports}
        return process, variables, said.decode()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_sandbox(job: Job, start: Start, tmp_path: Path) -> None:
    """The printed variables make a job: exec works with them, and Ctrl-C ends it all."""
    process, variables, _ = start()
    inside = Job(environ=job.environ | variables, state=Path(variables["CI_IDENTITY_STATE_DIR"]))
    done = inside.run([*EXEC, "sh", "-c", 'echo "$DB_USER $DB_PASSWORD"'])
    assert done.returncode == 0
    assert b"shop [MASKED]\n" in done.stdout
    assert b"revoked; the server confirmed it" in done.stderr
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, b"stopped; everything it made is gone\n")
    assert list(tmp_path.iterdir()) == []
    issuer = urlsplit(variables["ACTIONS_ID_TOKEN_REQUEST_URL"])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((issuer.hostname or "", issuer.port or 0), timeout=5)


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_sandbox_ends_by_signal(start: Start, tmp_path: Path, name: str) -> None:
    """SIGTERM ends it as Ctrl-C does, and so does a terminal that is closed."""
    process, _, _ = start()
    process.send_signal(signal.Signals[f"SIG{name}"])
    process.communicate()
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_sandbox_ends_by_sigint_though_it_was_started_with_it_ignored(
    start: Start, tmp_path: Path
) -> None:
    """A script's background process has SIGINT ignored; it is heeded all the same."""
    process, _, _ = start(under=("env", "--ignore-signal=INT"))
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_sandbox_tells_how_to_administer_its_server(job: Job, start: Start) -> None:
    """The commented lines are a working `bao` and a token that may do everything there."""
    process, variables, said = start()
    assert "BAO_TOKEN" not in variables
    lines = re.findall(r"(?m)^# ((?:export BAO_ADDR|alias bao)=.*)$", said)
    (program,) = shlex.split(lines[1].removeprefix("alias bao="))
    done = job.run(["sh", "-c", f'{lines[0]}; "$0" policy list', program])
    assert done.returncode == 0, done.stderr
    assert {b"ci", b"shop-db", b"root"} <= set(done.stdout.split())
    assert f"# this process: {process.pid} (Ctrl-C, or kill {process.pid}, ends it)\n" in said


def test_sandbox_says_that_its_server_has_died(start: Start, tmp_path: Path) -> None:
    """Without its server it is no world: it says so, ends, and leaves nothing."""
    process, _, said = start("--json")
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    _, stderr = process.communicate()
    assert process.returncode == 6
    assert stderr.startswith(b"error[provider-unavailable]: the OpenBao server of the sandbox has")
    assert list(tmp_path.iterdir()) == []
    assert json.loads(said)["pid"] == process.pid


def test_sandbox_as_another_job(job: Job, start: Start) -> None:
    """--claim makes the job another one, for which the grant is not."""
    _, variables, _ = start("--claim", "repository=mallory/shop", "--claim", "repository_id=666")
    inside = Job(environ=job.environ | variables, state=Path(variables["CI_IDENTITY_STATE_DIR"]))
    done = inside.run([*EXEC, "true"])
    assert done.returncode == 125
    assert b"error[denied]" in done.stderr


def test_sandbox_as_json(job: Job, start: Start) -> None:
    """--json prints the same for programs; --ci gitlab makes it a GitLab job."""
    _, _, said = start("--ci", "gitlab", "--json")
    world = json.loads(said)
    inside = Job(environ=job.environ | world["environ"], state=job.state)
    assert world["grant"] == "migrate-db"
    assert world["environ"]["GITLAB_CI"] == "true"
    assert world["server"].keys() == {"address", "token", "binary"}
    assert inside.run([*EXEC, "true"]).returncode == 0


def test_demo(job: Job, tmp_path: Path) -> None:
    """The demo shows the whole path, ends well, shows no secret and leaves nothing."""
    done = job.run([*COMMAND, "demo"])
    shown = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert "connecting as shop with the password [MASKED]" in shown
    assert "as logs often have it: [MASKED]" in shown
    assert "can this step ask for more tokens? no" in shown
    assert "migrate-db: denied to this job" in shown
    assert "error[denied]" in shown
    assert len(re.findall(r"403 Forbidden", shown)) == 2
    assert "It was never asked" in shown
    assert not re.search(r"::add-mask::|\beyJ|\b(hvs|s|b)\.[A-Za-z0-9_-]{20,}", shown)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("extra", "is_coloured"), [({}, False), ({"FORCE_COLOR": "1"}, True)])
def test_demo_in_colour(job: Job, extra: dict[str, str], *, is_coloured: bool) -> None:
    """The demo is in colour where that is asked for, and so are the commands it runs."""
    done = job.run([*COMMAND, "demo"], extra=extra)
    assert done.returncode == 0
    assert (b"\033[" in done.stdout) == is_coloured

"""What goes in and out of a step: whole, in order, and never in the way of the end."""

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.step import EXEC, SOON, Job, Watch


@pytest.fixture
def job(world: World, tmp_path: Path) -> Job:
    """A GitLab job: no lines for GitHub's runner in its output."""
    return Job.of(world, tmp_path / "state", "gitlab")


@pytest.fixture
def watch(world: World) -> Watch:
    return Watch(world.openbao)


ALTERNATING = """
import os
for number in range(5000):
    os.write(1, b"out %d\\n" % number)
    os.write(2, b"err %d\\n" % number)
"""


def lines_of(name: str) -> list[bytes]:
    return [f"{name} {number}".encode() for number in range(5000)]


def is_ours(line: bytes) -> bool:
    return line.startswith(b"ci-identity: ")


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_one_stream_keeps_the_order(job: Job, tmp_path: Path, kind: str) -> None:
    """Where stdout and stderr are one file or pipe, 10,000 lines of the two keep their order."""
    command = [*EXEC, sys.executable, "-c", ALTERNATING]
    if kind == "file":
        with (tmp_path / "log").open("wb") as log:
            job.run(command, stdout=log, stderr=log)
        shown = (tmp_path / "log").read_bytes()
    else:
        shown = job.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    expected = [
        line for pair in zip(lines_of("out"), lines_of("err"), strict=True) for line in pair
    ]
    assert [line for line in shown.splitlines() if not is_ours(line)] == expected


def test_two_streams_stay_apart(job: Job) -> None:
    """Where they are two, what is written to one never comes out of the other."""
    done = job.run([*EXEC, sys.executable, "-c", ALTERNATING])
    assert done.stdout.splitlines() == lines_of("out")
    assert [line for line in done.stderr.splitlines() if not is_ours(line)] == lines_of("err")


def test_both_streams_are_redacted(job: Job, world: World) -> None:
    """Secrets are masked on both; a public value is not."""
    show = 'echo "$DB_USER $DB_PASSWORD" | tee /dev/stderr'
    done = job.run([*EXEC, "sh", "-c", show])
    assert done.stdout == b"shop [MASKED]\n"
    assert b"shop [MASKED]\n" in done.stderr
    assert world.secrets["password"].reveal().encode() not in done.stdout + done.stderr


def test_stdin_is_inherited(job: Job) -> None:
    """The step reads our stdin; a line of 100 KB arrives and leaves whole."""
    line = b"x" * 100_000 + b"\n"
    assert job.run([*EXEC, "cat"], stdin=line).stdout == line


def test_unfinished_line_is_shown_at_once(job: Job) -> None:
    """A prompt without a line end is not held back."""
    step = job.start([*EXEC, "sh", "-c", "printf 'Continue? '; exec sleep 60"])
    assert step.stdout
    assert os.read(step.stdout.fileno(), 100) == b"Continue? "
    step.terminate()
    step.communicate()


# ── readers ──────────────────────────────────────────────────────────────────────────────────


def test_reader_that_has_seen_enough(job: Job, watch: Watch) -> None:
    """`| head -1`: the step dies by SIGPIPE as it would without us, and everything is revoked."""
    step = job.start([*EXEC, "yes"])
    assert step.stdout
    assert step.stdout.readline() == b"y\n"
    step.stdout.close()
    step.communicate()
    assert step.returncode == -signal.SIGPIPE
    watch.assert_revoked()


@pytest.mark.parametrize("code", [0, 3])
def test_nobody_reads_anything(job: Job, watch: Watch, code: int) -> None:
    """With the readers of stdout and stderr gone, the exit code is still the step's."""
    reader, writer = os.pipe()
    os.close(reader)
    done = job.run([*EXEC, "sh", "-c", f"exit {code}"], stdout=writer, stderr=writer)
    os.close(writer)
    assert done.returncode == code
    watch.assert_revoked()


@pytest.mark.parametrize("is_one", [False, True])
def test_reader_that_is_stuck(job: Job, watch: Watch, *, is_one: bool) -> None:
    """A log that nobody reads any more keeps neither a signal, nor the revocation, nor our end."""
    reader, writer = os.pipe()
    command, stderr = (EXEC, writer) if is_one else (SOON, subprocess.DEVNULL)
    step = job.start([*command, "yes"], stdout=writer, stderr=stderr)
    while "delivered" not in job.events():
        assert step.poll() is None
        time.sleep(0.02)
    select.select([reader], [], [])  # the command runs: before that a signal would be told as such
    step.terminate()
    assert step.wait() == (-signal.SIGTERM if is_one else 0)
    os.close(reader)
    os.close(writer)
    assert job.events()[-1] == "revoked"
    watch.assert_revoked()


def test_slow_reader_loses_nothing(job: Job) -> None:
    """A reader that pauses after the step's end, for longer than a silent stray may, gets all."""
    size = 1_800_000  # what fits into two pipes of 1 MiB: the step has written it all, and ends
    reader, writer = os.pipe()
    step = job.start([*EXEC, "head", "-c", str(size), "/dev/zero"], stdout=writer)
    os.close(writer)
    while "revoked" not in job.events():
        assert step.poll() is None
        time.sleep(0.02)
    time.sleep(2.5)
    got = 0
    while data := os.read(reader, 1 << 16):
        got += len(data)
    os.close(reader)
    step.communicate()
    assert (got, step.returncode) == (size, 0)


def test_non_blocking_stdout(job: Job) -> None:
    """A stdout that somebody made non-blocking (Node does) loses nothing, and stays as it was."""
    size = 3_000_000
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    step = job.start([*SOON, "head", "-c", str(size), "/dev/zero"], stdout=writer)
    got = 0
    while got < size:
        got += len(os.read(reader, 1 << 12))
    step.communicate()
    assert fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(writer)
    assert (os.read(reader, 1), step.returncode) == (b"", 0)
    os.close(reader)


def test_full_device(job: Job, watch: Watch) -> None:
    """Output that cannot be written is an error, not a success without output."""
    with Path("/dev/full").open("wb") as full:
        done = job.run([*EXEC, "echo", "hello"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 125
    assert b"error[delivery-output]: the command succeeded, but its output could not" in done.stderr
    assert b"Traceback" not in done.stderr
    watch.assert_revoked()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptor(job: Job, watch: Watch, closed: str) -> None:
    """With a standard stream closed, the step's output gets into no connection or file of ours."""
    script = "echo out; echo err >&2; exit 3"
    done = job.run(["sh", "-c", f'exec "$@" {closed}', "sh", *EXEC, "sh", "-c", script])
    assert done.returncode == 3
    assert done.stdout == (b"" if ">&-" in closed.split() else b"out\n")
    assert (b"err\n" in done.stderr) == ("2>&-" not in closed)
    assert job.events() == ["requested", "issued", "issued", "delivered", "revoked"]
    watch.assert_revoked()

"""Cancelled jobs: signals are passed on, and what was issued ends whatever the step does."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.proxy import Proxy
from tests.step import COMMAND, EXEC, SOON, Job, Watch

ENDING = ["TERM", "INT", "HUP", "QUIT"]


@pytest.fixture
def job(world: World, tmp_path: Path) -> Job:
    return Job.of(world, tmp_path / "state")


@pytest.fixture
def watch(world: World) -> Watch:
    return Watch(world.openbao)


def until(step: subprocess.Popen[bytes], line: bytes) -> None:
    """Read the step's output up to this line."""
    assert step.stdout
    for found in step.stdout:
        if found == line + b"\n":
            return
    pytest.fail(f"the output ended without {line!r}: {step.communicate()[1]!r}")


def revoked_at(job: Job) -> float:
    """When the ledger says that it was revoked."""
    (entry,) = (entry for entry in job.ledger() if entry["event"] == "revoked")
    return datetime.fromisoformat(entry["at"]).timestamp()


def last_beat(folder: Path) -> float:
    """When the step last said in its file that it lives."""
    return float((folder / "beat").read_text().rpartition("\n")[0].split()[-1])


def is_running(pid_file: Path) -> bool:
    """True if the process whose id is in this file runs, and is no zombie."""
    try:
        stat = Path(f"/proc/{pid_file.read_text().strip()}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


# ── signals that end ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ENDING)
def test_signal_is_handled_by_the_step(job: Job, watch: Watch, name: str) -> None:
    """A signal to exec reaches the step; one that cleans up and exits with 7 makes us exit so."""
    script = f"trap 'exit 7' {name}; echo ready; while :; do sleep 0.05; done"
    step = job.start([*EXEC, "bash", "-c", script])
    until(step, b"ready")
    step.send_signal(signal.Signals[f"SIG{name}"])
    step.communicate()
    assert step.returncode == 7
    watch.assert_revoked()


@pytest.mark.parametrize("name", ENDING)
def test_signal_kills_the_step(job: Job, watch: Watch, name: str) -> None:
    """A step that dies by the signal makes us die by it, after the revocation."""
    step = job.start([*EXEC, "sh", "-c", "echo ready; exec sleep 60"])
    until(step, b"ready")
    step.send_signal(signal.Signals[f"SIG{name}"])
    step.communicate()
    assert step.returncode == -signal.Signals[f"SIG{name}"]
    assert job.events()[-1] == "revoked"
    watch.assert_revoked()


STUBBORN = "trap '' TERM; echo ready; while :; do date +%s.%N >>beat; sleep 0.05; done"


def test_step_that_ignores_the_signal(job: Job, watch: Watch, tmp_path: Path) -> None:
    """A step that ignores the signal loses its credential while it lives, and then its life."""
    step = job.start([*SOON, "sh", "-c", f"cd {tmp_path}; {STUBBORN}"])
    until(step, b"ready")
    step.terminate()
    _, stderr = step.communicate()
    assert b"finished: code=137 signal=9" in stderr
    assert revoked_at(job) < last_beat(tmp_path)
    watch.assert_revoked()


def test_exec_and_a_step_that_ignores_the_signal(job: Job, watch: Watch, tmp_path: Path) -> None:
    """exec waits 5 s before it revokes under a living step, and dies as the step was killed."""
    step = job.start([*EXEC, "sh", "-c", f"cd {tmp_path}; {STUBBORN}"])
    until(step, b"ready")
    told_at = time.time()
    step.terminate()
    step.communicate()
    assert step.returncode == -signal.SIGKILL
    assert told_at + 5 <= revoked_at(job) < last_beat(tmp_path)
    watch.assert_revoked()


def test_other_signals_end_nothing(job: Job, watch: Watch, tmp_path: Path) -> None:
    """SIGUSR1 is passed on and ends nothing, however long the step goes on."""
    script = "trap 'echo heard' USR1; echo ready; while [ ! -e go ]; do sleep 0.05; done"
    script += "; sleep 0.6; date +%s.%N >>beat"  # longer than the patience after a signal that ends
    step = job.start([*SOON, "bash", "-c", f"cd {tmp_path}; {script}"])
    until(step, b"ready")
    step.send_signal(signal.SIGUSR1)
    until(step, b"heard")
    (tmp_path / "go").touch()
    _, stderr = step.communicate()
    assert b"finished: code=0 signal=None" in stderr
    assert revoked_at(job) > last_beat(tmp_path)
    watch.assert_revoked()


def test_a_stop_ends_nothing(job: Job, watch: Watch, tmp_path: Path) -> None:
    """Ctrl-Z and `fg`, or a container that is paused: the step goes on, and we with it."""
    script = "echo ready; while [ ! -e go ]; do sleep 0.05; done; exit 4"
    step = job.start([*EXEC, "sh", "-c", f"cd {tmp_path}; {script}"])
    until(step, b"ready")
    for _ in range(3):
        step.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, step.pid, os.WSTOPPED)
        time.sleep(0.6)  # longer than between two looks of ours
        step.send_signal(signal.SIGCONT)
        os.waitid(os.P_PID, step.pid, os.WCONTINUED)
    (tmp_path / "go").touch()
    _, stderr = step.communicate()
    assert step.returncode == 4, stderr.decode()
    watch.assert_revoked()


def test_ignored_signal_stays_ignored(job: Job, tmp_path: Path) -> None:
    """Under nohup, SIGHUP ends nothing: neither the step nor, 5 s later, its credential."""
    script = "echo ready; while [ ! -e go ]; do sleep 0.05; done; sleep 0.6; date +%s.%N >>beat"
    step = job.start(
        ["env", "--ignore-signal=HUP", *SOON, "sh", "-c", f"cd {tmp_path}; {script}; exit 5"]
    )
    until(step, b"ready")
    step.send_signal(signal.SIGHUP)
    (tmp_path / "go").touch()
    _, stderr = step.communicate()
    assert b"finished: code=5 signal=None" in stderr
    assert revoked_at(job) > last_beat(tmp_path)


COUNTING = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
print("ready", flush=True)
heard = 0
while signal.sigtimedwait({signal.SIGINT}, 0.5):
    heard += 1
print(f"heard={heard}", flush=True)
"""


def test_interrupt_key_is_not_passed_on(job: Job, watch: Watch) -> None:
    """Ctrl-C goes to the whole group: the step hears it from the terminal, not again from us.

    The step here has left the group, so that what it hears can only be ours.
    """
    master, slave = pty.openpty()
    step = subprocess.Popen(
        [
            "env",
            "--default-signal",
            "setsid",
            "--ctty",
            *SOON,
            "setsid",
            sys.executable,
            "-c",
            COUNTING,
        ],
        env=job.environ,
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=slave,
    )
    os.close(slave)
    assert step.stdout
    with step.stdout as stdout:
        shown = b""
        for line in stdout:
            shown += line
            if b"ready" in line:
                os.write(master, b"\x03")
    step.wait()
    os.close(master)
    assert b"heard=0\n" in shown
    watch.assert_revoked()


# ── before the step is started ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/login", "/create", "/secret/data/shop"])
@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_signal_during_the_exchange(
    world: World, job: Job, watch: Watch, tmp_path: Path, path: str, name: str
) -> None:
    """A signal while the server is slow: nothing is started, all is revoked, we die by it."""
    number = signal.Signals[f"SIG{name}"]
    with Proxy(world) as proxy:
        grants = tmp_path / "slow.yml"
        grants.write_text(proxy.grants)
        proxy.held = path
        step = job.start(
            [*EXEC[:-1], "--grants", str(grants), "--", "touch", f"{tmp_path}/started"]
        )
        assert proxy.arrived.wait(20)
        step.send_signal(number)
        proxy.release.set()
        _, stderr = step.communicate()
    assert step.returncode == -number
    assert re.findall(rb"error\[([a-z-]+)\]: SIG(\w+) came", stderr) == [
        (b"interrupted", name.encode())
    ]
    assert not (tmp_path / "started").exists()
    assert job.events()[-1] == "revoked"
    assert job.ledger()[-1]["reason"] == "interrupted"
    watch.assert_revoked()


# ── what a step leaves behind ────────────────────────────────────────────────────────────────


def test_silent_stray_does_not_keep_us(job: Job, watch: Watch, tmp_path: Path) -> None:
    """A background process that holds the output and says nothing is ended with the step."""
    script = f"sleep 300 & echo $! >{tmp_path}/pid; exit 5"
    done = job.run([*EXEC, "sh", "-c", script])
    assert done.returncode == 5
    assert not is_running(tmp_path / "pid")
    watch.assert_revoked()


def test_chatty_stray_does_not_keep_us(job: Job, watch: Watch, tmp_path: Path) -> None:
    """One that goes on writing is listened to for a while, without the credential, then ended."""
    script = f"while :; do date +%s.%N >>{tmp_path}/beat; echo x; sleep 0.02; done"
    done = job.run([*SOON, "sh", "-c", f"({script}) & echo $! >{tmp_path}/pid; exit 4"])
    assert b"finished: code=4 signal=None" in done.stderr
    assert not is_running(tmp_path / "pid")
    assert revoked_at(job) < last_beat(tmp_path)
    watch.assert_revoked()


DAEMON = "setsid sh -c '(exec sleep 300 </dev/null >/dev/null 2>&1) & echo $! >{}/pid' & wait"


def test_daemon_is_ended(job: Job, tmp_path: Path) -> None:
    """A daemon, forked twice and in a session of its own, is found and ended by exec."""
    done = job.run([*EXEC, "sh", "-c", DAEMON.format(tmp_path)])
    assert done.returncode == 0
    assert not is_running(tmp_path / "pid")


def test_stubborn_daemon_is_killed(job: Job, tmp_path: Path) -> None:
    """One that ignores SIGTERM gets SIGKILL."""
    daemon = f"trap '' TERM; echo $$ >{tmp_path}/pid; while :; do sleep 0.1; done"
    script = (
        f'setsid -f sh -c "$0" </dev/null >/dev/null 2>&1; until [ -s {tmp_path}/pid ]; do :; done'
    )
    done = job.run([*EXEC, "sh", "-c", script, daemon])
    assert done.returncode == 0
    assert not is_running(tmp_path / "pid")


@pytest.fixture
def stray(tmp_path: Path) -> Iterator[Path]:
    """A file for the pid of a process that the test leaves running."""
    yield tmp_path / "pid"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_python_run_leaves_daemons_alone(job: Job, watch: Watch, stray: Path) -> None:
    """`run` in somebody's program adopts nobody: what the command leaves behind stays."""
    script = "import sys; from ci_identity import run\n"
    script += "sys.exit(run(sys.argv[1:], grants=['migrate-db']))"
    done = job.run(
        [COMMAND[0], "-I", "-c", script, "sh", "-c", DAEMON.format(stray.parent) + "; exit 6"]
    )
    assert done.returncode == 6
    assert is_running(stray)
    watch.assert_revoked()

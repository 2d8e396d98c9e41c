"""The machine itself fails a run: no room, no /proc, no descriptors, a clock that is wrong."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from ci_identity.sandbox.issuer import Issuer
from ci_identity.sandbox.world import World
from tests.faults.stage import IMPATIENT, LONGEST, Ended, Faulty
from tests.step import EXEC, Job, Watch

NEW_NAMESPACE = ("unshare", "--mount", "sh", "-c")
needs_mounts = pytest.mark.skipif(
    subprocess.run([*NEW_NAMESPACE, "true"], check=False, capture_output=True).returncode != 0,
    reason="only root may mount",
)


def with_mount(command: str) -> tuple[str, ...]:
    """Return what starts a command in a world of its own, where something has been mounted."""
    return (*NEW_NAMESPACE, f'{command} && exec "$@"', "sh")


# ── no room ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("entries", range(5))
def test_a_disk_that_is_full_after_some_entries(faulty: Faulty, entries: int) -> None:
    """Wherever the ledger ends: without its entry nothing goes on, and what there is ends."""
    whole = faulty.exec()
    assert whole.code == 0
    lines = (faulty.job.state / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    room = sum(map(len, lines[:entries])) + len(lines[entries]) // 2
    faulty.begin_again()

    ended = faulty.exec("", "prlimit", f"--fsize={room}", "--")
    assert ended.code == 125
    assert ended.errors == ["ledger"]
    assert faulty.has_run == (entries == 4)
    if entries:
        assert "revoked; the server confirmed it" in ended.stderr
        assert "its end could not be recorded" in ended.stderr
    faulty.assert_sound(ended, torn_end=True)


@needs_mounts
@pytest.mark.parametrize("size", ["4k", "8k"])
def test_a_state_folder_without_room(faulty: Faulty, size: str) -> None:
    """A file system that is full, as containers have small ones: the same."""
    faulty.job.state.mkdir(mode=0o700)
    mount = f"mount -t tmpfs -o mode=700,size={size} none {faulty.job.state}"
    fill = f"dd if=/dev/zero of={faulty.job.state}/other bs=1k count=64 2>/dev/null; true"
    ended = faulty.exec("", *with_mount(f"{mount} && {{ {fill}; }}"))
    assert ended.code == 125
    assert not faulty.has_run
    assert faulty.watch.logins == 0
    ended.assert_sound(faulty.secrets)


@needs_mounts
def test_a_state_folder_that_is_read_only(faulty: Faulty) -> None:
    """Nothing can be recorded, so nothing is asked for."""
    faulty.job.state.mkdir(mode=0o700)
    ended = faulty.exec("", *with_mount(f"mount -t tmpfs -o ro,mode=700 none {faulty.job.state}"))
    faulty.assert_sound(ended)
    assert (ended.code, ended.errors) == (125, ["ledger"])
    assert faulty.watch.logins == 0


@pytest.mark.parametrize("device", ["/dev/full", "/dev/null", "/proc/self/fd/2"])
def test_a_ledger_that_is_a_device(faulty: Faulty, device: str) -> None:
    """What keeps nothing is no ledger."""
    faulty.job.environ["CI_IDENTITY_LEDGER"] = device
    ended = faulty.exec()
    faulty.assert_sound(ended)
    assert (ended.code, ended.errors) == (125, ["ledger"])
    assert faulty.watch.logins == 0


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_log_that_takes_nothing(faulty: Faulty, stream: str) -> None:
    """Where our own words cannot be written the credential ends all the same."""
    script = "echo said >&2; true"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*IMPATIENT, "exec", "--grant", "migrate-db", "--", "sh", "-c", script],
            env=faulty.job.environ,
            stdin=subprocess.DEVNULL,
            stdout=full if stream == "stdout" else subprocess.PIPE,
            stderr=full if stream == "stderr" else subprocess.PIPE,
            check=False,
        )
    assert done.returncode == (125 if stream == "stderr" else 0)
    faulty.watch.assert_revoked()


# ── no home, no /proc, no descriptors ────────────────────────────────────────────────────────


@needs_mounts
def test_a_home_that_is_read_only(faulty: Faulty) -> None:
    """Nothing of ours is in it."""
    home = faulty.folder / "home"
    home.mkdir()
    faulty.job.environ["HOME"] = str(home)
    ended = faulty.exec("", *with_mount(f"mount -t tmpfs -o ro none {home}"))
    faulty.assert_sound(ended)
    assert ended.code == 0


def test_no_home_at_all(faulty: Faulty) -> None:
    """Nor is it missed."""
    faulty.job.environ["HOME"] = "/nonexistent"
    ended = faulty.exec()
    faulty.assert_sound(ended)
    assert ended.code == 0


@needs_mounts
def test_no_proc(faulty: Faulty) -> None:
    """Without /proc a step runs; the log says that it could not be told to mask."""
    ended = faulty.exec("", *with_mount("mount -t tmpfs none /proc"))
    faulty.assert_sound(ended)
    assert ended.code == 0
    assert "GitHub cannot be told to mask" in ended.stderr
    faulty.watch.assert_revoked()


@needs_mounts
def test_no_proc_and_a_stray(faulty: Faulty) -> None:
    """What we cannot see we cannot end; that it is there is said, and it has no credential."""
    stray = "sleep 60 <&- >&- 2>&- & echo $! >&2"
    ended = faulty.exec(stray, *with_mount("mount -t tmpfs none /proc"))
    pid = int(next(line for line in ended.stderr.splitlines() if line.isdecimal()))
    os.kill(pid, 9)  # raises if it is gone
    faulty.assert_sound(ended)
    assert "something of the command could not be ended" in ended.stderr
    faulty.watch.assert_revoked()


@pytest.mark.parametrize("count", range(5, 10))
def test_few_descriptors(faulty: Faulty, count: int) -> None:
    """Wherever the last one is missing, one clear error, and what was issued ends."""
    ended = faulty.exec("", "prlimit", f"--nofile={count}", "--")
    if "Fatal Python error" in ended.stderr:
        pytest.skip("Python itself does not start with so few")
    assert ended.code in {0, 2, 125, 126}  # 2 is the shell's own, which has too few as well
    ended.assert_sound(faulty.secrets)
    faulty.watch.assert_revoked(faulty.watch.logins)
    assert not faulty.has_run or "delivered" in faulty.events


@pytest.mark.skipif(os.getuid() != 0, reason="root alone can be a user of its own")
@pytest.mark.parametrize("count", range(1, 7))
def test_few_threads(world: World, count: int) -> None:
    """In a container that is out of processes: one clear error, or a run; and the end is the end.

    The kernel counts those of a user, who is therefore one that nobody else is.
    """
    user = 61_000 + os.getpid() % 4000
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, user, user)
    job, watch = Job.of(world, folder / "state"), Watch(world.openbao)
    shutil.copyfile(world.grants_path, folder / "grants.yml")
    job.environ["CI_IDENTITY_GRANTS"] = str(folder / "grants.yml")
    limit = ("prlimit", f"--nproc={count}", "--")
    become = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--")
    ended = Ended(job.run([*limit, *become, *EXEC, "true"], timeout=LONGEST))
    ended.assert_sound({one.reveal() for one in world.secrets.values() if len(one.reveal()) > 8})
    assert ended.code in {0, 125, 126}
    watch.assert_revoked(watch.logins)
    assert "revoked; the server confirmed it" in ended.stderr
    shutil.rmtree(folder)


# ── clocks ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_clock_that_is_ten_minutes_off(faulty: Faulty, issuer: Issuer, minutes: int) -> None:
    """The CI's clock and ours differ so much that its tokens are none: said, and nobody asked."""
    now = time.time() + 60 * minutes
    issuer.claims.update(iat=int(now), nbf=int(now), exp=int(now + 300))
    try:
        ended = faulty.exec()
    finally:
        issuer.claims.clear()
    faulty.assert_sound(ended)
    assert (ended.code, ended.errors) == (125, ["identity-expired"])
    assert faulty.watch.logins == 0


@pytest.mark.parametrize("seconds", [-30, 30])
def test_clocks_that_are_nearly_right(faulty: Faulty, issuer: Issuer, seconds: int) -> None:
    """Half a minute is what clocks may differ by."""
    now = time.time() + seconds
    issuer.claims.update(iat=int(now), nbf=int(now), exp=int(now + 300))
    try:
        ended = faulty.exec()
    finally:
        issuer.claims.clear()
    faulty.assert_sound(ended)
    assert ended.code == 0

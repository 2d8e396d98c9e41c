"""Another process looks at a step while it holds a credential: of its own user, or of another."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.step import EXEC, Job

VICTIM, STRANGER = 65534, 65533

LOOK = """
import json, os, sys
found = {}
for name in ("environ", "mem", "maps", "fd", "cwd", "root", "auxv", "stack", "personality"):
    path = f"/proc/{sys.argv[1]}/{name}"
    try:
        if name == "fd":
            found[name] = [os.readlink(f"{path}/{one}") for one in os.listdir(path)]
        elif name in {"cwd", "root"}:
            found[name] = os.readlink(path)
        else:
            with open(path, "rb") as file:
                found[name] = file.read(1 << 16).decode("latin-1") if name != "mem" else "open"
    except OSError as error:
        found[name] = None
found["files"] = []
for folder, _, names in os.walk(sys.argv[2]):
    for name in names:
        try:
            with open(os.path.join(folder, name), "rb") as file:
                found["files"].append(file.read().decode("latin-1"))
        except OSError:
            pass
try:
    os.kill(int(sys.argv[1]), 0)
    found["kill"] = True
except PermissionError:
    found["kill"] = None
print(json.dumps(found))
"""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be two other users")


def as_user(user: int) -> tuple[str, ...]:
    """Return what starts a command as another user, who can become nobody else."""
    return ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--")


class Step:
    """A step of a user's job under `exec`, which waits until it is told to end.

    Attributes:
        folder: where its job's files are.
        ours: the pid of `exec`.
        child: the pid of what it has started.
        job: the job.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.folder = folder
        self.job = Job.of(world, folder / "state")
        grants = folder / "grants.yml"
        shutil.copyfile(world.grants_path, grants)
        self.job.environ.update(CI_IDENTITY_GRANTS=str(grants), HOME=str(folder))
        os.chown(folder, VICTIM, VICTIM)
        wait = f"echo $$ > {folder}/child; while ! [ -e {folder}/end ]; do sleep 0.05; done"
        self._process = self.job.start([*as_user(VICTIM), *EXEC, "sh", "-c", wait])
        deadline = time.monotonic() + 30
        while not (folder / "child").exists() or not (folder / "child").read_text().strip():
            assert self._process.poll() is None, self._process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.ours, self.child = self._process.pid, int((folder / "child").read_text())

    def end(self) -> int:
        """Let it end, and return its exit code."""
        (self.folder / "end").touch()
        self._process.communicate(timeout=60)
        return self._process.returncode

    def kill(self) -> None:
        """End it for good, if it has not ended."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.communicate(timeout=60)


@pytest.fixture
def step(world: World) -> Iterator[Step]:
    """A step that holds a credential, of a user who is not root."""
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    step = Step(world, folder)
    yield step
    step.kill()
    shutil.rmtree(folder)


def look(user: int, pid: int, folder: Path) -> dict[str, object]:
    """Return what a process of a user can find out about another process, and in a folder."""
    argv = [*as_user(user), sys.executable, "-I", "-c", LOOK, str(pid), str(folder)]
    done = subprocess.run(argv, check=True, capture_output=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_sibling_gets_nothing_of_exec(step: Step, world: World) -> None:
    """A process of the same user can read neither the memory nor the variables of `exec`.

    It gets to know that it is there, can end it, and reads the ledger, which has no secret.
    """
    found = look(VICTIM, step.ours, step.folder)
    assert found.pop("kill")
    files = "".join(map(str, found.pop("files")))  # type: ignore[call-overload]  # a list of texts
    assert set(found.values()) == {None}
    bearer = step.job.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    assert '"event":"delivered"' in files.replace(" ", "")
    secrets = [bearer, *(one.reveal() for one in world.secrets.values() if len(one.reveal()) > 8)]
    assert not any(secret in files for secret in secrets)
    assert step.end() == 0


def test_a_sibling_gets_what_the_step_has(step: Step, world: World) -> None:
    """The page says so first: the step itself is an ordinary program, with its values to be read.

    What could mint another credential is not among them.
    """
    environ = str(look(VICTIM, step.child, step.folder)["environ"])
    assert world.secrets["password"].reveal() in environ
    assert step.job.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] not in environ
    assert "ACTIONS_ID_TOKEN_REQUEST" not in environ


def test_another_user_gets_nothing(step: Step) -> None:
    """A process of another user reads neither `exec` nor its step, nor any file of the two."""
    for pid in (step.ours, step.child):
        found = look(STRANGER, pid, step.folder / "state")
        assert found.pop("files") == []
        found.pop("auxv")  # which Linux hides from others only since 5.x; nothing secret is in it
        assert set(found.values()) == {None}


def test_the_state_folder_is_closed_to_others(step: Step) -> None:
    """It and what is in it are for its user alone."""
    paths = [step.job.state, *step.job.state.rglob("*")]
    assert len(paths) > 3
    assert all(path.stat().st_mode & 0o077 == 0 for path in paths)
    assert {path.stat().st_uid for path in paths} == {VICTIM}

"""actions/credentials as GitHub's runner starts and cancels it: by signals to node alone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest
import yaml
from hvac.exceptions import InvalidRequest

from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.actions.shop import ACTIONS, path_of
from tests.actions.step import Step
from tests.exchangers.front import Fault, Front, answers, forward
from tests.step import Watch

SOON = 7.0
"""Seconds: SIGTERM comes 7.5 s after SIGINT, and 2.5 s later the end of everything."""

LOGIN, CREATE, REVOKE = "auth/jwt/login", "auth/token/create", "auth/token/revoke-self"


@pytest.fixture
def front(openbao: OpenBao) -> Iterator[Front]:
    """A server in front of the real one, that can be made to wait."""
    with Front(openbao.address) as front:
        yield front


@pytest.fixture
def use(node: Path, world: World, front: Front, tmp_path: Path) -> Step:
    """A use with an inline grant for OpenBao."""
    action = ACTIONS / "credentials"
    inputs = yaml.safe_load((action / "action.yml").read_text())["inputs"]
    given = {name: entry.get("default", "") for name, entry in inputs.items()} | {
        "steps": "migrate",
        "vault-address": front.address,
        "vault-role": "shop-migrate",
        "vault-policies": "shop-db",
        "vault-secrets": "DB_PASSWORD: secret/data/shop#password",
        "audience": world.openbao.address,
    }
    job = {n: v for n, v in world.environ().items() if not n.startswith("CI_IDENTITY")}
    return Step(
        action=action,
        node=node,
        folder=tmp_path,
        environ=job
        | {f"INPUT_{name.upper()}": value for name, value in given.items()}
        | {"GITHUB_ACTION": "__ci-identity", "PATH": path_of(Path(sys.base_prefix) / "bin")},
    )


def held(release: Event) -> Fault:
    """Return the fault of not answering before `release`."""

    def wait(request: object) -> None:
        release.wait(60)
        forward(request)  # type: ignore[arg-type]  # what a fault is called with

    return wait


def wait_for(path: str, front: Front, step: subprocess.Popen[str]) -> None:
    """Wait until a step has asked the server for something."""
    while path not in front.asked:
        assert step.poll() is None, step.communicate()
        time.sleep(0.01)


def ended(process: subprocess.Popen[str], timeout: float = 60.0) -> tuple[int, str]:
    """Wait for the end, and return the exit code and everything that was said."""
    stdout, stderr = process.communicate(timeout=timeout)
    return process.returncode, stdout + stderr


def start(use: Step) -> None:
    """Run `main`."""
    done = use.run("main")
    assert done.returncode == 0, done.stdout + done.stderr


def test_main_and_post(use: Step, world: World, watch: Watch) -> None:
    """Pointers for later steps, handles for `post`; in the end nothing is left but the summary."""
    start(use)
    assert set(use.state) == {"STATE_python", "STATE_instance"}
    told = [use.read(name) for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STATE")]
    done = use.run("post", PATH="/nonexistent", **use.state)
    assert done.returncode == 0, done.stdout
    assert "vault: revoked; the server confirmed it" in done.stdout + done.stderr
    watch.assert_revoked()
    assert not Path(use.state["STATE_instance"]).exists()
    summary = use.read("GITHUB_STEP_SUMMARY")
    assert "| vault | " in summary
    secrets = [world.secrets["password"].reveal(), *watch.tokens]
    assert len(secrets) == 3
    assert not [secret for secret in secrets if secret in "".join([*told, summary])]


def test_a_node_that_cannot_become_another_program(use: Step, watch: Watch, tmp_path: Path) -> None:
    """Before 22.15, and wherever the experiment ends: the same, by a process of its own."""
    (tmp_path / "older.cjs").write_text("delete process.execve\n")
    older = {"NODE_OPTIONS": f"--require={tmp_path}/older.cjs"}
    done = use.run("main", **older)
    assert done.returncode == 0, done.stdout + done.stderr
    assert use.run("post", **older, **use.state).returncode == 0
    watch.assert_revoked()


def test_post_twice(use: Step, watch: Watch) -> None:
    """A second `post` has nothing to end, and does no harm."""
    start(use)
    assert [use.run("post", **use.state).returncode for _ in range(2)] == [0, 0]
    watch.assert_revoked()


def test_main_is_cancelled(use: Step, front: Front, watch: Watch) -> None:
    """In the middle of the exchange: what comes of it is revoked, in time."""
    release = Event()
    front.faults[LOGIN].append(held(release))
    main = use.start("main")
    wait_for(LOGIN, front, main)
    main.send_signal(signal.SIGINT)
    release.set()
    code, said = ended(main, SOON)
    assert code != 0
    assert "error[interrupted]" in said
    assert use.run("post", **use.state).returncode == 0
    watch.assert_revoked()
    assert use.read("GITHUB_ENV") == ""


def test_main_is_killed(use: Step, front: Front, watch: Watch) -> None:
    """`post` finds what it left: the state was written before anything was issued."""
    release = Event()
    front.faults[LOGIN].append(held(release))
    main = use.start("main")
    wait_for(LOGIN, front, main)
    main.kill()
    release.set()
    code, said = ended(use.start("post", **use.state))
    assert code == 0, said
    main.communicate()
    watch.assert_revoked()


@pytest.mark.parametrize("is_served", [True, False], ids=["it served", "it was still asking"])
def test_the_agent_is_killed(
    use: Step, openbao: OpenBao, front: Front, watch: Watch, *, is_served: bool
) -> None:
    """`post` logs in once more and ends what it may; what it cannot, it calls by its name."""
    if is_served:
        start(use)
        kill_agent(use)
    else:
        release = Event()
        front.faults[CREATE].append(held(release))
        main = use.start("main")
        wait_for(CREATE, front, main)
        kill_agent(use)
        release.set()
        assert ended(main)[0] != 0
    code, said = ended(use.start("post", **use.state))
    assert code == 9, said
    assert "vault: NOT revoked" in said
    assert "vault: revoked" not in said
    for accessor in re.findall(r"accessor:(\w+)", said):
        with suppress(InvalidRequest):  # a child ends with its login
            openbao.client().auth.token.revoke_accessor(accessor)
    watch.assert_revoked(logins=2)


def kill_agent(use: Step) -> None:
    """Kill what `main` has left, or is still starting."""
    record = Path(use.state["STATE_instance"], "agent.json")
    os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGINT, signal.SIGTERM)])
def test_post_is_cancelled(use: Step, front: Front, watch: Watch, signals: tuple[int, ...]) -> None:
    """A job that is cancelled while `post` revokes: it goes on, and ends as it would have."""
    start(use)
    release = Event()
    front.faults[REVOKE].append(held(release))
    post = use.start("post", **use.state)
    wait_for(REVOKE, front, post)
    for signo in signals:
        post.send_signal(signo)
    release.set()
    code, said = ended(post, SOON)
    assert code == 0, said
    assert "vault: revoked; the server confirmed it" in said
    watch.assert_revoked()


def test_post_is_killed(use: Step, front: Front, watch: Watch) -> None:
    """The agent was told by then, and revokes by itself."""
    start(use)
    release = Event()
    front.faults[REVOKE].append(held(release))
    with use.start("post", **use.state) as post:
        wait_for(REVOKE, front, post)
        post.kill()
        release.set()
    while Path(use.state["STATE_instance"], "bearer").exists():
        time.sleep(0.01)
    watch.assert_revoked()


def test_a_revocation_that_fails_fails_the_job(use: Step, front: Front) -> None:
    """Exit code 9, and what may be alive until when."""
    start(use)
    front.faults[REVOKE] = [answers(403)] * 9
    code, said = ended(use.start("post", **use.state))
    assert code == 9
    assert "NOT revoked" in said


def test_no_process_is_left(use: Step) -> None:
    """Neither of node, nor of the agent."""
    start(use)
    instance = use.state["STATE_instance"]
    assert processes_with(instance)
    assert use.run("post", **use.state).returncode == 0
    assert processes_with(instance) == []


def processes_with(word: str) -> list[str]:
    """Return the command lines that have a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if word in line and str(os.getpid()) != path.parent.name:
            found.append(line)
    return found

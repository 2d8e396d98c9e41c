"""`ci-identity agent` as a command line: what it says of itself, and of what it cannot do."""

import os
import subprocess
from pathlib import Path

import pytest

from ci_identity import cli
from ci_identity.agent import client
from ci_identity.delivery import process
from tests.step import COMMAND


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "agent", *words], capture_output=True, text=True, check=False, env={"PATH": ""}
    )


@pytest.mark.parametrize("words", [(), ("start",), ("status",), ("stop",)])
def test_help(words: tuple[str, ...]) -> None:
    """Each action tells what it does, with an example."""
    done = run(*words, "--help")
    assert done.returncode == 0
    assert "For example:" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say which: start or status or stop"),
        (("begin",), "invalid choice: 'begin'"),
        (("start", "--grant", "a", "--steps", "b"), "--instance"),
        (("start", "--instance", "x", "--steps", "b"), "say which: --grant"),
        (("start", "--instance", "x", "--grant", "a"), "--steps is missing"),
        (("stop",), "--instance"),
        (("status",), "CI_IDENTITY_AGENT is not set"),
    ],
)
def test_usage(words: tuple[str, ...], message: str) -> None:
    """A slip on the command line is exit code 2, and says what is missing."""
    done = run(*words)
    assert done.returncode == 2
    assert "error[usage]" in done.stderr
    assert message in done.stderr


@pytest.mark.parametrize("command", ["exec", "credential"])
def test_we_are_seen_before_we_hide(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """The agent tells our step by our environment, which nobody can read afterwards."""
    done: list[str] = []
    monkeypatch.setenv("CI_IDENTITY_AGENT", "/nowhere")
    monkeypatch.setattr(client, "introduce", lambda _: done.append("introduced"))
    monkeypatch.setattr(process, "hide_memory", lambda: done.append("hidden"))
    assert cli.main([command, "--no-such-option"]) != 0
    assert done == ["introduced", "hidden"]


def test_outside_a_job(tmp_path: Path) -> None:
    """Without a runner above there is nothing to serve; nothing is made."""
    folder = tmp_path / "agent"
    done = run("start", "--instance", str(folder), "--grant", "a", "--steps", "b")
    assert done.returncode == 2
    assert "there is no runner above this process" in done.stderr
    assert not folder.exists()


def test_a_folder_that_is_there_is_nobodys_to_take(tmp_path: Path) -> None:
    """Each agent makes its own: what is in one that is there, others have put there."""
    runner = str(os.getpid())
    done = run(
        "start", "--instance", str(tmp_path), "--grant", "a", "--steps", "b", "--runner", runner
    )
    assert done.returncode == 7
    assert "error[state]" in done.stderr


def test_status_and_stop_of_nothing(tmp_path: Path) -> None:
    """A folder that is not there is no agent, and no mistake."""
    folder = str(tmp_path / "agent")
    assert "not alive" in run("status", "--instance", folder).stdout
    done = run("stop", "--instance", folder)
    assert done.returncode == 0
    assert "no agent to stop" in done.stdout


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    """What is not ours is not obeyed, and not removed."""
    (tmp_path / "agent.json").write_text('{"pid": 1}')
    tmp_path.chmod(0o700)
    done = run("stop", "--instance", str(tmp_path))
    assert done.returncode == 7
    assert "is none that ci-identity wrote" in done.stderr
    assert tmp_path.exists()

"""A GitHub job as the tests play it: a runner's process, and the steps that it starts."""

import base64
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from tests.step import COMMAND

FILES = ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")

_RUNNER = """
import base64, json, os, subprocess, sys
steps = []
def text(data):
    return base64.b64encode(data).decode()
print(os.getpid(), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "start" in asked:
        steps.append(subprocess.Popen(
            asked["start"], env=asked["env"], cwd=asked["cwd"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ))
        said = {"step": len(steps) - 1, "pid": steps[-1].pid}
    else:
        step = steps[asked["wait"]]
        stdout, stderr = step.communicate()
        said = {"stdout": text(stdout), "stderr": text(stderr), "code": step.returncode}
    print(json.dumps(said), flush=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the runner saw of a step."""

    stdout: str
    stderr: str
    code: int

    @property
    def log(self) -> str:
        """All of it, without the lines that the runner obeys and does not show."""
        lines = f"{self.stdout}\n{self.stderr}".split("\n")
        return "\n".join(line for line in lines if not line.startswith("::add-mask::"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A step that runs.

    Attributes:
        number: its place among the steps.
        pid: of its top process.
    """

    number: int
    pid: int


class GitHubJob:
    """A running job. Its steps are children of a process that has none of their variables.

    Args:
        environ: the variables that every step has.
        folder: of the job alone.

    Attributes:
        environ: those variables; what steps write to GITHUB_ENV is added.
        instance: where the agent's folder is to be.
        runner: the runner's pid.
    """

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self.folder = folder
        self.instance = folder / "agent"
        self.environ = dict(environ) | {name: str(folder / name) for name in FILES}
        self.environ["RUNNER_TEMP"] = str(folder)
        for name in FILES:
            (folder / name).touch()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _RUNNER],
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.runner = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_runner()  # which every agent follows
        self._process.communicate()

    def kill_runner(self) -> None:
        """Kill it, as a machine that is taken away would."""
        self._process.kill()
        self._process.wait()

    def _ask(self, **asked: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        return said

    def start(self, step: str, *argv: str, **variables: str) -> Running:
        """Start a step with the id `step`, as background steps are."""
        environ = self.environ | {"GITHUB_ACTIONS": "true", "GITHUB_ACTION": step} | variables
        said = self._ask(start=argv, env=environ, cwd=str(self.folder))
        return Running(number=said["step"], pid=said["pid"])

    def wait(self, step: Running) -> Said:
        """Wait for the end of a step, and take over what it has told the later ones."""
        said = self._ask(wait=step.number)
        self.environ |= self.told("GITHUB_ENV")
        streams = (base64.b64decode(said[name]).decode() for name in ("stdout", "stderr"))
        stdout, stderr = streams
        return Said(stdout=stdout, stderr=stderr, code=said["code"])

    def run(self, step: str, *argv: str, **variables: str) -> Said:
        """Run a step to its end."""
        return self.wait(self.start(step, *argv, **variables))

    def sh(self, step: str, script: str, **variables: str) -> Said:
        """Run a script as a step."""
        return self.run(step, "sh", "-c", script, **variables)

    def told(self, name: str) -> dict[str, str]:
        """Return what is in a file of the runner's, read as actions/runner does."""
        found: dict[str, str] = {}
        lines = iter((self.folder / name).read_text().split("\n"))
        for line in lines:
            if heredoc := re.fullmatch(r"([^=<]+)<<(.+)", line):
                found[heredoc[1]] = "\n".join(iter(partial(next, lines), heredoc[2]))
            elif line:
                key, equals, text = line.partition("=")
                assert equals, f"the runner refuses the line {line!r}"
                found[key] = text
        return found

    @property
    def summary(self) -> str:
        """What the job's page shows."""
        return (self.folder / "GITHUB_STEP_SUMMARY").read_text()

    # ── the agent ────────────────────────────────────────────────────────────────────────────

    def start_agent(
        self, *grants: str, steps: tuple[str, ...] = ("deploy",), options: tuple[str, ...] = ()
    ) -> Said:
        """Run the step that starts the agent."""
        named = [word for grant in grants for word in ("--grant", grant)]
        return self.run("creds", *self.starting(*named, "--steps", *steps, *options))

    def starting(self, *options: str) -> list[str]:
        """Return the command that starts the agent."""
        where = ["--instance", str(self.instance), "--runner", str(self.runner)]
        return [*COMMAND, "agent", "start", *where, *options]

    @property
    def acting(self) -> list[str]:
        """The command that the action starts it by: the inputs say the rest."""
        return [*COMMAND, "action", str(self.instance), str(self.runner)]

    def stop_agent(self) -> Said:
        """Run the step that stops it."""
        return self.run("creds", *self.stopping)

    @property
    def stopping(self) -> list[str]:
        """The command that stops it."""
        return [*COMMAND, "agent", "stop", "--instance", str(self.instance)]

    @property
    def agent(self) -> int:
        """The agent's pid."""
        return int(json.loads((self.instance / "agent.json").read_text())["pid"])

    def kill_agent(self, signo: signal.Signals = signal.SIGKILL) -> None:
        """Send the agent a signal, and wait for its end."""
        held = os.pidfd_open(self.agent)
        signal.pidfd_send_signal(held, signo)
        wait_for_end(held)


def wait_for_end(held: int) -> None:
    """Wait until the process ends that this descriptor holds, and close it."""
    ended = select.poll()
    ended.register(held, select.POLLIN)
    assert ended.poll(30_000), "it does not end"
    os.close(held)

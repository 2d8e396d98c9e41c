"""A shop's repository on GitHub, whose workflows act runs with the actions of this checkout."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT

ACTIONS = ROOT / "actions"
EXAMPLES = ROOT / "examples" / "github"
WORKFLOWS = sorted(EXAMPLES.glob("[!.]*.yml"))

WorkflowStep = dict[str, Any]
"""A step of a workflow."""

VaultUse = Callable[..., WorkflowStep]
"""Makes a use of actions/credentials with an inline grant for OpenBao: the fixture `vault_use`."""

CHECKOUT: WorkflowStep = {"uses": "actions/checkout@v5"}
SHELL = "ci-identity exec --grant vault -- bash -eo pipefail {0}"

MAKE = """#!/bin/sh
echo "the password is $DB_PASSWORD"
echo "tokens: ${ACTIONS_ID_TOKEN_REQUEST_URL-none} ${CI_IDENTITY_TOKEN-none}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a job printed, and how act ended."""

    output: str
    code: int

    @property
    def lines(self) -> list[str]:
        """The lines that the job's own steps printed, without act's marks."""
        marked = (line.partition("]   | ") for line in self.output.splitlines())
        return [line for _, mark, line in marked if mark]


def workflow(*steps: WorkflowStep, on: str = "push") -> str:
    """Return a workflow with one job, that may ask for id tokens."""
    job = {"runs-on": "ubuntu-latest", "permissions": {"id-token": "write"}, "steps": steps}
    return json.dumps({"on": on, "jobs": {"job": job}})  # JSON is YAML


def step(name: str, run: str, shell: str = "bash") -> WorkflowStep:
    """Return a step with a script."""
    return {"id": name, "run": run, "shell": shell}


def uses(action: str, **inputs: str) -> WorkflowStep:
    """Return a step with one of our actions."""
    named = {name.replace("_", "-"): value for name, value in inputs.items()}
    return {"uses": f"OWNER/ci-identity/actions/{action}@v1", "with": named}


def aws_use(steps: str) -> WorkflowStep:
    """Return a use of actions/credentials with an inline grant for AWS."""
    role = "arn:aws:iam::123456789012:role/deploy-web"
    return uses("credentials", steps=steps, aws_role=role, aws_region="eu-west-1")


def publish(folder: Path) -> Path:
    """Return a checkout of ci-identity as `uses:` gets it: of what is committed, the actions."""
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ACTIONS, folder / "actions", ignore=ignored)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """acme/shop, and what act needs to run its workflows.

    Attributes:
        folder: the working tree.
        home: act's home, where its runner's folders are while a job runs.
        checkout: of ci-identity.
        path: `PATH` of the jobs.
        variables: what GitHub gives its jobs and act does not.
    """

    folder: Path
    home: Path
    checkout: Path
    path: str
    variables: dict[str, str] = field(repr=False)

    def make_repository(self) -> None:
        """Make the working tree a clone of GitHub's acme/shop."""
        self._git("init", "--quiet", "--initial-branch=main")
        self._git("remote", "add", "origin", "https://github.com/acme/shop.git")
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message=all")

    def _git(self, *words: str) -> None:
        who = ("-c", "user.name=octocat", "-c", "user.email=octocat@example.com")
        subprocess.run(["git", *who, *words], cwd=self.folder, check=True)

    def write(self, name: str, workflow: str) -> None:
        """Put a workflow where GitHub looks for it."""
        workflows = self.folder / ".github" / "workflows"
        workflows.mkdir(parents=True, exist_ok=True)
        (workflows / name).write_text(workflow)

    def start(
        self, workflow: str, *, event: str = "push", **variables: str
    ) -> subprocess.Popen[str]:
        """Start act with one workflow, on this machine itself: `runs-on: ubuntu-latest` is here."""
        return subprocess.Popen(
            self._command(workflow, event, self.variables | variables),
            cwd=self.folder,
            env={"HOME": str(self.home), "PATH": self.path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, workflow: str, *, event: str = "push", **variables: str) -> Ran:
        """Run a workflow to its end."""
        with self.start(workflow, event=event, **variables) as act:
            output, _ = act.communicate()
        return Ran(output=plain(output), code=act.returncode)

    def run_job(self, *steps: WorkflowStep, on: str = "push") -> Ran:
        """Run a job with these steps."""
        self.write("job.yml", workflow(*steps, on=on))
        return self.run("job.yml", event=on)

    def cancel_job(self, *steps: WorkflowStep, when: Sequence[tuple[str, int]]) -> str:
        """Run a job with these steps, and return what it printed.

        Args:
            steps: its steps.
            when: what act gets, in this order: a signal when it has printed a text.
        """
        self.write("job.yml", workflow(*steps))
        output, left = "", list(when)
        with self.start("job.yml") as act:
            assert act.stdout
            for line in act.stdout:
                output += line
                if left and left[0][0] in line:
                    os.kill(act.pid, left.pop(0)[1])
        assert (left, act.returncode != 0) == ([], True), output
        return plain(output)

    def _command(self, workflow: str, event: str, variables: dict[str, str]) -> Sequence[str]:
        given = (f"--env={name}={value}" for name, value in variables.items())
        ours = f"OWNER/ci-identity@v1={self.checkout}"
        payload = self.folder / "event.json"
        return [
            *("act", event, "--rm", "--platform=ubuntu-latest=-self-hosted"),
            *([f"--eventpath={payload}"] if payload.exists() else []),
            *(f"--workflows=.github/workflows/{workflow}", "--local-repository", ours, *given),
        ]


def plain(output: str) -> str:
    """Return what was printed without its colours: act gives its steps a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", output)


def path_of(*folders: Path) -> str:
    """Return a `PATH`: these folders, and the system's."""
    return os.pathsep.join([*map(str, folders), "/usr/bin", "/bin"])

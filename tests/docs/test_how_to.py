"""docs/how-to/github.md: the job it shows runs its step as it says. GitLab's: tests/gitlab."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_identity.sandbox.world import World
from tests.docs.pages import blocks, page

JOB_SCRIPT = """#!/bin/sh
echo "the password is $DB_PASSWORD"
echo "tokens: ${ACTIONS_ID_TOKEN_REQUEST_URL-none} ${CI_IDENTITY_TOKEN-none}"
"""


def job(name: str) -> dict[str, Any]:
    """Return the first block of YAML of a page."""
    return dict(yaml.safe_load(blocks(page(name), "yaml")[0]))


@pytest.fixture
def tools(tmp_path: Path) -> str:
    """Return a PATH with our command, and with a `make` that shows what it is given."""
    make = tmp_path / "make"
    make.write_text(JOB_SCRIPT)
    make.chmod(0o700)
    return os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), "/usr/bin", "/bin"])


def run(command: list[str], environ: dict[str, str], world: World) -> None:
    """Run a job's command, and look for what the page promises of it."""
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the password is [MASKED]\n" in done.stdout
    assert "tokens: none none\n" in done.stdout
    assert "revoked; the server confirmed it" in done.stderr
    log = [line for line in done.stdout.splitlines() if not line.startswith("::add-mask::")]
    assert world.secrets["password"].reveal() not in "\n".join(log)


def test_the_step_of_the_github_page_runs(world: World, tools: str, tmp_path: Path) -> None:
    """The step's `shell`, given its script as GitHub's runner does, has the secret and hides it."""
    (workflow,) = job("how-to/github.md")["jobs"].values()
    assert workflow["permissions"] == {"id-token": "write", "contents": "read"}
    step = workflow["steps"][-1]
    script = tmp_path / "script.sh"
    script.write_text(step["run"])
    command = [word.replace("{0}", str(script)) for word in shlex.split(step["shell"])]
    run(command, world.environ() | {"PATH": tools, "GITHUB_ACTION": step["id"]}, world)

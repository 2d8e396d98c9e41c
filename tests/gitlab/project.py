"""A GitLab server as a folder of repositories, and a project whose jobs gitlab-ci-local runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ci_identity.sandbox.world import World
from tests.docs.pages import ROOT

COMPONENT = ROOT / "gitlab"
EXAMPLE = ROOT / "examples" / "gitlab"
VERSION = "0.1.0"

MAKE = """#!/bin/sh
case $1 in
  migrate | seed)
    printf 'the password is %s\\n' "$DB_PASSWORD"
    echo "in base64: $(printf %s "$DB_PASSWORD" | base64 -w0)"
    echo "tokens of $1: ${CI_IDENTITY_TOKEN-none} ${VAULT_TOKEN-none}" ;;
  count) exit "${MAKE_COUNT_EXITS-0}" ;;
  *) echo "$1 has ${DB_PASSWORD-no password}" ;;
esac
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """gitlab-ci-local, and the home folder that it runs in."""

    command: tuple[str, ...]
    home: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a pipeline printed, and how it ended."""

    output: str
    code: int


def git(folder: Path, *words: str) -> None:
    """Run git in `folder`, without the user's own settings."""
    names = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
    environ = dict.fromkeys(names, "octavia@acme.example") | {"PATH": os.environ["PATH"]}
    subprocess.run(["git", *words], cwd=folder, env=environ, check=True, capture_output=True)


def publish(server: Path) -> Path:
    """Publish the component of this repository as acme/ci-identity of a server; return that."""
    project = server / "checkout"
    shutil.copytree(COMPONENT, project)
    make_repository(project, "acme/ci-identity")
    git(project, "tag", VERSION)
    git(server, "clone", "--bare", "checkout", "acme/ci-identity.git")
    return server


def make_repository(folder: Path, name: str) -> None:
    """Make a clone of gitlab.example.com's project `name` of a folder, with all of it committed."""
    git(folder, "init", "--initial-branch=main", ".")
    git(folder, "add", "--all")
    git(folder, "commit", "--message=all")
    git(folder, "remote", "add", "origin", f"git@gitlab.example.com:{name}.git")
    git(folder, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The shop's project: the example's files, and a `make`.

    Attributes:
        folder: the working tree.
        builds: `CI_BUILDS_DIR` of its jobs.
        variables: what GitLab gives its jobs, and gitlab-ci-local does not.
        path: the folders of `PATH`.
    """

    runner: Runner
    folder: Path
    builds: Path
    variables: dict[str, str] = field(repr=False)
    path: str

    @classmethod
    def of(cls, world: World, runner: Runner, folder: Path) -> "Project":
        tools, builds, shop = folder / "tools", folder / "builds", folder / "shop"
        builds.mkdir()
        tools.mkdir()
        (tools / "make").write_text(MAKE)
        (tools / "make").chmod(0o700)
        shutil.copytree(EXAMPLE, shop)
        grants = shop / ".ci-identity.yml"
        text = grants.read_text().replace("https://gitlab.example.com", world.issuer.address)
        grants.write_text(text.replace("https://vault.acme.example", world.openbao.address))
        (shop / "ci").mkdir()
        shutil.copy(COMPONENT / "templates" / "exec.yml", shop / "ci")
        make_repository(shop, "acme/shop")
        job = world.environ("gitlab")
        given = ("CI_IDENTITY_TOKEN", "GITLAB_CI", "CI_JOB_ID", "CI_PIPELINE_ID")
        variables = {name: job[name] for name in given} | {"CI_BUILDS_DIR": str(builds)}
        path = [str(tools), str(Path(sys.executable).parent), "/usr/bin", "/bin"]
        return cls(
            runner=runner,
            folder=shop,
            builds=builds,
            variables=variables,
            path=os.pathsep.join(path),
        )

    def run(self, *words: str, **variables: str) -> Ran:
        """Run gitlab-ci-local in the project, without docker."""
        given = (self.variables | variables).items()
        done = subprocess.run(
            [
                *(*self.runner.command, "--force-shell-executor", "--no-color", *words),
                *(word for name, value in given for word in ("--variable", f"{name}={value}")),
            ],
            cwd=self.folder,
            env={"HOME": str(self.runner.home), "PATH": self.path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Ran(output=done.stdout, code=done.returncode)

    def expanded(self, *words: str) -> dict[str, Any]:
        """Return the pipeline as it is once everything is included, extended and referenced."""
        printed = self.run("--preview", *words).output
        text = printed[printed.index("---\n") :].partition("parsing and downloads")[0]
        return dict(yaml.safe_load(text.partition("downloaded acme")[0]))

    def shell(
        self, lines: Sequence[str], *, program: str = "bash", **variables: str
    ) -> subprocess.Popen[str]:
        """Start lines of a job as GitLab's runner does: each part of it in a shell of its own."""
        job = self.variables | {"CI_JOB_STATUS": "running"} | variables
        options = ["set -o errexit", *(["set -o pipefail"] if program == "bash" else [])]
        return subprocess.Popen(
            [program, "-c", "\n".join([*options, *lines])],
            cwd=self.folder,
            env=job | {"HOME": str(self.runner.home), "PATH": self.path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

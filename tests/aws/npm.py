"""Programs from npm that the tests run beside them, installed once a machine, never in the tree."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NoReturn

import pytest

IAM_SIMULATE = ("@cloud-copilot/iam-simulate@0.1.173",)
"""Decides as IAM does. AGPL-3.0: a process of its own, and nothing of it is kept here."""

AWS_SDK = ("@aws-sdk/client-s3@3.1169.0", "@aws-sdk/client-sts@3.1169.0")

_INSTALL_TIMEOUT = 100.0
"""Seconds: less than a test may take."""

_FAILED_FOR = 600.0
"""Seconds for which a failed installation is not tried again."""


def install(packages: tuple[str, ...]) -> Path:
    """Return a folder whose `node_modules` has these packages, installing them the first time.

    Skips the test, with the reason, where node or npm are missing or the installation fails.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ci-identity-tests"
    folder = cache / hashlib.sha256(" ".join(packages).encode()).hexdigest()[:16]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of pytest-xdist come at once
            if not folder.exists():
                _skip_if_it_failed(folder)
                _install_into(folder, packages)
    except OSError as error:
        pytest.skip(f"no folder to install {packages[0]} into: {error}")
    return folder


def _install_into(folder: Path, packages: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        options = (
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--loglevel=error",
            "--fetch-retries=1",
        )
        try:
            subprocess.run(
                ["npm", "install", "--prefix", str(made), *options, *packages],
                cwd=made,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                text=True,
                timeout=_INSTALL_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            _give_up(folder, f"npm install {packages[0]} took more than {_INSTALL_TIMEOUT:.0f} s")
        except subprocess.CalledProcessError as error:
            said = error.stderr.splitlines() or ["no message"]
            _give_up(folder, f"npm install {packages[0]} failed: {said[0]}")
        made.rename(folder)  # a folder of that name is always a whole one


def _give_up(folder: Path, reason: str) -> NoReturn:
    """Skip, and leave word for the tests after this one: each would wait as long for the same."""
    folder.with_suffix(".failed").write_text(reason)
    pytest.skip(reason)


def _skip_if_it_failed(folder: Path) -> None:
    word = folder.with_suffix(".failed")
    if word.exists() and time.time() - word.stat().st_mtime < _FAILED_FOR:
        pytest.skip(word.read_text())


def module(source: str, packages: tuple[str, ...], folder: Path) -> list[str]:
    """Return a command that runs a JavaScript module which may import these packages.

    Args:
        source: the module.
        packages: see `install`.
        folder: a private folder, where the module is put.
    """
    modules = folder / "node_modules"
    if not modules.exists():
        modules.symlink_to(install(packages) / "node_modules")
    path = folder / f"{hashlib.sha256(source.encode()).hexdigest()[:8]}.mjs"
    path.write_text(source)
    node = shutil.which("node")
    assert node
    return [node, str(path)]

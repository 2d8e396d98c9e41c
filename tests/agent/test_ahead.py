"""What is compiled while somebody only waits: what the agent really needs, and each file whole."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ci_identity
from ci_identity.agent.ahead import LAST, Ahead

PACKAGE = Path(ci_identity.__file__).parent


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that has never run."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "ci_identity", ignore=ignored)
    return tmp_path / "ci_identity"


def compiled(package: Path) -> set[str]:
    """Return the modules of `package` that are compiled."""
    found = package.rglob("__pycache__/*.pyc")
    return {
        ".".join((*file.parent.parent.relative_to(package).parts, file.name.partition(".")[0]))
        for file in found
    }


def test_what_has_never_run_is_compiled(package: Path) -> None:
    """All of it, if there is time; nothing but whole files is left."""
    with Ahead(package) as ahead:
        ahead.join()
    assert compiled(package) == set(LAST)
    assert {file.suffix for file in package.rglob("__pycache__/*")} == {".pyc"}


def test_it_ends_after_the_module_that_is_under_way(package: Path) -> None:
    """Nobody waits for the rest."""
    with Ahead(package):
        pass
    assert compiled(package) < set(LAST)


def test_all_of_it_is_needed() -> None:
    """By the agent, whatever the cloud: what were compiled in vain would keep others waiting."""
    run = [sys.executable, "-IS", "-c"]
    code = (
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
        "import ci_identity.agent.service, ci_identity.agent.holding, ci_identity.sources.github\n"
        "import ci_identity.exchangers.aws\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([*run, code], capture_output=True, text=True, check=True).stdout
    assert {f"ci_identity.{name}" for name in LAST} <= set(loaded.split())

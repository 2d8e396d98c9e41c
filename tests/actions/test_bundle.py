"""actions/dist: made of this very repository and of locked packages, and enough to run alone."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.actions.shop import ACTIONS
from tests.docs.pages import ROOT

DIST = ACTIONS / "dist"
HINT = "actions/dist is not what `make dist` makes: run it, and commit what it changes"


def tree(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, but for what Python compiles beside them."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def metadata() -> list[Message]:
    """Return the metadata of each package of the bundle."""
    return [Parser().parsestr(path.read_text()) for path in DIST.glob("*/METADATA")]


def test_it_has_this_package_as_it_is() -> None:
    """A change of the package is in the bundle too."""
    assert tree(DIST / "ci_identity") == tree(ROOT / "ci_identity"), HINT


def test_made_again_it_is_the_same(tmp_path: Path) -> None:
    """Anywhere, at any time, the same bytes; none of them can be run by itself."""
    made = tmp_path / "made"
    command = [sys.executable, str(ACTIONS / "build.py"), str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Could not find a version" in done.stderr or "No matching distribution" in done.stderr:
        pytest.skip("pip cannot fetch the packages")
    assert done.returncode == 0, done.stderr
    assert tree(made) == tree(DIST), HINT
    assert not [path for path in made.rglob("*") if path.is_file() and path.stat().st_mode & 0o111]


def test_a_package_that_is_not_the_locked_one_is_refused(tmp_path: Path) -> None:
    """What has another hash, however it came there, does not get in, and nothing is changed."""
    actions, bundle = tmp_path / "actions", tmp_path / "dist"
    shutil.copytree(ACTIONS, actions, ignore=shutil.ignore_patterns("dist"))
    lock = actions / "requirements.txt"
    lock.write_text(lock.read_text().replace("sha256:", "sha256:0000")[:-5] + "\n")
    bundle.mkdir()
    command = [sys.executable, str(actions / "build.py"), str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert tree(bundle) == {}


def test_it_has_all_that_is_needed() -> None:
    """Each dependency, and each of theirs, is locked in a version that will do."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bundled = {canonicalize_name(package["Name"]): package["Version"] for package in metadata()}
    wanted = [*project["dependencies"], f"{project['name']}=={project['version']}"]
    wanted += [line for package in metadata() for line in package.get_all("Requires-Dist", [])]
    for requirement in map(Requirement, wanted):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            version = bundled.get(canonicalize_name(requirement.name), "none")
            assert requirement.specifier.contains(version), requirement


def test_whose_it_is_goes_with_it() -> None:
    """Each package has its licence beside it, and is in the list."""
    listed = (DIST / "README.md").read_text()
    for path in DIST.glob("*.dist-info"):
        package = Parser().parsestr((path / "METADATA").read_text())
        assert f"| {package['Name']} | {package['Version']} | " in listed
        assert [file for file in path.rglob("*") if file.name.startswith("LICENSE")], path.name


def pythons() -> list[str]:
    """Return every Python from 3.11 up that is found here."""
    found = {sys.executable, shutil.which("python3", path="/usr/bin") or sys.executable}
    found |= {str(path) for path in Path.home().glob(".pyenv/versions/3.1[1-9].*/bin/python3")}
    is_new = "import sys; sys.exit(sys.version_info < (3, 11))"
    return sorted(
        p for p in found if subprocess.run([p, "-c", is_new], check=False).returncode == 0
    )


@pytest.mark.parametrize("python", pythons(), ids=lambda path: Path(path).parents[1].name)
def test_it_runs_alone(python: str, tmp_path: Path) -> None:
    """Without anything installed, and whatever lies in the folder or stands in PYTHON*."""
    bundle = tmp_path / "bundle"
    shutil.copytree(DIST, bundle, ignore=shutil.ignore_patterns("__pycache__"))
    planted = tmp_path / "planted"
    planted.mkdir()
    for name in ("requests", "yaml", "ci_identity", "json", "sitecustomize"):
        (planted / f"{name}.py").write_text("raise SystemExit('planted')")
    grants = planted / ".ci-identity.yml"
    grants.write_text((ROOT / "examples" / "github" / ".ci-identity.yml").read_text())
    done = subprocess.run(
        [python, "-IS", str(bundle), "check", "--json"],
        cwd=planted,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(planted), "PYTHONSTARTUP": "x.py"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    json.loads(done.stdout)


def test_its_children_run_it_too(tmp_path: Path) -> None:
    """The profile by which SDKs ask for a credential names the bundle: nothing else is there."""
    ask = "import ci_identity.delivery.handover as handover; print(*handover.OURSELVES, sep='\\n')"
    script = f"import sys; sys.path.insert(0, {str(DIST)!r}); {ask}"
    said = subprocess.check_output([sys.executable, "-IS", "-c", script], text=True, cwd=tmp_path)
    assert said.splitlines() == [sys.executable, "-IS", str(DIST / "__main__.py")]
    done = subprocess.run([*said.splitlines(), "--version"], capture_output=True, check=False)
    assert done.stdout.startswith(b"ci-identity ")

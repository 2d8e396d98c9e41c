"""Makes actions/dist: ci-identity and what it needs, to run from a checkout without installing.

A folder of plain files and not an archive: a change can be read, and Python keeps what it
compiled. The same input gives the same bytes on any machine: wheels are taken by their hash, and
nothing is built.

    python actions/build.py [FOLDER]
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

ACTIONS = Path(__file__).parent
ROOT = ACTIONS.parent

_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download")
_WHEELS = ("--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64")

_MAIN = '''\
"""ci-identity from this folder alone: `python3 -IS FOLDER/__main__.py COMMAND`.

Not `python3 -IS FOLDER`, which costs Python 6 ms, though that works as well.
"""

import sys

FOLDER = __file__.rpartition("/")[0]
sys.argv[0] = FOLDER
if FOLDER not in sys.path:
    sys.path.append(FOLDER)  # with -S nothing but Python's own is before it

try:
    from ci_identity.cli import whole_process

    if __name__ == "__main__":
        whole_process()
except KeyboardInterrupt:  # before the command could say what that means to it
    sys.exit(130)
'''

_README = """\
# What the actions run

Made by `make dist`; do not edit. ci-identity as it is in this repository, and the packages that it
needs, as their wheels have them: unchanged, without what is compiled. Each licence is in the
package's `.dist-info` folder.

| package | version | licence |
|---|---|---|
{packages}
"""


def build(folder: Path) -> None:
    """Make `folder` the bundle, whatever it was before.

    Raises:
        subprocess.CalledProcessError: a package cannot be had, or is not the one that was locked.
    """
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch, "made")
        fetch(Path(scratch))
        for wheel in sorted(Path(scratch).glob("*.whl")):
            unpack(wheel, made)
        add_ourselves(made)
        (made / "README.md").write_text(_README.format(packages="\n".join(table(made))))
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, folder, copy_function=shutil.copyfile)


def fetch(folder: Path) -> None:
    """Put the locked wheels into `folder`."""
    locked = ("--no-deps", "--require-hashes", "--requirement", str(ACTIONS / "requirements.txt"))
    subprocess.run([*_PIP, *_WHEELS, *locked, "--dest", str(folder)], check=True)  # noqa: S603  # ours


def unpack(wheel: Path, folder: Path) -> None:
    """Add what is kept of a wheel to `folder`."""
    with ZipFile(wheel) as archive:
        for name in archive.namelist():
            if is_kept(name):
                archive.extract(name, folder)


def is_kept(name: str) -> bool:
    """True for modules, their data, and of the metadata what says whose they are."""
    if ".dist-info/" in name:
        return name.endswith("/METADATA") or bool(re.search(r"/(LICENSE|NOTICE|AUTHORS)", name))
    return not name.endswith((".so", "/"))


def add_ourselves(folder: Path) -> None:
    """Add this repository's package to `folder`, as it is now, with a way to start it."""
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ci_identity", folder / "ci_identity", ignore=skipped)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    info = folder / f"ci_identity-{project['version']}.dist-info"
    info.mkdir()
    metadata = {"Name": project["name"], "Version": project["version"]}
    metadata = {"Metadata-Version": "2.4"} | metadata | {"License-Expression": project["license"]}
    (info / "METADATA").write_text("".join(f"{key}: {value}\n" for key, value in metadata.items()))
    shutil.copy(ROOT / "LICENSE", info)
    (folder / "__main__.py").write_text(_MAIN)


def table(folder: Path) -> list[str]:
    """Return a line of Markdown for each package in `folder`."""
    found = [Parser().parsestr(path.read_text()) for path in sorted(folder.glob("*/METADATA"))]
    return [
        f"| {it['Name']} | {it['Version']} | {it['License-Expression'] or it['License']} |"
        for it in found
    ]


if __name__ == "__main__":
    build(Path(*sys.argv[1:2] or [ACTIONS / "dist"]))

"""Which Python the actions run on, told by the launcher that actions/setup makes."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.actions.shop import ACTIONS
from tests.actions.step import Step

PYTHON = Path(sys.base_prefix) / "bin" / "python3"
MISSING = (
    "::error title=ci-identity::there is no Python 3.11 or later on PATH or in the tool cache: "
    "put a step with `uses: actions/setup-python` before this one\n"
)

Setup = Callable[..., Step]


@pytest.fixture
def setup(node: Path, tmp_path: Path) -> Setup:
    """Make a use of actions/setup with these folders as `PATH`."""

    def make(*path: Path | str, **environ: str) -> Step:
        environ |= {"PATH": os.pathsep.join(map(str, path))}
        return Step(action=ACTIONS / "setup", node=node, folder=tmp_path, environ=environ)

    return make


def folder_with(path: Path, name: str, script: str) -> Path:
    """Return a folder with a program in it."""
    path.mkdir(parents=True, exist_ok=True)
    (path / name).write_text(f"#!/bin/sh\n{script}\n")
    (path / name).chmod(0o700)
    return path


def python_in(path: Path, name: str = "python3") -> Path:
    """Return a folder with a real Python in it."""
    return folder_with(path, name, f'exec {PYTHON} "$@"')


def chosen(step: Step) -> str:
    """Run `main`, and return the Python that its launcher runs on."""
    done = step.run("main")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    launcher = Path(step.read("GITHUB_PATH").strip(), "ci-identity").read_text()
    assert launcher.startswith("#!/bin/sh\nexec ")
    python, isolated, bundle, arguments = shlex.split(launcher.splitlines()[1])[1:]
    assert (isolated, Path(bundle).resolve(), arguments) == (
        "-IS",
        ACTIONS / "dist" / "__main__.py",
        "$@",
    )
    assert f"ci-identity: run by {python}" in done.stdout
    return python


@pytest.mark.parametrize(
    "head", [b"\x7fELFgarbage", b"\x7fELF\x02\x01\x01" + bytes(11) + b"\xf3\0"]
)
def test_a_program_for_another_machine_is_passed_over(
    setup: Setup, tmp_path: Path, head: bytes
) -> None:
    """Its name says which Python it is, but it could not be started."""
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "python3.12").write_bytes(head.ljust(5000, b"\0"))
    (folder / "python3.12").chmod(0o700)
    (folder / "python3").symlink_to("python3.12")
    python = python_in(tmp_path / "bin")
    assert not chosen(setup(folder, python)).startswith(str(folder))


def test_no_python_is_one_line(setup: Setup, tmp_path: Path) -> None:
    """Where there is none, `main` fails with one line that says what to do, and `post` is quiet."""
    step = setup(tmp_path)
    done = step.run("main")
    assert (done.returncode, done.stdout, done.stderr) == (1, MISSING, "")
    done = step.run("post", **step.state)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_neither_for_credentials(node: Path, tmp_path: Path) -> None:
    """The same line of actions/credentials, of which nothing is left to end either."""
    step = Step(action=ACTIONS / "credentials", node=node, folder=tmp_path, environ={"PATH": ""})
    done = step.run("main")
    assert (done.returncode, done.stdout, done.stderr) == (1, MISSING, "")
    done = step.run("post", **step.state)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "script",
    ["echo 'pyenv: python3: command not found' >&2; exit 127", "exit 0"],
    ids=["a shim of nothing", "too old"],
)
def test_what_is_no_python_of_ours_is_passed_over(
    setup: Setup, tmp_path: Path, script: str
) -> None:
    """A shim that does not run, or a Python before 3.11, is not taken; the next one is."""
    bad = folder_with(tmp_path / "bad", "python3", script)
    assert chosen(setup(bad, python_in(tmp_path / "good"))) == str(PYTHON)


def test_names_with_a_version(setup: Setup, tmp_path: Path) -> None:
    """An image whose `python3` is old may have a newer one by its own name."""
    old = folder_with(tmp_path / "old", "python3", "exit 0")
    assert chosen(setup(old, python_in(tmp_path / "new", "python3.12"))) == str(PYTHON)


def test_a_program_is_taken_by_its_name(setup: Setup, tmp_path: Path) -> None:
    """A link to a real python3.N is kept as it is: it may be of a virtual environment."""
    (tmp_path / "python3").symlink_to(PYTHON)
    assert chosen(setup(tmp_path)) == str(tmp_path / "python3")


def test_a_file_with_the_name_of_a_program_is_none(setup: Setup, tmp_path: Path) -> None:
    """Neither a folder, nor a file that cannot be run, nor a link to nowhere is taken for one."""
    (tmp_path / "1" / "python3").mkdir(parents=True)
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "python3.12").write_bytes(b"\x7fELF")
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "python3").symlink_to(tmp_path / "python3.13")
    folders = [tmp_path / name for name in "123"]
    assert setup(*folders).run("main").stdout == MISSING
    assert chosen(setup(*folders, python_in(tmp_path / "bin"))) == str(PYTHON)


def test_a_folder_that_is_relative_is_not_looked_into(setup: Setup, tmp_path: Path) -> None:
    """`.` on PATH is the repository's folder, or whichever it is run in."""
    python_in(tmp_path / "here")
    assert setup("here", "").run("main").stdout == MISSING


def test_the_newest_of_the_tool_cache(setup: Setup, tmp_path: Path) -> None:
    """Where PATH has none, the newest that the runner's image keeps is taken."""
    cache = tmp_path / "tools"
    arch = "x64" if os.uname().machine == "x86_64" else "arm64"
    for version in ("3.9.18", "3.12.1", "3.10.13"):
        says = "exit 1" if version == "3.9.18" else f"echo {cache}/{version}/python"
        folder_with(cache / "Python" / version / arch / "bin", "python3", says)
    step = setup(tmp_path, RUNNER_TOOL_CACHE=str(cache))
    assert chosen(step) == f"{cache}/3.12.1/python"


def test_the_launcher_is_of_any_path_and_passes_everything_on(setup: Setup, tmp_path: Path) -> None:
    """Folders may have blanks and quotes; arguments arrive as they are, and PYTHON* does not."""
    job = tmp_path / 'it\'s a "job" $HOME'
    job.mkdir()
    (job / "sitecustomize.py").write_text("raise SystemExit('planted')")
    step = setup(python_in(tmp_path / "bin"), RUNNER_TEMP=str(job))
    chosen(step)
    done = subprocess.run(
        ["ci-identity", "it's unknown", "$HOME"],
        env={"PATH": step.read("GITHUB_PATH").strip() + ":/bin", "PYTHONPATH": str(job)},
        cwd=job,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith('error[usage]: there is no command "it\'s unknown"')


def test_what_was_installed_is_no_part_of_us(setup: Setup, tmp_path: Path) -> None:
    """A `.pth` file, which an installed package may bring, runs in every Python but ours."""
    venv = tmp_path / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", venv], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "planted.pth").write_text(f"import os; open({str(tmp_path / 'ran')!r}, 'w')\n")
    step = setup(venv / "bin")
    assert chosen(step) == str(venv / "bin" / "python3")
    launcher = Path(step.read("GITHUB_PATH").strip(), "ci-identity")
    subprocess.run([launcher, "--version"], check=True)
    assert not (tmp_path / "ran").exists()
    subprocess.run([venv / "bin" / "python3", "-I", "-c", "pass"], check=True)
    assert (tmp_path / "ran").exists()


def test_post_removes_the_launcher(setup: Setup, tmp_path: Path) -> None:
    """Nothing is left in the job's folder, and twice is as good as once."""
    step = setup(python_in(tmp_path / "bin"))
    chosen(step)
    for _ in range(2):
        assert step.run("post", **step.state).returncode == 0
        assert list((tmp_path / "temp").iterdir()) == []


def test_uses_do_not_meet(setup: Setup, tmp_path: Path) -> None:
    """Each use has a folder of its own, which only its own `post` removes."""
    python = python_in(tmp_path / "bin")
    chosen(setup(python))
    first = setup(python).state
    (tmp_path / "GITHUB_STATE").write_text("")
    setup(python).run("main")
    assert setup(python).run("post", **first).returncode == 0
    (left,) = (tmp_path / "temp").iterdir()
    assert setup(python).state == {"STATE_folder": str(left)}


def test_outside_of_a_job(setup: Setup, tmp_path: Path) -> None:
    """What is missing is said in one line, without a stack."""
    done = setup(python_in(tmp_path / "bin"), GITHUB_STATE=str(tmp_path / "no" / "file")).run(
        "main"
    )
    _, said = done.stdout.splitlines()
    assert said.startswith("::error title=ci-identity::ENOENT")
    assert (done.returncode, done.stderr) == (1, "")

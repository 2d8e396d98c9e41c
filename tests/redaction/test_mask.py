"""`::add-mask::` is told to GitHub's runner and to nobody else: elsewhere it would be the leak."""

import re
import sys
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.step import EXEC, Job, under_runner

SECRET = "correct-horse-battery"
GITHUB = {"GITHUB_ACTIONS": "true", "PATH": "/usr/bin:/bin"}
MASK = """
import os
from ci_identity.redaction.mask import mask_in_log
os._exit(0 if mask_in_log(os.environ["VALUES"].split(";"), os.environ) else 9)
"""
"""A program that masks, and exits with 0 if GitHub was told."""


def step(script: str, value: str = SECRET) -> dict[str, str]:
    """The variables of a step whose script calls `mask`."""
    return GITHUB | {"VALUES": value, "PYTHON": sys.executable, "MASK": MASK, "SCRIPT": script}


BASH = ("bash", "-e", "-c", 'mask() { "$PYTHON" -I -c "$MASK"; }; eval "$SCRIPT"')
"""The step as GitHub starts it, with `mask` to be called in its script."""


def run(script: str, cwd: Path, *, terminal: str = "", value: str = SECRET) -> tuple[str, str, int]:
    said = under_runner(step(script, value), *BASH, terminal=terminal, cwd=cwd)
    return said.stdout, said.stderr, said.code


def masked(text: str) -> list[str]:
    return re.findall(r"(?m)^::add-mask::(.*?)\r?$", text)


# ── where it goes ────────────────────────────────────────────────────────────────────────────


def test_steps_log(tmp_path: Path) -> None:
    """In a step, the log learns the value, first of all its spellings."""
    stdout, stderr, code = run("mask", tmp_path)
    assert masked(stdout)[0] == SECRET
    assert (masked(stderr), code) == ([], 0)


def test_command_starts_a_line(tmp_path: Path) -> None:
    """A line that somebody has left unfinished does not swallow the command."""
    stdout, _, _ = run("printf unfinished; mask", tmp_path)
    assert stdout.startswith("unfinished\n::add-mask::")


def test_our_own_process_as_the_step(tmp_path: Path) -> None:
    """As the shell of the step we are its top process, and nobody has written before us."""
    argv = (sys.executable, "-I", "-c", MASK)
    said = under_runner(step(""), *argv, cwd=tmp_path)
    assert said.stdout.startswith(f"::add-mask::{SECRET}\n")


@pytest.mark.parametrize(
    "script",
    [
        "mask >file",
        "{ mask; } | tee file",
        'value=$(mask); printf %s "$value" >file',
        "mask | cat >file",
    ],
)
def test_redirected_stdout(tmp_path: Path, script: str) -> None:
    """With stdout going elsewhere, stderr is still the log; what stdout goes to gets nothing."""
    stdout, stderr, _ = run(script, tmp_path)
    assert "add-mask" not in (tmp_path / "file").read_text() + stdout
    assert masked(stderr)[0] == SECRET


@pytest.mark.parametrize(
    "script",
    [
        "mask >file 2>&1",
        "mask 2>&1 | tee file",
        'value=$(mask 2>&1 || :); printf %s "$value" >file',
        "exec >file 2>&1; mask",
        "exec > >(tee file) 2>&1; mask",
        "exec 2>&1 | tee file; mask >file 2>&1",
        "mkfifo fifo; cat fifo >file & exec >fifo 2>&1; mask",
    ],
)
def test_no_descriptor_is_the_log(tmp_path: Path, script: str) -> None:
    """Where neither stream is the step's own log nothing is written, and the caller is told."""
    (tmp_path / "file").touch()
    stdout, stderr, code = run(f"{script} || echo untold >&2", tmp_path)
    assert "add-mask" not in stdout + stderr + (tmp_path / "file").read_text()
    assert SECRET not in stdout + stderr + (tmp_path / "file").read_text()
    assert code == 0


def test_nowhere(tmp_path: Path) -> None:
    """With both streams discarded the caller is told that nobody was."""
    assert run("mask >/dev/null 2>&1", tmp_path)[2] == 9


def test_shared_terminal(tmp_path: Path) -> None:
    """On a person's terminal nothing is written, though it be the top process's own."""
    stdout, _, code = run("mask", tmp_path, terminal="shared")
    assert "add-mask" not in stdout
    assert code == 9


def test_steps_own_terminal(tmp_path: Path) -> None:
    """act gives each step a terminal whose session it leads: that one is the log."""
    stdout, _, code = run("mask", tmp_path, terminal="leader")
    assert masked(stdout)[0] == SECRET
    assert code == 0


@pytest.mark.parametrize("environ", [{"GITLAB_CI": "true"}, {"GITHUB_ACTIONS": "false"}, {}])
def test_other_ci(tmp_path: Path, environ: dict[str, str]) -> None:
    """Elsewhere than on GitHub nothing is ever written."""
    argv = (sys.executable, "-I", "-c", MASK)
    said = under_runner({"VALUES": SECRET} | environ, *argv, cwd=tmp_path)
    assert (said.stdout, said.stderr, said.code) == ("", "", 9)


# ── what is written ──────────────────────────────────────────────────────────────────────────


def unescaped(line: str) -> str:
    """What GitHub's runner makes of the line (ActionCommand.cs, UnescapeData)."""
    return line.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


@pytest.mark.parametrize("value", ["50%-of-the-secret", "a%0Ab-secret", "100%25secret"])
def test_percent_is_escaped(tmp_path: Path, value: str) -> None:
    """The runner reads back exactly the value, whatever percent signs are in it."""
    lines = masked(run("mask", tmp_path, value=value)[0])
    assert unescaped(lines[0]) == value
    assert "%" not in re.sub("%(25|0D|0A)", "", "".join(lines))


def test_carriage_return_is_escaped(tmp_path: Path) -> None:
    """A carriage return, where the runner would end the line, is escaped."""
    lines = masked(run("mask", tmp_path, value="secret\rwith-return")[0])
    assert not any("\r" in line for line in lines)
    assert "secret%0Dwith-return" in lines


def test_value_of_several_lines(tmp_path: Path) -> None:
    """A value of several lines is told line by line: the runner reads lines."""
    stdout, _, _ = run("mask", tmp_path, value="first-line-of-it\nsecond-line-of-it")
    assert masked(stdout)[:2] == ["first-line-of-it", "second-line-of-it"]
    assert all(not line or line.startswith("::add-mask::") for line in stdout.split("\n"))


def test_several_values(tmp_path: Path) -> None:
    """Each of several values is told."""
    lines = masked(run("mask", tmp_path, value="one-secret;two-secret")[0])
    assert {"one-secret", "two-secret"} <= set(lines)


# ── exec ─────────────────────────────────────────────────────────────────────────────────────


def test_exec_masks_before_the_step_says_anything(world: World, tmp_path: Path) -> None:
    """exec masks every secret and no public value, before the first line of the step."""
    job = Job.of(world, tmp_path / "state")
    shell = " ".join(EXEC)
    said = under_runner(
        job.environ, "bash", "-c", f"{shell} sh -c 'echo \"step: $DB_PASSWORD\"'; :"
    )
    lines = said.stdout.split("\n")
    at = lines.index("step: [MASKED]")
    assert [line for line in lines[at + 1 :] if line] == []
    masks = [line.removeprefix("::add-mask::") for line in lines[:at] if line]
    assert world.secrets["password"].reveal() in masks
    assert set(world.secrets["licence"].reveal().split("\n")) <= set(masks)
    assert world.secrets["username"].reveal() not in masks
    assert "add-mask" not in said.stderr


def test_exec_says_if_it_cannot_mask(world: World, tmp_path: Path) -> None:
    """Where GitHub cannot be told, exec says so once, and its own redaction holds."""
    job = Job.of(world, tmp_path / "state")
    given = Path(job.environ["CI_IDENTITY_GRANTS"]).read_text()
    second = given.partition("grants:\n")[2].replace("migrate-db", "second")
    (tmp_path / "two.yml").write_text(given + re.sub("(DB_|LICENCE)", r"OTHER_\1", second))
    words = [*EXEC[:-1], "--grant", "second", "--grants", str(tmp_path / "two.yml"), "--"]
    script = f"{' '.join(words)} sh -c 'echo $DB_PASSWORD' >{tmp_path}/out 2>{tmp_path}/err"
    said = under_runner(job.environ, "bash", "-c", f"{script}; :")
    assert (said.stdout, said.stderr) == ("", "")
    assert (tmp_path / "out").read_text() == "[MASKED]\n"
    assert (tmp_path / "err").read_text().count("warning: GitHub cannot be told to mask") == 1

"""The command line itself: help, slips, and who reads its output."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ci_identity.cli import COMMANDS
from ci_identity.sandbox.world import World
from tests.step import COMMAND, Job


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(job: Job, words: list[str]) -> None:
    """Without a command, or with --help, every command is listed, and there is an example."""
    done = job.run([*COMMAND, *words])
    assert (done.returncode, done.stderr) == (0, b"")
    listed = re.findall(r"(?m)^  ([a-z]+)  +\S", done.stdout.decode())
    assert listed == list(COMMANDS)
    assert b"ci-identity exec --grant migrate-db -- make migrate" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(job: Job, name: str) -> None:
    """Each command explains itself with an example that begins with its own name."""
    done = job.run([*COMMAND, name, "--help"])
    assert (done.returncode, done.stderr) == (0, b"")
    usage, _, example = done.stdout.decode().partition("For example:")
    assert usage.startswith(f"usage: ci-identity {name}")
    assert f"  ci-identity {name}" in example


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(job: Job, option: str) -> None:
    """--version prints name and version."""
    done = job.run([*COMMAND, option])
    assert done.returncode == 0
    assert re.fullmatch(rb"ci-identity \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize(("name", "meant"), [("exce", "exec"), ("whomai", "whoami"), ("zzz", "")])
def test_unknown_command(job: Job, name: str, meant: str) -> None:
    """A command that there is not is 2, and the nearest one is suggested."""
    done = job.run([*COMMAND, name])
    assert done.returncode == 2
    assert done.stderr.startswith(f"error[usage]: there is no command '{name}'".encode())
    assert (f"did you mean {meant}?".encode() in done.stderr) == bool(meant)


@pytest.mark.parametrize(
    "words",
    [
        ["whoami", "--jsno"],
        ["explain"],
        ["check", "more"],
        ["audit", "burn"],
        ["audit", "show", "--head", "0"],
        ["doctor", "house"],
        ["sandbox", "--claim", "nothing"],
        ["sandbox", "--ci", "jenkins"],
    ],
)
def test_slip(job: Job, words: list[str]) -> None:
    """What cannot be understood is one error with its fix, and 2."""
    done = job.run([*COMMAND, *words])
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error[usage]: ")
    assert b"\n  fix: see: ci-identity " in done.stderr or words[0] in {"audit", "sandbox"}


@pytest.mark.parametrize(
    ("words", "what", "fix"),
    [
        (
            ["exec", "--grant", "x", "ls", "-la", "a b"],
            "there is no `--` before the command",
            "put the command after --: ci-identity exec --grant x -- ls -la 'a b'",
        ),
        (["exec", "--grant", "x", "y", "--", "ls"], "y: this is no option, and stands", "see: "),
        (["exec", "--grant", "x", "--"], "there is no command", "put it after --: ci-identity"),
        (["exec", "--", "ls"], "no grant is named", "ci-identity exec --grant NAME -- COMMAND"),
        (["exec", "--grnt", "x", "--", "ls"], "unrecognized arguments: --grnt", "see: "),
        (["doctor"], "say which: env", "see: "),
        (["audit"], "say which: show or verify", "see: "),
        (["audit", "verify", "--head", "3f1c"], "argument --head: a head is 64 hex digits", "see:"),
        (["audit", "verify", "--open"], "--open goes with show", "see: "),
    ],
)
def test_slip_is_told_how_it_would_be_right(
    job: Job, words: list[str], what: str, fix: str
) -> None:
    """The error names what is wrong and what would be right, and guesses at no cause."""
    done = job.run([*COMMAND, *words])
    first, second, third = done.stderr.decode().splitlines()
    assert done.returncode == (125 if words[0] == "exec" else 2)
    assert first.startswith(f"error[usage]: {what}")
    assert second.startswith(f"  fix: {fix}")
    assert third == "  more: docs/troubleshooting.md#usage"


def test_help_is_in_columns(job: Job) -> None:
    """What each command does begins below what the others do."""
    shown = job.run([*COMMAND, "--help"]).stdout.decode().splitlines()
    places = {line.find(told) for told in COMMANDS.values() for line in shown} - {-1}
    assert len(places) == 1


@pytest.mark.parametrize("words", [["whoami"], ["--help"]], ids=" ".join)
def test_reader_that_has_gone(job: Job, words: list[str]) -> None:
    """A reader of the output that has gone is no traceback and no Python exit code."""
    job.environ["PYTHONUNBUFFERED"] = "1"
    reader, writer = os.pipe()
    os.close(reader)
    done = job.run([COMMAND[0], *COMMAND[2:], *words], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at-the-end", "at-once"])
@pytest.mark.parametrize("words", [["whoami"], ["--help"], ["check", "--help"]], ids=" ".join)
def test_full_device(job: Job, words: list[str], unbuffered: str) -> None:
    """Output that cannot be written is not a success, and the error says why."""
    job.environ["PYTHONUNBUFFERED"] = unbuffered
    with Path("/dev/full").open("wb") as full:
        done = job.run([COMMAND[0], *COMMAND[2:], *words], stdout=full, stderr=subprocess.PIPE)
    said = b"error[delivery-output]: the output could not be written: No space left on device\n"
    assert (done.returncode, done.stderr[: len(said)]) == (7, said)
    assert done.stderr.count(b"error[") == 1


def test_closed_output(job: Job) -> None:
    """Without stdout and stderr a command still exits with its code."""
    done = job.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *COMMAND, "explain", "unknown"])
    assert done.returncode == 2


def test_error_without_a_reader(job: Job) -> None:
    """With nobody to read the error, the exit code still tells."""
    reader, writer = os.pipe()
    os.close(reader)
    done = job.run([*COMMAND, "explain", "unknown"], stdout=writer, stderr=writer)
    os.close(writer)
    assert done.returncode == 2


@pytest.mark.parametrize("words", [["check"], ["exec", "--grant", "a", "--", "true"]], ids=" ".join)
def test_working_folder_that_is_gone(job: Job, tmp_path: Path, words: list[str]) -> None:
    """A step that removed the folder that it is in is told so; it is no defect of ours."""
    (tmp_path / "gone").mkdir()
    job.environ.pop("CI_IDENTITY_GRANTS", None)
    script = f'cd {tmp_path}/gone; rmdir ../gone; exec "$@"'
    done = job.run(["sh", "-c", script, "sh", *COMMAND, *words])
    assert done.returncode == (125 if words[0] == "exec" else 2)
    assert done.stderr.startswith(b"error[configuration]: the working folder is gone\n")


def test_defect_is_no_traceback(job: Job) -> None:
    """An error that is not ours is shown by kind and place, without its text."""
    script = "import ci_identity.cli.whoami as w, ci_identity.cli as c, sys\n"
    script += "def main(words): raise RuntimeError('text with a secret')\n"
    script += "w.main = main; sys.exit(c.main(['whoami']))"
    done = job.run([COMMAND[0], "-I", "-c", script])
    assert done.returncode == 1
    assert done.stderr.startswith(b"error[internal]: RuntimeError at <string>:2\n")
    assert b"secret" not in done.stderr.splitlines()[0]
    assert b"Traceback" not in done.stderr


# ── colour ───────────────────────────────────────────────────────────────────────────────────

ESCAPE = b"\033["


@pytest.mark.parametrize(
    ("extra", "is_coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, False),
    ],
)
def test_colour_in_a_pipe(job: Job, extra: dict[str, str], *, is_coloured: bool) -> None:
    """A pipe gets colour only where FORCE_COLOR asks for it, and never under NO_COLOR."""
    for words in (["explain", "migrate-db"], ["explain", "unknown"]):
        done = job.run([*COMMAND, *words], extra=extra)
        assert (ESCAPE in done.stdout + done.stderr) == is_coloured


@pytest.mark.parametrize(
    ("extra", "is_coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_on_a_terminal(job: Job, extra: dict[str, str], *, is_coloured: bool) -> None:
    """A terminal gets colour, unless it is dumb or NO_COLOR says no."""
    script = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
    argv = [COMMAND[0], "-I", "-c", script, *COMMAND, "explain", "migrate-db"]
    done = job.run(argv, extra=extra)
    assert b"migrate-db" in done.stdout
    assert (ESCAPE in done.stdout) == is_coloured


# ── strangers' text ──────────────────────────────────────────────────────────────────────────

HOSTILE = {
    "actor": "a\033[2J\033]0;title\007b",
    "workflow": "x\n::add-mask::true\n \t::stop-commands::y\r::error::z",
    "head_ref": "##[error]obeyed ##vso[task.setvariable]x",
    "environment": "\u202eright-to-left\u200b",
}


def commands_in(output: str) -> list[str]:
    """What GitHub's runner (ActionCommand.cs) or Azure's agent would obey."""
    lines = re.split(r"\r\n|\r|\n", output)
    return [li for li in lines if li.lstrip().startswith("::") or re.search(r"##\w*\[", li)]


@pytest.mark.parametrize(
    "words",
    [
        ["whoami"],
        ["whoami", "--json"],
        ["explain", "migrate-db"],
        ["explain", "migrate-db", "--json"],
        ["exec", "--grant", "migrate-db", "--", "true"],
        ["audit", "show"],
        ["audit", "show", "--json"],
    ],
)
@pytest.mark.parametrize("is_denied", [False, True])
def test_claims_of_strangers(
    world: World, tmp_path: Path, words: list[str], *, is_denied: bool
) -> None:
    """Claims can neither move the cursor nor command the CI, wherever they are shown."""
    claims = dict(HOSTILE)
    if is_denied:
        claims |= {"repository": HOSTILE["workflow"], "ref": HOSTILE["head_ref"]}
    job = Job.of(world, tmp_path, "github", claims)
    if words[0] == "audit":
        job.run([*COMMAND, "exec", "--grant", "migrate-db", "--", "true"])
    done = job.run([*COMMAND, *words])
    output = "\n".join(
        line
        for line in (done.stdout + done.stderr).decode().split("\n")
        if not line.startswith("::add-mask::") or line == "::add-mask::true"
    )
    assert commands_in(output) == []
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e]", output)
    assert "Traceback" not in output


@pytest.mark.parametrize("name", ["sandbox", "demo"])
def test_command_whose_extra_is_not_installed(job: Job, name: str) -> None:
    """It names the extra: a plain installation is no defect."""
    code = "import sys; sys.modules['jwt'] = None; from ci_identity.cli import main; "
    done = job.run([sys.executable, "-I", "-c", f"{code}sys.exit(main(['{name}']))"])
    assert done.returncode == 2
    assert f"error[dependency-missing]: ci-identity {name} needs jwt".encode() in done.stderr
    assert b"pip install 'ci-identity[sandbox]'" in done.stderr

"""A stranger chooses the text of a claim, of a step's id or of a program's name."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.agent.job import GitHubJob
from tests.step import COMMAND, EXEC, Job

CLAIM = (
    "x\n::set-env name=PATH::/tmp/evil\n::add-mask::0\n##[group]open\n"
    "INJECTED=1\nINJECTED<<END\n1\nEND\n"
    "| <img src=https://evil.example/x.png> [click](https://evil.example) www.evil.example |\n"
    "\x1b]0;title\x07\x1b[2J\x9b31m\u202ereversed\r::error::r\x00\ud800"
)
CLAIMS = {"actor": CLAIM, "check_run_id": CLAIM, "run_id": CLAIM, "run_attempt": CLAIM}
COMMANDS = re.compile(r"^\s*::(?!add-mask::)|##\w*\[", re.MULTILINE)


def assert_harmless(text: str) -> None:
    """Assert that a log with this in it commands nobody, and moves no cursor."""
    assert not COMMANDS.search(text), text
    controls = {one for one in text if not one.isprintable()} - {"\n"}
    assert not controls, controls


def job_of(world: World, state: Path, claims: Mapping[str, str]) -> Job:
    """Return a job whose token says so; its variables do not, which cannot hold such text."""
    job = Job.of(world, state, claims=claims)
    for name in [name for name, value in job.environ.items() if CLAIM in value]:
        del job.environ[name]
    return job


@pytest.fixture
def hostile_job(world: World, tmp_path: Path) -> "GitHubJob":
    """A job whose actor, run and job have such names; the grant is for it all the same."""
    return GitHubJob(job_of(world, tmp_path / "state", CLAIMS).environ, tmp_path)


def test_claims_in_the_files_of_the_runner(hostile_job: GitHubJob) -> None:
    """GITHUB_ENV and GITHUB_OUTPUT have our names and no other; the summary is our table."""
    with hostile_job as job:
        before = set(job.environ)
        started = job.start_agent("migrate-db")
        assert started.code == 0, started.log
        assert set(job.environ) - before == {"CI_IDENTITY_AGENT"}
        assert set(job.told("GITHUB_OUTPUT")) == {"leases", "expires-at"}
        other = job.run("x\n::error::y | <b>", *EXEC, "true")
        stopped = job.stop_agent()
    assert stopped.code == 0, stopped.log
    for said in (started, other, stopped):
        assert_harmless(said.log)
    summary = job.summary
    assert not re.search(r"<(?!br>)|\]\(|www\.|https?:", summary)
    assert len([line for line in summary.splitlines() if line.startswith("|")]) == 3


@pytest.mark.parametrize("command", ["exec", "whoami", "explain", "audit show", "audit verify"])
@pytest.mark.parametrize("as_json", [False, True])
def test_claims_in_what_we_print(
    world: World, tmp_path: Path, command: str, *, as_json: bool
) -> None:
    """No command shows them so that a terminal or the CI's runner would obey."""
    job = job_of(world, tmp_path / "state", CLAIMS)
    ran = job.run([*EXEC, "true"])
    assert ran.returncode == 0
    words = {"exec": [*EXEC, "true"], "explain": [*COMMAND, "explain", "migrate-db"]}
    argv = words.get(command, [*COMMAND, *command.split()])
    if as_json and command != "exec":
        argv = [*argv, "--json"]
    done = job.run(argv)
    assert done.returncode == 0
    assert_harmless(done.stdout.decode() + done.stderr.decode())


@pytest.mark.parametrize("claim", ["sub", "iss"])
def test_a_subject_with_control_characters(world: World, tmp_path: Path, claim: str) -> None:
    """What every token must have as plain text is refused with anything else in it."""
    job = job_of(world, tmp_path / "state", {claim: CLAIM})
    done = job.run([*EXEC, "true"])
    assert done.returncode == 125
    assert b"error[identity-malformed]" in done.stderr
    assert_harmless(done.stderr.decode())


@pytest.mark.parametrize("name", ["GITHUB_ACTION", "GITHUB_REPOSITORY", "GITHUB_SERVER_URL"])
def test_variables_of_strangers(world: World, tmp_path: Path, name: str) -> None:
    """Nor do the job's variables, whoever has set them."""
    job = Job.of(world, tmp_path / "state")
    job.environ[name] = CLAIM.replace("\0", "").replace("\ud800", "\udcff")
    for argv in ([*EXEC, "true"], [*COMMAND, "whoami"], [*COMMAND, "doctor", "env"]):
        done = job.run(argv)
        said = done.stdout + done.stderr
        assert b"Traceback" not in said
        assert b"error[internal]" not in said
        assert_harmless(said.decode())

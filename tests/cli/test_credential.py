"""`ci-identity credential`: what SDKs run to get their keys."""

import json
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.aws.policies import allow
from tests.aws.world import AwsWorld, Keys
from tests.step import COMMAND, Job, under_runner

FORMAT = ("--format", "aws-credential-process")
PIPED = ("bash", "-o", "pipefail", "-c", '"$0" "$@" | cat')
"""As an SDK runs it: our stdout is not the log of the step."""

ASK = [*COMMAND, "credential", "--grant", "deploy-web", *FORMAT]


@pytest.fixture
def job(world: World, aws: AwsWorld, tmp_path: Path) -> Job:
    """A job with one AWS grant."""
    role = aws.role("deploy-web", policy=allow("s3:*"))
    (tmp_path / "grants.yml").write_text(
        "version: 1\ngrants:\n  deploy-web:\n"
        f"    for: {{issuer: {json.dumps(world.issuer.address)}, repository: acme/shop}}\n"
        f"    aws: {{role: {role}, region: {aws.region}}}\n"
    )
    made = Job.of(world, tmp_path / "state")
    made.environ.update(aws.environ, CI_IDENTITY_GRANTS=str(tmp_path / "grants.yml"))
    return made


def test_prints_a_session_that_works(job: Job, aws: AwsWorld) -> None:
    """Outside a step it has a session issued, prints it alone, and says nothing else."""
    done = job.run([*PIPED, *ASK])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {
        *("Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
    }
    keys = Keys(
        access_key_id=found["AccessKeyId"],
        secret_access_key=found["SecretAccessKey"],
        session_token=found["SessionToken"],
    )
    assert ":assumed-role/deploy-web/" in aws.client("sts", keys).get_caller_identity()["Arn"]
    assert job.events() == ["requested", "issued", "delivered", "expires"]


def test_asks_the_endpoint_of_its_step(job: Job, aws: AwsWorld) -> None:
    """Inside a step there is no second exchange: it prints what the step has."""
    done = job.run([*COMMAND, "exec", "--grant", "deploy-web", "--", *ASK, "--reveal"])
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed["SecretAccessKey"] == printed["SessionToken"] == "[MASKED]"
    assert len(aws.calls("AssumeRoleWithWebIdentity")) == 1


def test_grant_that_the_step_has_not(job: Job) -> None:
    """The endpoint's refusal is told with its reason."""
    ask = [*COMMAND, "credential", "--grant", "other", *FORMAT]
    done = job.run([*COMMAND, "exec", "--grant", "deploy-web", "--", *ask])
    assert done.returncode == 7
    assert b"other: the step's endpoint refused: ci-identity: nothing is served" in done.stderr


@pytest.mark.parametrize("address", ["http://attacker.example", "https://127.0.0.1:1", "nonsense"])
def test_planted_endpoint_elsewhere(job: Job, address: str) -> None:
    """The bearer goes to this machine alone, whatever the environment says."""
    planted = {"CI_IDENTITY_ENDPOINT": address, "CI_IDENTITY_ENDPOINT_TOKEN": "the-bearer"}
    done = job.run([*PIPED, *ASK], extra=planted)
    assert done.stdout == b""
    assert done.returncode == (7 if address.startswith("https") else 2)
    assert b"CI_IDENTITY_ENDPOINT is " in done.stderr


def test_terminal_is_refused(job: Job) -> None:
    """A person's terminal shows no keys, unless the person asks for it."""
    said = under_runner(job.environ, *ASK, terminal="shared")
    assert said.code == 2
    assert "stdout is a terminal" in said.stdout
    assert "SecretAccessKey" not in said.stdout
    assert "requested" not in job.events()
    said = under_runner(job.environ, *ASK, "--reveal", terminal="shared")
    assert "SecretAccessKey" in said.stdout


def test_log_of_the_step_is_refused(job: Job) -> None:
    """Neither does the log of a GitHub step, which is where stdout goes if nobody takes it."""
    said = under_runner(job.environ, *ASK)
    assert said.code == 2
    assert "stdout is the log of the step" in said.stderr
    assert "SecretAccessKey" not in said.stdout


def test_vault_grant_has_no_such_format(world: World, tmp_path: Path) -> None:
    """A grant for something else is refused before anything is issued."""
    job = Job.of(world, tmp_path / "state")
    done = job.run([*PIPED, *COMMAND, "credential", "--grant", "migrate-db", *FORMAT])
    assert done.returncode == 2
    assert b"is no aws grant" in done.stderr
    assert job.events() == []

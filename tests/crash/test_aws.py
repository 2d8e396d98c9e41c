"""A job is killed at every point of its work; afterwards `reap` leaves AWS no usable session."""

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ci_identity.ledger.verify import verify
from ci_identity.sandbox.world import World
from tests.agent.job import GitHubJob, wait_for_end
from tests.aws.policies import allow
from tests.aws.world import AwsWorld, Keys
from tests.crash.walk import at_each, dying, points, walk
from tests.step import COMMAND, Job

GRANTS = """\
version: 1
grants:
  crash: {{for: {whose}, aws: {{role: '{crash}', region: eu-west-1}}}}
  cut: {{for: {whose}, aws: {{role: '{cut}', region: eu-west-1}}}}
"""
ASK = """
import json, os, time, urllib.error, urllib.request
url = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
bearer = os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
request = urllib.request.Request(url, headers={"Authorization": bearer})

def key():
    try:
        return json.load(urllib.request.urlopen(request))["AccessKeyId"]
    except urllib.error.HTTPError:  # a slow machine: it is over, and not renewed yet
        return None

first = key()
"""
UNTIL_RENEWED = f"{ASK}while key() in (None, first): time.sleep(0.05)"
"""Ends, too, when whoever serves it is gone."""


@pytest.fixture
def grants(world: World, aws: AwsWorld, tmp_path: Path) -> Path:
    aws.bucket("shop-web")
    right = ["iam:ListRolePolicies", "iam:PutRolePolicy", "iam:DeleteRolePolicy"]
    cut = allow(*right, on=f"arn:aws:iam::{aws.account}:role/crash")
    path = tmp_path / "grants.yml"
    whose = f"{{issuer: {world.issuer.address}, repository_id: 42}}"
    path.write_text(
        GRANTS.format(whose=whose, crash=aws.role("crash"), cut=aws.role("cut", policy=cut))
    )
    return path


@pytest.fixture
def jobs(world: World, aws: AwsWorld, grants: Path, tmp_path: Path) -> Callable[[str], Job]:
    def make(name: str) -> Job:
        job = Job.of(world, tmp_path / "jobs" / name)
        job.environ.update(aws.environ, CI_IDENTITY_GRANTS=str(grants))
        return job

    (tmp_path / "jobs").mkdir()
    return make


@pytest.fixture
def reaper(world: World, aws: AwsWorld, grants: Path, tmp_path: Path) -> Job:
    job = Job.of(world, tmp_path / "reaper")
    job.environ.update(aws.environ, CI_IDENTITY_GRANTS=str(grants))
    return job


def words(program: str, ttl: str = "15m") -> tuple[str, ...]:
    return ("exec", "--grant", "crash", "--ttl", ttl, "--", sys.executable, "-c", program)


def reap(job: Job, folder: Path) -> list[dict[str, Any]]:
    options = ("--deny", "--grant", "cut", "--all", "--json")
    done = job.run([*COMMAND, "reap", *options, str(folder)])
    assert done.returncode == 0, done.stderr.decode()
    return list(json.loads(done.stdout[done.stdout.index(b"[") :]))


def works(aws: AwsWorld, keys: Keys) -> bool:
    try:
        aws.client("s3", keys).put_object(Bucket="shop-web", Key="x", Body=b"")
    except ClientError as error:
        return error.response["Error"]["Code"] != "AccessDenied"
    return True


def sessions(aws: AwsWorld) -> dict[str, Keys]:
    """Return the keys of the jobs' sessions, by the ids of their leases."""
    return {name[-16:]: keys for name, keys in aws.sessions() if "-crash-" in name}


def cuts(aws: AwsWorld) -> set[str]:
    """Return the ids of the leases whose sessions are denied everything."""
    names = aws.client("iam").list_role_policies(RoleName="crash")["PolicyNames"]
    return {name.split("-")[-2] for name in names if name.startswith("ci-identity-cut-")}


@pytest.mark.timeout(600)  # some forty jobs
def test_wherever_a_job_is_killed_no_session_of_it_works(
    aws: AwsWorld, jobs: Callable[[str], Job], reaper: Job, tmp_path: Path
) -> None:
    """Also where AWS's answer never came to be on record: the session's name is known before."""
    passed = points(jobs("whole"), *words(ASK))
    for name in (
        "sent: POST /",
        "answered: POST /",
        "listen in ",
        "posix_spawn in _spawn",
    ):
        assert any(point.startswith(name) for point in passed), name
    for event in ("requested", "issued", "delivered", "accessed", "expires"):
        assert f"half written: {event} #1" in passed
        assert f"written: {event} #1" in passed
    deaths = walk(passed, jobs, words(ASK))
    issued = sessions(aws)
    assert any(works(aws, keys) for keys in issued.values())
    assert_reaped(aws, reaper, tmp_path / "jobs", issued)
    for death in deaths:
        if death.ledger.exists():
            verify(death.ledger)


OF_THE_STEP = ("written: refused", "half written: refused", "said", "_accept", "shutdown")
"""Points that are passed as often as the step asks: how often that is, nobody knows before."""


@pytest.mark.timeout(600)  # some ten jobs, each of four seconds
def test_wherever_a_renewal_is_killed_no_session_of_it_works(
    aws: AwsWorld, jobs: Callable[[str], Job], reaper: Job, tmp_path: Path
) -> None:
    """A renewed session has the name of the first; one denial is for both."""
    program = words(UNTIL_RENEWED, "5s")
    passed = points(jobs("whole"), *program)
    renewal = passed[passed.index("sent: GET /github/token #2") :]
    renewal = renewal[: renewal.index("written: refreshed #1") + 1]
    renewal = [point for point in renewal if not point.startswith(OF_THE_STEP)]
    assert {"written: requested #2", "answered: POST / #2"} <= set(renewal)
    walk(renewal, jobs, program)
    issued = sessions(aws)
    assert_reaped(aws, reaper, tmp_path / "jobs", issued)
    assert cuts(aws) >= issued.keys()


AGENT = ("written: requested #2", "answered: POST / #2", "half written: refreshed #1")


@pytest.mark.timeout(600)  # each of four seconds
def test_wherever_an_agent_is_killed_while_it_renews_no_session_works(
    aws: AwsWorld, jobs: Callable[[str], Job], reaper: Job, tmp_path: Path
) -> None:
    """`stop` calls nothing revoked that AWS cannot revoke, and does not keep `reap` from it."""

    def die(name: str, point: str) -> None:
        folder, environ = tmp_path / "steps" / name, jobs(name).environ
        folder.mkdir(parents=True)
        with GitHubJob(environ, folder) as job:
            start = job.starting("--grant", "crash", "--ttl", "5s", "--steps", "deploy")
            command = dying(folder / "points", point, start[len(COMMAND) :])
            assert job.run("creds", *command).code == 0
            with suppress(ProcessLookupError):  # a slow machine: it is gone already
                wait_for_end(os.pidfd_open(job.agent))
            assert (folder / "points").read_text().splitlines()[-1] == point
            said = job.stop_agent()
        assert said.code == 0, said.log
        assert "crash: expires at" in said.log or "crash: ended by itself at" in said.log
        assert "revoked" not in said.log

    at_each(AGENT, die)
    issued = sessions(aws)
    assert len(issued) == len(AGENT)
    assert_reaped(aws, reaper, tmp_path / "jobs", issued)
    assert cuts(aws) >= issued.keys()


def assert_reaped(aws: AwsWorld, reaper: Job, folder: Path, issued: dict[str, Keys]) -> None:
    """Reap twice: all is cut, and the second time changes nothing."""
    first = reap(reaper, folder)
    assert {row["done"] for row in first} == {"cut"}
    assert issued.keys() <= {row["lease"] for row in first}
    assert not any(works(aws, keys) for keys in issued.values())
    before = cuts(aws)
    again = reap(reaper, folder)
    assert {row["why"] for row in again} == {"it had ended already"}
    assert cuts(aws) == before

"""A Google Cloud grant that the job's agent holds: its steps find the file, and others do not."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.sandbox.claims import github_claims
from ci_identity.sandbox.world import World
from tests.agent.job import GitHubJob, Said
from tests.gcp.google import ACCOUNT, PROVIDER
from tests.gcp.server import GcpWorld
from tests.gcp.test_step import upload
from tests.step import COMMAND, Job


@pytest.fixture
def job(world: World, gcp: GcpWorld, tmp_path: Path) -> Iterator[GitHubJob]:
    """A job of acme/shop with a grant for a service account, which the agent holds for `push`."""
    gcp.trust(github_claims(world.issuer.address, None, {})["sub"])
    found = {"issuer": world.issuer.address, "repository": "acme/shop"}
    target = {"provider": PROVIDER, "service_account": ACCOUNT}
    grants = {"version": "1", "grants": {"push": {"for": found, "gcp": target}}}
    (tmp_path / "grants.yml").write_text(json.dumps(grants))
    with GitHubJob(Job.of(world, tmp_path / "state").environ, tmp_path) as job:
        job.environ |= gcp.environ | {"CI_IDENTITY_GRANTS": str(tmp_path / "grants.yml")}
        succeeded(job.start_agent("push", steps=("push",)))
        yield job


def succeeded(said: Said) -> Said:
    assert said.code == 0, said.log
    return said


def test_the_named_step_works_with_google(job: GitHubJob, gcp: GcpWorld) -> None:
    """What the later steps are told is where the file is; one token serves them all."""
    succeeded(job.run("push", *upload()))
    succeeded(job.run("push", *upload()))
    assert gcp.google.objects == {"shop/index.html": b"site"}
    assert [len(gcp.of(host)) for host in ("sts", "iamcredentials")] == [1, 1]
    assert set(job.told("GITHUB_ENV")) == {
        "CI_IDENTITY_AGENT",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
        "GOOGLE_CLOUD_PROJECT",
        "CLOUDSDK_CORE_PROJECT",
    }


def test_another_step_gets_no_token(job: GitHubJob, gcp: GcpWorld) -> None:
    """It can read the file, and is refused: by the client's words too."""
    said = job.run("build", *upload())
    assert said.code != 0
    assert "this process is not one of the step" in said.log
    assert gcp.of("storage") == []


def test_exec_takes_the_token_from_the_agent(job: GitHubJob, gcp: GcpWorld) -> None:
    """Nothing more is asked of Google."""
    succeeded(job.run("push", *COMMAND, "exec", "--grant", "push", "--", *upload()))
    assert len(gcp.of("sts")) == 1


def test_the_end_of_the_job(job: GitHubJob, gcp: GcpWorld) -> None:
    """The agent drops the token and removes the file; `expires` is what is said."""
    path = Path(job.environ["GOOGLE_APPLICATION_CREDENTIALS"])
    assert path.exists()
    assert "expires at" in succeeded(job.stop_agent()).log
    assert not path.exists()
    assert job.run("push", *upload()).code != 0
    assert gcp.of("storage") == []

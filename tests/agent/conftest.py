"""A job of acme/shop with grants at a real OpenBao and at an AWS that decides."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.agent.job import GitHubJob
from tests.aws.policies import allow
from tests.aws.world import AwsWorld
from tests.step import Job

BUCKET = "shop-web"


@pytest.fixture
def job(world: World, tmp_path: Path) -> Iterator[GitHubJob]:
    """A job for which there is the grant `migrate-db`."""
    with GitHubJob(Job.of(world, tmp_path / "state").environ, tmp_path) as job:
        yield job


@pytest.fixture
def aws_job(world: World, aws: AwsWorld, job: GitHubJob) -> GitHubJob:
    """The same with `deploy-web` and, for 3 s, `deploy-soon`, which may write a bucket, and with
    `read-web`, which may read it.
    """
    aws.bucket(BUCKET)
    role = aws.role("deploy-web", policy=allow("s3:*"))
    found = f"{{issuer: {json.dumps(world.issuer.address)}, repository: acme/shop}}"
    lines = [world.grants_path.read_text()]
    for name, ttl, action in (
        ("deploy-web", "15m", "s3:PutObject"),
        ("deploy-soon", "3s", "s3:PutObject"),
        ("read-web", "15m", "s3:GetObject"),
    ):
        policy = f'[{{allow: ["{action}"], on: ["arn:aws:s3:::{BUCKET}/*"]}}]'
        lines += [f"  {name}:", f"    for: {found}", f"    ttl: {ttl}", "    aws:"]
        lines += [f"      role: {role}", f"      region: {aws.region}", f"      policy: {policy}"]
    path = job.folder / "grants.yml"
    path.write_text("\n".join(lines))
    job.environ |= aws.environ | {"CI_IDENTITY_GRANTS": str(path)}
    return job

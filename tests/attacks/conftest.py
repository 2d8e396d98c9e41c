"""Whom this room attacks: a job of the sandbox's world."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.agent.job import GitHubJob
from tests.faults.stage import faulty as faulty
from tests.step import Job


@pytest.fixture
def job(world: World, tmp_path: Path) -> Iterator[GitHubJob]:
    """A job for which there is the grant `migrate-db`, step by step under a runner."""
    with GitHubJob(Job.of(world, tmp_path / "state").environ, tmp_path) as job:
        yield job

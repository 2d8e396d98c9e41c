"""A GitHub-shaped job for the commands to run in."""

from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.step import Job


@pytest.fixture
def job(world: World, tmp_path: Path) -> Job:
    return Job.of(world, tmp_path / "state")

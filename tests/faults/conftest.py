"""The job of this room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.faults.between import Between
from tests.faults.stage import Faulty


@pytest.fixture
def faulty(world: World, tmp_path: Path) -> Iterator[Faulty]:
    """A job of the sandbox's world, whose servers fail as they are told."""
    with Between(world.issuer.address) as tokens, Between(world.openbao.address) as vault:
        yield Faulty(world, tmp_path, tokens, vault)

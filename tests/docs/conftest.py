"""A stage for one refusal: everything is right on it until a test makes one thing wrong."""

import secrets
from pathlib import Path

import pytest

from ci_identity.sandbox.world import World
from tests.docs.refusals import Stage


@pytest.fixture
def stage(world: World, tmp_path: Path) -> Stage:
    ours = {
        "CI_IDENTITY_STATE_DIR": str(tmp_path / "state"),
        "CI_IDENTITY_GRANTS": str(tmp_path / ".ci-identity.yml"),
    }
    mount = f"docs-{secrets.token_hex(4)}"
    stage = Stage(world=world, folder=tmp_path, mount=mount, environ=world.environ() | ours)
    stage.prepare()
    return stage

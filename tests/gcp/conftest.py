"""A Google Cloud for each test that wants one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.sandbox.issuer import Issuer
from tests.gcp.server import GcpWorld


@pytest.fixture
def gcp(issuer: Issuer, tmp_path: Path) -> Iterator[GcpWorld]:
    """A Google Cloud of the test's own, that trusts `issuer` and decides as Google does."""
    with GcpWorld(issuer.address, tmp_path) as world:
        yield world

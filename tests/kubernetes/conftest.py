"""A cluster for each test that wants one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_identity.sandbox.issuer import Issuer
from tests.kubernetes.server import KubernetesWorld


@pytest.fixture
def kubernetes(issuer: Issuer, tmp_path: Path) -> Iterator[KubernetesWorld]:
    """A cluster of the test's own, that trusts `issuer` and decides as an API server does."""
    with KubernetesWorld(issuer.address, tmp_path) as world:
        yield world

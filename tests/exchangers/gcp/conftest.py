"""One exchange at a Google Cloud of the test's own."""

import pytest

from ci_identity.sandbox.issuer import Issuer
from tests.exchangers.gcp.stage import Stage, subject_token
from tests.gcp.conftest import gcp
from tests.gcp.server import GcpWorld

__all__ = ["gcp"]


@pytest.fixture
def stage(issuer: Issuer, gcp: GcpWorld) -> Stage:
    """An exchange that succeeds: the job may impersonate the service account."""
    token = subject_token(issuer)
    gcp.trust(str(token.claims["sub"]))
    return Stage(token=token, environ=gcp.environ)

"""One exchange at a cluster of the test's own."""

import pytest

from ci_identity.sandbox.issuer import Issuer
from tests.exchangers.kubernetes.stage import Stage, subject_token, target
from tests.kubernetes.conftest import kubernetes
from tests.kubernetes.server import KubernetesWorld

__all__ = ["kubernetes"]


@pytest.fixture
def stage(issuer: Issuer, kubernetes: KubernetesWorld) -> Stage:
    """An exchange that succeeds: the job has the Role that it needs."""
    token = subject_token(issuer)
    kubernetes.cluster.trust(str(token.claims["sub"]))
    return Stage(token=token, target=target(kubernetes))

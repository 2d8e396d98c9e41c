"""A session for Kubernetes in Python: a client that follows it, and ends with it."""

import copy
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kubernetes import client

import ci_identity
from ci_identity.errors import (
    ConfigurationError,
    MissingDependencyError,
    NotRenewedError,
    TokenLifeError,
    UndeliverableError,
)
from ci_identity.model import Grant, KubernetesTarget, Outcome, Wanted
from ci_identity.sandbox.claims import github_claims
from ci_identity.sandbox.world import World
from tests.kubernetes.cluster import ACCOUNT, AUDIENCE, NAMESPACE
from tests.kubernetes.server import KubernetesWorld
from tests.step import Job


@pytest.fixture
def job(world: World, kubernetes: KubernetesWorld, tmp_path: Path) -> Job:
    """A job of acme/shop, which has the Role that it needs."""
    kubernetes.cluster.trust(str(github_claims(world.issuer.address, None, {})["sub"]))
    return Job.of(world, tmp_path / "state")


@pytest.fixture
def grant(kubernetes: KubernetesWorld) -> Grant:
    return Grant(
        name="rollout",
        conditions={"repository": (Wanted(text="acme/shop"),)},
        target=KubernetesTarget(
            server=kubernetes.server,
            namespace=NAMESPACE,
            service_account=ACCOUNT,
            audience=AUDIENCE,
            ca_file=str(kubernetes.ca_file),
        ),
    )


def create(api: client.ApiClient, name: str) -> None:
    """Create a ConfigMap by the official client."""
    made = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data={"version": "7"})
    client.CoreV1Api(api).create_namespaced_config_map(NAMESPACE, made)


def test_client_lives_and_ends_with_the_session(
    job: Job, grant: Grant, kubernetes: KubernetesWorld
) -> None:
    """One made inside works inside, and sends nothing more outside."""
    with ci_identity.session(grant, environ=job.environ) as session, session.kubernetes() as api:
        create(api, "release")
        assert session.lease.expires_at > datetime.now(UTC)
        asked = len(kubernetes.calls)
    assert session.outcome is Outcome.REVOKED
    assert list(kubernetes.cluster.of("configmaps")) == ["release"]
    with pytest.raises(ConfigurationError, match="no open token of Kubernetes"):
        create(api, "after")
    with pytest.raises(ConfigurationError, match="no open token of Kubernetes"):
        session.kubernetes()
    assert len(kubernetes.calls) == asked + 1  # the deletion


def test_client_has_the_token_of_the_moment(
    job: Job, grant: Grant, kubernetes: KubernetesWorld
) -> None:
    """Tokens of 2 seconds, renewed: a client that was made once has each of them."""
    kubernetes.cluster.max_life = 2
    with ci_identity.session(grant, environ=job.environ) as session, session.kubernetes() as api:
        end = time.monotonic() + 30
        while len(kubernetes.cluster.issued) < 3 and time.monotonic() < end:
            create(api, f"release-{len(kubernetes.calls)}")
            time.sleep(0.1)
    assert len(kubernetes.cluster.issued) >= 3
    assert {call.status for call in kubernetes.of("POST", "/configmaps")} == {201}
    assert len({call.bearer for call in kubernetes.of("POST", "/configmaps")}) >= 2
    assert len(kubernetes.of("POST", "/secrets")) == 1


def test_token_that_was_not_renewed(job: Job, grant: Grant, kubernetes: KubernetesWorld) -> None:
    """The lease was ended from outside: when the token is over, nothing is given out."""
    kubernetes.cluster.max_life = 2
    with ci_identity.session(grant, environ=job.environ) as session:
        kubernetes.cluster.objects.clear()
        while session.lease.expires_at > datetime.now(UTC):
            time.sleep(0.05)
        with pytest.raises(NotRenewedError):
            session.kubernetes_token()
    assert session.outcome is Outcome.REVOKED
    reasons = [entry["reason"] for entry in job.ledger()]
    assert "kubernetes-secret" in reasons


def test_client_needs_a_kubernetes_grant(world: World, tmp_path: Path) -> None:
    """A grant for Vault has no token of Kubernetes."""
    with (
        ci_identity.session("migrate-db", environ=Job.of(world, tmp_path / "s").environ) as session,
        pytest.raises(ConfigurationError, match="no open token of Kubernetes"),
    ):
        session.kubernetes()


def test_client_that_is_not_installed(
    job: Job, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named; the session itself needs none."""
    monkeypatch.delitem(sys.modules, "ci_identity.delivery.kubernetes_client", raising=False)
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with (
        ci_identity.session(grant, environ=job.environ) as session,
        pytest.raises(MissingDependencyError) as caught,
    ):
        session.kubernetes()
    assert "ci-identity[kubernetes]" in caught.value.hint


def test_token_is_not_copied(job: Job, grant: Grant) -> None:
    """Nor shown."""
    with ci_identity.session(grant, environ=job.environ) as session:
        token = session.kubernetes_token()
        assert token.token.reveal() not in f"{token!r}{session!r}"
        with pytest.raises(TypeError):
            copy.deepcopy(token)


def test_environment_of_a_child(job: Job, grant: Grant, kubernetes: KubernetesWorld) -> None:
    """KUBECONFIG leads to a file without a token in it; the file is gone with the session."""
    with ci_identity.session(grant, environ=job.environ) as session:
        path = Path(session.environ["KUBECONFIG"])
        assert session.environ["KUBE_CONFIG_PATH"] == str(path)
        assert json.loads(path.read_text())["current-context"] == "rollout"
        assert kubernetes.cluster.issued[0] not in "".join(session.environ.values())
        assert kubernetes.cluster.issued[0] in {secret.reveal() for secret in session.secrets}
    assert not path.exists()


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda grant, env: ci_identity.session(grant, environ=env, delivery="env"),
         UndeliverableError),
        (lambda grant, env: ci_identity.session(grant, environ=env, ttl=timedelta(minutes=9)),
         TokenLifeError),
    ],
)  # fmt: skip
def test_what_is_refused_before_any_request(
    job: Job,
    grant: Grant,
    kubernetes: KubernetesWorld,
    ask: Callable[[Grant, dict[str, str]], "ci_identity.Session"],
    error: type[Exception],
) -> None:
    """A delivery that no client reads, and a life that no API server gives."""
    with pytest.raises(error), ask(grant, job.environ):
        pass
    assert kubernetes.calls == []

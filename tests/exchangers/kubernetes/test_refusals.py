"""What a cluster says no to: each is one request, and is told with what to write where."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ci_identity._record import replace
from ci_identity.errors import (
    CiIdentityError,
    KubernetesAdmissionError,
    KubernetesForbiddenError,
    KubernetesNotFoundError,
    KubernetesRequestError,
    KubernetesTokenError,
    ProviderAnswerError,
)
from ci_identity.sandbox.issuer import Issuer
from ci_identity.secret import Secret
from tests.exchangers.kubernetes.stage import Stage, made_of, subject_token
from tests.exchangers.kubernetes.test_exchange import SECRETS, TOKENS
from tests.kubernetes.cluster import ACCOUNT, NAMESPACE, NEEDED, USER_PREFIX, Rule, refuse
from tests.kubernetes.server import KubernetesWorld


@dataclass
class Scene:
    """An exchange that would succeed, and what one test makes wrong about it."""

    stage: Stage
    kubernetes: KubernetesWorld
    issuer: Issuer

    def refused(self, kind: type[CiIdentityError], *, requests: int = 1) -> CiIdentityError:
        """Return the error, which is of this kind, permanent, and came after so many requests."""
        error = self.stage.refuse(*self.kubernetes.cluster.issued)
        assert type(error) is kind
        assert error.retry_after is None
        assert len(self.kubernetes.calls) == requests
        return error


@pytest.fixture
def scene(stage: Stage, kubernetes: KubernetesWorld, issuer: Issuer) -> Scene:
    return Scene(stage, kubernetes, issuer)


# ── 401 ──────────────────────────────────────────────────────────────────────────────────────


def another_audience(scene: Scene) -> None:
    scene.stage.token = subject_token(scene.issuer, "another")


def another_issuer(scene: Scene) -> None:
    scene.kubernetes.cluster.issuer = "https://gitlab.example.com"


def another_key(scene: Scene) -> None:
    header, payload, _ = scene.stage.token.token.reveal().split(".")
    scene.stage.token = made_of(Secret(f"{header}.{payload}.{'A' * 342}"))


def rule_that_is_not_true(scene: Scene) -> None:
    scene.kubernetes.cluster.validation = lambda claims: claims["ref"] == "refs/heads/release"


@pytest.mark.parametrize(
    "wrong", [another_audience, another_issuer, another_key, rule_that_is_not_true]
)
def test_token_that_is_not_taken(scene: Scene, wrong: Callable[[Scene], None]) -> None:
    """It does not say why; the hint has what its configuration must have for this token."""
    wrong(scene)
    error = scene.refused(KubernetesTokenError)
    issuer, audience = (scene.stage.token.claims[name] for name in ("iss", "aud"))
    assert f"issuer.url = {issuer}" in error.hint
    assert f"issuer.audiences with {audience}" in error.hint


# ── 403 ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rules", "to", "requests"),
    [
        ((NEEDED[1],), "create secrets", 1),
        ((NEEDED[0],), "create serviceaccounts/token", 2),
        (
            (
                NEEDED[0],
                Rule(
                    verbs=frozenset({"create"}),
                    resource="serviceaccounts/token",
                    names=frozenset({"other"}),
                ),
            ),
            "create serviceaccounts/token",
            2,
        ),
    ],
)
def test_role_that_lacks_a_rule(
    scene: Scene, rules: tuple[Rule, ...], to: str, requests: int
) -> None:
    """Which verb on which resource, and the whole Role with who is to have it."""
    subject = str(scene.stage.token.claims["sub"])
    scene.kubernetes.cluster.trust(subject, *rules)
    error = scene.refused(KubernetesForbiddenError, requests=requests)
    assert f"{USER_PREFIX}{subject} may not {to} in the namespace {NAMESPACE}" in str(error)
    assert f"to the user {USER_PREFIX}{subject}" in error.hint
    assert "resources: [secrets], verbs: [create, delete]" in error.hint
    assert f"resourceNames: [{ACCOUNT}]" in error.hint


def test_name_that_the_cluster_has_for_the_job_is_made_printable(scene: Scene) -> None:
    """Strangers write it: nothing in it moves the cursor, and a long one is cut."""
    user = f"\x1b[2Jci:{'x' * 900}"
    scene.kubernetes.fail("POST", SECRETS, 403, body=_forbidden(user))
    error = scene.refused(KubernetesForbiddenError)
    assert "\x1b" not in f"{error}{error.hint}"
    assert len(str(error)) < 600


def test_rule_of_admission(scene: Scene) -> None:
    """RBAC allows it, and a policy, a webhook or a quota does not: another cause, another hint."""

    def policy(_: str, __: dict[str, Any]) -> None:
        text = "ValidatingAdmissionPolicy 'ci' with binding 'ci' denied request: WORDS"
        refuse(422, "Invalid", text, causes=[{"message": "WORDS"}])

    def quota(_: str, found: dict[str, Any]) -> None:
        text = f'secrets "{found["metadata"]["name"]}" is forbidden: exceeded quota: WORDS'
        refuse(403, "Forbidden", text, kind="secrets")

    def webhook(_: str, __: dict[str, Any]) -> None:
        refuse(400, "BadRequest", 'admission webhook "x.acme.example" denied the request: WORDS')

    for number, rule in enumerate((policy, quota, webhook), 1):
        scene.kubernetes.cluster.admission = rule
        error = scene.refused(KubernetesAdmissionError, requests=number)
        assert "forbids the job to create secrets in the namespace shop" in str(error)


# ── 404, 422, and what is none of it ─────────────────────────────────────────────────────────


def test_namespace_that_is_not_there(scene: Scene) -> None:
    """Who may create Secrets there is told so."""
    scene.kubernetes.cluster.namespaces.clear()
    error = scene.refused(KubernetesNotFoundError)
    assert "there is no namespace shop" in str(error)


def test_account_that_is_not_there(scene: Scene) -> None:
    """By its name, and its namespace's."""
    scene.kubernetes.cluster.accounts.clear()
    error = scene.refused(KubernetesNotFoundError, requests=2)
    assert "there is no service account deployer in the namespace shop" in str(error)


def test_request_that_is_invalid(scene: Scene) -> None:
    """The field is named, and nothing of the text beside it."""
    causes = [{"field": "spec.expirationSeconds", "message": "WORDS"}, {"field": "WORDS \n"}, 7]
    body = _status(422, "Invalid", causes=causes)
    scene.kubernetes.fail("POST", TOKENS, 422, body=body)
    error = scene.refused(KubernetesRequestError, requests=2)
    assert str(error).endswith("refused to create serviceaccounts/token: spec.expirationSeconds")


def test_refusal_without_a_field(scene: Scene) -> None:
    """Its reason is named; if it has none that can be shown, the status."""
    scene.kubernetes.fail("POST", TOKENS, 409, body=_status(409, "Gone"))
    scene.kubernetes.fail("POST", TOKENS, 418, body=_status(418, "WORDS !"))
    assert str(scene.refused(KubernetesRequestError, requests=2)).endswith(": Gone")
    scene.kubernetes.cluster.objects.clear()
    assert str(scene.refused(KubernetesRequestError, requests=4)).endswith(": status 418")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"404 page not found\n"),
        (403, b"<html>WORDS</html>"),
        (401, b'{"message": "WORDS"}'),
        (200, b"<html>WORDS</html>"),
        (201, b"{}"),
        (201, b'{"metadata": {"uid": "WORDS \\u001b[2J"}}'),
        (201, b"[" * 100_000),
    ],
)
def test_answer_of_a_stranger(scene: Scene, status: int, body: bytes) -> None:
    """What is no API server's answer is said to be none: a proxy, a login page."""
    scene.kubernetes.fail("POST", SECRETS, status, body=body)
    scene.refused(ProviderAnswerError)


@pytest.mark.parametrize("token", ["", "WORDS", "a.b.c" * 9, "e30.e30.e30", 7, None])
def test_token_that_is_none(scene: Scene, token: object) -> None:
    """It is not handed on."""
    body = json.dumps({"kind": "TokenRequest", "status": {"token": token}}).encode()
    scene.kubernetes.fail("POST", TOKENS, 201, body=body)
    scene.refused(ProviderAnswerError, requests=2)


def test_path_of_the_server_is_kept(scene: Scene) -> None:
    """As where several clusters are behind one address."""
    target = scene.stage.target
    scene.stage.target = replace(target, server=f"{target.server}/k8s/clusters/c-1/")
    scene.stage.refuse()
    assert scene.kubernetes.calls[0].path.startswith("/k8s/clusters/c-1/api/v1/namespaces/shop/")


def _status(status: int, reason: str, **details: Any) -> bytes:
    found = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "WORDS"}
    return json.dumps(found | {"reason": reason, "code": status, "details": details}).encode()


def _forbidden(user: str) -> bytes:
    text = f'secrets is forbidden: User {json.dumps(user)} cannot create resource "secrets" WORDS'
    return json.dumps({"kind": "Status", "reason": "Forbidden", "message": text}).encode()

"""How a token of Kubernetes ends: `revoked` is said only of what the API server confirmed."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from ci_identity.errors import IdTokenPermissionError
from ci_identity.exchangers.kubernetes.reclaim import KubernetesReclaimer
from ci_identity.model import Handle, Outcome, SubjectToken
from tests.exchangers.kubernetes.stage import NAME, Stage
from tests.exchangers.kubernetes.test_exchange import SECRETS, TOKENS
from tests.kubernetes.cluster import NAMESPACE, OWN_ISSUER, USER_PREFIX
from tests.kubernetes.server import KubernetesWorld


def test_end_is_the_secret_s(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """The API server refuses from then on, and so does who asks it; the signature stays good."""
    credential = stage.exchange()
    assert credential.served is not None
    token, uid = credential.served.token.reveal(), _uid(kubernetes)
    ending = credential.revoke(budget=5)
    assert ending.outcome is Outcome.REVOKED
    assert "who only checks its signature takes it until its end" in ending.detail
    (call,) = kubernetes.of("DELETE")
    assert call.path.endswith(f"/secrets/{NAME}")
    assert call.body["preconditions"] == {"uid": uid}
    assert not kubernetes.cluster.takes(token)
    assert kubernetes.cluster.verify_offline(token, (OWN_ISSUER,))  # as the docs say


def test_end_is_asked_for_once(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """What the first call found is kept."""
    credential = stage.exchange()
    assert credential.revoke(budget=5) is credential.revoke(budget=5)
    assert len(kubernetes.of("DELETE")) == 1


@pytest.mark.parametrize("is_another", [False, True])
def test_secret_that_is_gone_already(
    stage: Stage,
    kubernetes: KubernetesWorld,
    is_another: bool,  # noqa: FBT001  # a case
) -> None:
    """The token ended with it, whoever deleted it; one of that name made since is left alone."""
    credential = stage.exchange()
    gone = kubernetes.cluster.objects.pop(("secrets", NAMESPACE, NAME))
    if is_another:
        again = gone | {"metadata": gone["metadata"] | {"uid": "another"}}
        kubernetes.cluster.objects["secrets", NAMESPACE, NAME] = again
    assert credential.revoke(budget=5).outcome is Outcome.REVOKED
    assert bool(kubernetes.cluster.of("secrets")) == is_another


def test_secret_that_was_never_made(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """A refusal to make it leaves nothing behind, and nothing is asked for it."""
    kubernetes.cluster.rules.clear()
    stage.refuse()
    assert stage.handles == []
    ending = stage.held[0].revoke(budget=5)
    assert (ending.outcome, ending.detail) == (Outcome.REVOKED, "nothing had been issued")
    assert kubernetes.of("DELETE") == []


@pytest.mark.parametrize("status", [0, 502, 504])
def test_secret_that_nobody_knows_of(
    stage: Stage, kubernetes: KubernetesWorld, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Its answer was lost, here or behind a gateway, and no other came: it is deleted by name."""
    monkeypatch.setattr("ci_identity.exchangers.kubernetes.exchange.RETRY_BUDGET", 0.0)
    kubernetes.fail("POST", SECRETS, status, is_late=True)
    stage.refuse()
    assert stage.handles == []
    assert len(kubernetes.cluster.of("secrets")) == 1
    assert stage.held[0].revoke(budget=5).detail == "nothing had been issued"
    assert kubernetes.cluster.of("secrets") == {}


def test_secret_without_a_token(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """A refusal to issue: the Secret is deleted; if it cannot be, it is litter, and no failure."""
    kubernetes.fail("POST", TOKENS, 403, body=_status(403, "Forbidden"))
    stage.refuse()
    kubernetes.cluster.has_finalizer = True
    ending = stage.held[0].revoke(budget=5)
    assert ending.outcome is Outcome.REVOKED
    assert "nothing had been issued; left there: the Secret shop/ci-identity-" in ending.detail


def test_token_that_nobody_knows_of(
    stage: Stage, kubernetes: KubernetesWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer was lost, so it may be there: its end has to be confirmed."""
    kubernetes.fail("POST", TOKENS, is_late=True)
    monkeypatch.setattr("ci_identity.exchangers.kubernetes.exchange.RETRY_BUDGET", 0.0)
    stage.refuse()
    kubernetes.cluster.has_finalizer = True
    assert stage.held[0].revoke(budget=5).outcome is Outcome.FAILED


def test_secret_that_a_finalizer_keeps(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """Marked for deletion is not deleted: `failed`, and why."""
    credential = stage.exchange()
    kubernetes.cluster.has_finalizer = True
    ending = credential.revoke(budget=5)
    assert (ending.outcome, ending.reason) == (Outcome.FAILED, "revocation")
    assert f"{NAMESPACE}/{NAME}: something keeps it" in ending.detail


def test_role_that_may_not_delete(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """Said with the rule that is missing; one request."""
    credential = stage.exchange()
    kubernetes.cluster.rules[USER_PREFIX + str(stage.token.claims["sub"])] = ()
    ending = credential.revoke(budget=5)
    assert ending.outcome is Outcome.FAILED
    assert "may not delete secrets in the namespace shop" in ending.detail
    assert len(kubernetes.of("DELETE")) == 1


def test_nothing_there_is_no_deletion(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """A 404 about something else than the Secret, or of no API server, confirms nothing."""
    for body in (_status(404, "NotFound"), b"404 page not found\n"):
        credential = stage.exchange()
        kubernetes.fail("DELETE", SECRETS, 404, body=body)
        assert credential.revoke(budget=5).outcome is Outcome.FAILED
        kubernetes.cluster.objects.clear()


def test_answer_that_confirms_nothing(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """200 with another body is a stranger's."""
    credential = stage.exchange()
    kubernetes.fail("DELETE", SECRETS, 200, body=b"{}")
    assert credential.revoke(budget=5).outcome is Outcome.FAILED


@pytest.mark.parametrize("status", [302, 409])
def test_refusal_that_is_no_end(stage: Stage, kubernetes: KubernetesWorld, status: int) -> None:
    """A success that goes on elsewhere, or a conflict where no uid was asked for: it is there."""
    kubernetes.fail("POST", SECRETS, is_late=True)  # so that the uid is not known
    credential = stage.exchange()
    success = b'{"kind": "Status", "status": "Success"}'
    conflict = _status(409, "Conflict").replace(b"{", b'{"details": {"kind": "secrets"}, ', 1)
    kubernetes.fail("DELETE", SECRETS, status, body=success if status == 302 else conflict)
    assert credential.revoke(budget=5).outcome is Outcome.FAILED
    assert NAME in kubernetes.cluster.of("secrets")


def test_lost_answer_to_the_deletion(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """Asked again, the server says that it is gone."""
    credential = stage.exchange()
    kubernetes.fail("DELETE", SECRETS, is_late=True)
    assert credential.revoke(budget=10).outcome is Outcome.REVOKED
    assert [call.status for call in kubernetes.of("DELETE")] == [0, 404]


def test_server_that_is_away_at_the_end(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """`failed` within the budget; once the token's time is over, `expires`."""
    credential = stage.exchange()
    kubernetes.close()
    ending = credential.revoke(budget=0.2)
    assert (ending.outcome, ending.reason) == (Outcome.FAILED, "revocation")
    credential = stage.held[0]  # type: ignore[assignment]  # the same one
    credential._ending = None
    credential.expires_at = datetime.now(UTC) - timedelta(seconds=1)
    ending = credential.revoke(budget=0.2)
    assert (ending.outcome, ending.reason) == (Outcome.EXPIRES, "expired")


def test_no_token_to_ask_with(
    stage: Stage, kubernetes: KubernetesWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CI gives no other token: `failed`, by its error's code, and nothing is raised."""

    def refuse() -> SubjectToken:
        message = "no id-token: write"
        raise IdTokenPermissionError(message)

    monkeypatch.setattr(stage, "_mint", refuse)
    stage.now = lambda: datetime.now(UTC)
    credential = stage.exchange()
    late = datetime.now(UTC) + timedelta(minutes=6)
    stage.now = lambda: late
    credential._connect = stage.exchanger().connect(stage.request)
    ending = credential.revoke(budget=5)
    assert ending.outcome is Outcome.FAILED
    assert "identity-permission" in ending.detail
    assert kubernetes.of("DELETE") == []


# ── by handle ────────────────────────────────────────────────────────────────────────────────


def test_what_a_killed_process_left_is_deleted_by_its_handle(
    stage: Stage, kubernetes: KubernetesWorld
) -> None:
    """With the job's own token: nothing is issued for it, so nothing is held or recorded."""
    stage.exchange()
    handles, before = tuple(stage.handles), len(stage.events)
    ending = KubernetesReclaimer(stage.target, {}).reclaim(stage.request, handles[:1])
    assert ending.outcome is Outcome.REVOKED
    assert not kubernetes.cluster.takes(kubernetes.cluster.issued[0])
    assert len(stage.events) == before
    assert len(kubernetes.calls) == 3


@pytest.mark.parametrize(
    "handle",
    [
        Handle(kind="secret", value=f"{NAMESPACE}/database-password"),
        Handle(kind="secret", value=f"kube-system/{NAME}"),
        Handle(kind="secret", value=f"{NAMESPACE}/ci-identity-fedcba9876543210"),
        Handle(kind="secret", value=f"{NAMESPACE}/{NAME}/../database-password/x"),
        Handle(kind="accessor", value=f"{NAMESPACE}/{NAME}"),
    ],
    ids=str,
)
def test_ledger_deletes_no_secret_but_a_lease_s(
    stage: Stage, kubernetes: KubernetesWorld, handle: Handle
) -> None:
    """A ledger may have been in other hands, and the job may delete every Secret there."""
    ending = KubernetesReclaimer(stage.target, {}).reclaim(stage.request, [handle])
    assert ending.outcome is Outcome.FAILED
    assert kubernetes.calls == []


def test_uid_of_a_ledger_is_not_believed(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """`revoked` is true also where the ledger has another uid: what has the name is deleted."""
    stage.exchange()
    handle = Handle(kind="secret", value=f"{NAMESPACE}/{NAME}/another-uid")
    ending = KubernetesReclaimer(stage.target, {}).reclaim(stage.request, [handle])
    assert ending.outcome is Outcome.REVOKED
    assert not kubernetes.cluster.takes(kubernetes.cluster.issued[0])


def test_each_secret_is_deleted_once(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """Every renewal has left a handle of the same Secret."""
    stage.exchange()
    ending = KubernetesReclaimer(stage.target, {}).reclaim(stage.request, stage.handles * 2)
    assert ending.outcome is Outcome.REVOKED
    assert len(kubernetes.of("DELETE")) == 1


def _uid(kubernetes: KubernetesWorld) -> str:
    return str(kubernetes.cluster.of("secrets")[NAME]["metadata"]["uid"])


def _status(status: int, reason: str) -> bytes:
    found = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
    return json.dumps(found | {"message": "WORDS", "reason": reason, "code": status}).encode()

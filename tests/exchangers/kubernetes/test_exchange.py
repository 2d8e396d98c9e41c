"""The exchange at a cluster: two requests, one Secret for all of a lease, and its end."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from ci_identity._record import replace
from ci_identity.errors import (
    ConfigurationError,
    KubernetesBindingError,
    KubernetesSecretError,
    ProviderUnavailableError,
    TlsError,
    TokenLifeError,
)
from ci_identity.exchangers.kubernetes import KubernetesExchanger
from ci_identity.model import Outcome
from ci_identity.sandbox.issuer import Issuer
from tests.exchangers.kubernetes.stage import LEASE, NAME, Stage, made_of, subject_token, target
from tests.kubernetes.cluster import ACCOUNT, NAMESPACE, OWN_ISSUER, Object
from tests.kubernetes.server import KubernetesWorld

TOKENS, SECRETS = f"/serviceaccounts/{ACCOUNT}/token", "/secrets"


# ── what is asked, and what comes of it ──────────────────────────────────────────────────────


def test_two_requests_and_a_bound_token(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """The job's token is the bearer of both; what comes is the account's, bound to the Secret."""
    credential = stage.exchange()
    assert [(call.method, call.path.rpartition("/")[2]) for call in kubernetes.calls] == [
        ("POST", "secrets"),
        ("POST", "token"),
    ]
    assert {call.bearer for call in kubernetes.calls} == {stage.token.token.reveal()}
    assert credential.served is not None
    assert kubernetes.cluster.takes(credential.served.token.reveal())
    claims = jwt.decode(credential.served.token.reveal(), options={"verify_signature": False})
    (secret,) = kubernetes.cluster.of("secrets").values()
    assert claims["kubernetes.io"]["secret"] == {"name": NAME, "uid": secret["metadata"]["uid"]}
    assert claims["aud"] == [OWN_ISSUER]
    assert claims["exp"] - claims["iat"] == 900


def test_one_connection_for_both(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """A second handshake would be for nothing; through a proxy it is one tunnel."""
    server = kubernetes.server.replace("127.0.0.1", "k8s.acme.example")
    stage.target = replace(stage.target, server=server)
    stage.environ = {"HTTPS_PROXY": kubernetes.proxy}
    assert stage.exchanger().steered_by == ("HTTPS_PROXY",)
    stage.exchange()
    assert kubernetes.tunnels == [server.removeprefix("https://")]
    assert len(kubernetes.calls) == 2


def test_the_secret_says_whose_it_is(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """Nothing is in it, and nothing can be put into it; who made it is told in the cluster."""
    stage.exchange()
    (secret,) = kubernetes.cluster.of("secrets").values()
    assert not {"data", "stringData"} & set(secret)
    assert secret["immutable"] is True
    assert secret["type"] == "ci-identity/lease"
    assert secret["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "ci-identity",
        "ci-identity/lease": LEASE,
    }
    assert secret["metadata"]["annotations"] == {
        "ci-identity/grant": "rollout",
        "ci-identity/step": "deploy",
        "ci-identity/issuer": kubernetes.cluster.issuer,
        "ci-identity/subject": stage.token.claims["sub"],
        "ci-identity/repository": "acme/shop",
        "ci-identity/run": "9001/1",
        "ci-identity/job": "31337",
    }


def test_what_is_told_and_when(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """Held before the first effect; the Secret is on record before the token, by name and uid."""
    credential = stage.exchange()
    assert stage.events == ["hold", "secret", "secret"]
    uid = kubernetes.cluster.of("secrets")[NAME]["metadata"]["uid"]
    assert {str(handle) for handle in stage.handles} == {f"secret:{NAMESPACE}/{NAME}/{uid}"}
    assert credential.served is not None
    fingerprints = [handle.fingerprint for handle in stage.handles]
    assert fingerprints == [None, credential.served.token.fingerprint()]
    assert credential.secrets == (credential.served.token,)
    (note,) = stage.notes
    assert f"the Secret {NAMESPACE}/{NAME}" in note


def test_target_audience_and_namesakes(stage: Stage) -> None:
    """The target is the account's own path; a slash at the server's end changes nothing."""
    stage.target = replace(stage.target, server=f"{stage.target.server}/")
    exchanger = stage.exchanger()
    end = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}"
    assert exchanger.target == stage.target.server.rstrip("/") + end
    assert exchanger.audience == "acme"
    stage.exchange()


def test_audiences_of_the_issued_token(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """They can be others than the API server's: it is for who verifies by TokenReview then."""
    stage.target = replace(stage.target, token_audiences=("vault",))
    credential = stage.exchange()
    assert credential.served is not None
    token = credential.served.token.reveal()
    assert not kubernetes.cluster.takes(token)
    assert kubernetes.cluster.claims_of_account(token, ("vault",))


# ── how long it lives ────────────────────────────────────────────────────────────────────────


def test_less_than_ten_minutes_is_not_asked_for(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """An API server has no such token: said before any request."""
    stage.ttl = timedelta(seconds=599)
    error = stage.refuse()
    assert isinstance(error, TokenLifeError)
    assert "10 min" in error.cause
    assert (kubernetes.calls, stage.events) == ([], [])


def test_server_that_gives_less(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """Its maximum counts; what is said is what is true."""
    kubernetes.cluster.max_life = 60
    before = datetime.now(UTC)
    credential = stage.exchange()
    left = credential.expires_at - before
    assert timedelta(seconds=59) < left < timedelta(seconds=65)
    assert credential.served is not None
    assert credential.served.expires_at == credential.expires_at


def test_server_that_gives_more(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """Refused by the token's own claims, whatever is said beside it; and it can be ended."""
    kubernetes.cluster.extra_life = 2
    error = stage.refuse()
    assert isinstance(error, TokenLifeError)
    assert "902 s" in str(error)
    assert stage.held[0].revoke(budget=5).outcome is Outcome.REVOKED
    assert not kubernetes.cluster.takes(kubernetes.cluster.issued[0])


def test_server_that_gives_for_ever(
    stage: Stage, kubernetes: KubernetesWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last second that a date holds, by a clock that is ahead of ours."""
    last = int(datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp())
    monkeypatch.setattr(kubernetes.cluster, "rewrite", lambda claims: claims | {"exp": last})
    stage.now = lambda: datetime.now(UTC) + timedelta(minutes=30)
    error = stage.refuse()
    assert isinstance(error, TokenLifeError)
    assert stage.held[0].revoke(budget=5).outcome is Outcome.REVOKED


def test_clocks_that_differ(
    stage: Stage, kubernetes: KubernetesWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is told by this machine's clock, which the step's clients go by."""
    ahead = timedelta(minutes=10)

    def shifted(claims: Object) -> Object:
        later = int(ahead.total_seconds())
        return claims | {name: claims[name] + later for name in ("iat", "nbf", "exp")}

    monkeypatch.setattr(kubernetes.cluster, "rewrite", shifted)
    before = datetime.now(UTC)
    credential = stage.exchange()
    assert credential.expires_at - before < timedelta(minutes=15, seconds=10)


# ── what is not what was asked for ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sub": "system:serviceaccount:shop:other"}, "not one of system:serviceaccount:shop:dep"),
        ({"kubernetes.io": {"namespace": "shop"}}, "would not end with its Secret"),
        ({"kubernetes.io": {"secret": {"name": NAME, "uid": "x"}}}, "would not end with its Secr"),
        ({"kubernetes.io": {"secret": {"name": "x"}}}, "would not end with its Secret"),
        ({"aud": [OWN_ISSUER, "vault"]}, "more audiences"),
        ({"aud": [["vault"]]}, "more audiences"),
    ],
)
def test_token_that_is_another(
    stage: Stage, kubernetes: KubernetesWorld, changes: Object, said: str
) -> None:
    """Another account's, or one that no Secret ends, is not handed on: `revoked` would be a lie."""
    stage.target = replace(stage.target, token_audiences=(OWN_ISSUER,))
    kubernetes.cluster.rewrite = lambda claims: claims | changes
    error = stage.refuse(*kubernetes.cluster.issued)
    assert isinstance(error, KubernetesBindingError)
    assert said in str(error)
    assert stage.held[0].revoke(budget=5).outcome is Outcome.REVOKED


# ── the job's token ──────────────────────────────────────────────────────────────────────────


def test_token_that_is_about_to_end_is_minted_again(
    stage: Stage, issuer: Issuer, kubernetes: KubernetesWorld
) -> None:
    """API servers allow clocks no difference."""
    stage.token = subject_token(issuer, exp=int(time.time()) + 30)
    fresh = subject_token(issuer)
    stage.mints = [fresh]
    stage.exchange()
    assert {call.bearer for call in kubernetes.calls} == {fresh.token.reveal()}
    assert stage.minted == 1


def test_end_after_the_job_s_token(
    stage: Stage, issuer: Issuer, kubernetes: KubernetesWorld
) -> None:
    """A step that outlives the token it began with is ended by a new one of the same job."""
    credential = stage.exchange()
    stage.mints = [subject_token(issuer)]
    later = datetime.now(UTC) + timedelta(minutes=6)
    stage.now = lambda: later
    late = stage.exchanger().connect(stage.request)
    credential._connect = late
    assert credential.revoke(budget=5).outcome is Outcome.REVOKED
    assert kubernetes.of("DELETE")[0].bearer == stage.mints[0].token.reveal()


# ── answers that are lost, and answers that say later ────────────────────────────────────────


def test_lost_answer_to_making_the_secret(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """It is there, and nobody else has its name: the token is bound to it all the same."""
    kubernetes.fail("POST", SECRETS, is_late=True)
    credential = stage.exchange()
    assert [call.status for call in kubernetes.of("POST", SECRETS)] == [0, 409]
    assert str(stage.handles[0]) == f"secret:{NAMESPACE}/{NAME}"
    assert credential.revoke(budget=5).outcome is Outcome.REVOKED
    assert kubernetes.cluster.of("secrets") == {}


def test_lost_answer_to_the_token(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """Another is asked for; the one that nobody has ends with the same Secret."""
    kubernetes.fail("POST", TOKENS, is_late=True)
    credential = stage.exchange()
    assert len(kubernetes.cluster.issued) == 2
    assert credential.revoke(budget=5).outcome is Outcome.REVOKED
    assert not any(kubernetes.cluster.takes(token) for token in kubernetes.cluster.issued)


def test_server_that_says_later(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """429 is tried again after the time that it names, and so are 500 and 503."""
    busy = json.dumps({"kind": "Status", "message": "WORDS", "reason": "TooManyRequests"}).encode()
    kubernetes.fail("POST", SECRETS, 429, body=busy, headers={"Retry-After": "3"})
    kubernetes.fail("POST", TOKENS, 503, body=b"WORDS")
    kubernetes.fail("POST", TOKENS, 500, body=b"WORDS")
    stage.exchange()
    assert max(stage.pauses) == 3
    assert len(stage.pauses) == 3


def test_server_that_is_away(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """Tried again within the budget, then said."""
    kubernetes.close()
    stage.ttl = timedelta(minutes=15)
    stage.pauses = _Impatient(times=3)
    error = stage.refuse()
    assert isinstance(error, InterruptedError | ProviderUnavailableError)
    assert len(stage.pauses) == 3


class _Impatient(list[float]):
    """Pauses that are broken off, as by a signal, when there have been enough."""

    def __init__(self, *, times: int) -> None:
        super().__init__()
        self._times = times

    def append(self, seconds: float) -> None:
        super().append(seconds)
        if len(self) >= self._times:
            raise InterruptedError


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────


def test_cluster_of_another_ca(stage: Stage) -> None:
    """Without the grant's CA it is not trusted, and the hint says where the CA is written."""
    stage.target = replace(stage.target, ca_file=None)
    error = stage.refuse()
    assert isinstance(error, TlsError)
    assert "ca_file" in error.hint


def test_ca_of_the_grant_goes_before_a_variable(stage: Stage, tmp_path: Path) -> None:
    """A variable that an earlier step wrote chooses none for a cluster whose CA the grant has."""
    other = tmp_path / "other.pem"
    other.write_text("none")
    stage.environ = {"REQUESTS_CA_BUNDLE": str(other), "SSL_CERT_FILE": str(other)}
    assert stage.exchanger().steered_by == ()
    stage.exchange()


def test_ca_that_cannot_be_read(kubernetes: KubernetesWorld, tmp_path: Path) -> None:
    """Said before any request, with where it is looked for."""
    found = target(kubernetes, ca_file=str(tmp_path / "missing.pem"))
    with pytest.raises(ConfigurationError, match=r"missing\.pem") as caught:
        KubernetesExchanger(found, {})
    assert "beside the grants file" in caught.value.hint


@pytest.mark.parametrize("content", ["", "none", "-----BEGIN CERTIFICATE-----\nAA\n"])
def test_ca_that_is_none(kubernetes: KubernetesWorld, tmp_path: Path, content: str) -> None:
    """It is the grant's key that is wrong, and no variable."""
    path = tmp_path / "ca.pem"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="`ca_file` of the grant") as caught:
        KubernetesExchanger(target(kubernetes, ca_file=str(path)), {})
    error = caught.value
    assert error.code == "configuration"
    assert "variable" not in f"{error}{error.cause}{error.hint}"


# ── renewal ──────────────────────────────────────────────────────────────────────────────────


def test_renewal_is_one_request_for_the_same_secret(
    stage: Stage, kubernetes: KubernetesWorld
) -> None:
    """Whoever deletes it ends both tokens."""
    exchanger = stage.exchanger()
    first = exchanger.exchange(stage.request)
    second = exchanger.exchange(stage.request)
    assert [len(kubernetes.of("POST", end)) for end in (SECRETS, TOKENS)] == [1, 2]
    assert first.served != second.served
    assert len({str(handle) for handle in stage.handles}) == 1
    assert len(stage.notes) == 1
    assert second.revoke(budget=5).outcome is Outcome.REVOKED
    assert not any(kubernetes.cluster.takes(token) for token in kubernetes.cluster.issued)


def test_renewal_does_not_outlive_the_cap(stage: Stage, kubernetes: KubernetesWorld) -> None:
    """Where `max` leaves less than an API server gives, nothing is asked for, and why is said."""
    exchanger = stage.exchanger()
    exchanger.exchange(stage.request)
    asked, stage.ttl = len(kubernetes.calls), timedelta(minutes=9)
    with pytest.raises(TokenLifeError, match="9 min of the grant's `max` are left") as caught:
        exchanger.exchange(stage.request)
    assert "raise `max`" in caught.value.hint
    assert len(kubernetes.calls) == asked


@pytest.mark.parametrize("is_made_again", [False, True])
def test_lease_that_was_ended_from_outside_is_not_renewed(
    stage: Stage,
    kubernetes: KubernetesWorld,
    is_made_again: bool,  # noqa: FBT001  # a case
) -> None:
    """Who deletes the Secret means it: no other is made, and one of that name does not count."""
    exchanger = stage.exchanger()
    exchanger.exchange(stage.request)
    gone = kubernetes.cluster.objects.pop(("secrets", NAMESPACE, NAME))
    if is_made_again:
        again = gone | {"metadata": gone["metadata"] | {"uid": "another"}}
        kubernetes.cluster.objects["secrets", NAMESPACE, NAME] = again
    with pytest.raises(KubernetesSecretError):
        exchanger.exchange(stage.request)
    assert len(kubernetes.of("POST", SECRETS)) == 1


def test_job_s_token_of_a_renewal(
    stage: Stage, issuer: Issuer, kubernetes: KubernetesWorld
) -> None:
    """A renewal asks with the token it is given, and so does its end."""
    exchanger = stage.exchanger()
    exchanger.exchange(stage.request)
    stage.token = made_of(issuer.github_token("acme"))
    exchanger.exchange(stage.request).revoke(budget=5)
    bearers = [call.bearer for call in kubernetes.calls[2:]]
    assert bearers == [stage.token.token.reveal()] * 2

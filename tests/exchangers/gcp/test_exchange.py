"""One exchange at Google's public addresses: what is sent, what is made of it, and its end."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from ci_identity.errors import GcpLifetimeError, GcpTokenTimeError, SettingError
from ci_identity.exchangers import exchanger_for
from ci_identity.exchangers.gcp import GcpExchanger
from ci_identity.exchangers.interface import Ending
from ci_identity.model import Outcome
from ci_identity.sandbox.issuer import Issuer
from tests.exchangers.gcp.stage import LEASE, Stage, subject_token, target
from tests.gcp.google import ACCOUNT, BUCKET, DEFAULT_AUDIENCE, NUMBER, PROVIDER
from tests.gcp.server import GcpWorld

RULE = {
    "resource": f"//storage.googleapis.com/projects/_/buckets/{BUCKET}",
    "role": "roles/storage.objectCreator",
    "condition": f"resource.name.startsWith('projects/_/buckets/{BUCKET}/objects/shop/')",
}


def life(ends: datetime) -> float:
    return (ends - datetime.now(UTC)).total_seconds()


# ── what is sent ─────────────────────────────────────────────────────────────────────────────


def test_a_service_account_takes_two_calls(stage: Stage, gcp: GcpWorld) -> None:
    """The token endpoint is asked without a header of ours, then the account with its answer."""
    stage.exchange()
    first, second = gcp.calls
    assert (first.host, first.method, first.path) == ("sts.googleapis.com", "POST", "/v1/token")
    assert first.form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "audience": f"//iam.googleapis.com/{PROVIDER}",
        "scope": "https://www.googleapis.com/auth/iam",
        "subject_token": stage.token.token.reveal(),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    }
    assert not {"authorization", "cookie"} & {name.lower() for name in first.headers}
    assert second.host == "iamcredentials.googleapis.com"
    assert second.path == f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
    assert json.loads(second.body) == {
        "scope": ["https://www.googleapis.com/auth/cloud-platform"],
        "lifetime": "900s",
        "delegates": [],
    }
    assert {call.headers["X-Goog-Request-Reason"] for call in gcp.calls} == {
        f"ci-identity lease {LEASE}"
    }
    assert gcp.connections == ["sts.googleapis.com", "iamcredentials.googleapis.com"]


def test_direct_federation_takes_one_call(stage: Stage, gcp: GcpWorld) -> None:
    """Without a service account the federated token has the grant's own scopes."""
    stage.target = target(service_account=None, scopes=("devstorage.read_only", "https://x.y/z"))
    stage.exchange()
    (call,) = gcp.calls
    assert call.form["scope"] == (
        "https://www.googleapis.com/auth/devstorage.read_only https://x.y/z"
    )


def test_delegates_are_asked_in_their_order(stage: Stage, gcp: GcpWorld) -> None:
    """The job impersonates the first, each of them the next, and the last the account."""
    users = gcp.google.users
    users["a@x.iam.gserviceaccount.com"] = users[ACCOUNT]
    users["b@x.iam.gserviceaccount.com"] = {"a@x.iam.gserviceaccount.com"}
    users[ACCOUNT] = {"b@x.iam.gserviceaccount.com"}
    chain = ("a@x.iam.gserviceaccount.com", "b@x.iam.gserviceaccount.com")
    stage.target = target(delegates=chain)
    credential = stage.exchange()
    assert json.loads(gcp.calls[1].body)["delegates"] == [
        f"projects/-/serviceAccounts/{name}" for name in chain
    ]
    assert credential.served


@pytest.mark.parametrize("account", [ACCOUNT, None])
def test_boundary_narrows_whichever_token_there_is(
    stage: Stage, gcp: GcpWorld, account: str | None
) -> None:
    """The last call swaps the token for one that the step gets; it may do less, and no longer."""
    stage.target = target(service_account=account, boundary=(RULE,))
    credential = stage.exchange()
    assert credential.served
    token = gcp.google.tokens[credential.served.access_token.reveal()]
    assert token.rules
    google, bearer = gcp.google, credential.served.access_token.reveal()
    google.check_object(bearer, "storage.objects.create", "shop/index.html")
    with pytest.raises(Exception, match="403"):
        google.check_object(bearer, "storage.objects.create", "other/index.html")
    with pytest.raises(Exception, match="403"):
        google.check_object(bearer, "storage.objects.get", "shop/index.html")
    assert [handle.kind for handle in stage.handles][-1] == "narrowed"
    assert credential.expires_at == stage.handles[-2].expires_at


def test_another_universe_is_asked_at_its_own_addresses(stage: Stage) -> None:
    """The grant's universe goes before the environment's, which is named as what steered us."""
    ours = GcpExchanger(target(universe="example.goog"), {})
    theirs = GcpExchanger(target(), {"GOOGLE_CLOUD_UNIVERSE_DOMAIN": "example.goog"})
    both = GcpExchanger(
        target(universe="example.goog"), {"GOOGLE_CLOUD_UNIVERSE_DOMAIN": "other.goog"}
    )
    assert (ours.steered_by, both.steered_by) == ((), ())
    assert theirs.steered_by == ("GOOGLE_CLOUD_UNIVERSE_DOMAIN",)
    for exchanger in (ours, theirs, both):
        assert list(exchanger._networks) == ["sts.example.goog", "iamcredentials.example.goog"]
    with pytest.raises(SettingError, match="GOOGLE_CLOUD_UNIVERSE_DOMAIN"):
        GcpExchanger(target(), {"GOOGLE_CLOUD_UNIVERSE_DOMAIN": "x.y/path"})
    assert stage.exchanger().steered_by == ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE")


def test_grant_for_gcp_has_this_exchanger(stage: Stage) -> None:
    """It is chosen by the grant's target, and asks for the provider's default audience."""
    exchanger = exchanger_for(stage.request.grant, {})
    assert isinstance(exchanger, GcpExchanger)
    assert exchanger.audience == DEFAULT_AUDIENCE
    assert (exchanger.target, GcpExchanger(target(service_account=None), {}).target) == (
        ACCOUNT,
        PROVIDER,
    )


def test_no_library_of_google_is_imported_for_it() -> None:
    """The exchange is three requests at most: it does not pay for an SDK."""
    code = "import sys, ci_identity.session, ci_identity.exchangers.gcp; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"google", "google.auth", "boto3", "hvac"} & set(done.stdout.split())


# ── what is made of the answer ───────────────────────────────────────────────────────────────


def test_only_the_last_token_is_served(stage: Stage, gcp: GcpWorld) -> None:
    """It lives as long as was asked; the one in between is masked, and stays here."""
    credential = stage.exchange()
    assert credential.served
    token = gcp.google.tokens[credential.served.access_token.reveal()]
    assert token.principal == ACCOUNT
    assert 880 < life(credential.expires_at) <= 900
    assert credential.served.expires_at == credential.expires_at
    assert credential.variables == {}
    assert [secret.reveal() for secret in credential.secrets] == list(gcp.google.tokens)


def test_what_is_recorded(stage: Stage) -> None:
    """Held before the first call; after each, what was issued, by a name that people know."""
    credential = stage.exchange()
    assert stage.held == [credential]
    assert stage.events == ["hold", "federated", "service-account"]
    assert [handle.value for handle in stage.handles] == [PROVIDER, ACCOUNT]
    assert [handle.fingerprint for handle in stage.handles] == [
        secret.fingerprint() for secret in credential.secrets
    ]
    assert stage.handles[-1].expires_at == credential.expires_at


def test_a_federated_token_ends_with_the_job_s(stage: Stage) -> None:
    """And it is said, once, when more was asked: a service account would last longer."""
    stage.target = target(service_account=None)
    exchanger = stage.exchanger()
    credential = exchanger.exchange(stage.request)
    assert 280 < life(credential.expires_at) <= 300
    assert credential.expires_at.timestamp() <= float(str(stage.token.claims["exp"]))
    (warning,) = stage.warnings
    assert "service_account" in warning
    exchanger.exchange(stage.request)
    assert len(stage.warnings) == 1


def test_a_federated_token_that_would_outlive_the_ttl_is_not_made(
    stage: Stage, gcp: GcpWorld
) -> None:
    """Google has no way to ask for less: what to do is said, and nobody is asked."""
    stage.target, stage.ttl = target(service_account=None), timedelta(minutes=2)
    error = stage.refuse()
    assert isinstance(error, GcpLifetimeError)
    assert "service_account" in error.hint
    assert gcp.calls == []


def test_an_answer_without_expires_in(stage: Stage, gcp: GcpWorld) -> None:
    """Google leaves it out at times; the job's token says when the other ends."""
    stage.target = target(service_account=None)
    body = b'{"access_token": "ya29.d.0123456789abcdef", "token_type": "Bearer"}'
    gcp.fail("sts", 200, body)
    assert stage.exchange().expires_at.timestamp() == stage.token.claims["exp"]


def test_a_clock_that_differs_is_told(stage: Stage) -> None:
    """Ends are Google's: a machine that is late by minutes is told so."""
    stage.now = lambda: datetime.now(UTC) - timedelta(minutes=3)
    stage.exchange()
    assert "clock" in stage.warnings[0]


# ── a token that ends on the way ─────────────────────────────────────────────────────────────


def test_a_token_with_little_life_is_minted_again(
    stage: Stage, issuer: Issuer, gcp: GcpWorld
) -> None:
    """Less than a minute is not enough."""
    stage.mints = [stage.token]
    stage.token = subject_token(issuer, exp=int(time.time()) + 30)
    stage.exchange()
    assert stage.minted == 1
    assert gcp.calls[0].form["subject_token"] == stage.mints[0].token.reveal()


def test_an_expired_token_is_minted_again_once(stage: Stage, issuer: Issuer, gcp: GcpWorld) -> None:
    """Google's clock may be ahead: one more try with a new token, then no more."""
    stale = b'{"error": "invalid_grant", "error_description": "... is stale to sign-in. WORDS"}'
    stage.mints = [subject_token(issuer), subject_token(issuer)]
    gcp.fail("sts", 400, stale)
    stage.exchange()
    assert stage.minted == 1
    gcp.fail("sts", 400, stale)
    gcp.fail("sts", 400, stale)
    assert isinstance(stage.refuse(), GcpTokenTimeError)
    assert len(gcp.of("sts")) == 4


# ── its end ──────────────────────────────────────────────────────────────────────────────────


def test_its_end_is_told_for_what_it_is(stage: Stage, gcp: GcpWorld) -> None:
    """Google ends no token: it is dropped here, nobody is asked, and `expires` is said."""
    credential = stage.exchange()
    asked = len(gcp.calls)
    ending = credential.revoke(budget=1)
    assert (ending.outcome, ending.reason) == (Outcome.EXPIRES, "not-revocable")
    assert credential.served is None
    assert len(gcp.calls) == asked
    assert credential.revoke(budget=1) == ending


def test_nothing_issued_is_nothing_to_end(stage: Stage, gcp: GcpWorld) -> None:
    """What was refused at the first call leaves nothing alive."""
    gcp.google.is_disabled = True
    stage.refuse()
    (held,) = stage.held
    assert held.revoke(budget=1) == Ending(
        outcome=Outcome.REVOKED, detail="nothing had been issued"
    )


def test_a_token_in_between_that_was_issued_is_told_of(stage: Stage, gcp: GcpWorld) -> None:
    """Refused at the second call: the federated token lives on, and the record says so."""
    gcp.google.users[ACCOUNT] = set()
    stage.refuse()
    (held,) = stage.held
    assert held.revoke(budget=1).outcome is Outcome.EXPIRES
    assert stage.events == ["hold", "federated"]
    assert held.served is None
    assert NUMBER in stage.handles[0].value

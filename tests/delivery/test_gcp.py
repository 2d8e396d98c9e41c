"""What Google's clients are handed: a credential file, a nonce, an answer of their protocol."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from ci_identity.delivery.endpoint import Asked, Peer, Refused, Reply, Request
from ci_identity.delivery.gcp import (
    MAX_NONCES,
    GcpOffer,
    Nonces,
    exchange_answer,
    project,
    token_variables,
)
from ci_identity.delivery.interface import Door
from ci_identity.delivery.refusal import Reason
from ci_identity.model import GcpTarget, GcpToken
from ci_identity.secret import Secret

PROVIDER = "projects/1/locations/global/workloadIdentityPools/ci/providers/github"
TARGET = GcpTarget(provider=PROVIDER, service_account="push@acme-shop.iam.gserviceaccount.com")
ENDS = datetime.now(UTC) + timedelta(days=1)
TOKEN = GcpToken(access_token=Secret("ya29.d.the-token"), expires_at=ENDS)
DOOR = Door(
    address="http://127.0.0.1:1",
    bearer=Secret("the-bearer"),
    folder=Path("/private"),
    command=["/a b/python"],
)


@pytest.fixture
def offer() -> GcpOffer:
    return GcpOffer(grant="push", target=TARGET, lease_id="0123456789abcdef", token=lambda: TOKEN)


def ask(
    offer: GcpOffer, method: str, *, bearer: str = "", about: str = "", **form: str
) -> Reply | Refused:
    route = offer.routes(DOOR)[offer.path + about]
    headers = {"authorization": bearer} if bearer else {}
    body = urlencode(form).encode()
    request = Request(method=method, path=offer.path, headers=headers, body=body)
    return route.answer(Asked(request=request, peer=Peer()))


def nonce(offer: GcpOffer) -> str:
    reply = ask(offer, "GET", bearer="the-bearer")
    assert isinstance(reply, Reply)
    return reply.body.decode()


def test_a_nonce_is_swapped_for_the_token(offer: GcpOffer) -> None:
    """GET with the bearer, then POST with what it gave: the answer is that of RFC 8693."""
    reply = ask(offer, "POST", subject_token=nonce(offer))
    assert isinstance(reply, Reply)
    answer = json.loads(reply.body)
    assert 0 < answer.pop("expires_in") <= 24 * 3600
    assert answer == {
        "access_token": "ya29.d.the-token",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer",
    }


def test_a_nonce_is_good_once(offer: GcpOffer) -> None:
    """Who reads one afterwards, in a log or a trace, has nothing."""
    shown = nonce(offer)
    assert isinstance(ask(offer, "POST", subject_token=shown), Reply)
    again = ask(offer, "POST", subject_token=shown)
    assert isinstance(again, Refused)
    assert again.reason is Reason.BEARER


@pytest.mark.parametrize("bearer", ["", "the-bear", "Bearer the-bearer"])
def test_a_nonce_is_for_who_has_the_bearer(offer: GcpOffer, bearer: str) -> None:
    """The route has no header of its own: it looks for itself."""
    reply = ask(offer, "GET", bearer=bearer)
    assert isinstance(reply, Refused)
    assert reply.reason is Reason.BEARER


@pytest.mark.parametrize("shown", ["", "guessed", "the-bearer"])
def test_what_is_no_nonce_gets_no_token(offer: GcpOffer, shown: str) -> None:
    """Nor does the bearer, which is good for GET alone."""
    nonce(offer)
    reply = ask(offer, "POST", bearer="the-bearer", subject_token=shown)
    assert isinstance(reply, Refused)


def test_a_nonce_of_one_grant_is_none_of_another(offer: GcpOffer) -> None:
    """Each offer has its own."""
    other = GcpOffer(grant="pull", target=TARGET, lease_id="1", token=lambda: TOKEN)
    assert isinstance(ask(other, "POST", subject_token=nonce(offer)), Refused)


def test_whose_the_token_is(offer: GcpOffer) -> None:
    """gcloud asks first; who does not have the token is told nothing."""
    known = ask(offer, "POST", about="/about", token="ya29.d.the-token")
    unknown = ask(offer, "POST", about="/about", token="ya29.d.another")
    assert isinstance(known, Reply)
    assert isinstance(unknown, Reply)
    assert json.loads(known.body) == {"active": True, "username": TARGET.service_account}
    assert json.loads(unknown.body) == {"active": False}


def test_nonces_that_nobody_uses_are_forgotten() -> None:
    """The oldest first: what is asked for without end takes no memory without end."""
    nonces = Nonces()
    first, *others = [nonces.make() for _ in range(MAX_NONCES + 1)]
    assert not nonces.use(first)
    assert nonces.use(others[0])


def test_the_credential_file(offer: GcpOffer) -> None:
    """Both addresses are the endpoint's; the audience has no number that clients would look up."""
    (text,) = offer.files(DOOR, [offer]).values()
    assert json.loads(text) == {
        "type": "external_account",
        "audience": "//ci-identity/grant/push",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "http://127.0.0.1:1/gcp/push",
        "token_info_url": "http://127.0.0.1:1/gcp/push/about",
        "credential_source": {
            "url": "http://127.0.0.1:1/gcp/push",
            "headers": {"Authorization": "the-bearer"},
            "format": {"type": "text"},
        },
    }
    other = GcpOffer(
        grant="other", target=TARGET, lease_id="1", token=lambda: TOKEN, universe="example.goog"
    )
    files = other.files(DOOR, [offer, other])
    assert list(files) == ["gcp-push.json", "gcp-other.json"]
    assert json.loads(files["gcp-other.json"])["universe_domain"] == "example.goog"
    given = other.variables(DOOR, [other])
    assert given["GOOGLE_CLOUD_UNIVERSE_DOMAIN"].value.reveal() == "example.goog"


def test_variables_lead_to_the_file(offer: GcpOffer) -> None:
    """Of libraries and of gcloud; none of them is a secret."""
    given = offer.variables(DOOR, [offer])
    assert {name: delivered.value.reveal() for name, delivered in given.items()} == {
        "GOOGLE_APPLICATION_CREDENTIALS": "/private/gcp-push.json",
        "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": "/private/gcp-push.json",
        "GOOGLE_CLOUD_PROJECT": "acme-shop",
        "CLOUDSDK_CORE_PROJECT": "acme-shop",
        "CLOUDSDK_CORE_REQUEST_REASON": "ci-identity lease 0123456789abcdef",
    }
    assert all(delivered.is_public for delivered in given.values())
    assert set(offer.pointers(DOOR, Path("/bearer"))) < set(given)


def test_the_token_as_variables() -> None:
    """As Terraform reads one, and as gcloud does; the project may be seen."""
    given = token_variables(TOKEN, TARGET)
    assert {name for name, delivered in given.items() if not delivered.is_public} == {
        "GOOGLE_OAUTH_ACCESS_TOKEN",
        "CLOUDSDK_AUTH_ACCESS_TOKEN",
    }


@pytest.mark.parametrize(
    ("account", "named", "expected"),
    [
        ("push@acme-shop.iam.gserviceaccount.com", None, "acme-shop"),
        ("push@acme-shop.iam.gserviceaccount.com", "acme-data", "acme-data"),
        ("1-compute@developer.gserviceaccount.com", None, None),
        (None, None, None),
    ],
)
def test_project(account: str | None, named: str | None, expected: str | None) -> None:
    """The grant's own, else the one that the account's address has."""
    target = GcpTarget(provider=PROVIDER, service_account=account, project=named)
    assert project(target) == expected


def test_expires_in_is_rounded_down() -> None:
    """A client that trusts it never uses a token that has ended."""
    now = ENDS - timedelta(seconds=1.9)
    assert json.loads(exchange_answer(TOKEN, now=now))["expires_in"] == 1

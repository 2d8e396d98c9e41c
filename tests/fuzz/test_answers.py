"""Providers that answer in every shape: a credential, or one error, and nothing secret is said."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_identity import _http
from ci_identity._wire import Connection, Received
from ci_identity.errors import CiIdentityError
from ci_identity.exchangers import exchanger_for
from ci_identity.exchangers.interface import Exchanger, ExchangeRequest
from ci_identity.grants.load import parse as parse_grants
from ci_identity.model import Grant, SubjectToken, UnverifiedClaims
from ci_identity.sandbox.claims import github_claims
from ci_identity.secret import Secret
from ci_identity.sources.claims import identify
from ci_identity.sources.github import GitHubSource
from tests.exchangers.aws.stage import answer as sts_answer
from tests.fuzz.shapes import NASTY_NUMBERS, bodies, like, some, texts

SECRET = "hvs.a-token-that-nobody-may-see"
JWT = "ey.the-token-of-the-job.x"
GRANTS = parse_grants(
    """\
version: 1
grants:
  vault:
    for: {issuer: https://x.example}
    vault:
      address: http://127.0.0.1:1
      role: r
      policies: [p]
      secrets:
        A: secret/data/shop#a
        B: database/creds/shop#b
  aws:
    for: {issuer: https://x.example}
    aws: {role: 'arn:aws:iam::123456789012:role/r', region: eu-west-1}
  gcp:
    for: {issuer: https://x.example}
    gcp:
      provider: projects/1/locations/global/workloadIdentityPools/ci/providers/github
      service_account: push@acme.iam.gserviceaccount.com
  azure:
    for: {issuer: https://x.example}
    azure:
      tenant: 00000000-0000-0000-0000-000000000000
      client: 11111111-1111-1111-1111-111111111111
      resources: [https://vault.azure.net]
  kubernetes:
    for: {issuer: https://x.example}
    kubernetes: {server: 'http://127.0.0.1:1', namespace: n, service_account: s, audience: a}
  token_exchange:
    for: {issuer: https://x.example}
    token_exchange:
      url: http://127.0.0.1:1/exchange
      audience: https://api.partner.example
      revoke_url: http://127.0.0.1:1/end
""",
    "grants.yml",
)

CLAIMS = {
    "aud": ["https://kubernetes.default.svc"],
    "sub": "system:serviceaccount:n:s",
    "iat": int(datetime.now(UTC).timestamp()),
    "exp": int(datetime.now(UTC).timestamp()) + 600,
    "kubernetes.io": {"secret": {"name": "ci-identity-0123456789abcdef", "uid": "u-i-d"}},
}
SIGNATURE = "a-signature-that-nobody-may-see"


def account_token(claims: Any) -> str:
    """Return a service account's token that says this."""
    parts = [{"alg": "RS256"}, claims]
    texts = [json.dumps(part).encode("utf-8", "surrogatepass") for part in parts]
    return ".".join([*(urlsafe_b64encode(text).decode().rstrip("=") for text in texts), SIGNATURE])


AUTH = {
    "client_token": SECRET,
    "accessor": "acc",
    "token_type": "service",
    "lease_duration": 600,
    "token_policies": ["p"],
    "identity_policies": None,
    "num_uses": 0,
    "renewable": False,
}
RIGHTS = {
    "sys/capabilities-self": ["update"],
    "auth/token/create": ["update"],
    "auth/token/revoke-self": ["update"],
    "sys/leases/revoke": ["update"],
    "secret/data/shop": ["read"],
    "database/creds/shop": ["read"],
}
GOOD: Mapping[str, Mapping[str, Any]] = {
    "auth/jwt/login": {"request_id": "r", "auth": AUTH},
    "auth/token/renew-self": {"request_id": "r", "auth": AUTH},
    "auth/token/create": {"request_id": "r", "auth": {**AUTH, "lease_duration": 60}},
    "auth/token/revoke-self": {"request_id": "r"},
    "sys/leases/revoke": {"request_id": "r"},
    "sys/capabilities-self": {"request_id": "r", "data": RIGHTS},
    "secret/data/shop": {
        "request_id": "r",
        "data": {
            "data": {"a": SECRET},
            "metadata": {"version": 1, "created_time": "2026-01-01T00:00:00Z"},
        },
    },
    "database/creds/shop": {
        "request_id": "r",
        "lease_id": "database/creds/shop/x",
        "lease_duration": 60,
        "data": {"b": SECRET},
    },
    "v1/token": {
        "access_token": SECRET,
        "token_type": "Bearer",
        "expires_in": 3600,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    },
    "generateAccessToken": {"accessToken": SECRET, "expireTime": "2999-01-01T00:00:00Z"},
    "oauth2/v2.0/token": {"access_token": SECRET, "token_type": "Bearer", "expires_in": 3600},
    "github/token": {"value": JWT},
    "/serviceaccounts/s/token": {
        "kind": "TokenRequest",
        "status": {"token": account_token(CLAIMS)},
    },
    "/secrets/ci-identity-": {"kind": "Status", "status": "Success"},
    "/namespaces/n/secrets": {"kind": "Secret", "metadata": {"uid": "u-i-d"}},
    "/exchange": {"access_token": SECRET, "token_type": "Bearer", "expires_in": 60},
    "/end": {"is_read": False},
}
"""By the end of an address, what a server says there that works."""


class Server(Connection):
    """A connection to a server that answers as it should, but for one path."""

    def __init__(self, where: str, status: int, body: bytes) -> None:
        super().__init__(("", 0), "")
        self._where, self._status, self._body = where, status, body
        self.met = 0

    def connect(self, _: float) -> None: ...

    def ask(self, _: str, target: str, __: Mapping[str, str], body: bytes | None) -> None:
        at = next((one for one in GOOD if one in target), "sts")
        if at == self._where:
            self.met += 1
            self._answer = self._status, self._body
        elif at == "sts":
            form = {name: found[0] for name, found in parse_qs((body or b"").decode()).items()}
            self._answer = 200, sts_answer(form).encode()
        else:
            self._answer = 200, json.dumps(GOOD[at]).encode()

    def answer(self, _: int) -> Received:
        status, body = self._answer
        return Received(status=status, headers={}, body=body, is_last=True)


@contextmanager
def answering(where: str, status: int, body: bytes) -> Iterator[Server]:
    """Have every connection lead to a server that says this at one place."""
    server = Server(where, status, body)
    with patch.object(_http, "_open", lambda *_: server):
        yield server


def exchange(kind: str) -> CiIdentityError | None:
    """Do a whole exchange, and end it; return what was wrong. Nothing that is said is secret."""
    failed = None
    grant = GRANTS.grant(kind)
    claims = UnverifiedClaims(github_claims("https://x.example", "me", {}))
    token = SubjectToken(token=Secret(JWT), claims=claims, source="github")
    held: list[Any] = []
    said: list[object] = []
    request = _request(grant, token, held, said)
    exchanger: Exchanger = exchanger_for(grant, {})
    try:
        exchanger.exchange(request)
    except CiIdentityError as error:
        failed = error
        said += [error, error.cause, error.hint, repr(error), error.__cause__]
    for credential in held:
        said += [credential.revoke(budget=0.0), vars(credential), credential.expires_at]
    words = " ".join(map(str, said))
    for secret in (SECRET, SIGNATURE, JWT):
        assert secret not in words
    return failed


def _request(
    grant: Grant, token: SubjectToken, held: list[Any], said: list[object]
) -> ExchangeRequest:
    return ExchangeRequest(
        grant=grant,
        subject_token=token,
        mint=lambda: token,
        identity=identify(token),
        step="s",
        ttl=TTL.get(grant.name, timedelta(minutes=1)),
        lease_id="0123456789abcdef",
        hold=held.append,
        record=said.append,
        warn=said.append,
        note=said.append,
        pause=lambda _: None,
    )


TTL = {"azure": timedelta(hours=24), "kubernetes": timedelta(minutes=10)}
REFUSAL = {
    "kind": "Status",
    "status": "Failure",
    "reason": "Forbidden",
    "message": f'secrets is forbidden: User "{SECRET[:3]}" cannot create resource "secrets"',
    "details": {"kind": "secrets", "causes": [{"field": "spec"}]},
    "code": 403,
}
VAULT = [name for name in GOOD if name.startswith(("auth/", "sys/", "secret/", "database/"))]
PLACES = [
    *(("vault", name) for name in VAULT),
    ("gcp", "v1/token"),
    ("gcp", "generateAccessToken"),
    ("azure", "oauth2/v2.0/token"),
    ("kubernetes", "/serviceaccounts/s/token"),
    ("kubernetes", "/secrets/ci-identity-"),
    ("kubernetes", "/namespaces/n/secrets"),
    ("token_exchange", "/exchange"),
    ("token_exchange", "/end"),
]
statuses = st.sampled_from([200, 200, 200, 200, 204, 400, 403, 404, 405, 418, 501])


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time for another try."""
    for name in ("aws", "azure", "gcp", "kubernetes", "token_exchange"):
        monkeypatch.setattr(f"ci_identity.exchangers.{name}.exchange.RETRY_BUDGET", 0.0)
    monkeypatch.setattr("ci_identity.exchangers.vault.client.RETRY_BUDGET", 0.0)


@pytest.mark.parametrize("kind", list(GRANTS.grants))
def test_the_answers_that_are_varied_work(kind: str) -> None:
    """What is changed below is right as it stands: the exchange goes through."""
    with answering("nowhere", 200, b""):
        assert exchange(kind) is None


@pytest.mark.parametrize(("kind", "where"), [*PLACES, ("aws", "sts")])
def test_each_place_is_come_to(kind: str, where: str) -> None:
    """No answer below is varied in vain."""
    with answering(where, 400, b"") as server:
        exchange(kind)
    assert server.met


@pytest.mark.parametrize(("kind", "where"), PLACES)
def test_answers_that_are_nearly_right(kind: str, where: str) -> None:
    """One field is missing, another thing, or new."""

    @some
    @given(like(GOOD[where]), statuses)
    def check(answer: Any, status: int) -> None:
        body = json.dumps(answer).encode("utf-8", "surrogatepass")
        with answering(where, status, body):
            exchange(kind)

    check()


@pytest.mark.parametrize(("kind", "where"), [*PLACES, ("aws", "sts")])
def test_answers_that_are_anything(kind: str, where: str) -> None:
    """Bytes, JSON of any shape, deep nesting."""

    @some
    @given(bodies, statuses)
    def check(body: bytes, status: int) -> None:
        with answering(where, status, body):
            exchange(kind)

    check()


moments = st.sampled_from([*NASTY_NUMBERS, 253_402_300_799, -62_135_596_800]) | st.integers()
"""As seconds from 1970; among them the last that a date holds, and the first."""


@some
@given(
    like(CLAIMS) | st.tuples(moments, moments).map(lambda at: {"iat": at[0], "exp": at[1]}),
    st.booleans(),
)
def test_tokens_of_every_shape(claims: Any, is_whole: bool) -> None:  # noqa: FBT001  # drawn
    """What is in an API server's token, which is looked at before it is handed over."""
    token = account_token({**CLAIMS, **claims} if is_whole else claims)
    body = json.dumps({"kind": "TokenRequest", "status": {"token": token}}).encode()
    with answering("/serviceaccounts/s/token", 201, body):
        exchange("kubernetes")


@some
@given(like(REFUSAL), st.sampled_from(["POST", "DELETE"]), st.integers(400, 599))
def test_refusals_of_every_shape(answer: Any, verb: str, status: int) -> None:
    """What an API server says no by: words of it are looked at, one of them is passed on."""
    where = "/namespaces/n/secrets" if verb == "POST" else "/secrets/ci-identity-"
    with answering(where, status, json.dumps(answer).encode("utf-8", "surrogatepass")):
        exchange("kubernetes")


STS = sts_answer({
    "RoleArn": "arn:aws:iam::123456789012:role/r",
    "RoleSessionName": "acme.shop",
    "DurationSeconds": "900",
})  # fmt: skip
xmls = st.sampled_from([
    "<a>" * 100_000,
    "<?xml version='1.0' encoding='utf-7'?>" + STS,
    "<!DOCTYPE a [<!ENTITY a 'b'><!ENTITY c SYSTEM 'file:///etc/passwd'>]><a>&a;&c;</a>",
    STS.replace("<Credentials>", "<Credentials>&a;"),
    STS.replace("Z</Expiration>", "+99:99</Expiration>"),
    STS.replace("<SessionToken>", "<SessionToken><x/>"),
    STS * 2,
    "",
])  # fmt: skip


@some
@given(xmls | st.tuples(st.integers(0, len(STS)), texts, st.integers(0, 40)).map(
    lambda edit: STS[: edit[0]] + edit[1] + STS[edit[0] + edit[2] :]
), statuses)  # fmt: skip
def test_xml_of_every_shape(text: str, status: int) -> None:
    """STS speaks XML: cut, edited, with entities, in another encoding."""
    with answering("sts", status, text.encode("utf-8", "surrogatepass")):
        exchange("aws")


@some
@given(bodies | texts.map(lambda text: json.dumps({"value": text}).encode()), statuses)
def test_token_endpoints_of_every_shape(body: bytes, status: int) -> None:
    """So with what the CI's own endpoint says."""
    environ = {
        "GITHUB_ACTIONS": "true",
        "ACTIONS_ID_TOKEN_REQUEST_URL": "http://127.0.0.1:1/github/token",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": SECRET,
    }
    with answering("github/token", status, body):
        source = GitHubSource(environ, now=lambda: datetime.now(UTC), pause=lambda _: None)
        said = ""
        try:
            source.fetch("me")
        except CiIdentityError as error:
            said = f"{error}{error.cause}{error.hint}"
    assert SECRET not in said

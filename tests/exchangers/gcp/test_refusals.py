"""Why Google says no, told by the causes; and what is tried again."""

import json
import shlex
from datetime import timedelta

import pytest

from ci_identity.errors import (
    ExchangeError,
    GcpApiDisabledError,
    GcpAudienceError,
    GcpBoundaryError,
    GcpConditionError,
    GcpImpersonationError,
    GcpIssuerError,
    GcpLifetimeError,
    GcpProviderError,
    GcpSubjectError,
    GcpTokenError,
    ProviderAnswerError,
    ProviderUnavailableError,
    TlsError,
)
from ci_identity.sandbox.issuer import Issuer
from tests.exchangers.gcp.stage import Stage, made_of, subject_token, target
from tests.gcp.google import ACCOUNT
from tests.gcp.server import GcpWorld

WORDS = "WORDS of Google's own, with ya29.d.a-token"


def sts_error(code: str, text: str = "") -> bytes:
    return json.dumps({"error": code, "error_description": f"{text} {WORDS}"}).encode()


def api_error(status: int, name: str, text: str = "") -> bytes:
    error = {"code": status, "message": f"{text} {WORDS}", "status": name}
    return json.dumps({"error": error}).encode()


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little time for all tries together."""
    monkeypatch.setattr("ci_identity.exchangers.gcp.exchange.RETRY_BUDGET", 0.5)


# ── what the double decides ──────────────────────────────────────────────────────────────────


def test_a_provider_that_is_disabled(stage: Stage, gcp: GcpWorld) -> None:
    """One call, and no more: it stays so."""
    gcp.google.is_disabled = True
    error = stage.refuse()
    assert isinstance(error, GcpProviderError)
    assert len(gcp.calls) == 1


def test_an_audience_that_is_not_allowed(stage: Stage, gcp: GcpWorld, issuer: Issuer) -> None:
    """The message has the audience that the token has."""
    stage.token = subject_token(issuer, "https://elsewhere.example")
    error = stage.refuse()
    assert isinstance(error, GcpAudienceError)
    assert "https://elsewhere.example" in str(error)
    assert len(gcp.calls) == 1


def test_another_issuer(stage: Stage, gcp: GcpWorld) -> None:
    """The message has the token's issuer."""
    gcp.google.issuer = "https://token.actions.githubusercontent.com"
    error = stage.refuse()
    assert isinstance(error, GcpIssuerError)
    assert "http://127.0.0.1" in str(error)


def test_another_key(stage: Stage, issuer: Issuer) -> None:
    """A token that somebody else has signed is nobody's."""
    with Issuer() as other:
        forged = dict(stage.token.claims) | {"iss": issuer.address}
        stage.token = made_of(other.sign(forged))
        error = stage.refuse()
    assert isinstance(error, GcpTokenError)


def test_the_condition(stage: Stage, issuer: Issuer, gcp: GcpWorld) -> None:
    """The hint has what Google can see of the job, with nothing that steers a terminal."""
    stage.token = subject_token(issuer, sub="s", repository="acme/other", ref="refs/heads/\x1b[2Jx")
    error = stage.refuse()
    assert isinstance(error, GcpConditionError)
    assert "repository = acme/other" in error.hint
    assert "\x1b" not in error.hint
    assert len(gcp.calls) == 1


@pytest.mark.parametrize("subject", ["x" * 128, None])
def test_a_subject_that_google_does_not_take(
    stage: Stage, gcp: GcpWorld, subject: str | None
) -> None:
    """Too long, or none: the mapping is what is to be changed."""
    gcp.google.subject = lambda _: subject
    error = stage.refuse()
    assert isinstance(error, GcpSubjectError)
    assert "bytes" in error.hint


def test_impersonation_that_is_not_allowed(stage: Stage, gcp: GcpWorld) -> None:
    """The hint is the command that would allow it, for this very job."""
    gcp.google.users[ACCOUNT] = set()
    error = stage.refuse()
    assert isinstance(error, GcpImpersonationError)
    assert gcp.google.principal(str(stage.token.claims["sub"])) in error.hint
    assert ACCOUNT in error.hint
    assert [call.status for call in gcp.calls] == [200, 403]


def test_the_command_of_the_hint_can_be_pasted(stage: Stage, issuer: Issuer, gcp: GcpWorld) -> None:
    """Whoever names a branch writes a part of it: a shell must not run that."""
    stage.token = subject_token(issuer, sub='repo:acme/shop:ref:refs/heads/x"$(touch${IFS}y)`z`')
    gcp.google.users[ACCOUNT] = set()
    error = stage.refuse()
    assert isinstance(error, GcpImpersonationError)
    *_, member = shlex.split(error.hint)
    assert member == gcp.google.principal(str(stage.token.claims["sub"]))
    assert f"'{member}'" in error.hint


def test_impersonation_along_a_chain(stage: Stage) -> None:
    """Which link is missing Google does not say: the hint has the rule."""
    stage.target = target(delegates=("a@x.iam.gserviceaccount.com",))
    error = stage.refuse()
    assert isinstance(error, GcpImpersonationError)
    assert "delegates" in error.hint


def test_an_account_that_is_not_there(stage: Stage) -> None:
    """It is told apart from one that may not be impersonated."""
    stage.target = target(service_account="psuh@acme-shop.iam.gserviceaccount.com")
    error = stage.refuse()
    assert isinstance(error, GcpImpersonationError)
    assert "there is no such service account" in str(error)


def test_an_api_that_is_not_enabled(stage: Stage, gcp: GcpWorld) -> None:
    """It is not taken for a missing role."""
    gcp.google.is_enabled = False
    assert isinstance(stage.refuse(), GcpApiDisabledError)


def test_more_than_an_hour(stage: Stage, gcp: GcpWorld) -> None:
    """Refused, unless the organisation has extended it."""
    stage.ttl = timedelta(hours=2)
    assert isinstance(stage.refuse(), GcpLifetimeError)
    gcp.google.is_extended = True
    assert stage.exchange().served


def test_a_boundary_that_is_refused(stage: Stage, gcp: GcpWorld) -> None:
    """What had been issued by then is held back, and known."""
    stage.target = target(boundary=({"resource": "//run.googleapis.com/x", "role": "roles/x"},))
    assert isinstance(stage.refuse(), GcpBoundaryError)
    assert stage.events == ["hold", "federated", "service-account"]
    assert stage.held[-1].served is None
    assert len(gcp.calls) == 3


# ── what it does not ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('Invalid value for "audience". This value should be', GcpProviderError),
        ("something new", ExchangeError),
    ],
)
def test_what_else_the_token_endpoint_says(
    stage: Stage, gcp: GcpWorld, text: str, kind: type[Exception]
) -> None:
    """What is not known is a refusal with its code; never Google's own words."""
    gcp.fail("sts", 400, sts_error("invalid_request", text))
    assert type(stage.refuse()) is kind


@pytest.mark.parametrize("code", ["x" * 65, "a b", "\x1b[2J", "", "<html>"])
def test_a_code_that_is_none_is_not_shown(stage: Stage, gcp: GcpWorld, code: str) -> None:
    """It is text of whoever answers."""
    gcp.fail("sts", 400, sts_error(code))
    error = stage.refuse()
    assert not code or code not in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>WORDS</html>", b"[]", b"{}", b'{"error": 1}', b'{"error": {"status": 1}}',
        b"[" * 100_000, b"\xff",
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 400, 403])
def test_what_is_no_answer_of_google(stage: Stage, gcp: GcpWorld, status: int, body: bytes) -> None:
    """A proxy's page, or half a document, is called what it is."""
    gcp.fail("sts", status, body)
    assert isinstance(stage.refuse(), ProviderAnswerError)


@pytest.mark.parametrize(
    "body",
    [
        {"accessToken": "ya29.d.0123456789abcdef"},
        {"accessToken": "ya29.d.0123456789abcdef", "expireTime": "WORDS"},
        {"accessToken": "ya29.d.0123456789abcdef", "expireTime": "2026-13-01T00:00:00Z"},
        {"accessToken": "ya29.d.0123456789abcdef", "expireTime": "9999-99-99T00:00:00Z"},
        {"accessToken": "a token\r\nX: y and more of it", "expireTime": "2026-12-01T00:00:00Z"},
        {"accessToken": "", "expireTime": "2026-12-01T00:00:00Z"},
    ],
)
def test_a_token_that_is_none(stage: Stage, gcp: GcpWorld, body: dict[str, str]) -> None:
    """Neither what no header can hold nor what has no end is handed on."""
    gcp.fail("iamcredentials", 200, json.dumps(body).encode())
    assert isinstance(stage.refuse(), ProviderAnswerError)


# ── another try ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("service", ["sts", "iamcredentials"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(
    stage: Stage, gcp: GcpWorld, service: str, status: int
) -> None:
    """The call that failed alone is made again."""
    gcp.fail(service, status, b"WORDS")
    assert stage.exchange().served
    assert [len(gcp.of("sts")), len(gcp.of("iamcredentials"))] == (
        [2, 1] if service == "sts" else [1, 2]
    )


def test_a_code_that_says_later_is_tried_again(stage: Stage, gcp: GcpWorld) -> None:
    """Whatever the status says."""
    gcp.fail("sts", 400, sts_error("quota_exceeded"))
    gcp.fail("iamcredentials", 400, api_error(400, "UNAVAILABLE"))
    assert stage.exchange().served


@pytest.mark.usefixtures("brief")
def test_all_tries_together_have_one_budget(stage: Stage, gcp: GcpWorld) -> None:
    """Then it is given up, as what may work later."""
    for _ in range(200):
        gcp.fail("sts", 503, b"WORDS")
    error = stage.refuse()
    assert isinstance(error, ProviderUnavailableError)
    assert 1 < len(gcp.calls) < 200


def test_a_server_that_is_not_google(stage: Stage, gcp: GcpWorld) -> None:
    """A certificate of nobody we trust: not a byte of the token is sent."""
    stage.environ = {"HTTPS_PROXY": gcp.environ["HTTPS_PROXY"]}
    assert isinstance(stage.refuse(), TlsError)
    assert gcp.calls == []

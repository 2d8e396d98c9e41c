"""GitHub's source against a server that answers with real bytes over loopback."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ci_identity.errors import (
    AudienceError,
    CiIdentityError,
    ExpiredTokenError,
    ForkIdentityError,
    IdentityError,
    IdTokenPermissionError,
    InsecureAddressError,
    IssuerError,
    MalformedTokenError,
    TokenRequestError,
)
from ci_identity.model import SubjectToken, UnverifiedClaims
from ci_identity.sources.actions import PROBE_AUDIENCE, check_issuer
from ci_identity.sources.endpoint import MINT_BUDGET
from ci_identity.sources.github import GITHUB, GitHubSource
from tests.wire import wired

if TYPE_CHECKING:
    from tests.sources.conftest import Endpoint, Reply

Sign = Callable[..., str]
_BEARER = "runner-bearer-0123456789"


def _said(error: CiIdentityError) -> str:
    return f"{error} {error!r} {error.cause} {error.hint} {error.__cause__!r}"


def _fetch(
    environ: dict[str, str],
    now: datetime,
    audience: str = "vault",
    pauses: list[float] | None = None,
) -> SubjectToken | None:
    record = pauses if pauses is not None else []
    return GitHubSource(environ, now=lambda: now, pause=record.append).fetch(audience)


# ── not here, and here ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("environ", [{}, {"GITHUB_ACTIONS": "false"}, {"CI": "true"}])
def test_outside_github_it_says_nothing(environ: dict[str, str], now: datetime) -> None:
    """Not being on GitHub is no error."""
    assert _fetch(environ, now) is None


def test_a_job_gets_its_token(endpoint: "Endpoint", sign: Sign, now: datetime) -> None:
    """The token, its claims and the step's own id are given."""
    token = sign()
    endpoint.gives(token)
    found = _fetch(endpoint.environ(GITHUB_ACTION="deploy"), now)
    assert found is not None
    assert found.token.reveal() == token
    assert found.claims["aud"] == "vault"
    assert (found.source, found.step, found.debug) == ("github", "deploy", False)


def test_the_endpoint_is_asked_with_the_jobs_bearer(
    endpoint: "Endpoint", sign: Sign, now: datetime
) -> None:
    """The bearer goes in the header as GitHub wants it, and the address keeps its own query."""
    endpoint.gives(sign())
    _fetch(endpoint.environ(), now)
    (asked,) = endpoint.received
    assert asked.authorization == f"bearer {_BEARER}"
    assert asked.path == "/token"
    assert asked.query == {"api-version": ["2.0"], "audience": ["vault"]}


@pytest.mark.parametrize(
    "audience",
    ["https://vault.acme.example", "api://AzureADTokenExchange", "a b", "a+b&c=d#e%2F", "\u00e9"],
)
@pytest.mark.parametrize("path", ["/token?api-version=2.0", "/token", "/token?"])
def test_the_audience_arrives_as_it_was_asked(
    endpoint: "Endpoint", sign: Sign, now: datetime, audience: str, path: str
) -> None:
    """Whatever is in the audience, and whether or not the address has a query (di/id #443)."""
    endpoint.gives(sign(aud=audience))
    environ = endpoint.environ(ACTIONS_ID_TOKEN_REQUEST_URL=endpoint.address + path)
    assert _fetch(environ, now, audience) is not None
    assert endpoint.received[0].query["audience"] == [audience]


def test_a_token_to_be_looked_at_is_for_nobody(
    endpoint: "Endpoint", sign: Sign, now: datetime
) -> None:
    """Where no audience is asked for, the token is made for one that opens nothing."""
    endpoint.gives(sign(aud=PROBE_AUDIENCE))
    assert GitHubSource(endpoint.environ(), now=lambda: now).fetch(None) is not None
    assert endpoint.received[0].query["audience"] == [PROBE_AUDIENCE]


def test_a_debug_run_says_so(endpoint: "Endpoint", sign: Sign, now: datetime) -> None:
    """The runner sets RUNNER_DEBUG when debug logging is on."""
    endpoint.gives(sign())
    found = _fetch(endpoint.environ(RUNNER_DEBUG="1"), now)
    assert found is not None
    assert found.debug


def test_each_fetch_asks_for_a_new_token(endpoint: "Endpoint", sign: Sign, now: datetime) -> None:
    """GitHub's tokens live for five minutes, so none is kept."""
    first, second = sign(jti="1"), sign(jti="2")
    endpoint.gives(first, second)
    source = GitHubSource(endpoint.environ(), now=lambda: now)
    tokens = [found.token.reveal() for _ in range(2) if (found := source.fetch("vault"))]
    assert tokens == [first, second]


def test_the_source_does_not_show_the_environment() -> None:
    """The environment holds the bearer, and a source may be printed."""
    shown = repr(GitHubSource({"ACTIONS_ID_TOKEN_REQUEST_TOKEN": _BEARER}))
    assert _BEARER not in shown


# ── here, but broken: no permission ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        (
            {"ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"},
            "no ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        ),
        ({"ACTIONS_ID_TOKEN_REQUEST_URL"}, "no ACTIONS_ID_TOKEN_REQUEST_URL"),
        ({"ACTIONS_ID_TOKEN_REQUEST_TOKEN"}, "no ACTIONS_ID_TOKEN_REQUEST_TOKEN"),
        ({"GITHUB_ACTIONS", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"}, "no ACTIONS_ID_TOKEN_REQUEST_TOKEN"),
    ],
)
def test_a_job_that_may_not_ask_is_told_what_it_lacks(
    absent: set[str], said: str, endpoint: "Endpoint", now: datetime
) -> None:
    """On GitHub without the two variables the permission is named, with its usual owners."""
    environ = {name: value for name, value in endpoint.environ().items() if name not in absent}
    with pytest.raises(IdTokenPermissionError) as caught:
        _fetch(environ, now)
    assert str(caught.value).endswith(said)
    for word in ("id-token: write", "Dependabot", "reusable workflow", "ci-identity exec"):
        assert word in _said(caught.value)


def _pull_request(head: object, base: object) -> dict[str, object]:
    return {"pull_request": {"head": {"repo": head}, "base": {"repo": base}}}


@pytest.mark.parametrize(
    ("event", "payload", "expected"),
    [
        ("pull_request", _pull_request({"id": 2}, {"id": 1}), ForkIdentityError),
        ("pull_request_review", _pull_request({"id": 2}, {"id": 1}), ForkIdentityError),
        ("pull_request", _pull_request(None, {"id": 1}), ForkIdentityError),
        ("pull_request", _pull_request({"id": 1}, {"id": 1}), IdTokenPermissionError),
        ("pull_request_target", _pull_request({"id": 2}, {"id": 1}), IdTokenPermissionError),
        ("push", _pull_request({"id": 2}, {"id": 1}), IdTokenPermissionError),
        ("pull_request", {}, IdTokenPermissionError),
        ("pull_request", {"pull_request": {"head": {"repo": {"id": 2}}}}, IdTokenPermissionError),
        ("pull_request", {"pull_request": None}, IdTokenPermissionError),
        ("pull_request", [], IdTokenPermissionError),
        ("pull_request", "x", IdTokenPermissionError),
    ],
)
def test_a_fork_is_told_from_a_missing_permission(
    event: str, payload: object, expected: type[IdentityError], tmp_path: Path, now: datetime
) -> None:
    """The event's payload tells whether the pull request is from a fork, which GitHub refuses."""
    file = tmp_path / "event.json"
    file.write_text(json.dumps(payload))
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": event,
        "GITHUB_EVENT_PATH": str(file),
    }
    with pytest.raises(expected) as caught:
        _fetch(environ, now)
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    "body", [None, b"", b"not json", b"\xff\xfe\x00", pytest.param(b"[" * 100_000, id="deep")]
)
def test_an_unreadable_payload_is_no_error_of_its_own(
    body: bytes | None, tmp_path: Path, now: datetime
) -> None:
    """What is wrong is the permission, whatever the payload is."""
    file = tmp_path / "event.json"
    if body is not None:
        file.write_bytes(body)
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(file),
    }
    with pytest.raises(IdTokenPermissionError):
        _fetch(environ, now)


# ── here, but broken: the endpoint ───────────────────────────────────────────────────────────────

_BODY = b'{"message": "SECRET-IN-THE-BODY"}'


@pytest.mark.parametrize("status", [201, 204, 400, 401, 403, 404, 410, 501])
def test_a_refusal_is_asked_once_and_its_body_is_not_shown(
    endpoint: "Endpoint", reply: "type[Reply]", now: datetime, status: int
) -> None:
    """A refusal is permanent; the status is all that is told of it."""
    endpoint.replies = [reply(body=b"" if status == 204 else _BODY, status=status)]
    with pytest.raises(TokenRequestError, match=rf"answered {status}$") as caught:
        _fetch(endpoint.environ(), now)
    assert len(endpoint.received) == 1
    assert caught.value.retry_after is None
    assert b"SECRET-IN-THE-BODY" not in _said(caught.value).encode()


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_an_endpoint_that_stumbles_is_asked_again(
    endpoint: "Endpoint", reply: "type[Reply]", sign: Sign, now: datetime, status: int
) -> None:
    """Intermittent failures of the endpoint are common, above all in wide matrices."""
    endpoint.gives(sign())
    endpoint.replies = [reply(body=_BODY, status=status), *endpoint.replies]
    pauses: list[float] = []
    assert _fetch(endpoint.environ(), now, pauses=pauses) is not None
    assert len(endpoint.received) == 2
    assert len(pauses) == 1


def test_an_answer_that_breaks_off_is_asked_for_again(
    endpoint: "Endpoint", reply: "type[Reply]", sign: Sign, now: datetime
) -> None:
    """A connection that ends within the body is no token."""
    endpoint.gives(sign())
    cut = reply(body=_BODY, headers={"Content-Length": "4096"})
    endpoint.replies = [cut, *endpoint.replies]
    assert _fetch(endpoint.environ(), now) is not None
    assert len(endpoint.received) == 2


def test_an_endpoint_that_asks_for_too_long_a_wait_is_given_up(
    endpoint: "Endpoint", reply: "type[Reply]", now: datetime
) -> None:
    """The mint has a budget of its own, so the job is told instead of kept waiting."""
    wait = str(int(MINT_BUDGET) + 1)
    endpoint.replies = [reply(status=503, headers={"Retry-After": wait})]
    pauses: list[float] = []
    with pytest.raises(TokenRequestError, match=r"answered 503") as caught:
        _fetch(endpoint.environ(), now, pauses=pauses)
    assert pauses == []
    assert caught.value.retry_after == float(wait)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!DOCTYPE html><title>Sign in</title>",
        b"eyJhbGciOiJSUzI1NiJ9",
        b"\xff\xfe\x00\x01",
        b"null",
        b"[]",
        b"{}",
        b'["value"]',
        b'{"value": null}',
        b'{"value": 1}',
        b'{"value": {"token": "x"}}',
        b'{"Value": "x"}',
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_an_answer_without_a_token_is_told_as_such(
    endpoint: "Endpoint", reply: "type[Reply]", now: datetime, body: bytes
) -> None:
    """A proxy's page or another server's answer is no token."""
    endpoint.replies = [reply(body=body)]
    with pytest.raises(TokenRequestError) as caught:
        _fetch(endpoint.environ(), now)
    assert "value" in str(caught.value)
    assert "Sign in" not in _said(caught.value)


@pytest.mark.parametrize("value", ["", "not a token", "a.b.c"])
def test_an_answer_with_something_else_as_token_is_malformed(
    endpoint: "Endpoint", now: datetime, value: str
) -> None:
    """The value itself is checked as any other token is."""
    endpoint.gives(value)
    with pytest.raises(MalformedTokenError, match=r"GitHub's token endpoint"):
        _fetch(endpoint.environ(), now)


def test_an_endless_answer_is_refused(
    endpoint: "Endpoint", reply: "type[Reply]", now: datetime
) -> None:
    """No answer of a token endpoint is larger than a mebibyte."""
    endpoint.replies = [reply(body=b" " * ((1 << 20) + 1))]
    with pytest.raises(TokenRequestError, match=r"larger than"):
        _fetch(endpoint.environ(), now)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    endpoint: "Endpoint", reply: "type[Reply]", now: datetime, status: int
) -> None:
    """The bearer goes to the address that the runner gave, and nowhere else."""
    location = {"Location": f"{endpoint.address}/elsewhere"}
    endpoint.replies = [reply(status=status, headers=location)]
    with pytest.raises(TokenRequestError):
        _fetch(endpoint.environ(), now)
    assert [asked.path for asked in endpoint.received] == ["/token"]


def test_netrc_does_not_replace_the_bearer(
    endpoint: "Endpoint",
    sign: Sign,
    now: datetime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A netrc file would win over our header in a plain requests session (psf/requests#3929)."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login stolen password stolen\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    endpoint.gives(sign())
    assert _fetch(endpoint.environ(HOME=str(tmp_path), NETRC=str(netrc)), now) is not None
    assert endpoint.received[0].authorization == f"bearer {_BEARER}"


def test_a_proxy_is_not_asked_for_this_machine(
    endpoint: "Endpoint", sign: Sign, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loopback endpoint is reached directly, whatever the environment says of proxies."""
    proxies = dict.fromkeys(
        ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"), "http://127.0.0.1:9"
    )
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    endpoint.gives(sign())
    assert _fetch(endpoint.environ(**proxies), now) is not None
    assert len(endpoint.received) == 1


@pytest.mark.parametrize("url", ["http://actions.example/token", "ftp://127.0.0.1/", "token", "//"])
def test_the_bearer_is_not_sent_in_the_clear(url: str, now: datetime) -> None:
    """An address that is neither https nor this machine is refused before anything is sent."""
    environ = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": url,
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": _BEARER,
    }
    with pytest.raises(InsecureAddressError, match=r"ACTIONS_ID_TOKEN_REQUEST_URL"):
        _fetch(environ, now)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({}, None),
        ({"GITHUB_SERVER_URL": "https://github.com"}, None),
        ({"GITHUB_SERVER_URL": "https://ghes.example"}, "https://ghes.example/_services/token$"),
    ],
)
def test_a_token_that_comes_from_afar_must_have_the_servers_issuer(
    server: dict[str, str], said: str | None, sign: Sign, now: datetime
) -> None:
    """Any address but this machine's is a GitHub; without GITHUB_SERVER_URL it is github.com."""
    url = "https://pipelines.example/token"
    environ = {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": _BEARER}
    with wired() as pipelines:
        pipelines.says(f"{url}?audience=vault", json.dumps({"value": sign(iss=_COM)}))
        if said is None:
            assert _fetch(environ | server, now) is not None
            return
        with pytest.raises(IssuerError, match=said):
            _fetch(environ | server, now)


@pytest.mark.parametrize("server", ["github.com", "http://ghes.example", "https://[", ""])
def test_a_server_without_a_proper_address_is_a_configuration_error(server: str) -> None:
    """No issuer can be expected of a server that has no https address."""
    claims = UnverifiedClaims({"iss": _COM})
    with pytest.raises(InsecureAddressError, match="GITHUB_SERVER_URL"):
        check_issuer(GITHUB, claims, server, origin="the token")


@pytest.mark.parametrize("bearer", ["secret\r\nX: y", "secret\n", "secret-\u20ac"])
def test_a_bearer_that_fits_no_header_is_not_shown(
    endpoint: "Endpoint", now: datetime, bearer: str
) -> None:
    """The library's own error shows the header, so it is not passed on."""
    environ = endpoint.environ(ACTIONS_ID_TOKEN_REQUEST_TOKEN=bearer)
    with pytest.raises(TokenRequestError) as caught:
        _fetch(environ, now)
    assert "secret" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.__suppress_context__
    assert endpoint.received == []


# ── the answer against the question ──────────────────────────────────────────────────────────────


def test_a_token_for_another_audience_is_refused(
    endpoint: "Endpoint", sign: Sign, now: datetime
) -> None:
    """The endpoint is asked for one audience, and its answer is checked for it."""
    endpoint.gives(sign(aud="https://github.com/acme"))
    with pytest.raises(AudienceError, match=r"https://github.com/acme; vault was asked for"):
        _fetch(endpoint.environ(), now)


def test_a_token_that_has_ended_is_refused(endpoint: "Endpoint", sign: Sign, now: datetime) -> None:
    """A clock that is hours off is found here, not at the provider."""
    endpoint.gives(sign(exp=int(now.timestamp()) - 3600))
    with pytest.raises(ExpiredTokenError):
        _fetch(endpoint.environ(), now)


def test_a_sandbox_may_have_any_issuer(endpoint: "Endpoint", sign: Sign, now: datetime) -> None:
    """A token endpoint on this very machine is no GitHub, so its issuer may be any."""
    endpoint.gives(sign(iss=endpoint.address))
    assert _fetch(endpoint.environ(GITHUB_SERVER_URL="https://github.com"), now) is not None


_COM = "https://token.actions.githubusercontent.com"


@pytest.mark.parametrize(
    ("server", "issuer", "expected"),
    [
        ("https://github.com", _COM, None),
        ("https://github.com", f"{_COM}/acme-corp", None),
        ("https://github.com", f"{_COM}/", _COM),
        ("https://github.com", f"{_COM}/a/b", _COM),
        ("https://github.com", f"{_COM}.evil.example", _COM),
        ("https://github.com", "http://token.actions.githubusercontent.com", _COM),
        ("https://github.com", "https://tokenXactions.githubusercontent.com", _COM),
        ("https://github.com", "https://ghes.example/_services/token", _COM),
        ("https://acme.ghe.com", "https://token.actions.acme.ghe.com", None),
        ("https://acme.ghe.com", _COM, "https://token.actions.acme.ghe.com"),
        (
            "https://acme.ghe.com",
            "https://token.actions.evil.ghe.com",
            "https://token.actions.acme.ghe.com",
        ),
        ("https://ghes.example", "https://ghes.example/_services/token", None),
        ("https://ghes.example:8443", "https://ghes.example:8443/_services/token", None),
        ("https://ghes.example", _COM, "https://ghes.example/_services/token"),
        (
            "https://evilghe.com",
            "https://token.actions.evilghe.com",
            "https://evilghe.com/_services/token",
        ),
    ],
)
def test_the_issuer_must_fit_the_server(server: str, issuer: str, expected: str | None) -> None:
    """Each kind of GitHub has its own issuer; another one is named with the one expected."""
    claims = UnverifiedClaims({"iss": issuer})
    if expected is None:
        check_issuer(GITHUB, claims, server, origin="the token")
        return
    with pytest.raises(IssuerError) as caught:
        check_issuer(GITHUB, claims, server, origin="the token")
    assert str(caught.value).endswith(f"is issued by {issuer}; a job on {server} has {expected}")

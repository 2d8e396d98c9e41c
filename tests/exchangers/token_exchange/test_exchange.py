"""The token endpoint is asked as RFC 8693 has it, and gives a token that is looked at."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ci_identity.errors import (
    ExchangeError,
    ExchangeScopeError,
    InsecureAddressError,
    ProviderAnswerError,
    TokenLifeError,
)
from ci_identity.model import Handle, Outcome
from ci_identity.sandbox.issuer import Issuer
from tests.exchangers.token_exchange.stage import Stage, subject_token, target
from tests.token_exchange.server import API, GRANT_TYPE, TYPES, AuthorizationServer, says


def test_the_request(stage: Stage, server: AuthorizationServer) -> None:
    """One POST with the fields of section 2.1, and no header that logs in."""
    assert stage.exchange().variables
    (call,) = server.calls
    assert call.form == {
        "grant_type": GRANT_TYPE,
        "subject_token": stage.token.token.reveal(),
        "subject_token_type": f"{TYPES}jwt",
        "audience": API,
        "scope": "upload",
    }
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"
    assert not {"authorization", "cookie"} & set(call.headers)


def test_what_a_server_wants_beside(stage: Stage, server: AuthorizationServer) -> None:
    """A client's id, the other type, fields of its own; no scope where none is asked for."""
    server.client_id, server.subject_token_type = "a client/1", f"{TYPES}id_token"
    stage.target = target(
        server,
        client_id=server.client_id,
        subject_token_type="id_token",
        scope=None,
        parameters={"identity_pool_id": "pool-1", "resource": "https://a.example/x?y=z&w"},
    )
    assert stage.exchange().variables
    form = dict(server.calls[0].form)
    assert form["identity_pool_id"] == "pool-1"
    assert form["resource"] == "https://a.example/x?y=z&w"
    assert "scope" not in form
    assert stage.notes == ["partner: the token has the scope download"]


def test_the_step_is_given_the_token(stage: Stage, server: AuthorizationServer) -> None:
    """In one variable, masked; the service takes it."""
    credential = stage.exchange()
    assert {name: given.is_public for name, given in credential.variables.items()} == {
        "PARTNER_TOKEN": False
    }
    assert server.accepts(credential.variables["PARTNER_TOKEN"].value.reveal())
    assert credential.served is None


def test_the_variable_that_the_grant_names(stage: Stage, server: AuthorizationServer) -> None:
    """It goes before the one made of the grant's name."""
    stage.target = target(server, variable="UPLOAD_KEY")
    assert list(stage.exchange().variables) == ["UPLOAD_KEY"]


def test_what_is_recorded(stage: Stage, server: AuthorizationServer) -> None:
    """The name that the server has for the token, where it can be read; never the token."""
    server.is_jwt = True
    token = stage.exchange().secrets[0]
    (handle,) = stage.handles
    assert len(handle.value) == 16
    assert handle == Handle(
        kind="token",
        value=handle.value,
        expires_at=stage.held[0].expires_at,
        fingerprint=token.fingerprint(),
    )
    assert stage.events == ["hold", "record"]


@pytest.mark.parametrize("jti", [None, 7, "x" * 65, "a b", "\x1b[2J"])
def test_a_name_that_is_none(
    stage: Stage, server: AuthorizationServer, jobs: Issuer, jti: object
) -> None:
    """Text of a server does not get into the ledger unseen."""
    token = jobs.sign({"jti": jti, "exp": int(time.time()) + 600}).reveal()
    server.changes = {"access_token": token}
    stage.exchange()
    assert stage.handles[0].value == "unnamed"


@pytest.mark.parametrize(
    ("key", "named"), [("url", "token_exchange.url"), ("revoke_url", "token_exchange.revoke_url")]
)
def test_plain_http(stage: Stage, server: AuthorizationServer, key: str, named: str) -> None:
    """Neither the job's token nor the step's crosses a network in the clear."""
    stage.target = target(server, **{key: "http://sts.partner.example/x"})
    with pytest.raises(InsecureAddressError, match=named):
        stage.exchanger()


def test_who_is_named(stage: Stage, server: AuthorizationServer) -> None:
    """The ledger has whom the token is for and who gives it."""
    assert stage.exchanger().target == f"{API} at {server.netloc}"
    assert stage.exchanger().audience == API


def test_variables_that_steer(stage: Stage, server: AuthorizationServer, tmp_path: Any) -> None:
    """Those that chose a proxy or a CA for either address are told once."""
    (tmp_path / "ca.pem").touch()
    stage.environ = {
        "HTTPS_PROXY": "http://proxy.example",
        "NO_PROXY": "sts.partner.example",
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
    }
    stage.target = target(
        server, url="https://sts.partner.example/t", revoke_url="https://other.example/r"
    )
    assert stage.exchanger().steered_by == ("SSL_CERT_FILE", "HTTPS_PROXY")


# ── its life ─────────────────────────────────────────────────────────────────────────────────


def test_the_end_is_what_the_server_says(stage: Stage, server: AuthorizationServer) -> None:
    """`expires_in` counts from the answer."""
    server.life = 600
    before = datetime.now(UTC)
    ends = stage.exchange().expires_at - timedelta(seconds=600)
    assert before <= ends <= datetime.now(UTC)


def test_an_end_that_only_the_token_says(stage: Stage, server: AuthorizationServer) -> None:
    """Without `expires_in` a JWT's own `exp` is it."""
    server.is_jwt, server.life = True, 600
    server.changes = {"expires_in": None}
    assert abs(stage.exchange().expires_at - datetime.now(UTC)) < timedelta(seconds=601)


def test_two_ends(stage: Stage, server: AuthorizationServer) -> None:
    """The later one is when the token ends; here it is too late."""
    server.is_jwt, server.life = True, 3600
    server.changes = {"expires_in": 600}
    error = stage.refuse()
    assert isinstance(error, TokenLifeError)
    assert "60 min" in str(error)


def test_no_end(stage: Stage, server: AuthorizationServer) -> None:
    """What nobody can say the end of is not handed over; it is held, to be revoked."""
    server.changes = {"expires_in": None}
    error = stage.refuse()
    assert isinstance(error, TokenLifeError)
    assert "does not say when" in str(error)
    assert stage.handles[0].expires_at is None
    stage.held[0].revoke(budget=5)
    assert server.live == 0


def test_a_longer_life_than_asked(stage: Stage, server: AuthorizationServer) -> None:
    """Nothing is handed over, the token is ended, and the hint has what to write."""
    server.life = 3600
    error = stage.refuse()
    assert isinstance(error, TokenLifeError)
    assert "`ttl: 60m`" in error.hint
    assert stage.held[0].variables == {}
    stage.held[0].revoke(budget=5)
    assert server.live == 0
    stage.ttl = timedelta(minutes=60)
    assert stage.exchange().variables


def test_a_longer_life_than_asked_that_the_grant_allows(
    stage: Stage, server: AuthorizationServer
) -> None:
    """It is `--ttl` that is too short then, and no grant needs to be changed."""
    server.life, stage.ttl = 600, timedelta(minutes=5)
    error = stage.refuse()
    assert isinstance(error, TokenLifeError)
    assert "or ask for `--ttl 10m`, which the grant allows" in error.hint


@pytest.mark.parametrize("life", [10**30, 2**62])
def test_a_life_that_no_date_holds(stage: Stage, server: AuthorizationServer, life: int) -> None:
    """It is a life that is too long, and no traceback."""
    server.changes = {"expires_in": life}
    assert isinstance(stage.refuse(), TokenLifeError)


@pytest.mark.parametrize("exp", [10**30, 32_503_680_000])
def test_an_exp_beyond_any_life(
    stage: Stage, server: AuthorizationServer, jobs: Issuer, exp: int
) -> None:
    """Services go by what the token says, whatever `expires_in` says beside it."""
    server.changes = {"access_token": jobs.sign({"exp": exp}).reveal()}
    assert isinstance(stage.refuse(), TokenLifeError)


@pytest.mark.parametrize("exp", [float("nan"), -1, "x", True, 0])
def test_an_exp_that_is_none(
    stage: Stage, server: AuthorizationServer, jobs: Issuer, exp: object
) -> None:
    """It says nothing of the end."""
    token = jobs.sign({"exp": exp}).reveal() if exp != "x" else "a.b.c"
    server.changes = {"access_token": token}
    assert abs(stage.exchange().expires_at - datetime.now(UTC)) < timedelta(seconds=901)


def test_a_job_token_that_is_about_to_end(stage: Stage, jobs: Issuer) -> None:
    """Another is minted first: the server must not find it ended."""
    stage.mints = [stage.token]
    stage.token = subject_token(jobs, exp=int(time.time()) + 30)
    assert stage.exchange().variables
    assert stage.minted == 1


# ── what it is for ───────────────────────────────────────────────────────────────────────────


def test_more_than_was_asked_in_the_token_itself(
    stage: Stage, server: AuthorizationServer, jobs: Issuer
) -> None:
    """The answer says nothing of a scope; what the services read has another."""
    server.changes = {"access_token": jobs.sign({"scope": "upload admin"}).reveal()}
    error = stage.refuse()
    assert isinstance(error, ExchangeScopeError)
    assert "more than was asked: admin" in str(error)


@pytest.mark.parametrize(
    ("scope", "what"),
    [("upload admin", "more"), ("download", "another scope"), ("UPLOAD", "another scope")],
)
def test_more_than_was_asked(
    stage: Stage, server: AuthorizationServer, scope: str, what: str
) -> None:
    """A wider token is refused, and so is one for something else; each is called what it is."""
    server.changes = {"scope": scope}
    error = stage.refuse()
    assert isinstance(error, ExchangeScopeError)
    assert f"gave {what} than was asked: " in str(error)
    assert stage.held[0].variables == {}


def test_less_than_was_asked(stage: Stage, server: AuthorizationServer) -> None:
    """A narrower one is handed over, and that is said: the step may come to need more."""
    stage.target = target(server, scope="upload download")
    server.changes = {"scope": "upload"}
    assert stage.exchange().variables
    assert stage.notes == ["partner: the token has the scope upload"]


def test_what_was_asked_in_another_order(stage: Stage, server: AuthorizationServer) -> None:
    """Is what was asked."""
    stage.target = target(server, scope="upload download")
    server.changes = {"scope": "download upload"}
    assert stage.exchange().variables
    assert stage.notes == []


def test_another_audience(stage: Stage, server: AuthorizationServer, jobs: Issuer) -> None:
    """A server may have another name for it, or not have listened: it is said, made printable."""
    token = jobs.sign({"aud": ["https://all.example", "\x1b[2J"], "exp": 2**31}).reveal()
    server.changes = {"access_token": token}
    stage.ttl = timedelta(days=10_000)
    assert stage.exchange().variables
    (note,) = stage.notes
    assert "https://all.example" in note
    assert "\x1b" not in note


@pytest.mark.parametrize("kind", ["N_A", "DPoP", "mac", "", "\x1b[2J"])
def test_what_is_no_bearer_token(stage: Stage, server: AuthorizationServer, kind: str) -> None:
    """Nothing that is bound to a key, or no access token, is put into a variable."""
    server.changes = {"token_type": kind}
    error = stage.refuse()
    assert type(error) is ExchangeError
    assert "\x1b" not in str(error)


@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer"])
def test_a_type_has_no_case(stage: Stage, server: AuthorizationServer, kind: str) -> None:
    """RFC 6749, section 5.1."""
    server.changes = {"token_type": kind}
    assert stage.exchange().variables


@pytest.mark.parametrize(
    "changes",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "a token\r\nX: y"},
        {"access_token": 7},
        {"token_type": None},
        {"expires_in": "900"},
        {"expires_in": 0},
        {"expires_in": -1},
        {"expires_in": True},
        {"scope": ["upload"]},
        {"refresh_token": "a b"},
    ],
    ids="-".join,
)
def test_an_answer_that_is_none(
    stage: Stage, server: AuthorizationServer, changes: dict[str, Any]
) -> None:
    """It is called what it is, by the name of the field; asked for once."""
    server.changes = changes
    error = stage.refuse()
    assert isinstance(error, ProviderAnswerError)
    assert next(iter(changes)) in str(error)
    assert stage.pauses == []


@pytest.mark.parametrize("status", [201, 203])
def test_a_token_with_another_success(
    stage: Stage, server: AuthorizationServer, status: int
) -> None:
    """Whatever the framework of a server makes of its POSTs: the token is there, and is ended."""
    body = {"access_token": "opaque-of-201", "token_type": "Bearer", "expires_in": 900}
    server.faults = [says(status, json.dumps(body))]
    assert stage.given() == "opaque-of-201"
    stage.held[0].revoke(budget=5)
    assert server.of("/revoke")[0].form == {"token": "opaque-of-201"}


def test_a_token_that_nobody_can_end_is_told_of(stage: Stage, server: AuthorizationServer) -> None:
    """The answer is none, but the token in it lives, and nothing else would say so."""
    stage.target = target(server, revoke_url=None)
    server.changes = {"token_type": None}
    assert isinstance(stage.refuse(), ProviderAnswerError)
    assert server.live == 1
    assert "that is not handed over, and lives as long" in stage.warnings[0]


def test_a_token_is_held_whatever_else_is_wrong(stage: Stage, server: AuthorizationServer) -> None:
    """There is one from the moment it is read: it is ended, though it was never told of."""
    server.has_refresh_tokens = True
    server.changes = {"token_type": None}
    assert isinstance(stage.refuse(), ProviderAnswerError)
    assert server.live == 2
    assert stage.held[0].revoke(budget=5).outcome is Outcome.REVOKED
    assert server.live == 0


def test_a_refresh_token_with_nobody_to_end_it(stage: Stage, server: AuthorizationServer) -> None:
    """Nobody asked for it: it is on record, masked, handed to nobody, and said."""
    server.has_refresh_tokens = True
    stage.target = target(server, revoke_url=None)
    credential = stage.exchange()
    assert [len(credential.secrets), len(credential.variables)] == [2, 1]
    assert [handle.kind for handle in stage.handles] == ["token", "token"]
    assert "a refresh token came along" in stage.warnings[0]

"""The token is ended where RFC 7009 says; what that means is said, and no more."""

from datetime import UTC, datetime, timedelta

import pytest

from ci_identity.exchangers.interface import NOTHING_ISSUED, Ending
from ci_identity.exchangers.token_exchange.credential import NOT_REVOCABLE, REVOCABLE
from ci_identity.model import Outcome
from tests.exchangers.token_exchange.stage import Stage, target
from tests.token_exchange.server import AuthorizationServer, denies, reset, says


def test_a_token_is_ended(stage: Stage, server: AuthorizationServer) -> None:
    """The service does not take it any more, and the server said so."""
    token = stage.given()
    ending = stage.held[0].revoke(budget=5)
    assert ending == Ending(outcome=Outcome.REVOKED, detail=REVOCABLE.meaning)
    assert not server.accepts(token)
    (call,) = server.of("/revoke")
    assert call.form == {"token": token}


def test_a_client_says_who_it_is(stage: Stage, server: AuthorizationServer) -> None:
    """RFC 7009, section 2.1, for a client without a secret."""
    server.client_id = "shop"
    stage.target = target(server, client_id="shop")
    stage.exchange()
    assert stage.held[0].revoke(budget=5).outcome is Outcome.REVOKED
    assert server.of("/revoke")[0].form["client_id"] == "shop"


def test_a_token_that_services_check_alone(stage: Stage, server: AuthorizationServer) -> None:
    """They take it after its end at the server, and exactly that is said."""
    server.is_jwt = True
    token = stage.given()
    ending = stage.held[0].revoke(budget=5)
    assert ending.outcome is Outcome.REVOKED
    assert not server.accepts(token)
    assert server.accepts_offline(token)
    until = f"{stage.held[0].expires_at:%Y-%m-%d %H:%M:%S} UTC"
    assert ending.detail.endswith(
        f"; a service that only checks its signature takes it until {until}"
    )


def test_a_refresh_token_is_ended_too(stage: Stage, server: AuthorizationServer) -> None:
    """What nobody asked for does not live on."""
    server.has_refresh_tokens = True
    stage.exchange()
    assert server.live == 2
    assert stage.held[0].revoke(budget=5).outcome is Outcome.REVOKED
    assert server.live == 0
    assert stage.warnings == []


def test_once(stage: Stage, server: AuthorizationServer) -> None:
    """A second end is not asked for; the answer is the same, and nothing is left to hand over."""
    credential = stage.exchange()
    assert credential.revoke(budget=5) == credential.revoke(budget=5)
    assert len(server.of("/revoke")) == 1
    assert credential.variables == {}


def test_nobody_to_ask(stage: Stage, server: AuthorizationServer) -> None:
    """It expires, and why is said."""
    stage.target = target(server, revoke_url=None)
    token = stage.given()
    ending = stage.held[0].revoke(budget=5)
    assert ending.outcome is Outcome.EXPIRES
    assert [ending.reason, ending.detail] == ["not-revocable", NOT_REVOCABLE.meaning]
    assert server.accepts(token)


def test_nothing_was_issued(stage: Stage, server: AuthorizationServer) -> None:
    """Nobody is asked to end nothing."""
    server.targets = set()
    stage.refuse()
    assert stage.held[0].revoke(budget=5) == NOTHING_ISSUED
    assert server.of("/revoke") == []


@pytest.mark.parametrize(
    ("code", "status"), [("unsupported_token_type", 400), ("invalid_client", 401), ("", 404)]
)
def test_a_server_that_refuses(
    stage: Stage, server: AuthorizationServer, code: str, status: int
) -> None:
    """It failed, with the server's code and none of its words; asked once."""
    token = stage.given()
    server.faults = [denies(code, status=status)]
    ending = stage.held[0].revoke(budget=5)
    shown = code or f"status {status}"
    assert ending == Ending(
        outcome=Outcome.FAILED,
        reason="revocation",
        detail=f"the revocation endpoint refused ({shown})",
    )
    assert server.accepts(token)
    assert len(server.of("/revoke")) == 1


@pytest.mark.parametrize("body", ["<html>Please sign in: WORDS</html>", "\n <!doctype html>"])
@pytest.mark.parametrize("status", [200, 404])
def test_a_page_ends_nothing(
    stage: Stage, server: AuthorizationServer, status: int, body: str
) -> None:
    """A proxy's login form says 200 as well."""
    stage.exchange()
    server.faults = [says(status, body)]
    ending = stage.held[0].revoke(budget=5)
    assert ending.outcome is Outcome.FAILED
    assert "WORDS" not in ending.detail


@pytest.mark.parametrize("body", ["", "{}", "null", "OK"])
def test_what_a_server_says_with_200(stage: Stage, server: AuthorizationServer, body: str) -> None:
    """Is not looked at (section 2.2)."""
    stage.exchange()
    server.faults = [says(200, body)]
    assert stage.held[0].revoke(budget=5).outcome is Outcome.REVOKED


def test_an_error_that_comes_with_200(stage: Stage, server: AuthorizationServer) -> None:
    """There are servers that answer everything so; the token lives, and `revoked` is not said."""
    token = stage.given()
    server.faults = [denies("invalid_client", status=200)]
    ending = stage.held[0].revoke(budget=5)
    assert ending.outcome is Outcome.FAILED
    assert ending.detail == "the revocation endpoint refused (invalid_client)"
    assert server.accepts(token)


def test_later(stage: Stage, server: AuthorizationServer) -> None:
    """503 means that the token still lives: it is asked again (section 2.2.1)."""
    token = stage.given()
    server.faults = [says(503), reset]
    assert stage.held[0].revoke(budget=5).outcome is Outcome.REVOKED
    assert not server.accepts(token)


def test_a_server_that_is_gone(stage: Stage, server: AuthorizationServer) -> None:
    """It failed, within the budget, and nothing is raised."""
    stage.exchange()
    server.faults = [reset] * 1000
    ending = stage.held[0].revoke(budget=0.3)
    assert ending.outcome is Outcome.FAILED
    assert server.netloc in ending.detail


def test_a_token_that_has_ended(stage: Stage, server: AuthorizationServer) -> None:
    """Whether it could be revoked does not matter any more."""
    stage.now = lambda: datetime.now(UTC) - timedelta(minutes=14, seconds=59)
    server.life = 899
    credential = stage.exchange()
    server.faults = [denies("unsupported_token_type")]
    ending = credential.revoke(budget=5)
    assert [ending.outcome, ending.reason] == [Outcome.EXPIRES, "expired"]

"""An authorization server that others wrote: what it is asked, says, and ends."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_identity.errors import (
    ExchangeClientError,
    ExchangeScopeError,
    ExchangeTargetError,
    ExchangeTokenError,
)
from ci_identity.model import Outcome, TokenExchangeTarget
from ci_identity.sandbox.issuer import Issuer
from tests.exchangers.token_exchange.stage import Stage, subject_token
from tests.token_exchange.oidc_provider import CLIENT, OidcProvider
from tests.token_exchange.server import API


@pytest.fixture(scope="module")
def server(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    """A server that trusts the sandbox's job."""
    folder: Path = tmp_path_factory.mktemp("oidc-provider")
    subject = str(subject_token(issuer).claims["sub"])
    with OidcProvider(issuer.address, subject, folder) as server:
        yield server


def stage(issuer: Issuer, server: OidcProvider, **changes: str) -> Stage:
    """Return an exchange there, but for `changes` to the grant."""
    usual: dict[str, Any] = {
        "url": f"{server.address}/token",
        "audience": API,
        "scope": "upload",
        "client_id": CLIENT,
        "revoke_url": f"{server.address}/token/revocation",
    }
    return Stage(target=TokenExchangeTarget(**(usual | changes)), token=subject_token(issuer))


def test_it_gives_a_token_and_ends_it(issuer: Issuer, server: OidcProvider) -> None:
    """A client without a secret is enough for both."""
    one = stage(issuer, server)
    token = one.given()
    assert server.takes(token)
    assert one.held[0].revoke(budget=9).outcome is Outcome.REVOKED
    assert not server.takes(token)


def test_what_it_says_no_to(issuer: Issuer, server: OidcProvider) -> None:
    """Each refusal is one of its own errors, mapped to the cause."""
    for key, value, kind in (
        ("client_id", "nobody", ExchangeClientError),
        ("audience", "https://other.example", ExchangeTargetError),
        ("scope", "admin", ExchangeScopeError),
        ("subject_token_type", "id_token", ExchangeTokenError),
    ):
        assert isinstance(stage(issuer, server, **{key: value}).refuse(), kind), key


def test_somebody_elses_job(issuer: Issuer, server: OidcProvider) -> None:
    """Its token is not taken."""
    one = stage(issuer, server)
    one.token = subject_token(issuer, sub="repo:mallory/shop")
    assert isinstance(one.refuse(), ExchangeTokenError)

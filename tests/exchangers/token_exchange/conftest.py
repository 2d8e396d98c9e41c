"""An issuer, a server that trusts one of its jobs, and an exchange there."""

from collections.abc import Iterator

import pytest

from ci_identity.sandbox.issuer import Issuer
from tests.exchangers.token_exchange.stage import Stage, subject_token, target
from tests.token_exchange.server import AuthorizationServer


@pytest.fixture(scope="session")
def jobs() -> Iterator[Issuer]:
    """An issuer of the tokens of jobs."""
    with Issuer() as issuer:
        yield issuer


@pytest.fixture
def server(jobs: Issuer) -> Iterator[AuthorizationServer]:
    """An authorization server that trusts the job of `stage`."""
    with AuthorizationServer(jobs.address, str(subject_token(jobs).claims["sub"])) as server:
        yield server


@pytest.fixture
def stage(jobs: Issuer, server: AuthorizationServer) -> Stage:
    """An exchange at that server."""
    return Stage(target=target(server), token=subject_token(jobs))


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little time for all tries together."""
    monkeypatch.setattr("ci_identity.exchangers.token_exchange.exchange.RETRY_BUDGET", 0.3)

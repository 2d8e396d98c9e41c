"""An issuer, an Entra that trusts one of its jobs, and an exchange there."""

from collections.abc import Iterator

import pytest

from ci_identity.sandbox.issuer import Issuer
from tests.azure.entra import Entra
from tests.exchangers.azure.stage import Stage, subject_token, target


@pytest.fixture(scope="session")
def jobs() -> Iterator[Issuer]:
    """An issuer of the tokens of jobs."""
    with Issuer() as issuer:
        yield issuer


@pytest.fixture
def entra(jobs: Issuer) -> Iterator[Entra]:
    """An Entra whose application has a federated credential for the job of `stage`."""
    with Entra(jobs.address, str(subject_token(jobs).claims["sub"])) as entra:
        yield entra


@pytest.fixture
def stage(jobs: Issuer, entra: Entra) -> Stage:
    """An exchange at that Entra."""
    return Stage(target=target(authority=entra.address), token=subject_token(jobs))


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little time for all tries together."""
    monkeypatch.setattr("ci_identity.exchangers.azure.exchange.RETRY_BUDGET", 0.3)

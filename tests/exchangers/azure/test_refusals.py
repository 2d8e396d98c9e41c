"""What Entra refuses, by its own codes: one call, the cause, and nothing of its text."""

from typing import Any

import pytest

from ci_identity._record import replace
from ci_identity.errors import (
    AzureApplicationError,
    AzureAudienceError,
    AzureBlockedError,
    AzureFederationError,
    AzureResourceError,
    AzureTenantError,
    AzureTokenError,
    AzureTokenTimeError,
    CiIdentityError,
    ExchangeError,
)
from ci_identity.exchangers.azure.entra import Refused
from ci_identity.exchangers.azure.errors import refusal
from ci_identity.sandbox.issuer import Issuer
from ci_identity.sources.claims import identify
from tests.azure.entra import CLIENT, TENANT, VAULT, Entra, error, says
from tests.exchangers.azure.stage import Stage, subject_token, target


def refused(stage: Stage) -> CiIdentityError:
    found = stage.refuse()
    assert isinstance(found, CiIdentityError)
    assert found.retry_after is None
    return found


# ── by a tenant that looks ───────────────────────────────────────────────────────────────────


def test_subject_that_no_federated_credential_has(stage: Stage, entra: Entra, jobs: Issuer) -> None:
    """The message has the code; the hint what the credential must have, to the letter."""
    stage.token = subject_token(jobs, sub="repo:acme/shop:environment:Production")
    found = refused(stage)
    assert isinstance(found, AzureFederationError)
    assert str(found) == (
        f"Entra refused {CLIENT}: it has no federated credential with this subject (AADSTS700213)"
    )
    assert "subject = repo:acme/shop:environment:Production\n" in found.hint
    assert f"issuer = {jobs.address}\n" in found.hint
    assert f"--id {CLIENT}" in found.hint
    assert entra.numbers == [700213]


def test_subject_in_another_case(stage: Stage, entra: Entra, jobs: Issuer) -> None:
    """Entra tells upper case from lower, by a longer code for the same."""
    stage.token = subject_token(jobs, sub=entra.subject.upper())
    assert isinstance(refused(stage), AzureFederationError)
    assert entra.numbers == [7002138]


def test_other_issuer(stage: Stage, entra: Entra) -> None:
    """A token of another issuer, or with a slash more."""
    entra.issuer += "/"
    found = refused(stage)
    assert isinstance(found, AzureFederationError)
    assert "this issuer (AADSTS700211)" in str(found)


def test_other_audience(stage: Stage, jobs: Issuer) -> None:
    """The audience is named: it is the grant's, or the cloud's default."""
    stage.token = subject_token(jobs, audience="api://Other")
    found = refused(stage)
    assert isinstance(found, AzureAudienceError)
    assert "it does not take the audience api://Other (AADSTS700212)" in str(found)


def test_forged_token(stage: Stage, entra: Entra, jobs: Issuer) -> None:
    """Signed by a key that the issuer does not publish."""
    with Issuer() as forger:
        stage.token = subject_token(forger, iss=jobs.address)
        assert isinstance(refused(stage), AzureTokenError)
    assert entra.numbers == [700027]


@pytest.mark.usefixtures("brief")
def test_issuer_that_entra_cannot_reach(stage: Stage, entra: Entra, jobs: Issuer) -> None:
    """The keys are fetched over the internet: it may pass, or the issuer is not open to it."""
    gone = "http://127.0.0.1:1"
    entra.issuer = gone
    stage.token = subject_token(jobs, iss=gone)
    found = stage.refuse()
    assert isinstance(found, CiIdentityError)
    assert found.code == "provider-unavailable"
    assert f"could not fetch the keys of {gone}" in str(found)
    assert len(entra.calls) > 1


def test_expired_token(stage: Stage, entra: Entra) -> None:
    """By Entra's clock, which counts."""
    entra.ahead = 3600
    assert isinstance(refused(stage), AzureTokenTimeError)


def test_other_client_and_tenant(entra: Entra, jobs: Issuer) -> None:
    """An application that the tenant has not, and a tenant that is not there."""
    for changes, kind in (
        ({"client": TENANT}, AzureApplicationError),
        ({"tenant": CLIENT}, AzureTenantError),
    ):
        changed: Any = {"authority": entra.address} | changes
        stage = Stage(target=target(**changed), token=subject_token(jobs))
        assert isinstance(refused(stage), kind)


# ── by code ──────────────────────────────────────────────────────────────────────────────────

CODES: dict[int, tuple[type[ExchangeError], str]] = {
    70021: (AzureFederationError, "for this job"),
    70025: (AzureFederationError, "for this job"),
    7002131: (AzureFederationError, "this subject"),
    7002121: (AzureAudienceError, "the audience"),
    500133: (AzureTokenTimeError, "expired"),
    70001: (AzureApplicationError, "no such application"),
    7000112: (AzureApplicationError, "disabled"),
    900023: (AzureTenantError, "no such tenant"),
    90038: (AzureTenantError, "another cloud"),
    50001: (AzureResourceError, VAULT),
    70011: (AzureResourceError, VAULT),
    50105: (AzureBlockedError, "not assigned"),
    501051: (AzureBlockedError, "not assigned"),
    53003: (AzureBlockedError, "Conditional Access"),
    500021: (AzureBlockedError, "tenant restrictions"),
    700223: (AzureBlockedError, "federated"),
    700222: (AzureTokenError, "no token of"),
    50013: (AzureTokenError, "validate"),
}


@pytest.mark.parametrize("number", CODES)
def test_code_has_its_cause(stage: Stage, entra: Entra, number: int) -> None:
    """Each is permanent, one call, and a class and sentence of its own; its text is not shown."""
    entra.faults = [says(400, error(number, "WORDS \x1b[31m"))]
    found = refused(stage)
    kind, part = CODES[number]
    assert type(found) is kind
    assert part in str(found)
    assert str(found).endswith(f"(AADSTS{number})")
    assert len(entra.calls) == 1


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (error(7000215, "WORDS"), "(AADSTS7000215)"),
        ('{"error": "invalid_request", "error_description": "WORDS"}', "(invalid_request)"),
        (
            '{"error": "invalid_client", "error_description": "AADSTS70099: WORDS"}',
            "(AADSTS70099)",
        ),
        ('{"error": "x", "error_codes": ["WORDS"]}', "(x)"),
        ('{"error": "x", "error_codes": [-1]}', "(x)"),
        ('{"error": "x", "error_codes": [true]}', "(x)"),
        ('{"error": "WORDS \\u001b[2J"}', "does not know"),
    ],
)
def test_code_that_nobody_knows(stage: Stage, entra: Entra, body: str, shown: str) -> None:
    """Its digits are shown, or OAuth's code; nothing that is neither."""
    entra.faults = [says(400, body)]
    found = refused(stage)
    assert type(found) is ExchangeError
    assert str(found).endswith(shown)


def test_claims_are_made_printable(stage: Stage) -> None:
    """Who can name a branch could else write to the terminal, or a command for the runner."""
    identity = replace(identify(stage.token), subject="repo:acme/shop\n::add-mask::x\x1b[2J")
    found = refusal(
        Refused("700213", "invalid_request"),
        target=stage.target,
        authority="https://login.microsoftonline.com",
        resource=VAULT,
        identity=identity,
    )
    assert "subject = repo:acme/shop\\n::add-mask::x\\x1b[2J\n" in found.hint

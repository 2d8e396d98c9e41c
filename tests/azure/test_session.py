"""A session for Azure in Python: a credential that follows it, and ends with it."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from azure.core import PipelineClient
from azure.core.credentials import SupportsTokenInfo, TokenCredential
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest

import ci_identity
from ci_identity.errors import ConfigurationError, NotRenewedError, TokenLifeError
from ci_identity.ledger.verify import verify
from ci_identity.model import Outcome
from ci_identity.sandbox.world import World
from ci_identity.session import Session, load_grants
from tests.azure.conftest import KEY_VAULT
from tests.azure.entra import STORAGE, VAULT, Entra, says
from tests.azure.tls import Internet
from tests.step import Job

SCOPE = f"{VAULT}/.default"


def key_vault(credential: TokenCredential, internet: Internet) -> PipelineClient[Any, Any]:
    """Return a client as Azure's SDKs are made of: azure-core's pipeline, its bearer policy."""
    transport = RequestsTransport(connection_verify=str(internet.ca_file), use_env_settings=False)
    return PipelineClient(
        f"https://{KEY_VAULT}",
        policies=[BearerTokenCredentialPolicy(credential, SCOPE)],
        transport=transport,
    )


def read(client: PipelineClient[Any, Any], internet: Internet) -> int:
    request = HttpRequest("GET", f"https://{KEY_VAULT}/secrets/DB-PASSWORD")
    answer = client.send_request(request, proxies={"https": internet.address})
    return int(answer.status_code)


def test_sdk_lives_and_ends_with_the_session(job: Job, internet: Internet, entra: Entra) -> None:
    """A client made inside works inside, and has no token any more outside, not even a kept one."""
    with ci_identity.session("rotate", environ=job.environ) as session:
        credential = session.azure_credential()
        assert isinstance(credential, TokenCredential)
        assert isinstance(credential, SupportsTokenInfo)
        with key_vault(credential, internet) as client:
            assert [read(client, internet) for _ in range(3)] == [200] * 3
            session.close()
            with pytest.raises(ConfigurationError, match="no open tokens of Azure"):
                read(client, internet)
    assert session.outcome is Outcome.EXPIRES
    assert entra.numbers == [0]
    with pytest.raises(ConfigurationError, match="no open tokens of Azure"):
        session.azure_credential()


def test_older_sdks(job: Job, entra: Entra) -> None:
    """`get_token` alone is what they know; with options that have no meaning here."""
    with ci_identity.session("both", environ=job.environ) as session:
        with session.azure_credential() as credential:
            token = credential.get_token(f"{STORAGE}/.default", tenant_id="x", enable_cae=True)
        credential.close()
    assert entra.accepts(token.token, STORAGE)
    assert abs(token.expires_on - session.lease.expires_at.timestamp()) < 2


@pytest.mark.parametrize("scopes", [("https://graph.microsoft.com/.default",), (), (SCOPE, SCOPE)])
def test_scope_that_is_not_in_the_grant(job: Job, scopes: tuple[str, ...]) -> None:
    """One resource of the grant at a time; the hint says where to add another."""
    with (
        ci_identity.session("rotate", environ=job.environ) as session,
        pytest.raises(ConfigurationError, match="the grant rotate has no token for") as caught,
    ):
        session.azure_credential().get_token(*scopes)
    assert "`resources`" in caught.value.hint


def test_tokens_that_have_ended(job: Job, entra: Entra) -> None:
    """A token that was not renewed is not handed out."""
    entra.life = 1
    session = Session(load_grants(None, job.environ).grant("rotate"), job.environ)
    with session:
        credential = session.azure_credential()
        entra.subject = "another"  # so that renewing fails
        with pytest.raises(NotRenewedError):
            _ask_on(credential)


def test_renewed_before_the_first_of_them_ends(job: Job, entra: Entra) -> None:
    """The tokens of one lease may end at different times: what counts is the first end."""
    brief = {"token_type": "Bearer", "expires_in": 2, "access_token": entra.access_token(STORAGE)}
    entra.faults = [says(200, json.dumps(brief))]
    with ci_identity.session("both", environ=job.environ) as session:
        first = session.azure_tokens()
        while session.azure_tokens() == first:
            time.sleep(0.05)
        assert session.azure_tokens().expires_at > first.expires_at
    assert entra.numbers == [-1, 0, 0, 0]
    assert "refreshed" in job.events()


def _ask_on(credential: TokenCredential) -> None:
    while True:
        credential.get_token(SCOPE)


def test_credential_needs_an_azure_grant(world: World, job: Job) -> None:
    """A grant for Vault has no tokens of Azure."""
    environ = job.environ | {"CI_IDENTITY_GRANTS": str(world.grants_path)}
    with (
        ci_identity.session("migrate-db", environ=environ) as session,
        pytest.raises(ConfigurationError, match="no open tokens of Azure"),
    ):
        session.azure_credential()


def test_shorter_ttl_than_entra_gives(job: Job) -> None:
    """It cannot be had, so nothing is delivered; what was issued is on record, with its end."""
    session = ci_identity.session("rotate", ttl=timedelta(minutes=15), environ=job.environ)
    with pytest.raises(TokenLifeError, match="longer than the 900 s asked for"):
        session.open()
    assert session.outcome is Outcome.EXPIRES
    assert job.events() == ["requested", "issued", "expires"]
    assert job.ledger()[-1]["reason"] == "not-revocable"
    assert job.ledger()[1]["expires_at"] == job.ledger()[2]["expires_at"]


def test_ledger_has_the_tokens_and_no_secret(job: Job, entra: Entra) -> None:
    """One entry for each, by the id that Entra's sign-in log has; the chain holds."""
    with ci_identity.session("both", environ=job.environ) as session:
        secrets = [secret.reveal() for secret in session.secrets]
    ledger = job.state / "ledger.jsonl"
    issued = [entry for entry in job.ledger() if entry["event"] == "issued"]
    assert [entry["handle"].split()[0] for entry in issued] == [
        f"token:{STORAGE}",
        f"token:{VAULT}",
    ]
    assert len(secrets) >= len(entra.calls) == 2
    assert not [secret for secret in secrets if secret in ledger.read_text()]
    verify(ledger)

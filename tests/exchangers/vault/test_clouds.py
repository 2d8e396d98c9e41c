"""Cloud engines, which OpenBao has not: HashiCorp Vault's documented answers, from a double.

Sources: https://developer.hashicorp.com/vault/api-docs/secret/aws, .../gcp and .../azure.
"""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ci_identity.errors import TokenLifeError
from ci_identity.exchangers.interface import Ending
from ci_identity.model import Outcome, SecretReference
from tests.exchangers.front import Front, answers
from tests.exchangers.shop import Exchange, Shop, references, written

TTL = timedelta(minutes=15)
KEYS = {"access_key": "ASIAEXAMPLE7EXAMPLE", "secret_key": "a-secret-key"}
STS = KEYS | {"security_token": "a-session-token", "arn": "arn:aws:sts::123456789012:x/y"}


@pytest.fixture
def front(shop: Shop) -> Iterator[Front]:
    """A server that has what OpenBao has, and beside it what a test says."""
    with Front(shop.openbao.address) as front:
        yield front


def answer(data: dict[str, Any], *, lease: str = "", life: int = 0) -> str:
    """Return an answer as Vault writes it."""
    return json.dumps(
        {
            "request_id": "a-request",
            "lease_id": lease,
            "renewable": False,
            "lease_duration": life,
            "data": data,
            "auth": None,
        }
    )


def ended(
    shop: Shop, front: Front, body: str, *, path: str, field: str, is_written: bool = False
) -> tuple[Exchange, Ending]:
    """Have the step get this answer at `path`, and return how it ended.

    The engine's revocation of the lease, whatever it does at the cloud, is confirmed.
    """
    reference = f"{path}#{field}"
    one: SecretReference = written(reference) if is_written else references(A=reference)["A"]
    shop.policy("step", shop.may_write(path) if is_written else shop.may_read(path))
    front.faults[path] = [answers(200, body)]
    front.faults["sys/leases/revoke"] = [answers(200, '{"request_id": "a-request"}')]
    target = shop.target(address=front.address, secrets={"A": one})
    with shop.exchange(target, ttl=TTL) as seen:
        return seen, seen.credential.revoke(budget=10.0)


def test_sts_session_expires_though_its_lease_is_revoked(shop: Shop, front: Front) -> None:
    """ "Revoking the lease does not revoke the access keys" (the AWS engine's own words)."""
    body = answer(STS, lease="aws/sts/deploy/x", life=899)
    seen, ending = ended(
        shop, front, body, path="aws/sts/deploy", field="access_key", is_written=True
    )
    assert ending.outcome is Outcome.EXPIRES
    assert ending.detail.startswith("aws/sts/deploy#ASIAEXAMPLE7EXAMPLE: a session of AWS STS, ")
    assert [str(handle) for handle in seen.handles[2:]] == [
        "lease:aws/sts/deploy/x",
        "expiring:aws/sts/deploy#ASIAEXAMPLE7EXAMPLE",
    ]
    assert "sys/leases/revoke" in front.asked  # all the same: it is off the server's books


def test_sts_session_without_a_lease(shop: Shop, front: Front) -> None:
    """A role with `no_lease` says its life among the data."""
    body = answer(STS | {"ttl": 899})
    _, ending = ended(shop, front, body, path="aws/sts/deploy", field="access_key", is_written=True)
    assert ending.outcome is Outcome.EXPIRES


def test_sts_session_that_lives_longer_is_refused(shop: Shop, front: Front) -> None:
    """An hour is what a role gives to whoever asks for nothing: the hint says how to ask."""
    body = answer(STS, lease="aws/sts/deploy/x", life=3599)
    with pytest.raises(TokenLifeError) as error:
        ended(shop, front, body, path="aws/sts/deploy", field="access_key")
    assert str(error.value).startswith("aws/sts/deploy: a session of AWS STS would live for ")
    assert error.value.hint.endswith(
        "`with: {}` asks for the grant's ttl, where the engine takes one"
    )


def test_iam_user_is_revoked(shop: Shop, front: Front) -> None:
    """The engine deletes the user that it made."""
    body = answer(KEYS | {"security_token": None}, lease="aws/creds/deploy/x", life=2764800)
    seen, ending = ended(shop, front, body, path="aws/creds/deploy", field="access_key")
    assert (ending.outcome, ending.detail) == (Outcome.REVOKED, "")
    assert [handle.kind for handle in seen.handles[2:]] == ["lease"]


def test_google_access_token_expires(shop: Shop, front: Front) -> None:
    """Google cannot revoke it, and the engine gives it no lease."""
    until = int(time.time()) + 600
    body = answer({"token": "ya29.example", "token_ttl": 600, "expires_at_seconds": until})
    seen, ending = ended(shop, front, body, path="gcp/roleset/push/token", field="token")
    assert ending.outcome is Outcome.EXPIRES
    assert ending.detail == (
        "gcp/roleset/push/token: an access token of Google Cloud, which ends at"
        f" {datetime.fromtimestamp(until, UTC):%H:%M:%S} UTC"
    )
    assert seen.credential.expires_at >= datetime.fromtimestamp(until, UTC)


def test_google_access_token_of_an_hour_is_refused(shop: Shop, front: Front) -> None:
    """A roleset's token lives for an hour, whatever is asked."""
    data = {"token": "ya29.example", "expires_at_seconds": int(time.time()) + 3599}
    with pytest.raises(TokenLifeError):
        ended(shop, front, answer(data), path="gcp/roleset/push/token", field="token")


def test_google_key_is_revoked(shop: Shop, front: Front) -> None:
    """The engine deletes the key that it made."""
    data = {"private_key_data": "e30=", "key_algorithm": "KEY_ALG_RSA_2048", "key_type": "x"}
    body = answer(data, lease="gcp/roleset/push/key/x", life=900)
    _, ending = ended(
        shop, front, body, path="gcp/roleset/push/key", field="private_key_data", is_written=True
    )
    assert ending.outcome is Outcome.REVOKED


def test_azure_password_is_revoked(shop: Shop, front: Front) -> None:
    """The engine deletes the application, or of an application that stays the password it added."""
    data = {"client_id": "00000000-0000-0000-0000-000000000000", "client_secret": "a-secret"}
    body = answer(data, lease="azure/creds/deploy/x", life=3600)
    _, ending = ended(shop, front, body, path="azure/creds/deploy", field="client_secret")
    assert ending.outcome is Outcome.REVOKED


def test_stored_aws_keys_are_not_taken_for_a_session(shop: Shop) -> None:
    """What somebody stored in KV is theirs, whatever its fields are called."""
    shop.store(STS)
    with shop.exchange(shop.target(secrets=references(A=f"{shop.path}#access_key"))) as seen:
        assert seen.credential.revoke(budget=10.0).outcome is Outcome.REVOKED
    mount = shop.mount("kv")
    shop.root.write_data(f"{mount}/aws", data=STS)
    shop.policy("step", shop.may_read(f"{mount}/aws"))
    with shop.exchange(shop.target(secrets=references(A=f"{mount}/aws#access_key"))) as seen:
        assert seen.credential.revoke(budget=10.0).outcome is Outcome.REVOKED

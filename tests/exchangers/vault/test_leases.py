"""Dynamic credentials: a login of a real PostgreSQL that works for the step and not after it."""

import pytest

from ci_identity.errors import LedgerError, VaultPolicyError, VaultSecretError
from ci_identity.model import Handle, Outcome
from ci_identity.sandbox.openbao import AuditEntry
from tests.exchangers.front import Front, answers
from tests.exchangers.shop import CREATE, REVOKE_LEASE, Shop, references
from tests.postgres import PostgreSQL

PATH = "database/creds/shop"


@pytest.fixture
def database(shop: Shop, postgres: PostgreSQL) -> Shop:  # noqa: ARG001  # it has the engine mounted
    """A shop whose step may have a login of the database."""
    shop.policy("step", shop.may_read(PATH))
    return shop


def asked(shop: Shop, since: int) -> list[AuditEntry]:
    """Return the requests since then."""
    return [entry for entry in shop.openbao.audit()[since:] if entry["type"] == "request"]


LOGIN = references(USER=f"{PATH}#username", PASSWORD=f"{PATH}#password")


def test_login_works_during_the_step_and_not_after_it(database: Shop, postgres: PostgreSQL) -> None:
    """PostgreSQL itself admits the login while the credential lives, and refuses it afterwards."""
    with database.exchange(database.target(secrets=LOGIN)) as seen:
        login = seen.values["USER"], seen.values["PASSWORD"]
        assert postgres.admits(*login)
        assert seen.warnings == []
        assert seen.credential.revoke(budget=10.0).outcome is Outcome.REVOKED
        assert not postgres.admits(*login)


def test_user_and_password_are_of_one_login(database: Shop, postgres: PostgreSQL) -> None:
    """The path is read once: two reads would be two logins, of which the parts do not fit."""
    since = len(database.openbao.audit())
    with database.exchange(database.target(secrets=LOGIN)) as seen:
        assert postgres.admits(seen.values["USER"], seen.values["PASSWORD"])
    assert [entry["request"]["path"] for entry in asked(database, since)].count(PATH) == 1


def test_lease_is_ended_at_once_and_before_the_token(database: Shop) -> None:
    """`sync` makes the server do it before it answers; the token that may do it goes last."""
    since = len(database.openbao.audit())
    with database.exchange(database.target(secrets=LOGIN)) as seen:
        pass
    (lease,) = [handle.value for handle in seen.handles if handle.kind == "lease"]
    assert lease.startswith(f"{PATH}/")
    ends = [entry for entry in asked(database, since) if "revoke" in entry["request"]["path"]]
    assert [entry["request"]["path"] for entry in ends] == [
        "sys/leases/revoke",
        "auth/token/revoke-self",
    ]
    assert ends[0]["request"]["data"] == {"lease_id": lease, "sync": True}


def test_lease_is_recorded_with_its_end(database: Shop) -> None:
    """The lease is a handle of its own, after those of the tokens; it ends with them."""
    with database.exchange(database.target(secrets=LOGIN)) as seen:
        assert [handle.kind for handle in seen.handles] == ["accessor", "accessor", "lease"]
        assert seen.handles[2].expires_at == seen.credential.expires_at
        assert seen.handles[2].fingerprint is None


def test_without_a_child_the_login_ends_the_lease_too(database: Shop, postgres: PostgreSQL) -> None:
    """A grant without `policies` is cleaned up the same way."""
    with database.exchange(database.target(secrets=LOGIN, policies=())) as seen:
        login = seen.values["USER"], seen.values["PASSWORD"]
        assert postgres.admits(*login)
        assert seen.credential.revoke(budget=10.0).outcome is Outcome.REVOKED
        assert not postgres.admits(*login)


def test_right_to_end_leases_is_needed_where_there_are_some(
    database: Shop, postgres: PostgreSQL
) -> None:
    """Without it nothing is read; with the text of the hint it works."""
    database.policy("ci", CREATE)
    since = len(database.openbao.audit())
    error = database.refuse(database.target(secrets=LOGIN))
    assert isinstance(error, VaultPolicyError)
    assert error.hint == f"add to a policy of the role:\n{REVOKE_LEASE}"
    assert PATH not in [entry["request"]["path"] for entry in asked(database, since)]
    database.policy("ci", f"{CREATE}\n{error.hint.partition(chr(10))[2]}")
    with database.exchange(database.target(secrets=LOGIN)) as seen:
        assert postgres.admits(seen.values["USER"], seen.values["PASSWORD"])


def test_lease_of_a_failed_exchange_is_ended(database: Shop) -> None:
    """A field that is missing is noticed after the login was made: it is ended."""
    secrets = references(USER=f"{PATH}#username", PASSWORD=f"{PATH}#passwort")
    error = database.refuse(database.target(secrets=secrets))
    assert isinstance(error, VaultSecretError)
    (lease,) = database.last.credential.leases
    assert database.last.credential.revoke(budget=5.0).outcome is Outcome.REVOKED
    ended = [entry["request"].get("data") for entry in database.openbao.revocations()]
    assert {"lease_id": lease, "sync": True} in ended


def test_lease_that_cannot_be_recorded_is_ended(database: Shop) -> None:
    """Whoever cannot write down a lease must not use it."""

    def full_disk(handle: Handle) -> None:
        if handle.kind == "lease":
            message = "no space left"
            raise LedgerError(message)

    error = database.refuse(database.target(secrets=LOGIN), record=full_disk)
    assert isinstance(error, LedgerError)
    assert database.last.credential.variables == {}
    (lease,) = database.last.credential.leases
    ended = [entry["request"].get("data") for entry in database.openbao.revocations()]
    assert {"lease_id": lease, "sync": True} in ended


@pytest.mark.parametrize("body", ["null", "{}", "[]", '{"data": null}'])
def test_an_answer_of_something_else_confirms_nothing(database: Shop, body: str) -> None:
    """A proxy that says 200 to everything has not revoked anything."""
    with (
        Front(database.openbao.address) as front,
        database.exchange(database.target(address=front.address, secrets=LOGIN)) as seen,
    ):
        front.faults["sys/leases/revoke"] = [answers(200, body)]
        assert seen.credential.revoke(budget=5.0).outcome is Outcome.FAILED


def test_lease_that_is_not_confirmed_is_not_called_revoked(database: Shop) -> None:
    """The token is ended all the same, which takes the lease along; but nobody saw it end."""
    with (
        Front(database.openbao.address) as front,
        database.exchange(database.target(address=front.address, secrets=LOGIN)) as seen,
    ):
        front.faults["sys/leases/revoke"] = [answers(403)]
        ending = seen.credential.revoke(budget=5.0)
        assert ending.outcome is Outcome.FAILED
        (lease,) = seen.credential.leases
        assert ending.detail == f"lease {lease}: the server could not revoke it, or would not"
        assert front.asked[-1] == "auth/token/revoke-self"

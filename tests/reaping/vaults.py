"""What killed jobs left at a real OpenBao, and the identity of a reaper there."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.writer import Ledger
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.docs.pages import blocks, page

(POLICY,) = blocks(page("how-to/reap.md"), "hcl")
REAPER = {"repository": "acme/ops", "repository_id": "77"}
"""What the reaper's token says beside what every one does."""

_CRASH = """
path "secret/data/shop" { capabilities = ["read"] }
path "database/creds/shop" { capabilities = ["read"] }
"""
_GRANTS = """\
version: 1
grants:
  crash:
    for: {{issuer: {issuer}, repository_id: 42}}
    ttl: 5m
    vault:
      address: {address}
      role: crash
      policies: [crash]
      secrets: {secrets}
  reap:
    for: {{issuer: {issuer}, repository_id: 77}}
    vault: {{address: {address}, role: crash-reaper, policies: [crash-reaper]}}
"""
LICENCE = "{LICENCE: secret/data/shop#licence}"


@contextmanager
def roles(world: World, grants: Path, *, secrets: str = LICENCE) -> Iterator[Path]:
    """Make a role for jobs that are killed, one for the reaper, and write the grants for both.

    Args:
        world: whose issuer they trust.
        grants: where the grants file is to be.
        secrets: what the jobs read, as the grant has it.
    """
    root = world.openbao.client()
    role = root.read("auth/jwt/role/shop-migrate")["data"]
    whose = {"crash": (_CRASH, "42"), "crash-reaper": (POLICY, "77")}
    for name, (policy, repository) in whose.items():
        root.write_data(f"sys/policies/acl/{name}", data={"policy": policy})
        about = {"bound_claims": {"repository_id": repository}, "token_policies": [name, "ci"]}
        root.write_data(f"auth/jwt/role/{name}", data=role | about)
    grants.write_text(
        _GRANTS.format(issuer=world.issuer.address, address=world.openbao.address, secrets=secrets)
    )
    yield grants
    for name in whose:
        root.delete(f"auth/jwt/role/{name}")


def target(openbao: OpenBao) -> str:
    """Return the target of the leases of the role `crash`."""
    return f"{openbao.address}/v1/auth/jwt/role/crash"


def leave(
    world: World, ledger: Path, *, age: timedelta = timedelta(), end: Event | None = None
) -> tuple[str, ...]:
    """Leave a login and its child as a killed job does, in a ledger; return their accessors.

    Args:
        world: where it is.
        ledger: the job's.
        age: how long ago the job told anything.
        end: how it ended, according to its ledger.
    """
    root, lease = world.openbao.client(), secrets.token_hex(8)
    jwt = world.issuer.github_token(world.openbao.address).reveal()
    login = root.auth.jwt.jwt_login("crash", jwt, use_token=False, path="jwt")["auth"]
    root.token = login["client_token"]
    child = root.auth.token.create(policies=["crash"], ttl="5m", meta={"lease": lease})["auth"]
    accessors = (str(login["accessor"]), str(child["accessor"]))
    events = [(Event.REQUESTED, None), *((Event.ISSUED, f"accessor:{one}") for one in accessors)]
    events += [(end, None)] if end else []
    for event, handle in events:
        tell(ledger, event, lease, handle=handle, target=target(world.openbao), age=age)
    return accessors


def tell(
    ledger: Path, event: Event, lease: str, *, age: timedelta = timedelta(), **about: Any
) -> None:
    """Add an entry to a ledger."""
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "grant": "crash",
        "expires_at": now + timedelta(minutes=5),
        "at": now - age,
    }
    Ledger(ledger).append(Entry(event=event, lease=lease, **(fields | about)))

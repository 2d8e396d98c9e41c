"""What a job that was killed left at a real OpenBao, and a reaper that ends it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import hvac.exceptions
import pytest

from ci_identity._record import Record
from ci_identity.ledger.verify import read
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.postgres import PostgreSQL
from tests.reaping.vaults import REAPER, roles
from tests.step import COMMAND, Job

TOKEN_TTL = 600
SECRETS = (
    "{USER_NAME: {from: database/creds/shop#username, public: true},"
    " PASSWORD: database/creds/shop#password, LICENCE: secret/data/shop#licence}"
)

LOST = (
    "sent: POST /v1/auth/jwt/login",
    "answered: POST /v1/auth/jwt/login",
    "half written: issued #1",
)
"""The login may have been answered, and nothing of the answer is on record."""


@pytest.fixture
def grants(world: World, postgres: PostgreSQL, tmp_path: Path) -> Iterator[Path]:  # noqa: ARG001  # what makes logins in it
    with roles(world, tmp_path / "grants.yml", secrets=SECRETS) as grants:
        yield grants


@pytest.fixture
def reaper(world: World, grants: Path, tmp_path: Path) -> Job:
    job = Job.of(world, tmp_path / "reaper", claims=REAPER)
    job.environ["CI_IDENTITY_GRANTS"] = str(grants)
    return job


def reap(job: Job, folder: Path) -> list[dict[str, Any]]:
    done = job.run([*COMMAND, "reap", "--grant", "reap", "--all", "--json", str(folder)])
    assert done.returncode == 0, done.stderr.decode()
    return list(json.loads(done.stdout))


def tokens(openbao: OpenBao) -> dict[str, dict[str, Any]]:
    """Return what the server knows of each token that lives, by its accessor."""
    root = openbao.client()
    found: dict[str, dict[str, Any]] = {}
    for accessor in root.list("auth/token/accessors")["data"]["keys"]:
        try:
            found[accessor] = root.auth.token.lookup_accessor(accessor)["data"]
        except hvac.exceptions.VaultError:
            continue  # it ended meanwhile
    return found


def leases(openbao: OpenBao) -> set[str]:
    found = openbao.client().list("sys/leases/lookup/database/creds/shop")
    return set(found["data"]["keys"]) if found else set()


class Before(Record):
    """What lived at a server before the jobs."""

    tokens: frozenset[str]
    leases: frozenset[str]

    @classmethod
    def of(cls, openbao: OpenBao) -> Self:
        return cls(tokens=frozenset(tokens(openbao)), leases=frozenset(leases(openbao)))


def ends(openbao: OpenBao, before: frozenset[str]) -> bool:
    """Wait until no new lease is left: what ends with its token ends a bit later."""
    deadline = time.monotonic() + 30
    while leases(openbao) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    return not leases(openbao) - before


def assert_reaped(
    openbao: OpenBao, reaper: Job, folder: Path, before: Before, *, lost: int
) -> list[dict[str, Any]]:
    """Reap twice, and return what was told first: nothing new lives but what is lost.

    Args:
        openbao: the server.
        reaper: the job that reaps.
        folder: where the ledgers are.
        before: what lived there before.
        lost: how many jobs were killed in the window.
    """
    first = reap(reaper, folder)
    left = {name: of for name, of in tokens(openbao).items() if name not in before.tokens}
    assert len(left) <= lost
    for token in left.values():
        assert token["path"] == "auth/jwt/login"
        assert token["ttl"] <= TOKEN_TTL
    assert ends(openbao, before.leases)

    again = reap(reaper, folder)
    of_no_handle = {row["lease"] for row in first if row["done"] == "left"}
    assert {row["lease"] for row in again} == of_no_handle
    assert {row["done"] for row in again} <= {"left"}
    for accessor in left:
        openbao.client().auth.token.revoke_accessor(accessor)
    return first


def told(ledger: Path) -> list[dict[str, Any]]:
    """Return what a ledger has whole."""
    return list(read(ledger)) if ledger.exists() else []

"""A job is killed at every point of its work; afterwards `reap` leaves OpenBao nothing alive."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hvac.exceptions
import pytest

from ci_identity.ledger.verify import read, verify
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.crash.walk import Death, points, walk
from tests.postgres import PostgreSQL
from tests.reaping.vaults import REAPER, roles
from tests.step import COMMAND, Job

EXEC = ("exec", "--grant", "crash", "--", "true")
TOKEN_TTL = 600
SECRETS = (
    "{USER_NAME: {from: database/creds/shop#username, public: true},"
    " PASSWORD: database/creds/shop#password, LICENCE: secret/data/shop#licence}"
)

WINDOW = ("sent: POST /v1/auth/jwt/login", "answered: POST /v1/auth/jwt/login")
"""The login may have been answered, and nothing of the answer is on record."""

HALF_ISSUED = "half written: issued #1"


@pytest.fixture
def grants(world: World, postgres: PostgreSQL, tmp_path: Path) -> Iterator[Path]:  # noqa: ARG001  # what makes logins in it
    with roles(world, tmp_path / "grants.yml", secrets=SECRETS) as grants:
        yield grants


@pytest.fixture
def jobs(world: World, grants: Path, tmp_path: Path) -> Callable[[str], Job]:
    def make(name: str) -> Job:
        job = Job.of(world, tmp_path / "jobs" / name)
        job.environ["CI_IDENTITY_GRANTS"] = str(grants)
        return job

    (tmp_path / "jobs").mkdir()
    return make


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


def ends(openbao: OpenBao, before: set[str]) -> bool:
    """Wait until no new lease is left: what ends with its token ends a bit later."""
    deadline = time.monotonic() + 30
    while leases(openbao) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    return not leases(openbao) - before


@pytest.mark.timeout(600)  # some fifty jobs
def test_wherever_a_job_is_killed_nothing_usable_is_left(
    openbao: OpenBao,
    jobs: Callable[[str], Job],
    reaper: Job,
    tmp_path: Path,
) -> None:
    """Every point but one window, in which the server's answer to the login is nobody's yet.

    What that leaves is a token that no process has: it is told, and ends by the role's ttl.
    """
    passed = points(jobs("whole"), *EXEC)
    assert_walked(passed)
    tokens_before, leases_before = tokens(openbao), leases(openbao)
    deaths = walk(passed, jobs, EXEC)
    lost = [one for one in deaths if one.point.startswith(WINDOW) or one.point == HALF_ISSUED]
    assert len(tokens(openbao).keys() - tokens_before.keys()) > len(lost)
    assert leases(openbao) - leases_before

    first = reap(reaper, tmp_path / "jobs")
    left = {name: of for name, of in tokens(openbao).items() if name not in tokens_before}
    assert len(left) <= len(lost)
    for token in left.values():
        assert token["path"] == "auth/jwt/login"
        assert token["ttl"] <= TOKEN_TTL
    assert ends(openbao, leases_before)
    assert_told(first, deaths, lost)

    again = reap(reaper, tmp_path / "jobs")
    assert {row["lease"] for row in again} == {
        row["lease"] for row in first if row["done"] == "left"
    }
    assert {row["done"] for row in again} == {"left"}
    for death in deaths:
        if death.ledger.exists():
            verify(death.ledger)
    for accessor in left:
        openbao.client().auth.token.revoke_accessor(accessor)


def assert_walked(passed: list[str]) -> None:
    """Each effect of a run is among the points: else the walk has lost sight of some."""
    names = [name.rpartition(" #")[0] for name in passed]
    requests = [
        *("GET /github/token", "POST /v1/auth/jwt/login", "POST /v1/auth/token/renew-self"),
        *("POST /v1/sys/capabilities-self", "POST /v1/auth/token/create"),
        *("GET /v1/database/creds/shop", "GET /v1/secret/data/shop"),
        *("POST /v1/sys/leases/revoke", "POST /v1/auth/token/revoke-self"),
    ]
    for request in requests:
        assert f"sent: {request}" in names
        assert f"answered: {request}" in names
    for event in ("requested", "issued", "delivered", "revoked"):
        assert f"half written: {event}" in names
        assert f"written: {event}" in names
    assert "posix_spawn in _spawn" in names
    assert passed.count("written: issued #3") == 1  # the login, its child, the lease


def told(ledger: Path) -> list[dict[str, Any]]:
    """Return what a ledger has whole."""
    return list(read(ledger)) if ledger.exists() else []


def assert_told(rows: list[dict[str, Any]], deaths: list[Death], lost: list[Death]) -> None:
    """Each lease is told truly: revoked; or why it cannot be, and until when it may live."""
    by_ledger = {row["ledger"]: row for row in rows}
    for death in deaths:
        events = [entry["event"] for entry in told(death.ledger)]
        row = by_ledger.get(str(death.ledger))
        if "requested" not in events or "revoked" in events:
            assert row is None, death.point
        elif "issued" in events:
            assert row, death.point
            assert row["done"] == "revoked", death.point
        else:
            assert row, death.point
            assert row["done"] == "left"
            assert "until the role's token_ttl" in row["why"]
    assert all(str(one.ledger) in by_ledger for one in lost)

"""A job is killed at every point of its work; afterwards `reap` leaves OpenBao nothing alive."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci_identity.ledger.verify import verify
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.crash.vault import LOST, Before, assert_reaped, grants, leases, reaper, tokens, told
from tests.crash.walk import Death, points, walk
from tests.step import Job

__all__ = ["grants", "reaper"]

EXEC = ("exec", "--grant", "crash", "--", "true")


@pytest.fixture
def jobs(world: World, grants: Path, tmp_path: Path) -> Callable[[str], Job]:
    def make(name: str) -> Job:
        job = Job.of(world, tmp_path / "jobs" / name)
        job.environ["CI_IDENTITY_GRANTS"] = str(grants)
        return job

    (tmp_path / "jobs").mkdir()
    return make


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
    before = Before.of(openbao)
    deaths = walk(passed, jobs, EXEC)
    lost = [one for one in deaths if one.point.startswith(LOST)]
    assert len(tokens(openbao).keys() - before.tokens) > len(lost)
    assert leases(openbao) - before.leases
    first = assert_reaped(openbao, reaper, tmp_path / "jobs", before, lost=len(lost))
    assert_told(first, deaths, lost)
    for death in deaths:
        if death.ledger.exists():
            verify(death.ledger)


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

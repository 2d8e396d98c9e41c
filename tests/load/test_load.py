"""What `make reliability` measures in full, in small: nothing is left, and nothing grows."""

from pathlib import Path

import pytest

from benchmarks.reliability import measure_jobs, measure_leases, measure_sessions
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.step import Watch


@pytest.mark.timeout(300)  # as slow as the machine makes twenty processes
def test_jobs_at_once_leave_nothing(world: World, openbao: OpenBao, tmp_path: Path) -> None:
    """Twenty at once, with one ledger: every login is revoked, and the chain holds."""
    watch = Watch(openbao)
    found = measure_jobs(world, tmp_path, 20)
    watch.assert_revoked(logins=20)
    assert (found["failed"], found["tokens_left_alive"]) == (0, 0)
    assert found["leases_revoked"] == 20
    assert found["ledger_entries"] == 20 * 5


def test_sessions_of_one_process_leave_nothing(world: World, tmp_path: Path) -> None:
    """Fifty, one after the other: no file stays open, and no thread goes on."""
    found = measure_sessions(world, tmp_path, 50)
    early, late = found["after_a_tenth"], found["after_the_last"]
    assert late["file_descriptors"] <= early["file_descriptors"]
    assert late["threads"] <= early["threads"]


def test_leases_of_many_ledgers_are_planned(tmp_path: Path) -> None:
    """Each once, none over, all to be ended."""
    found = measure_leases(tmp_path, 1000)
    assert (found["leases"], found["to_end"]) == (1000, 1000)

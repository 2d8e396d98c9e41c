"""What `make reliability` measures in full, in small: nothing is left, and nothing grows."""

import json
from pathlib import Path

import pytest

from benchmarks.reliability import measure_jobs, measure_leases, measure_sessions
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import World
from tests.docs.pages import ROOT, page
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


def test_the_page_quotes_what_was_measured() -> None:
    """Line by line; and what was measured is what is promised."""
    found = json.loads((ROOT / "benchmarks" / "reliability.json").read_text())
    jobs, sessions, leases = (found[name] for name in ("jobs", "sessions", "leases"))
    assert (jobs["failed"], jobs["tokens_left_alive"], jobs["ledger_intact"]) == (0, 0, True)
    assert leases["seconds_to_plan"] < 2
    early, late = (
        (held["file_descriptors"], held["threads"])
        for held in (sessions["after_a_tenth"], sessions["after_the_last"])
    )
    assert late <= early
    shown = page("how-to/reap.md").splitlines()
    line = (
        f"* {jobs['jobs']} jobs at once against one OpenBao, with one ledger:"
        f" {jobs['seconds']:.0f} s, {jobs['leases_revoked']} leases revoked,"
        f" {jobs['tokens_left_alive']} tokens left alive."
    )
    assert line in shown
    line = (
        f"* {sessions['sessions']:,} sessions in one process: {early[0]} file descriptors and"
        f" {early[1]} threads after the first tenth, {late[0]} and {late[1]} after the last."
    )
    assert line in shown
    line = (
        f"* {leases['leases']:,} leases to reap: {leases['seconds_to_plan']:.1f} s for the plan;"
        f" {leases['seconds_to_read_and_verify']:.0f} s before that to read and verify their"
        f" ledgers, {leases['mebibytes']} MiB."
    )
    assert line in shown

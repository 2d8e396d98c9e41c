"""Ledgers of others are read whatever was done to them, and cuts are recorded where it can be."""

import json
import logging
import os
from pathlib import Path

import pytest

from ci_identity.errors import LedgerError, LedgerTamperedError
from ci_identity.ledger.entry import Event
from ci_identity.ledger.verify import read, verify
from ci_identity.model import Handle, JobIdentity, Outcome, UnverifiedClaims
from ci_identity.reaping.ledgers import Records, find, listen
from ci_identity.reaping.plan import End
from tests.reaping.stories import LEASE, LIFE, NOW, ROLE, USER, lefts, tell

ENDED = (Event.REQUESTED, Event.ISSUED, Event.EXPIRES)
CUT = End(
    event=Event.CUT,
    outcome=Outcome.CUT,
    until=NOW + LIFE,
    handle=Handle(kind="session", value=USER),
)
REAPER = JobIdentity(
    source="github",
    issuer="https://issuer.example",
    subject="repo:acme/ops:ref:refs/heads/main",
    audience=("sts.amazonaws.com",),
    repository="acme/ops",
    run="7/1",
    job="reap",
    expires_at=NOW,
    claims=UnverifiedClaims({}),
)


# ── where they are ───────────────────────────────────────────────────────────────────────────


def test_a_folder_is_searched_to_its_ground(tmp_path: Path) -> None:
    """Ledgers of many jobs, as they were downloaded; each once, other files not."""
    deep, top = tmp_path / "a" / "b" / "ledger.jsonl", tmp_path / "job.jsonl"
    deep.parent.mkdir(parents=True)
    deep.touch()
    top.touch()
    (tmp_path / "log.txt").touch()
    (tmp_path / "folder.jsonl").mkdir()
    assert find([tmp_path]) == (deep, top)
    assert find([top, tmp_path]) == (top, deep)


def test_a_folder_without_ledgers_is_an_error(tmp_path: Path) -> None:
    """Nothing found is not nothing to do."""
    with pytest.raises(LedgerError, match="has no ledger"):
        find([tmp_path])


# ── what they tell ───────────────────────────────────────────────────────────────────────────


def test_whole_ledgers_tell_their_leases(tmp_path: Path) -> None:
    """In the order they are given, with nothing wrong, and the roles that were cut."""
    other = "fedcba9876543210"
    first = tell(tmp_path / "1.jsonl", *ENDED)
    second = tell(tmp_path / "2.jsonl", *ENDED, Event.CUT, lease=other)
    told = listen([first, second])
    assert [(one.id, one.ledger) for one in told.leases] == [(LEASE, first), (other, second)]
    assert list(told.cut_targets) == [ROLE]
    assert told.wrong == {}


def test_a_torn_last_line_is_nothing_wrong(tmp_path: Path) -> None:
    """A writer was killed in it, as happens to what a reaper is for."""
    ledger = tell(tmp_path / "ledger.jsonl", *ENDED)
    ledger.write_bytes(ledger.read_bytes() + b'{"v":1,"at"')
    told = listen([ledger])
    assert len(told.leases) == 1
    assert told.wrong == {}


@pytest.mark.parametrize(
    "planted",
    [b"no entry\n", b'{"event":"x"}\n', b"[" * 70_000 + b"\n", b"\xff\xfe\n", b"[]\n", b"\n"],
    ids=["text", "object", "nested", "bytes", "list", "empty"],
)
@pytest.mark.parametrize("line", [0, 1, 3])
def test_a_broken_chain_saves_no_session(tmp_path: Path, planted: bytes, line: int) -> None:
    """Whatever was put where: what can be read is read, and what is wrong is told."""
    ledger = tell(tmp_path / "ledger.jsonl", *ENDED)
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join([*lines[:line], planted, *lines[line:]]))
    told = listen([ledger])
    assert [one.id for one in told.leases] == [LEASE]
    assert [str(one) for one in told.leases[0].lease.handles] == [f"session:{USER}"]
    assert isinstance(told.wrong[ledger], LedgerTamperedError)


def test_a_ledger_that_cannot_be_read_keeps_no_other_from_telling(tmp_path: Path) -> None:
    """It is told as what it is."""
    missing, whole = tmp_path / "0.jsonl", tell(tmp_path / "1.jsonl", *ENDED)
    told = listen([missing, whole])
    assert [one.ledger for one in told.leases] == [whole]
    assert list(told.wrong) == [missing]


@pytest.mark.parametrize("kind", ["pipe", "link", "link-to-pipe"])
@pytest.mark.parametrize("is_named", [True, False], ids=["named", "in-a-folder"])
def test_what_is_no_file_is_told_and_not_waited_for(
    tmp_path: Path,
    kind: str,
    is_named: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    """A pipe that nobody writes to would keep the reaper from cutting for ever."""
    folder = tmp_path / "ledgers"
    folder.mkdir()
    odd, whole = folder / "0.jsonl", tell(folder / "1.jsonl", *ENDED)
    pipe = odd if kind == "pipe" else tmp_path / "pipe"
    os.mkfifo(pipe)
    if kind != "pipe":
        odd.symlink_to(whole if kind == "link" else pipe)
    told = listen(find([odd, whole] if is_named else [folder]))
    assert [one.ledger for one in told.leases] == [whole]
    (error,) = told.wrong.values()
    assert str(error).startswith(f"cannot read the ledger {odd}: ")


def test_a_device_is_no_ledger() -> None:
    """This one never ends."""
    zeros = Path("/dev/zero")
    told = listen(find([zeros]))
    assert str(told.wrong[zeros]) == "cannot read the ledger /dev/zero: it is no regular file"


# ── what is recorded ─────────────────────────────────────────────────────────────────────────


def test_a_cut_is_recorded_in_the_ledger_it_came_from(tmp_path: Path) -> None:
    """With the lease's own handle and role, who cut it, and a chain that holds."""
    ledger, own = tell(tmp_path / "job.jsonl", *ENDED), tmp_path / "own.jsonl"
    (left,) = lefts(ledger)
    Records(own=own, by=REAPER).record(left, CUT)
    verify(ledger)
    assert not own.exists()
    entry = list(read(ledger))[-1]
    said = {name: entry[name] for name in ("event", "lease", "grant", "target", "handle")}
    assert said == {
        "event": "cut",
        "lease": LEASE,
        "grant": "deploy-web",
        "target": ROLE,
        "handle": f"session:{USER}",
    }
    assert (entry["outcome"], entry["reason"]) == ("cut", None)
    assert entry["expires_at"] == (NOW + LIFE).isoformat(timespec="milliseconds")
    assert entry["identity"] == {
        "issuer": "https://issuer.example",
        "subject": "repo:acme/ops:ref:refs/heads/main",
        "repository": "acme/ops",
        "run": "7/1",
        "job": "reap",
    }


def test_what_takes_no_entry_is_recorded_in_our_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy that is not ours alone, say; both places are named."""
    ledger, own = tell(tmp_path / "job.jsonl", *ENDED), tmp_path / "own.jsonl"
    (left,) = lefts(ledger)
    ledger.chmod(0o666)
    before = ledger.read_bytes()
    with caplog.at_level(logging.WARNING, "ci_identity"):
        Records(own=own, by=REAPER).record(left, CUT)
    assert ledger.read_bytes() == before
    assert [entry["lease"] for entry in read(own)] == [LEASE]
    assert str(ledger) in caplog.text
    assert str(own) in caplog.text


def test_a_broken_ledger_is_kept_as_evidence(tmp_path: Path) -> None:
    """Nothing is added to it."""
    ledger, own = tell(tmp_path / "job.jsonl", *ENDED), tmp_path / "own.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[1:]))
    told = listen([ledger])
    before = ledger.read_bytes()
    Records(own=own, by=REAPER, evidence=told.wrong).record(told.leases[0], CUT)
    assert ledger.read_bytes() == before
    assert [json.loads(line)["event"] for line in own.read_text().splitlines()] == ["cut"]


def test_a_cut_that_no_ledger_takes_is_an_error(tmp_path: Path) -> None:
    """It is in place, and nobody would know."""
    ledger = tell(tmp_path / "job.jsonl", *ENDED)
    (left,) = lefts(ledger)
    ledger.chmod(0o666)
    with pytest.raises(LedgerError):
        Records(own=ledger, by=REAPER).record(left, CUT)

"""Appending: no entry is lost, none is half, and the file is ours alone."""

import fcntl
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ci_identity.errors import LedgerError, LedgerTamperedError
from ci_identity.ledger import writer
from ci_identity.ledger.entry import FIRST_PREV, Entry, Event
from ci_identity.ledger.verify import read, verify
from ci_identity.ledger.writer import MAX_LINE, Ledger
from tests.ledger.full_disk import room_for

WRITE_MANY = """
import sys
from pathlib import Path
from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.writer import Ledger
ledger = Ledger(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    ledger.append(Entry(event=Event.REQUESTED, lease=f"{sys.argv[3]}-{number}", grant="g"))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a ledger may be, in a folder that is not there yet."""
    return tmp_path / "state" / "ledger.jsonl"


def entry(lease: str = "one") -> Entry:
    return Entry(event=Event.REQUESTED, lease=lease, grant="migrate-db")


def leases(path: Path) -> list[object]:
    return [written["lease"] for written in read(path)]


def test_first_entry_makes_the_file_and_its_folder(path: Path) -> None:
    """Only this user may read them: 0600 in 0700."""
    written = Ledger(path).append(entry())
    assert written.prev == FIRST_PREV
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert json.loads(path.read_text()) == written.to_object()


def test_each_entry_is_tied_to_the_one_before(path: Path) -> None:
    """`prev` is the hash of the line above, also for a ledger that is opened anew."""
    first, second = Ledger(path).append(entry()), Ledger(path).append(entry("two"))
    assert second.prev == first.hash
    assert verify(path).head == second.hash


def test_last_of_many_is_found(path: Path) -> None:
    """The chain goes on in a file that is longer than what is read of its end."""
    ledger = Ledger(path)
    long = "x" * 1024
    while not path.exists() or path.stat().st_size < 3 * MAX_LINE:
        ledger.append(
            Entry(event=Event.DENIED, lease=long, grant=long, target=long, identity={"s": long})
        )
    last = ledger.append(entry("last"))
    assert verify(path).head == last.hash


def test_torn_line_is_repaired(path: Path) -> None:
    """A writer that was killed in mid-line leaves a piece; the next entry takes its place."""
    ledger = Ledger(path)
    first = ledger.append(entry())
    with path.open("ab") as file:
        file.write(entry("torn").chained(first.hash).to_line()[:-20])
    assert verify(path).is_torn
    ledger.append(entry("two"))
    assert leases(path) == ["one", "two"]
    assert not verify(path).is_torn


def test_torn_first_line_is_repaired(path: Path) -> None:
    """Also where it was the first."""
    path.parent.mkdir()
    path.write_bytes(entry().to_line()[:50])
    assert Ledger(path).append(entry("two")).prev == FIRST_PREV
    assert leases(path) == ["two"]


@pytest.mark.parametrize(
    "line",
    [b"\n", b"{}\n", b"[]\n", b"nonsense\n", b"null\n", b'{"hash": 1}\n', b"[" * 9999 + b"\n"],
)
def test_ledger_that_ends_in_something_else_is_left_alone(path: Path, line: bytes) -> None:
    """What is not ours is evidence: it is neither continued nor cut off."""
    Ledger(path).append(entry())
    with path.open("ab") as file:
        file.write(line)
    before = path.read_bytes()
    with pytest.raises(LedgerTamperedError):
        Ledger(path).append(entry("two"))
    assert path.read_bytes() == before


def test_changed_last_entry_is_not_continued(path: Path) -> None:
    """An entry whose hash does not fit is not what the chain goes on from."""
    Ledger(path).append(entry())
    path.write_bytes(path.read_bytes().replace(b"migrate-db", b"migrate-dc"))
    with pytest.raises(LedgerTamperedError, match=r"ledger\.jsonl"):
        Ledger(path).append(entry("two"))


def test_line_without_an_end_is_not_continued(path: Path) -> None:
    """A line longer than any of ours is not ours."""
    path.parent.mkdir()
    path.write_bytes(b"x" * (3 * MAX_LINE))
    with pytest.raises(LedgerTamperedError):
        Ledger(path).append(entry())
    assert path.stat().st_size == 3 * MAX_LINE


def test_threads_keep_the_chain(path: Path) -> None:
    """Many at once: every entry is there, and the chain holds."""
    with ThreadPoolExecutor(16) as pool:
        written = list(pool.map(lambda n: Ledger(path).append(entry(f"l{n}")), range(80)))
    assert verify(path).entries == 80
    assert sorted(map(str, leases(path))) == sorted(one.lease for one in written)


def test_processes_keep_the_chain(path: Path) -> None:
    """Two processes of one job: every entry is there, and the chain holds."""
    command = [sys.executable, "-c", WRITE_MANY, str(path), "40"]
    writers = [subprocess.Popen([*command, name]) for name in ("a", "b")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert verify(path).entries == 80
    assert set(leases(path)) == {f"{name}-{n}" for name in "ab" for n in range(40)}


# ── whose file it is ─────────────────────────────────────────────────────────────────────────


def refuses(path: Path) -> LedgerError:
    """Return the error of appending there; it names the file, as people are to look at it."""
    with pytest.raises(LedgerError) as caught:
        Ledger(path).append(entry())
    assert str(path) in str(caught.value)
    return caught.value


def test_symbolic_link_is_refused(path: Path, tmp_path: Path) -> None:
    """Whoever may write to the folder could send our entries elsewhere."""
    target = tmp_path / "victim"
    target.touch()
    path.parent.mkdir()
    path.symlink_to(target)
    refuses(path)
    assert target.read_bytes() == b""


def test_hard_link_is_refused(path: Path, tmp_path: Path) -> None:
    """The same by another name of the file."""
    target = tmp_path / "victim"
    target.touch(mode=0o600)
    path.parent.mkdir()
    path.hardlink_to(target)
    refuses(path)
    assert target.read_bytes() == b""


def test_pipe_is_refused(path: Path) -> None:
    """A named pipe keeps nothing, and nobody waits for its reader."""
    path.parent.mkdir()
    os.mkfifo(path, 0o600)
    refuses(path)


def test_folder_is_refused(path: Path) -> None:
    """A folder is no file."""
    path.mkdir(parents=True)
    refuses(path)


@pytest.mark.parametrize("mode", [0o660, 0o606, 0o666])
def test_file_that_others_may_write_is_refused(path: Path, mode: int) -> None:
    """What others may write they may have written."""
    path.parent.mkdir()
    path.touch()
    path.chmod(mode)
    refuses(path)
    assert path.read_bytes() == b""


def test_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner can change it at any time."""
    Ledger(path).append(entry())
    monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
    refuses(path)


def test_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """A path through a file cannot be."""
    (tmp_path / "file").touch()
    refuses(tmp_path / "file" / "ledger.jsonl")


# ── a full disk ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("room", [0, 1, 100])
def test_full_disk_is_an_error_and_is_repaired(path: Path, room: int) -> None:
    """An entry that fits in part only is an error; with room again, the chain goes on."""
    ledger = Ledger(path)
    ledger.append(entry())
    size = path.stat().st_size
    with room_for(size + room), pytest.raises(LedgerError):
        ledger.append(entry("lost"))
    assert path.stat().st_size == size + room
    ledger.append(entry("two"))
    assert leases(path) == ["one", "two"]
    assert verify(path).entries == 2


def test_entry_is_on_the_disk_before_append_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an entry tells of may begin only when the entry would survive a crash."""
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.append(path.read_bytes()))
    written = Ledger(path).append(entry())
    assert synced == [written.to_line()]


def test_a_lock_of_somebody_else_is_not_waited_for_without_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may read the file may lock it; the revocation of other leases does not wait."""
    monkeypatch.setattr(writer, "LOCK_TIMEOUT", 0.1)
    Ledger(path).append(entry())
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LedgerError, match="locked by another process") as caught:
            Ledger(path).append(entry("two"))
    assert "process" in caught.value.cause  # not that the disk is full
    Ledger(path).append(entry("three"))
    assert leases(path) == ["one", "three"]


def test_a_ledger_that_was_cut_meanwhile_is_not_continued(path: Path) -> None:
    """A step that empties the ledger does not get a new one that looks whole."""
    ledger = Ledger(path)
    ledger.append(entry())
    ledger.append(entry("two"))
    path.write_bytes(b"")
    with pytest.raises(LedgerTamperedError, match="changed since we last wrote"):
        ledger.append(entry("three"))
    assert path.read_bytes() == b""


def test_a_ledger_that_was_cut_anywhere_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever byte a killed writer got to: every entry before is kept, and the chain holds."""
    monkeypatch.setattr(os, "fdatasync", lambda _: None)  # some two thousand times
    first, _ = Ledger(path).append(entry()), Ledger(path).append(entry("two"))
    whole = path.read_bytes()
    ends = {0: [], len(first.to_line()): ["one"], len(whole): ["one", "two"]}
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = next(names for end, names in reversed(ends.items()) if end <= cut)
        assert leases(path) == kept, cut
        Ledger(path).append(entry("three"))
        assert leases(path) == [*kept, "three"], cut
        assert verify(path).entries == len(kept) + 1

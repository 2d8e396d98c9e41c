"""Reads ledgers that others kept, broken ones too, and writes back to them what was ended."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from ci_identity import _log
from ci_identity._record import Record
from ci_identity.errors import LedgerError, LedgerTamperedError
from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.live import LedgerEntry, leases
from ci_identity.ledger.verify import Chain, open_ledger, parse
from ci_identity.ledger.writer import MAX_LINE, Ledger
from ci_identity.model import JobIdentity
from ci_identity.reaping.plan import End, Left


def find(places: Iterable[Path]) -> tuple[Path, ...]:
    """Return the ledgers that `places` name: files, and the `*.jsonl` of folders, at any depth.

    Raises:
        LedgerError: a folder has none.
    """
    found: list[Path] = []
    for place in places:
        if not os.path.isdir(place):  # noqa: PTH112  # false of what cannot be looked at, too
            found.append(place)
        elif inside := sorted(path for path in place.rglob("*.jsonl") if not path.is_dir()):
            found += inside
        else:
            message = f"the folder {place} has no ledger"
            cause = "nothing was downloaded into it, or the ledgers have other names"
            raise LedgerError(message, cause=cause, hint="a ledger in a folder is called *.jsonl")
    return tuple(dict.fromkeys(found))


class Told(Record):
    """What a number of ledgers tell.

    Attributes:
        leases: the leases of which something may have been issued, ended or not.
        cut_targets: the targets from which a lease was cut.
        wrong: by ledger, what is wrong with it: its chain is broken, or it cannot be read.
    """

    leases: tuple[Left, ...]
    cut_targets: tuple[str, ...]
    wrong: Mapping[Path, LedgerError]


def listen(ledgers: Iterable[Path]) -> Told:
    """Return what `ledgers` tell. What is wrong with one keeps no other from telling."""
    found: list[Left] = []
    cut: dict[str, None] = {}
    wrong: dict[Path, LedgerError] = {}
    for ledger in ledgers:
        try:
            with _open(ledger) as file:
                reading = _Reading(file, ledger)
                found += (Left(lease=one, ledger=ledger) for one in leases(reading))
        except LedgerError as error:
            wrong[ledger] = error
            continue
        cut |= reading.cut
        if reading.broken:
            wrong[ledger] = reading.broken
    return Told(leases=tuple(found), cut_targets=tuple(cut), wrong=wrong)


class _Reading:
    """One reading of a ledger: its entries, and on the way whether its chain holds.

    A broken chain keeps no entry back: whoever broke it may have meant to save a session.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self.cut: dict[str, None] = {}
        self.broken: LedgerTamperedError | None = None

    def __iter__(self) -> Iterator[LedgerEntry]:
        chain = Chain()
        for number, line in enumerate(iter(lambda: self._file.readline(MAX_LINE), b""), 1):
            entry = parse(line)
            is_torn = not line.endswith(b"\n") and len(line) < MAX_LINE
            if not (self.broken or is_torn or chain.holds(line, entry)):
                message = f"{self._path}, line {number}: the chain is broken here"
                self.broken = LedgerTamperedError(message)
            if entry is None:
                continue
            if entry.get("event") == Event.CUT:
                self.cut[str(entry.get("target"))] = None
            yield entry


def _open(path: Path) -> BinaryIO:
    try:
        return open_ledger(path)
    except OSError as error:
        message = f"cannot read the ledger {path}: {error.strerror}"
        cause = "it is not there, is another user's, or is a link, a pipe or a device"
        raise LedgerError(message, cause=cause, hint="name the file itself") from None


class Records(Record):
    """Where ends are recorded.

    Attributes:
        own: the reaper's own ledger.
        by: who the reaper is.
        evidence: ledgers with something wrong about them; nothing is written there.
    """

    own: Path
    by: JobIdentity | None
    evidence: Collection[Path] = ()

    def record(self, left: Left, end: End) -> None:
        """Record an end in the lease's own ledger, or where that takes nothing in the reaper's.

        Raises:
            LedgerError: neither takes it.
        """
        entry = self._entry(left, end)
        if left.ledger not in self.evidence:
            try:
                Ledger(left.ledger).append(entry)
            except LedgerError as error:
                _log.warning("%s; the end of %s goes into %s", error, left.id, self.own)
            else:
                return
        Ledger(self.own).append(entry)

    def _entry(self, left: Left, end: End) -> Entry:
        said = ("issuer", "subject", "repository", "run", "job")
        return Entry(
            event=end.event,
            lease=left.id,
            grant=left.lease.lease.grant,
            target=left.target,
            at=datetime.now(UTC),
            expires_at=end.until,
            identity={name: getattr(self.by, name) for name in said} if self.by else {},
            handle=str(end.handle) if end.handle else None,
            outcome=end.outcome,
        )

"""Reads ledgers that others kept, broken ones too, and writes what was cut back to them."""

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

from ci_identity._record import Record
from ci_identity.errors import LedgerError, LedgerTamperedError
from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.verify import open_ledger, verify
from ci_identity.ledger.writer import MAX_LINE, Ledger
from ci_identity.model import JobIdentity, Outcome
from ci_identity.reaping.plan import LiveSession, Role, Stories, cut_roles, live, stories

_log = logging.getLogger("ci_identity")


def find(places: Iterable[Path]) -> tuple[Path, ...]:
    """Return the ledgers that `places` name: files, and the `*.jsonl` of folders, at any depth.

    Raises:
        LedgerError: a folder has none.
    """
    found: list[Path] = []
    for place in places:
        if not place.is_dir():
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
        leases: the AWS sessions that may still be alive.
        cut_roles: the roles on which cuts were put.
        wrong: by ledger, what is wrong with it: its chain is broken, or it cannot be read.
    """

    leases: tuple[LiveSession, ...]
    cut_roles: tuple[Role, ...]
    wrong: Mapping[Path, LedgerError]


def listen(ledgers: Iterable[Path], now: datetime) -> Told:
    """Return what `ledgers` tell at `now`. What is wrong with one keeps no other from telling."""
    leases: list[LiveSession] = []
    roles: list[Role] = []
    wrong: dict[Path, LedgerError] = {}
    for ledger in ledgers:
        try:
            told, broken = _stories(ledger)
        except LedgerError as error:
            wrong[ledger] = error
            continue
        if broken:
            wrong[ledger] = broken
        leases += live(told, ledger, now)
        roles += cut_roles(told)
    return Told(leases=tuple(leases), cut_roles=tuple(dict.fromkeys(roles)), wrong=wrong)


def _stories(path: Path) -> tuple[Stories, LedgerTamperedError | None]:
    """Return what a ledger tells, and what is wrong with its chain, if anything.

    A broken chain keeps no entry back: whoever broke it may have meant to save a session.
    """
    with _open(path) as file:
        try:
            verify(path)
        except LedgerTamperedError as error:
            return stories(_whatever_is_there(file)), error
        return stories(_whatever_is_there(file)), None


def _open(path: Path) -> BinaryIO:
    try:
        return open_ledger(path)
    except OSError as error:
        message = f"cannot read the ledger {path}: {error.strerror}"
        cause = "it is not there, is another user's, or is a link, a pipe or a device"
        raise LedgerError(message, cause=cause, hint="name the file itself") from None


def _whatever_is_there(file: BinaryIO) -> Iterator[dict[str, object]]:
    for line in iter(lambda: file.readline(MAX_LINE), b""):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield cast("dict[str, object]", entry)


class Records(Record):
    """Where cuts are recorded.

    Attributes:
        own: the reaper's own ledger.
        by: who the reaper is.
        evidence: ledgers with something wrong about them; nothing is written there.
    """

    own: Path
    by: JobIdentity | None
    evidence: Collection[Path] = ()

    def record_cut(self, lease: LiveSession) -> None:
        """Record a cut in the lease's own ledger, or where that takes nothing in the reaper's.

        Raises:
            LedgerError: neither takes it.
        """
        entry = self._entry(lease)
        if lease.ledger not in self.evidence:
            try:
                Ledger(lease.ledger).append(entry)
            except LedgerError as error:
                _log.warning("%s; its cut goes into %s", error, self.own)
            else:
                return
        Ledger(self.own).append(entry)

    def _entry(self, lease: LiveSession) -> Entry:
        said = ("issuer", "subject", "repository", "run", "job")
        return Entry(
            event=Event.CUT,
            lease=lease.id,
            grant=lease.grant,
            target=lease.role.arn,
            at=datetime.now(UTC),
            expires_at=lease.until,
            identity={name: getattr(self.by, name) for name in said} if self.by else {},
            handle=f"session:{lease.user}" if lease.user else None,
            outcome=Outcome.CUT,
        )

"""What a ledger tells of each lease: whether it may be alive, and what it can be ended by.

The one reading for all who ask: `audit show --open`, `revoke`, the agent and `reap`. A ledger may
have been in a job's hands: every value here is a stranger's until it has been read.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import cast

from ci_identity._record import Record
from ci_identity._text import shortened
from ci_identity.errors import (
    CiIdentityError,
    InterruptedRunError,
    LedgerError,
    ProviderAnswerError,
    RevocationError,
    UnansweredError,
)
from ci_identity.ledger.entry import Event
from ci_identity.model import Handle, Lease

FOREVER = datetime.max.replace(tzinfo=UTC)
"""When a lease ends of which no entry tells a time."""

_NEVER = datetime.min.replace(tzinfo=UTC)
_CONFIRMED = frozenset({Event.REVOKED, Event.REAPED})
_ENDS = frozenset({*_CONFIRMED, Event.EXPIRES, Event.FAILED, Event.CUT})
_FROM_ISSUE_ON = frozenset(
    {Event.ISSUED, Event.DELIVERED, Event.ACCESSED, Event.REFRESHED, Event.EXPIRES}
)
_LOST = frozenset(
    kind.code
    for kind in (
        CiIdentityError,
        InterruptedRunError,
        LedgerError,
        ProviderAnswerError,
        RevocationError,
        UnansweredError,
    )
)
"""Why an exchange failed although the provider may have issued something."""

LedgerEntry = Mapping[str, object]
"""One entry as it was read."""


class LiveLease(Record):
    """A lease of which something may have been issued, as one ledger tells of it.

    Attributes:
        lease: which one; its `expires_at` is the latest that any of its entries has. An intent is
            on record before anything is sent, so what nobody recorded ends by then as well.
        step: the step that it was for, if known.
        identity: `issuer`, `subject`, `repository`, `run` and `job` of the job, as claimed.
        handles: what was issued, in that order. Empty where whoever asked was killed before the
            answer was on record: then nobody knows.
        ends: how it ended, by every event on record that says so.
        last: the last event on record.
        heard: when that was (UTC).
    """

    lease: Lease
    step: str | None
    identity: Mapping[str, str | None]
    handles: tuple[Handle, ...]
    ends: frozenset[str]
    last: str
    heard: datetime

    @property
    def has_ended(self) -> bool:
        """True if its job is known to be done with it, whatever that did at the provider."""
        return bool(self.ends - {Event.CUT})

    @property
    def is_revoked(self) -> bool:
        """True if the provider confirmed the end, according to the ledger."""
        return not self.ends.isdisjoint(_CONFIRMED)

    def is_over(self, now: datetime) -> bool:
        """Return whether its time is up."""
        return self.lease.expires_at <= now

    def may_live(self, now: datetime) -> bool:
        """Return whether it can still be used, as far as the ledger tells; `failed` is no end."""
        return not (self.is_revoked or Event.CUT in self.ends or self.is_over(now))


def leases(entries: Iterable[LedgerEntry]) -> list[LiveLease]:
    """Return every lease of a ledger of which something may have been issued, ended or not.

    Entries that name another target for the same lease are about another one: whoever adds a line
    to a ledger does not change what the lines before it say.
    """
    found: dict[tuple[str, str], _Story] = {}
    times = _Times()
    for entry in entries:
        lease, target = entry.get("lease"), entry.get("target")
        if isinstance(lease, str) and isinstance(target, str):
            story = found.get((lease, target))
            if story is None:
                story = found[lease, target] = _Story(entry)
            story.add(entry)
    return [
        story.told(lease, target, times)
        for (lease, target), story in found.items()
        if story.may_be_issued
    ]


def live(entries: Iterable[LedgerEntry]) -> list[LiveLease]:
    """Return the leases whose end is still owed: it is not on record, or it failed.

    One that failed before anything was issued is nobody's to end.
    """
    return [
        one
        for one in leases(entries)
        if one.ends <= {Event.FAILED} and (one.handles or not one.ends)
    ]


def lost(entries: Iterable[LedgerEntry], now: datetime) -> list[LiveLease]:
    """Return the leases that may live, and that nobody can end: none of them has a handle."""
    return [
        one
        for one in leases(entries)
        if not one.handles and Event.FAILED in one.ends and one.may_live(now)
    ]


class _Times(dict[str, "datetime | None"]):
    """The times that texts are, each read once; `None` for what is no time with an offset."""

    def __missing__(self, text: str) -> datetime | None:
        self[text] = found = _time(text)
        return found


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None


class _Story:
    """The entries about one lease, as far as they are needed, one after the other."""

    __slots__ = ("at", "ends_at", "events", "first", "handles", "is_lost", "last")

    def __init__(self, first: LedgerEntry) -> None:
        self.first = first
        self.events: set[str] = set()
        self.ends_at: set[str] = set()
        self.at = self.last = ""
        self.handles: dict[str, str] = {}
        self.is_lost = False

    def add(self, entry: LedgerEntry) -> None:
        event, at = entry.get("event"), entry.get("at")
        ends_at, handle = entry.get("expires_at"), entry.get("handle")
        if not isinstance(event, str):
            return
        self.last = event
        self.events.add(event)
        if isinstance(at, str):
            self.at = at
        if isinstance(ends_at, str) and event != Event.CUT:  # a cut makes nothing live longer
            self.ends_at.add(ends_at)
        if isinstance(handle, str) and handle not in self.handles:
            self.handles[handle] = str(ends_at)
        if event == Event.FAILED and not self.is_lost:
            self.is_lost = str(entry.get("reason")) in _LOST

    @property
    def may_be_issued(self) -> bool:
        if not _FROM_ISSUE_ON.isdisjoint(self.events):
            return True
        if Event.FAILED in self.events:
            return self.is_lost
        return Event.REQUESTED in self.events

    def told(self, lease: str, target: str, times: _Times) -> LiveLease:
        ends = [time for text in self.ends_at if (time := times[text])]
        step, identity = self.first.get("step"), self.first.get("identity")
        return LiveLease(
            lease=Lease(
                id=lease,
                grant=shortened(str(self.first.get("grant"))),
                target=target,
                expires_at=max(ends, default=FOREVER),
            ),
            step=step if isinstance(step, str) else None,
            identity=_identity(identity),
            handles=tuple(_handle(text, times[at]) for text, at in self.handles.items()),
            ends=frozenset(_ENDS.intersection(self.events)),
            last=self.last,
            heard=_time(self.at) or _NEVER,
        )


def _handle(text: str, expires_at: datetime | None) -> Handle:
    kind, _, value = text.partition(":")
    return Handle(kind=kind, value=value, expires_at=expires_at)


def _identity(said: object) -> Mapping[str, str | None]:
    if not isinstance(said, dict):
        return {}
    return {
        name: value if isinstance(value, str) else None
        for name, value in cast("dict[str, object]", said).items()
    }

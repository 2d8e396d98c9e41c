"""Plans, from ledgers alone, which AWS sessions are still alive and which of them to cut.

A ledger may have been in a job's hands: every value here is a stranger's until it has been read.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from ci_identity._record import Record
from ci_identity._text import shortened
from ci_identity.errors import (
    CiIdentityError,
    InterruptedRunError,
    LedgerError,
    ProviderAnswerError,
    UnansweredError,
)
from ci_identity.ledger.entry import Event

CLOCKS = timedelta(minutes=15)
"""How far the clocks of runners, of AWS and of this machine may differ."""

LONGEST = timedelta(hours=12)
"""The longest session that AWS gives (AWS STS, `DurationSeconds`)."""

_WORD = r"[A-Za-z0-9_+=,.@-]"
_ROLE = re.compile(
    rf"arn:aws[a-z-]*:iam::(?P<account>[0-9]{{12}}):role/(?:{_WORD}+/)*(?P<name>{_WORD}{{1,64}})"
)
_LEASE = re.compile(r"[0-9a-f]{16}")
_HANDLE = re.compile(rf"session:(?P<user>AROA[A-Z0-9]{{12,124}}:(?P<name>{_WORD}{{2,64}}))")

_ISSUED = frozenset({Event.ISSUED, Event.DELIVERED, Event.ACCESSED, Event.REFRESHED})
_ENDS = frozenset({Event.EXPIRES, Event.REVOKED, Event.REAPED, Event.FAILED})
"""The step is over. AWS cannot end a session, so whatever the word: the session lives on."""

_LOST = frozenset(
    kind.code
    for kind in (
        CiIdentityError,
        InterruptedRunError,
        LedgerError,
        ProviderAnswerError,
        UnansweredError,
    )
)
"""Why an exchange failed although AWS may have issued something. Else nothing was issued."""

LedgerEntry = Mapping[str, object]
"""One entry as it was read."""

Stories = Mapping[tuple[str, str], Sequence[LedgerEntry]]
"""By id of a lease and ARN of its role, the entries about it, in their order."""


class Role(Record):
    """A role of AWS: its ARN, and the two parts of it that IAM's calls need."""

    arn: str
    account: str
    name: str

    @classmethod
    def from_arn(cls, arn: object) -> "Role | None":
        """Return the role that `arn` names; `None` if it is no role's ARN."""
        found = _ROLE.fullmatch(arn) if isinstance(arn, str) else None
        return found and cls(arn=found[0], account=found["account"], name=found["name"])


class LiveSession(Record):
    """An AWS session that may still be alive.

    Attributes:
        id, grant: our id of it, and the grant it was issued for.
        role: the role whose session it is.
        user: its `aws:userid`, `AROA...:NAME`; `None` if its job was killed before AWS's answer
            was on record.
        until: when it is over by itself (UTC), as far as the ledger tells.
        has_ended: whether its step is known to be over.
        ledger: the file that tells of it.
    """

    id: str
    grant: str
    role: Role
    user: str | None
    until: datetime
    has_ended: bool
    ledger: Path


class Verdict(StrEnum):
    """What is to be done about a live lease; every one but the first leaves it alone.

    That a ledger says `cut` decides nothing: its job may have written that. IAM knows.
    """

    CUT = "cut"
    NO_END = "no-end"
    OWN_ROLE = "own-role"
    OTHER_ACCOUNT = "other-account"


class Planned(Record):
    """A live lease, and what is to be done about it."""

    lease: LiveSession
    verdict: Verdict


class Result(Record):
    """What came of one planned lease.

    Attributes:
        planned: the lease, and what was to be done about it.
        is_cut: whether the denial is in place.
        was_cut: whether it was in place already, as IAM says, so that nothing was done.
        reason: why it is not, in a few words; empty if it is, or was not to be.
        unrecorded: why a cut is on no record; `None` if it is.
    """

    planned: Planned
    is_cut: bool = False
    was_cut: bool = False
    reason: str = ""
    unrecorded: CiIdentityError | None = None


def stories(entries: Iterable[LedgerEntry]) -> Stories:
    """Return what the entries of one ledger tell of AWS leases; what is not about one is left out.

    Entries that name another role for the same lease are another story: whoever adds a line
    to a ledger does not change what the lines before it say.
    """
    found: dict[tuple[str, str], list[LedgerEntry]] = {}
    for entry in entries:
        lease, target = entry.get("lease"), entry.get("target")
        if isinstance(lease, str) and isinstance(target, str):
            found.setdefault((lease, target), []).append(entry)
    roles = _roles(found)
    return {
        (lease, target): story
        for (lease, target), story in found.items()
        if _LEASE.fullmatch(lease) and target in roles
    }


def live(stories: Stories, ledger: Path, now: datetime) -> Iterator[LiveSession]:
    """Yield the leases of one ledger whose sessions may still be alive, in its order."""
    roles = _roles(stories)
    for (lease, arn), story in stories.items():
        if found := _live(lease, roles[arn], story, ledger, now):
            yield found


def cut_roles(stories: Stories) -> tuple[Role, ...]:
    """Return the roles on which a cut was put, according to the ledger."""
    return tuple(
        _roles(
            about
            for about, story in stories.items()
            if any(entry.get("event") == Event.CUT for entry in story)
        ).values()
    )


def _roles(about: Iterable[tuple[str, str]]) -> dict[str, Role]:
    """Return the roles that are ones, each read once: a ledger has many leases of few roles."""
    roles = {arn: Role.from_arn(arn) for arn in dict.fromkeys(arn for _, arn in about)}
    return {arn: role for arn, role in roles.items() if role}


def plan(
    leases: Iterable[LiveSession], cutter: Role, *, named: Sequence[str] = (), is_all: bool = False
) -> tuple[Planned, ...]:
    """Decide about each of `leases`.

    Args:
        leases: what may be alive.
        cutter: the role that does the cutting: of its own account only, and never itself.
        named: ids of leases; if there are any, nothing is planned for others.
        is_all: also leases whose end is not on record: their job was killed, or still runs.
    """
    ids = frozenset(named)
    return tuple(
        Planned(lease=lease, verdict=_verdict(lease, cutter, is_asked=is_all or bool(ids)))
        for lease in leases
        if not ids or lease.id in ids
    )


def _verdict(lease: LiveSession, cutter: Role, *, is_asked: bool) -> Verdict:
    if not lease.has_ended and not is_asked:
        return Verdict.NO_END
    if lease.role.account != cutter.account:
        return Verdict.OTHER_ACCOUNT
    return Verdict.OWN_ROLE if lease.role.name == cutter.name else Verdict.CUT


def _live(
    lease: str, role: Role, story: Sequence[LedgerEntry], ledger: Path, now: datetime
) -> LiveSession | None:
    events = {str(entry.get("event")) for entry in story}
    if not _may_be_issued(story, events):
        return None
    horizon = now + LONGEST
    has_ended = not _ENDS.isdisjoint(events)
    until = _until(story, horizon)
    if not has_ended:  # killed while it renewed: what AWS answered is not on record
        until = min(until + _life(story, horizon), horizon)
    if until + CLOCKS < now:
        return None
    return LiveSession(
        id=lease,
        grant=shortened(str(story[0].get("grant"))),
        role=role,
        user=_user(story, lease),
        until=until,
        has_ended=has_ended,
        ledger=ledger,
    )


def _may_be_issued(story: Sequence[LedgerEntry], events: set[str]) -> bool:
    if not _ISSUED.isdisjoint(events) or Event.EXPIRES in events:
        return True
    if Event.FAILED in events:
        return any(str(entry.get("reason")) in _LOST for entry in story)
    return Event.REQUESTED in events


def _user(story: Sequence[LedgerEntry], lease: str) -> str | None:
    """Return the last `aws:userid` on record that is one, and is this lease's."""
    for entry in reversed(story):
        handle = entry.get("handle")
        found = _HANDLE.fullmatch(handle) if isinstance(handle, str) else None
        if found and found["name"].endswith(f"-{lease}"):
            return found["user"]
    return None


def _life(story: Sequence[LedgerEntry], horizon: datetime) -> timedelta:
    """Return the life that each credential of the lease was asked for with."""
    for entry in story:
        asked, until = (_time(entry.get(name), horizon) for name in ("at", "expires_at"))
        if entry.get("event") == Event.REQUESTED and asked and until:
            return min(max(until - asked, timedelta()), LONGEST)
    return timedelta()


def _until(story: Sequence[LedgerEntry], horizon: datetime) -> datetime:
    """Return the latest time on record; a cut is no renewal, and its time is not one of them."""
    said = (entry.get("expires_at") for entry in story if entry.get("event") != Event.CUT)
    times = (_time(text, horizon) for text in {text for text in said if isinstance(text, str)})
    return max((time for time in times if time), default=horizon)


def _time(text: object, horizon: datetime) -> datetime | None:
    """Return a time of the ledger, at most `horizon`: no session of today lives longer."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
        return min(found.astimezone(UTC), horizon) if found and found.tzinfo else None
    except (ValueError, OverflowError):
        return None

"""Plans, from ledgers alone, what is to be done about each lease that jobs left behind.

Each provider has a `Reaper`, which says of a lease whether it can end it, and ends it. Here is
what is the same for all: whose time is over, and whose job may still run.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ci_identity._record import Record
from ci_identity.errors import CiIdentityError
from ci_identity.ledger.entry import Event
from ci_identity.ledger.live import LiveLease
from ci_identity.model import Handle, Outcome
from ci_identity.recording import BEAT

if TYPE_CHECKING:
    from ci_identity.session import Session

CLOCKS = timedelta(minutes=15)
"""How far the clocks of runners, of providers and of this machine may differ."""

DEAD_AFTER = CLOCKS + 3 * timedelta(seconds=BEAT)
"""A job that has told nothing for so long is dead: it missed three beats, by whichever clock."""

_RUNS = "its job runs, or was killed lately: --all, --lease or --dead-after ends it"


class Left(Record):
    """A lease that may be alive, and the ledger that tells of it."""

    lease: LiveLease
    ledger: Path

    @property
    def id(self) -> str:
        """Our id of the lease."""
        return self.lease.lease.id

    @property
    def target(self) -> str:
        """Which role or account it is from, as the ledger has it."""
        return self.lease.lease.target

    @property
    def until(self) -> datetime:
        """When it is over by itself (UTC), as far as the ledger tells."""
        return self.lease.lease.expires_at


class Verdict(StrEnum):
    """What is to be done about a lease."""

    END = "end"
    LEAVE = "leave"
    FAIL = "fail"
    """It was to be ended, and the reaper has no way to."""


class Judgement(Record):
    """What is to be done about a lease, and why, where that is not to end it."""

    verdict: Verdict = Verdict.END
    why: str = ""


class Result(Record):
    """What came of one lease that was to be ended.

    Attributes:
        is_done: whether it has ended, as the provider says.
        was_done: whether that was so before, so that nothing was done.
        reason: why it has not, in a few words; empty if it has.
        unrecorded: why its end is on no record; `None` if it is.
    """

    is_done: bool = False
    was_done: bool = False
    reason: str = ""
    unrecorded: CiIdentityError | None = None


class End(Record):
    """How a reaper ended a lease, for the record."""

    event: Event
    outcome: Outcome
    until: datetime | None = None
    handle: Handle | None = None


Recording = Callable[[Left, End], None]
"""Puts an end that is in effect on record; raises `CiIdentityError` where that fails."""


class Reaper(Protocol):
    """Ends at one provider, by one grant of its own, what jobs left there.

    What it is handed comes from ledgers that jobs had in their hands: it believes none of it.

    Attributes:
        grant: the name of its grant.
        done: what it does, in the past tense: `revoked`, `cut`.
        confirms: whether the provider can confirm an end, so that a ledger that says `revoked`
            may be right.
    """

    grant: str
    done: str
    confirms: bool

    def judge(self, left: Left) -> Judgement | None:
        """Return whether it can end the lease; `None` if that is of another kind of provider."""
        ...

    def reap(
        self, lefts: Sequence[Left], session: "Session", record: Recording
    ) -> Iterator[Result]:
        """End the leases, by an open session for its grant; yield what came of each, in order.

        What fails for one lease keeps no other from being ended. Doing it again does no harm.
        """
        ...


class Planned(Record):
    """A lease, what is to be done about it, and why not, and by whom."""

    left: Left
    verdict: Verdict
    why: str = ""
    reaper: Reaper | None = None


class Asked(Record):
    """What the person who reaps asked for.

    Attributes:
        named: ids of leases; if there are any, nothing is planned for others.
        is_all: also leases of jobs that may still run.
        dead_after: for how long a job that has told nothing has to have been silent.
    """

    named: frozenset[str] = frozenset()
    is_all: bool = False
    dead_after: timedelta = DEAD_AFTER


def plan(
    lefts: Iterable[Left],
    reapers: Sequence[Reaper],
    asked: Asked,
    now: datetime,
    *,
    otherwise: Callable[[str], str],
) -> tuple[Planned, ...]:
    """Decide about each of `lefts` that is not over, nor known to have been revoked.

    Args:
        lefts: what may be alive.
        reapers: who can end something.
        asked: what was asked for.
        now: the time (UTC).
        otherwise: says of a target why none of the reapers ends what is from it.
    """
    late, since = now - CLOCKS, now - asked.dead_after
    is_asked = asked.is_all or bool(asked.named)
    planned = (
        _planned(left, reapers, otherwise, is_due=is_asked or _is_dead(left.lease, since))
        for left in lefts
        if (not asked.named or left.id in asked.named) and not left.lease.is_over(late)
    )
    return tuple(one for one in planned if one)


def _planned(
    left: Left,
    reapers: Sequence[Reaper],
    otherwise: Callable[[str], str],
    *,
    is_due: bool,
) -> Planned | None:
    judged = [(found, one) for one in reapers if (found := one.judge(left))]
    if left.lease.is_revoked and all(one.confirms for _, one in judged):
        return None
    if not judged:
        return Planned(left=left, verdict=Verdict.LEAVE, why=otherwise(left.target))
    can = (pair for pair in judged if pair[0].verdict is Verdict.END)
    found, reaper = next(can, judged[0])
    if found.verdict is not Verdict.LEAVE and not is_due:
        return Planned(left=left, verdict=Verdict.LEAVE, why=_RUNS, reaper=reaper)
    return Planned(left=left, verdict=found.verdict, why=found.why, reaper=reaper)


def _is_dead(lease: LiveLease, since: datetime) -> bool:
    """Return whether nothing uses the lease: its job is done with it, or silent since then."""
    return lease.has_ended or lease.heard < since

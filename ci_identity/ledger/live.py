"""Which leases of a ledger may still be alive, and what they can be ended by."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import cast

from ci_identity._record import Record
from ci_identity.errors import LedgerTamperedError
from ci_identity.ledger.entry import Event
from ci_identity.model import Handle, Lease

_ENDS = frozenset({Event.REVOKED, Event.EXPIRES, Event.REAPED, Event.CUT})
_ISSUES = frozenset({Event.ISSUED, Event.REFRESHED})


class LiveLease(Record):
    """A lease that was asked for, and whose end is not on record.

    Attributes:
        lease: which one; its `expires_at` is the latest that any of its entries has.
        step: the step that it was for, if known.
        identity: `issuer`, `subject`, `repository`, `run` and `job` of the job, as claimed.
        handles: what was issued, in that order. Empty where whoever asked was killed before the
            answer was on record: then nobody knows.
    """

    lease: Lease
    step: str | None
    identity: Mapping[str, str | None]
    handles: tuple[Handle, ...]


def live(entries: Iterable[Mapping[str, object]]) -> list[LiveLease]:
    """Return the leases of a ledger that may still be alive; `failed` is no end.

    Args:
        entries: the entries as `read` yields them.

    Raises:
        LedgerTamperedError: an entry lacks what every one has.
    """
    stories: dict[str, list[Mapping[str, object]]] = {}
    for entry in entries:
        stories.setdefault(str(entry.get("lease")), []).append(entry)
    return [_live_lease(lease, story) for lease, story in stories.items() if _is_live(story)]


def _is_live(story: Iterable[Mapping[str, object]]) -> bool:
    events = {str(entry.get("event")) for entry in story}
    return not events & _ENDS and (Event.ISSUED in events or events == {Event.REQUESTED})


def _live_lease(lease: str, story: list[Mapping[str, object]]) -> LiveLease:
    first = story[0]
    try:
        ends = [_time(entry["expires_at"]) for entry in story if entry["expires_at"]]
        return LiveLease(
            lease=Lease(
                id=lease,
                grant=str(first["grant"]),
                target=str(first["target"]),
                expires_at=max(ends),
            ),
            step=None if first["step"] is None else str(first["step"]),
            identity=_texts(first["identity"]),
            handles=tuple(_handles(story)),
        )
    except (KeyError, ValueError, TypeError, OverflowError):
        message = f"the entries about the lease {lease} are none that ci-identity wrote"
        raise LedgerTamperedError(message) from None


def _handles(story: Iterable[Mapping[str, object]]) -> Iterable[Handle]:
    found: dict[str, Handle] = {}
    for entry in story:
        if str(entry["event"]) in _ISSUES and entry["handle"]:
            kind, _, value = str(entry["handle"]).partition(":")
            expires_at = _time(entry["expires_at"])
            found[f"{kind}:{value}"] = Handle(kind=kind, value=value, expires_at=expires_at)
    return found.values()


def _texts(found: object) -> Mapping[str, str | None]:
    if not isinstance(found, Mapping):
        raise TypeError
    named = cast("Mapping[str, object]", found)
    return {name: None if value is None else str(value) for name, value in named.items()}


def _time(text: object) -> datetime:
    return datetime.fromisoformat(str(text)).astimezone(UTC)

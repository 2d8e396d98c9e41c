"""Which leases a ledger shows as live, and by which handles."""

from datetime import UTC, datetime, timedelta

import pytest

from ci_identity._record import replace
from ci_identity.errors import LedgerTamperedError
from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.live import live

AT = datetime(2030, 1, 1, tzinfo=UTC)


def story(*events: Event, lease: str = "a") -> list[dict[str, object]]:
    """Return the entries of a lease, one minute of life and one handle more in each."""
    entry = Entry(event=Event.REQUESTED, lease=lease, grant="g", step="s", target="t")
    return [
        replace(
            entry, event=event, expires_at=AT + timedelta(minutes=n), handle=f"accessor:{lease}{n}"
        ).to_object()
        for n, event in enumerate(events)
    ]


@pytest.mark.parametrize("end", [Event.REVOKED, Event.EXPIRES, Event.REAPED, Event.CUT])
def test_a_lease_with_an_end_is_not_live(end: Event) -> None:
    """What has ended has ended, also if something is recorded afterwards."""
    assert live(story(Event.REQUESTED, Event.ISSUED, end)) == []
    assert live(story(Event.REQUESTED, Event.ISSUED, end, Event.REFUSED)) == []


def test_failed_is_no_end() -> None:
    """What could not be revoked is live; what was never issued is not."""
    assert len(live(story(Event.REQUESTED, Event.ISSUED, Event.FAILED))) == 1
    assert live(story(Event.REQUESTED, Event.FAILED)) == []
    assert live(story(Event.DENIED)) == []


def test_handles_are_those_that_were_issued() -> None:
    """Also those issued anew; the latest end of all is that of the lease."""
    (left,) = live(story(Event.REQUESTED, Event.ISSUED, Event.REFRESHED, Event.FAILED))
    assert [str(handle) for handle in left.handles] == ["accessor:a1", "accessor:a2"]
    assert left.lease.expires_at == AT + timedelta(minutes=3)
    assert (left.lease.id, left.lease.grant, left.lease.target, left.step) == ("a", "g", "t", "s")


def test_leases_are_told_apart() -> None:
    """The entries of several leases may stand in any order."""
    one, two = story(Event.REQUESTED, Event.ISSUED), story(Event.REQUESTED, lease="b")
    assert [left.lease.id for left in live([one[0], *two, one[1]])] == ["a", "b"]


@pytest.mark.parametrize("field", ["grant", "target", "expires_at"])
def test_an_entry_without_its_fields_is_refused(field: str) -> None:
    """What nobody of ours has written is not acted on."""
    entries = story(Event.REQUESTED, Event.ISSUED)
    for entry in entries:
        del entry[field]
    with pytest.raises(LedgerTamperedError, match="the lease a"):
        live(entries)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("identity", ["issuer"]),
        ("expires_at", ["2030-01-01T00:00:00+00:00"]),
        ("expires_at", "0001-01-01T00:00:00+23:59"),
        ("expires_at", True),
    ],
)
def test_an_entry_with_other_fields_is_refused(field: str, value: object) -> None:
    """Nor is what has another kind of value there than ours has."""
    entries = story(Event.REQUESTED, Event.ISSUED)
    for entry in entries:
        entry[field] = value
    with pytest.raises(LedgerTamperedError, match="the lease a"):
        live(entries)


@pytest.mark.parametrize("event", [[], {}, 1, None])
def test_an_event_that_is_none_changes_nothing(event: object) -> None:
    """A line that says nothing known ends no lease, and issues none."""
    entries = story(Event.REQUESTED, Event.ISSUED, Event.DELIVERED)
    entries[2]["event"] = event
    assert [lease.lease.id for lease in live(entries)] == ["a"]

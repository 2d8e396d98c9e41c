"""Which leases a ledger shows as live, and by which handles."""

from datetime import UTC, datetime, timedelta

import pytest

from ci_identity._record import replace
from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.live import FOREVER, leases, live

AT = datetime(2030, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


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
    assert [str(handle) for handle in left.handles] == [
        "accessor:a0",
        "accessor:a1",
        "accessor:a2",
        "accessor:a3",
    ]
    assert left.lease.expires_at == AT + timedelta(minutes=3)
    assert (left.lease.id, left.lease.grant, left.lease.target, left.step) == ("a", "g", "t", "s")


def test_leases_are_told_apart() -> None:
    """The entries of several leases may stand in any order."""
    one, two = story(Event.REQUESTED, Event.ISSUED), story(Event.REQUESTED, lease="b")
    assert [left.lease.id for left in live([one[0], *two, one[1]])] == ["a", "b"]


@pytest.mark.parametrize("name", ["grant", "step", "expires_at", "identity", "handle", "at"])
@pytest.mark.parametrize("value", [None, [], 1, "x", {}])
def test_whatever_a_field_says_nothing_breaks(name: str, value: object) -> None:
    """What somebody else has written is read as far as it is what it should be."""
    (left,) = live([entry | {name: value} for entry in story(Event.REQUESTED, Event.ISSUED)])
    assert left.lease.id == "a"
    assert left.lease.expires_at == (FOREVER if name == "expires_at" else AT + MINUTE)


@pytest.mark.parametrize(("at", "is_over"), [(-1, False), (0, True), (1, True)])
def test_a_lease_is_over_when_its_time_is(at: int, is_over: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """To the moment; then it cannot be alive, whatever is on record of its end."""
    (left,) = leases(story(Event.REQUESTED, Event.ISSUED))
    now = AT + MINUTE * (1 + at)
    assert (left.is_over(now), left.may_live(now)) == (is_over, not is_over)


@pytest.mark.parametrize("end", [Event.REVOKED, Event.REAPED, Event.CUT])
def test_what_was_ended_is_alive_no_more(end: Event) -> None:
    """It is told all the same: a reaper that does not believe it can still look."""
    (left,) = leases(story(Event.REQUESTED, Event.ISSUED, end))
    assert not left.may_live(AT)
    assert left.is_revoked is (end is not Event.CUT)
    assert left.has_ended is (end is not Event.CUT)


@pytest.mark.parametrize("end", [Event.EXPIRES, Event.FAILED])
def test_what_was_not_ended_lives_on(end: Event) -> None:
    """Its job is done with it, and it works until its time is up."""
    (left,) = leases(story(Event.REQUESTED, Event.ISSUED, end))
    assert left.may_live(AT)
    assert left.has_ended


def test_the_last_sign_of_life_is_told() -> None:
    """Any entry is one; a heartbeat is there to be one."""
    entries = story(Event.REQUESTED, Event.ISSUED, Event.ALIVE, Event.ALIVE)
    for n, entry in enumerate(entries):
        entry["at"] = (AT + n * MINUTE).isoformat()
    (left,) = leases(entries)
    assert (left.heard, left.last) == (AT + 3 * MINUTE, "alive")


def test_an_entry_for_another_target_is_about_another_lease() -> None:
    """A line that was slipped in ends nothing that the lines before it tell of."""
    entries = story(Event.REQUESTED, Event.ISSUED)
    forged = story(Event.REVOKED)[0] | {"target": "elsewhere"}
    assert [one.is_revoked for one in leases([*entries, forged])] == [False]

"""An entry: what it says, and that nothing long fits in it."""

import json
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest

from ci_identity._record import replace
from ci_identity.ledger.entry import FIRST_PREV, MAX_TEXT, Entry, Event

ENTRY = Entry(event=Event.REQUESTED, lease="0123456789abcdef", grant="migrate-db")


def test_line_has_the_fields_of_the_contract() -> None:
    """One JSON object a line, with every field there, set or not."""
    line = ENTRY.chained(FIRST_PREV).to_line()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert list(json.loads(line)) == [
        *("v", "at", "event", "grant", "step", "target", "lease", "expires_at", "identity"),
        *("fingerprint", "handle", "outcome", "reason", "peer"),
        *("packed_policy", "steered_by", "prev", "hash"),
    ]


def test_times_are_utc() -> None:
    """Times of another zone are written as UTC, to the millisecond."""
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
    written = replace(ENTRY, at=at, expires_at=at).to_object()
    assert written["at"] == written["expires_at"] == "2026-01-02T01:04:05.678+00:00"


def test_time_is_that_of_the_entry() -> None:
    """Without a time an entry has that of its making."""
    assert abs(datetime.now(UTC) - ENTRY.at) < timedelta(hours=1)


@pytest.mark.parametrize(
    "name",
    sorted(set(Entry.fields_) - {"at", "expires_at", "event", "packed_policy", "prev", "hash"}),
)
def test_no_field_takes_more_than_its_length(name: str) -> None:
    """Whatever strangers write into a claim, a variable or a name, an entry stays short."""
    long = "x" * (MAX_TEXT * 3)
    value: Any = long
    if name == "identity":
        value = {"subject": long, "repository": long}
    elif name == "steered_by":
        value = (long,)
    written = replace(ENTRY, **{name: value}).to_object()[name]
    found = json.dumps(written)
    assert "x" * MAX_TEXT in found
    assert "x" * (MAX_TEXT + 1) not in found


def test_hash_covers_every_other_field() -> None:
    """Each field, changed alone, gives another hash."""
    entry = ENTRY.chained(FIRST_PREV)
    changes: dict[str, Any] = {
        "event": Event.FAILED,
        "at": ENTRY.at + timedelta(seconds=1),
        "expires_at": ENTRY.at,
        "identity": {"run": "1"},
        "packed_policy": 1,
        "steered_by": ("X",),
    }
    for name in set(Entry.fields_) - {"prev", "hash"}:
        other = replace(ENTRY, **{name: changes.get(name, "another")})
        assert other.chained(FIRST_PREV).hash != entry.hash, name
    assert ENTRY.chained("1" * 64).hash != entry.hash


def test_hash_can_be_checked_by_hand() -> None:
    """It is that of the line's own bytes up to itself: no tool has to write JSON as we do."""
    line = ENTRY.chained(FIRST_PREV).to_line()
    unhashed, _, rest = line.partition(b',"hash":"')
    assert rest == sha256(unhashed).hexdigest().encode() + b'"}\n'


def test_lone_surrogate_can_be_written() -> None:
    """A claim of half a character, which no encoding has, does not stop the record."""
    entry = replace(ENTRY, identity={"subject": "\ud800"})
    assert json.loads(entry.to_line())["identity"]["subject"] == "\ud800"

"""Ledgers as jobs leave them: what happened to one lease after the other."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.verify import read
from ci_identity.ledger.writer import Ledger
from ci_identity.reaping.plan import LiveSession, live, stories

ROLE = "arn:aws:iam::123456789012:role/ci/deploy-web"
LEASE = "0123456789abcdef"
NOW = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)
LIFE = timedelta(minutes=15)
USER = f"AROAQ3EGXAMPLE7777777:gh-acme.shop-9001-1-31337-{LEASE}"


def tell(path: Path, *events: Event, lease: str = LEASE, **about: Any) -> Path:
    """Add what happened to a lease, asked for at NOW, to a ledger."""
    for event in events:
        has_handle = event not in {Event.REQUESTED, Event.DENIED, Event.FAILED}
        said: dict[str, Any] = {
            "at": NOW,
            "grant": "deploy-web",
            "target": ROLE,
            "expires_at": NOW + LIFE,
            "handle": f"session:{USER.replace(LEASE, lease)}" if has_handle else None,
        }
        Ledger(path).append(Entry(event=event, lease=lease, **(said | about)))
    return path


def leases(path: Path, now: datetime = NOW) -> list[LiveSession]:
    """Return what may be alive, as the ledger at `path` tells it."""
    return list(live(stories(read(path)), path, now))

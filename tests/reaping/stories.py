"""Ledgers as jobs leave them: what happened to one lease after the other."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ci_identity.ledger.entry import Entry, Event
from ci_identity.ledger.writer import Ledger
from ci_identity.model import AwsTarget, Grant, VaultTarget
from ci_identity.reaping.aws import AwsReaper, LiveSession
from ci_identity.reaping.ledgers import listen
from ci_identity.reaping.plan import Asked, Left, plan

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


def lefts(path: Path) -> list[Left]:
    """Return the leases that the ledger at `path` tells of."""
    return list(listen([path]).leases)


def leases(path: Path, now: datetime = NOW) -> list[LiveSession]:
    """Return the AWS sessions that may be alive, as the ledger at `path` tells it."""
    found = (LiveSession.of(left, now) for left in lefts(path) if is_planned(left, now))
    return [one for one in found if one]


def is_planned(left: Left, now: datetime) -> bool:
    """Whether anything is planned for a lease, whatever it is."""
    return bool(plan([left], [CUTTER], Asked(), now, otherwise=lambda _: ""))


def grant(name: str, target: AwsTarget | VaultTarget) -> Grant:
    """Return a grant for a target."""
    return Grant(name=name, conditions={}, ttl=LIFE, target=target)


CUTTER = AwsReaper(
    grant("cut", AwsTarget(role="arn:aws:iam::123456789012:role/reap", region="eu-west-1"))
)

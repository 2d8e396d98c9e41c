"""When a lease ends, and what is said if that fails."""

from datetime import UTC, datetime

from ci_identity._record import Record, replace
from ci_identity.errors import RevocationError
from ci_identity.exchangers.interface import Credential
from ci_identity.model import Lease, Outcome

BUDGET = 20.0
"""Seconds that ending one lease may take, retries included, when nobody is pressing."""

BUDGET_WHEN_CANCELLED = 5.0
"""Seconds after a signal: GitHub kills the tree 10 s after its SIGINT, and others wait too."""


class Revocation(Record):
    """How a lease ended.

    Attributes:
        lease: which one.
        outcome: what is true of it now.
        reason: an error code, where it was not revoked.
        detail: the same in a sentence.
        handles: what to end it by from outside, where it may still be alive.
        is_over: whether its time was over by then.
    """

    lease: Lease
    outcome: Outcome
    reason: str | None = None
    detail: str = ""
    handles: tuple[str, ...] = ()
    is_over: bool = False

    def sentence(self) -> str:
        """Return what to tell people, in one line."""
        name, until = self.lease.grant, f"{self.lease.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        match self.outcome:
            case Outcome.REVOKED:
                return f"{name}: revoked; {self.detail or 'the server confirmed it'}"
            case Outcome.EXPIRES if self.is_over:
                return f"{name}: ended by itself at {until} ({self.detail})"
            case Outcome.EXPIRES:
                return f"{name}: expires at {until} ({self.detail})"
            case Outcome.CUT:
                return f"{name}: cut off by a deny policy"
            case Outcome.FAILED if not self.handles:
                alive = f"it may live until {until}, a login to Vault for its role's token_ttl"
                return f"{name}: NOT revoked ({self.detail}); {alive}"
            case Outcome.FAILED:
                alive = f"it may live until {until}; from outside, revoke {', '.join(self.handles)}"
                return f"{name}: NOT revoked ({self.detail}); {alive}"

    def check(self) -> None:
        """Raise `RevocationError` if the lease may still be alive although it should not."""
        if self.outcome is Outcome.FAILED:
            raise RevocationError(self.sentence())


def end(
    credential: Credential | None, lease: Lease, handles: tuple[str, ...], *, budget: float
) -> Revocation:
    """End `credential` at its provider within `budget` seconds, and say truly how that went."""
    if credential is None:
        return Revocation(lease=lease, outcome=Outcome.REVOKED, detail="nothing had been issued")
    ending = credential.revoke(budget=budget)
    if ending.until:
        lease = replace(lease, expires_at=max(lease.expires_at, ending.until))
    return Revocation(
        lease=lease,
        outcome=ending.outcome,
        reason=ending.reason,
        detail=ending.detail,
        handles=handles,
        is_over=datetime.now(UTC) >= lease.expires_at,
    )

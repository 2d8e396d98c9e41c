"""What an exchanger is: a subject token in, a narrow credential out, and its end beside it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ci_identity._record import Record
from ci_identity.model import Delivered, Grant, Handle, JobIdentity, Outcome, Served, SubjectToken
from ci_identity.secret import Secret


class Ending(Record):
    """How the end of a credential went, as the provider confirmed it.

    Attributes:
        outcome: `REVOKED` only if the provider confirmed the end of every part.
        reason: an error code, where it is not `REVOKED`; goes into the ledger.
        detail: the same in a sentence, for people. Holds nothing secret.
        until: when what may be alive ends by itself (UTC), if later than what the step was given.
    """

    outcome: Outcome
    reason: str | None = None
    detail: str = ""
    until: datetime | None = None


NOTHING_ISSUED = Ending(outcome=Outcome.REVOKED, detail="nothing had been issued")


class Strength(Record):
    """How far the end of a credential goes at its provider, if nothing fails.

    Declared once, beside each credential: it is what people are told at the end of a step, what
    docs/reference/targets.md has, and what the contract test sees.

    Attributes:
        outcome: `REVOKED` or `EXPIRES`.
        meaning: what that does, or why it does no more, in a few words.
    """

    outcome: Outcome
    meaning: str


def left_to_expire(expires_at: datetime, strength: Strength) -> Ending:
    """Return the end of what no provider was asked to end: by itself, at `expires_at` (UTC)."""
    if datetime.now(UTC) >= expires_at:
        detail = "the step outlived its ttl"
        return Ending(outcome=Outcome.EXPIRES, reason="expired", detail=detail)
    return Ending(outcome=Outcome.EXPIRES, reason="not-revocable", detail=strength.meaning)


class Credential(Protocol):
    """What an exchange gave: what the step is handed, and the way to end it."""

    @property
    def expires_at(self) -> datetime:
        """When everything issued has ended by itself (UTC)."""
        ...

    @property
    def variables(self) -> Mapping[str, Delivered]:
        """The variables that the child gets, by name."""
        ...

    @property
    def served(self) -> Served | None:
        """What is handed over by the loopback endpoint instead, and renewed there."""
        ...

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must not be seen in a log beside the variables that are not public."""
        ...

    def revoke(self, *, budget: float) -> Ending:
        """End it at the provider within `budget` seconds. Never raises; may be called twice."""
        ...


class ExchangeRequest(Record):
    """What an exchanger is asked for.

    Attributes:
        grant: the grant, with its target.
        subject_token: the job's token, already checked against the grant.
        mint: returns a new token of the same job, checked against the grant once more; for a try
            that comes when the first one has ended, or nearly.
        identity: who the job is; goes into the credential's metadata.
        step: the step's id or label, if any.
        ttl: how long the credential may live at most.
        lease_id: our id of the lease, 16 hex digits, to be findable in the provider's own log. A
            lease that is renewed keeps it.
        hold: to be called with the credential before the first effect: from then on whoever asked
            ends it, however the exchange goes.
        record: to be called with each handle as soon as the provider has issued something, before
            the next effect. It raises if the entry cannot be written or the job was cancelled.
        warn: to be called with a sentence for the person who reads the log.
        note: the same for what is no reason to worry.
        pause: sleeps that many seconds between two tries; raises if the job was cancelled.
    """

    grant: Grant
    subject_token: SubjectToken
    mint: Callable[[], SubjectToken]
    identity: JobIdentity
    step: str | None
    ttl: timedelta
    lease_id: str
    hold: Callable[[Credential], None]
    record: Callable[[Handle], None]
    warn: Callable[[str], None]
    note: Callable[[str], None]
    pause: Callable[[float], None]


class Exchanger(Protocol):
    """Exchanges a subject token at one kind of provider."""

    @property
    def target(self) -> str:
        """The role or account in the words of the provider's API; for the ledger, no secret."""
        ...

    @property
    def audience(self) -> str:
        """The audience that the subject token must have where the grant names none."""
        ...

    @property
    def steered_by(self) -> tuple[str, ...]:
        """Names of the environment variables that chose an endpoint, a proxy or a CA."""
        ...

    def exchange(self, request: ExchangeRequest) -> Credential:
        """Swap the subject token for a credential.

        Raises:
            ExchangeError: the provider refused; permanent, one call.
            ProviderUnavailableError: no answer within the budget of retries.
        """
        ...


class Reclaimer(Protocol):
    """Ends what an earlier process of the job was given, and was killed before it could end."""

    def reclaim(self, request: ExchangeRequest, handles: Sequence[Handle]) -> Ending:
        """Log in once more with the job's token, and end what the handles name.

        The login itself is held and recorded as in an exchange: whoever asked ends it.

        Args:
            request: whose token is swapped, and for which grant; `lease_id` is the lease to end.
            handles: what was issued, in that order, as the ledger has it.

        Raises:
            ExchangeError, ProviderUnavailableError: as `Exchanger.exchange`.
        """
        ...

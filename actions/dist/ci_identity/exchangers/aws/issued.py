"""What one call gave, in this machine's time where others are told of it. Pure."""

from datetime import timedelta

from ci_identity._record import Record
from ci_identity.exchangers.aws.clocks import matters
from ci_identity.exchangers.aws.policy import SessionPolicy
from ci_identity.exchangers.aws.sts import Session
from ci_identity.model import AwsKeys, Handle


class Issued(Record):
    """A session, and how far it is to be believed.

    Attributes:
        session, policy: what AWS gave, and what narrows it. Their times are by AWS's clock.
        ahead: how far this machine's clock is ahead of AWS's.
        assumed: how far it was taken to be when the deadline was set.
    """

    session: Session
    policy: SessionPolicy
    ahead: timedelta
    assumed: timedelta

    @property
    def is_over(self) -> bool:
        """True if its deadline had passed when it began."""
        begun = self.session.expires_at - self.policy.life
        return self.policy.deadline is not None and self.policy.deadline < begun

    def is_misjudged(self, ttl: timedelta) -> bool:
        """True if its deadline ends it at quite another time than was asked."""
        is_wrong = matters(self.ahead - self.assumed, ttl=ttl)
        return self.is_over or (self.policy.deadline is not None and is_wrong)

    @property
    def keys(self) -> AwsKeys:
        """The keys. Their end is by this machine's clock, with which renewal and SDKs compare it.

        SDKs that correct a clock do so for signatures (by the `Date` of AWS's answers), not where
        they look whether keys have ended.
        """
        ends = min(self.session.expires_at, self.policy.deadline or self.session.expires_at)
        return AwsKeys(
            access_key_id=self.session.access_key_id,
            secret_access_key=self.session.secret_access_key,
            session_token=self.session.session_token,
            expires_at=ends + self.ahead,
        )

    @property
    def handle(self) -> Handle:
        """What the ledger has of it."""
        return Handle(
            kind="session",
            value=self.session.role_id,
            expires_at=self.keys.expires_at,
            fingerprint=self.session.session_token.fingerprint(),
            packed_policy=self.session.packed_policy,
        )

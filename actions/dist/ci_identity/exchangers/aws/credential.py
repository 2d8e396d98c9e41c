"""A session at AWS for one step, and what can be said of its end."""

from collections.abc import Mapping
from datetime import UTC, datetime

from ci_identity.exchangers.interface import Ending
from ci_identity.model import AwsKeys, Delivered, Outcome
from ci_identity.secret import Secret


class AwsCredential:
    """The keys of one session. AWS ends no session on request: they are dropped, and expire.

    Attributes:
        expires_at: when the session ends in effect: by itself, or by the deadline in its policy.
        served: the keys; `None` before they are there and after `revoke`.
        secrets: their secret parts, to be masked in what is still to come of the log.
    """

    def __init__(self) -> None:
        self.variables: Mapping[str, Delivered] = {}
        self.expires_at = datetime.now(UTC)
        self.served: AwsKeys | None = None
        self.secrets: tuple[Secret, ...] = ()

    def hold_keys(self, keys: AwsKeys) -> None:
        """Keep the keys of the session."""
        self.served = keys
        self.expires_at = keys.expires_at
        self.secrets = (keys.secret_access_key, keys.session_token)

    def revoke(self, *, budget: float) -> Ending:  # noqa: ARG002  # there is nobody to ask
        """Drop the keys, and say when the session ends by itself."""
        self.served = None
        if not self.secrets:
            return Ending(outcome=Outcome.REVOKED, detail="nothing had been issued")
        if datetime.now(UTC) >= self.expires_at:
            detail = "the step outlived its ttl"
            return Ending(outcome=Outcome.EXPIRES, reason="expired", detail=detail)
        detail = "AWS cannot end a session; from outside: ci-identity reap --deny"
        return Ending(outcome=Outcome.EXPIRES, reason="not-revocable", detail=detail)

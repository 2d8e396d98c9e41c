"""A session at AWS for one step, and what can be said of its end."""

from collections.abc import Mapping
from datetime import UTC, datetime

from ci_identity.exchangers.interface import NOTHING_ISSUED, Ending, Strength, left_to_expire
from ci_identity.model import AwsKeys, Delivered, Outcome
from ci_identity.secret import Secret

STRENGTH = Strength(
    outcome=Outcome.EXPIRES,
    meaning="AWS cannot end a session; from outside: ci-identity reap --deny",
)


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
        return left_to_expire(self.expires_at, STRENGTH) if self.secrets else NOTHING_ISSUED

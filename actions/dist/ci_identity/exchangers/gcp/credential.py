"""A token of Google Cloud for one step, and what can be said of its end."""

from collections.abc import Mapping
from datetime import UTC, datetime

from ci_identity.exchangers.interface import NOTHING_ISSUED, Ending, Strength, left_to_expire
from ci_identity.model import Delivered, GcpToken, Outcome
from ci_identity.secret import Secret

STRENGTH = Strength(
    outcome=Outcome.EXPIRES,
    meaning="Google cannot end a token; removing the IAM binding ends what it may do",
)


class GcpCredential:
    """The token of a step. Google ends none on request: it is dropped, and expires.

    Source: https://cloud.google.com/sdk/gcloud/reference/auth/revoke.

    Attributes:
        expires_at: when the last token ends by itself. One in between may live longer; it is
            dropped, and has never left this process.
        served: the token; `None` before it is there and after `revoke`.
        secrets: every token that was issued on the way, to be masked in what is still to come.
    """

    def __init__(self) -> None:
        self.variables: Mapping[str, Delivered] = {}
        self.expires_at = datetime.now(UTC)
        self.served: GcpToken | None = None
        self.secrets: tuple[Secret, ...] = ()

    def hold(self, token: GcpToken) -> None:
        """Keep a token that stays here: the next one is asked for with it."""
        self.secrets = (*self.secrets, token.access_token)
        self.expires_at = token.expires_at

    def serve(self, token: GcpToken) -> None:
        """Have this one handed to the step."""
        self.served = token
        self.expires_at = token.expires_at

    def revoke(self, *, budget: float) -> Ending:  # noqa: ARG002  # there is nobody to ask
        """Drop the tokens, and say when the last one ends by itself."""
        self.served = None
        return left_to_expire(self.expires_at, STRENGTH) if self.secrets else NOTHING_ISSUED

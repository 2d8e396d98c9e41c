"""Tokens of Entra for one step, and what can be said of their end."""

from collections.abc import Mapping
from datetime import UTC, datetime

from ci_identity.exchangers.interface import NOTHING_ISSUED, Ending, Strength, left_to_expire
from ci_identity.model import AzureToken, AzureTokens, Delivered, Outcome
from ci_identity.secret import Secret

STRENGTH = Strength(outcome=Outcome.EXPIRES, meaning="Entra cannot end an application's token")


class AzureCredential:
    """One token for each resource. Entra ends none on request: they are dropped, and expire.

    Attributes:
        expires_at: when the last of them ends by itself (UTC).
        served: the tokens; `None` before the first is there and after `revoke`.
        secrets: the tokens, to be masked in what is still to come of the log.

    Args:
        client: the id of the application that they are of.
    """

    def __init__(self, client: str) -> None:
        self.variables: Mapping[str, Delivered] = {}
        self.expires_at = datetime.now(UTC)
        self.served: AzureTokens | None = None
        self.secrets: tuple[Secret, ...] = ()
        self._client = client

    def hold_token(self, token: AzureToken) -> None:
        """Keep a token beside those that are there."""
        tokens = (*(self.served.tokens if self.served else ()), token)
        self.served = AzureTokens(client=self._client, tokens=tokens)
        self.expires_at = max(one.expires_at for one in tokens)
        self.secrets = tuple(one.access_token for one in tokens)

    def revoke(self, *, budget: float) -> Ending:  # noqa: ARG002  # there is nobody to ask
        """Drop the tokens, and say when they end by themselves."""
        self.served = None
        return left_to_expire(self.expires_at, STRENGTH) if self.secrets else NOTHING_ISSUED

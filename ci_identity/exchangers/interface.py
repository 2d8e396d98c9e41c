"""What an exchanger is: a subject token in, a narrow credential out, and its end beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ci_identity.model import Delivered, ExchangeRequest, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the end of a credential went, as the provider confirmed it.

    Attributes:
        outcome: `REVOKED` only if the provider confirmed the end of every part.
        reason: an error code, where it is not `REVOKED`; goes into the ledger.
        detail: the same in a sentence, for people. Holds nothing secret.
    """

    outcome: Outcome
    reason: str | None = None
    detail: str = ""


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

    def revoke(self, *, budget: float) -> Ending:
        """End the credential at the provider within `budget` seconds. Never raises; may be called twice."""
        ...


class Exchanger(Protocol):
    """Exchanges a subject token at one kind of provider."""

    def describe(self) -> str:
        """The target in the words of the provider's API, for the ledger: no secret, no query."""
        ...

    def audience(self) -> str:
        """The audience that the subject token must have where the grant names none."""
        ...

    def exchange(self, request: ExchangeRequest) -> Credential:
        """Swap the subject token for a credential; on any failure end what was already issued.

        Raises:
            ExchangeError: the provider refused; permanent, one call.
            ProviderUnavailableError: no answer within the budget of retries.
        """
        ...

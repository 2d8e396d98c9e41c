"""A token that an authorization server issued for one step, and its end."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from ci_identity._http import retry
from ci_identity._jws import COMPACT
from ci_identity.errors import CiIdentityError
from ci_identity.exchangers.interface import NOTHING_ISSUED, Ending, Strength, left_to_expire
from ci_identity.exchangers.token_exchange.client import MAX_LIFE, Refused
from ci_identity.model import Delivered, Outcome, Served
from ci_identity.secret import Secret

REVOCABLE = Strength(
    outcome=Outcome.REVOKED, meaning="the server was asked to end the token, and says that it did"
)
NOT_REVOCABLE = Strength(
    outcome=Outcome.EXPIRES, meaning="the grant has no revoke_url to end the token at"
)

Revoke = Callable[[Secret, float], None]
"""Has a token ended, before a time of `time.monotonic()`."""


class TokenCredential:
    """The token of a step, and what came with it.

    Attributes:
        expires_at: when it ends by itself (UTC).
        variables: the token, once it is to be handed over.
        secrets: every token that was issued.

    Args:
        revoke: has one ended; `None` where nobody can be asked.
    """

    def __init__(self, revoke: Revoke | None) -> None:
        self.variables: Mapping[str, Delivered] = {}
        self.served: Served | None = None
        self.secrets: tuple[Secret, ...] = ()
        self.expires_at = datetime.now(UTC)
        self._revoke = revoke
        self._ending: Ending | None = None

    def hold_token(self, token: Secret) -> None:
        """Keep what was issued, the step's token first, and with it the duty to end it."""
        self.secrets = (*self.secrets, token)
        self.expires_at = datetime.now(UTC) + MAX_LIFE  # until more is known

    def deliver(self, variable: str) -> None:
        """Have the token handed to the step as `variable`."""
        self.variables = {variable: Delivered(value=self.secrets[0])}

    def revoke(self, *, budget: float) -> Ending:
        """Have every token ended, and say what that means for the step's."""
        self.variables = {}
        if self._ending is None:
            self._ending = self._end(time.monotonic() + budget)
        return self._ending

    def _end(self, deadline: float) -> Ending:
        if not self.secrets:
            return NOTHING_ISSUED
        if self._revoke is None:
            return left_to_expire(self.expires_at, NOT_REVOCABLE)
        problems = [self._problem_of(partial(self._revoke, one), deadline) for one in self.secrets]
        failed = [problem for problem in problems if problem]
        if not failed:
            return Ending(outcome=REVOCABLE.outcome, detail=self._meaning())
        if len(self.secrets) == 1 and datetime.now(UTC) >= self.expires_at:
            return left_to_expire(self.expires_at, NOT_REVOCABLE)
        detail = "; ".join(dict.fromkeys(failed))
        return Ending(outcome=Outcome.FAILED, reason="revocation", detail=detail)

    def _meaning(self) -> str:
        """Return what 200 means: of a token that anyone can check alone, less than it says."""
        if not COMPACT.fullmatch(self.secrets[0].reveal()):
            return REVOCABLE.meaning
        until = f"{self.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        return (
            f"{REVOCABLE.meaning}; a service that only checks its signature takes it until {until}"
        )

    @staticmethod
    def _problem_of(revoke: Callable[[float], None], deadline: float) -> str | None:
        budget = max(deadline - time.monotonic(), 0.0)
        try:
            retry(partial(revoke, deadline), budget=budget, pause=time.sleep)
        except Refused as refused:
            return f"the revocation endpoint refused ({refused})"
        except CiIdentityError as error:
            return str(error)
        return None

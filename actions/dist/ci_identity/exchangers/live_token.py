"""The job's token, minted again where it would end on the way to a provider."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from ci_identity.errors import ExchangeError
from ci_identity.exchangers.interface import ExchangeRequest
from ci_identity.model import SubjectToken

ENOUGH_LIFE = timedelta(seconds=60)
"""A token that has less is minted again: the provider may take its time, and clocks differ."""

T = TypeVar("T")


class LiveToken:
    """The token of one exchange, through all its tries.

    Args:
        request: whose token it is, and who mints another.
        now: returns the time (UTC).
    """

    def __init__(self, request: ExchangeRequest, now: Callable[[], datetime]) -> None:
        self._request, self._now = request, now
        self._token = request.subject_token
        self._has_expired = False

    def send(
        self, call: Callable[[SubjectToken], T], *, expired: type[ExchangeError] | None = None
    ) -> T:
        """Return `call(token)`.

        Args:
            call: asks the provider once.
            expired: what it raises if the provider takes the token for expired: it is then called
                once more with a new one, once in all tries.
        """
        if ends(self._token) - self._now() < ENOUGH_LIFE:
            self._token = self._request.mint()
        try:
            return call(self._token)
        except ExchangeError as error:
            if self._has_expired or expired is None or not isinstance(error, expired):
                raise
            self._has_expired = True
            old, self._token = self._token, self._request.mint()
            if self._token.token == old.token:  # GitLab's job has one for all its life
                raise
        return call(self._token)


def ends(token: SubjectToken) -> datetime:
    """Return when the job's token ends."""
    exp = token.claims.get("exp")  # a number: every source looks
    return datetime.fromtimestamp(exp if isinstance(exp, int | float) else 0, UTC)

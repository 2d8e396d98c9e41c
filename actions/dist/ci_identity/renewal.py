"""Renews what a session serves before it ends, in a thread of its own, until it is stopped."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ci_identity.errors import CiIdentityError

LEAD = timedelta(minutes=20)
"""How long before its end a credential is renewed, at most. SDKs ask again in the last 15 minutes
(botocore) or 5 (AWS for JavaScript, Azure): they find a new one."""

_SOON = timedelta(seconds=5)
"""Between two tries where the end is near or past: the provider may be back any moment."""

_LOOK = 30.0
"""Seconds between two looks at the clock: a machine that slept wakes late."""


def due(start: datetime, expires_at: datetime) -> datetime:
    """Return when what lives from `start` to `expires_at` is to be renewed."""
    return expires_at - min((expires_at - start) / 3, LEAD)


class Stopped(Exception):  # noqa: N818  # no error: the session is over, and so is renewing
    """Raised by the pause of a renewal that is not wanted any more."""


class Renewal:
    """Calls `renew` each time it is due.

    Args:
        expires_at: when what is there now ends (UTC).
        until: when nothing is renewed any more (UTC).
        renew: makes a new one and returns when that ends; it is given the function to pause with.
        failed: called with the error whenever it could not.
    """

    def __init__(
        self,
        expires_at: datetime,
        until: datetime,
        *,
        renew: Callable[[Callable[[float], None]], datetime],
        failed: Callable[[CiIdentityError], None],
    ) -> None:
        self._expires_at = expires_at
        self._until = until
        self._renew = renew
        self._failed = failed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End within `timeout` seconds; a request that is under way may outlive that."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        start = datetime.now(UTC)
        next_try = due(start, self._expires_at)
        while self._wait(next_try) and self._expires_at < self._until:
            start = datetime.now(UTC)
            try:
                self._expires_at = self._renew(self._pause)
            except Stopped:
                return
            except CiIdentityError as error:
                self._failed(error)
                if error.retry_after is None:
                    return
                next_try = start + max((self._expires_at - start) / 4, _SOON)
            else:
                next_try = due(start, self._expires_at)

    def _wait(self, until: datetime) -> bool:
        """Wait for that time; False if stopped."""
        while not self._stop.is_set():
            left = (until - datetime.now(UTC)).total_seconds()
            if left <= 0:
                return True
            self._stop.wait(min(left, _LOOK))
        return False

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(max(seconds, 0.0)):
            raise Stopped

"""Renews what a session serves before it ends, in a thread of its own, until it is stopped."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ci_identity.errors import (
    CiIdentityError,
    DeliveryError,
    DeniedError,
    ExchangeError,
    LedgerTamperedError,
    ProviderAnswerError,
)

LEAD = timedelta(minutes=20)
"""How long before its end a credential is renewed, at most. SDKs ask again in the last 15 minutes
(botocore) or 5 (AWS for JavaScript, Azure): they find a new one."""

_SOON, _SELDOM = timedelta(seconds=1), timedelta(minutes=1)
"""Between two tries where the end is near or past: twice as long after each that fails."""

_FINAL = (DeniedError, ExchangeError, LedgerTamperedError)
"""What no later try will change. A ledger that is locked, or an answer that is none, may pass."""


class Failed(Protocol):
    """Is told of a renewal that failed."""

    def __call__(self, error: CiIdentityError, *, is_final: bool) -> None:
        """Take note of it."""
        ...


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
        failed: called with the error whenever it could not, and whether that is the last word.
    """

    def __init__(
        self,
        expires_at: datetime,
        until: datetime,
        *,
        renew: Callable[[Callable[[float], None]], datetime],
        failed: Failed,
    ) -> None:
        self._expires_at = expires_at
        self._until = until
        self._renew = renew
        self._failed = failed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def start(self) -> None:
        """Begin.

        Raises:
            DeliveryError: no more threads may be started.
        """
        try:
            self._thread.start()
        except RuntimeError:
            message = "nothing could be renewed: no more threads may be started"
            hint = "raise the limit on processes: `ulimit -u`, or that of the container"
            raise DeliveryError(message, hint=hint) from None

    def stop(self, timeout: float) -> None:
        """End within `timeout` seconds; a request that is under way may outlive that."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        start = datetime.now(UTC)
        next_try = due(start, self._expires_at)
        failures = 0
        while self._wait(next_try) and max(self._expires_at, datetime.now(UTC)) < self._until:
            start = datetime.now(UTC)
            try:
                self._expires_at = self._renew(self._pause)
            except Stopped:
                return
            except Exception as error:  # noqa: BLE001  # a thread that ends in silence renews nothing
                if self._stop.is_set():  # it failed because the session has ended meanwhile
                    return
                failures += 1
                is_final = isinstance(error, _FINAL) and not isinstance(error, ProviderAnswerError)
                self._failed(_named(error), is_final=is_final)
                if is_final:
                    return
                soon = min(_SOON * 2 ** (failures - 1), _SELDOM)
                next_try = start + max((self._expires_at - start) / 4, soon)
            else:
                failures = 0
                next_try = max(due(start, self._expires_at), start + _SOON)

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


def _named(error: Exception) -> CiIdentityError:
    """Return an error of ours for one that is not, with its kind and never its text."""
    if isinstance(error, CiIdentityError):
        return error
    return CiIdentityError(f"renewing failed: {type(error).__name__}")

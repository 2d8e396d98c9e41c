"""One request and its answer: how long it may take, how large it may be, what went wrong."""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from ci_identity._answer import Response
from ci_identity._wire import (
    Connection,
    NotHttpError,
    ProxyRefusalError,
    Received,
    UntrustedError,
)
from ci_identity.errors import (
    CiIdentityError,
    ProviderAnswerError,
    ProviderUnavailableError,
    TlsError,
    UnansweredError,
    UnsendableError,
)

MAX_BODY = 1 << 20
"""Bytes of an answer that we read. The largest honest one, a JWT in JSON, is under 30 KiB."""

CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 8.0
"""Seconds, of each piece. Short, because a cancelled GitHub step has 7.5 s and a token of 5 minutes
is running."""

WHEN_CANCELLED = 2.0
"""Seconds that an answer is still waited for when a signal that ends us is pending."""

_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})

T = TypeVar("T")


class Call:
    """One request and its answer, on a thread of its own."""

    def __init__(
        self,
        connection: Connection,
        request: tuple[str, str, Mapping[str, str], bytes | None],
        *,
        host: str,
        left: float,
    ) -> None:
        self._connection = connection
        self._request = request
        self._host = host
        self._left = left
        self._is_asked = False
        self._is_over = False

    def made(self) -> Response:
        """Make the call, and return its answer."""
        if self._connection.sock is None:
            self._connect()
        self._is_asked = True
        if self._is_over:  # given up while a name was looked up: nobody waits for an answer
            self._connection.close()
            raise self.unanswered(TimeoutError())
        try:
            self._limit_time()
            self._connection.ask(*self._request)
            received = self._connection.answer(MAX_BODY)
        except ValueError:  # its text would show what is in the header
            message = f"{self._host}: no request can be made of what was given"
            raise UnsendableError(message) from None
        except (OSError, NotHttpError) as error:
            raise self.unanswered(error) from None
        return self._checked(received)

    def give_up(self) -> None:
        """Close the connection under the thread that may still use it, or is yet to open it."""
        self._is_over = True
        self._connection.shut_down()

    def unanswered(self, error: Exception) -> CiIdentityError:
        """Return what to raise for this: whether the server may have been asked is the question."""
        kind = UnansweredError if self._is_asked else ProviderUnavailableError
        return kind(f"{self._host}: no answer ({_reason(error)})", retry_after=0.0)

    def _limit_time(self) -> None:
        """Set how long each piece may take: a kept connection knows the last request's limit."""
        if (opened := self._connection.sock) is not None:
            opened.settimeout(min(READ_TIMEOUT, self._left))

    def _connect(self) -> None:
        try:
            self._connection.connect(min(CONNECT_TIMEOUT, self._left))
        except UntrustedError:
            message = f"{self._host}: the server's certificate could not be verified"
            raise TlsError(message) from None
        except (OSError, ProxyRefusalError, ValueError) as error:
            is_proxy = self._connection.is_by_proxy
            reason = "the proxy refused or is out of reach" if is_proxy else _reason(error)
            message = f"{self._host}: no answer ({reason})"
            raise ProviderUnavailableError(message, retry_after=0.0) from None

    def _checked(self, received: Received) -> Response:
        if received.is_last:
            self._connection.close()
        if len(received.body) > MAX_BODY:
            message = f"{self._host}: the answer is larger than {MAX_BODY} bytes"
            raise ProviderAnswerError(message)
        if received.headers.get("content-encoding", "identity") != "identity":
            message = f"{self._host}: the answer is packed, which nobody asked for"
            raise ProviderAnswerError(message)
        return Response(
            host=self._host, status=received.status, headers=received.headers, body=received.body
        )


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError):
        return "connection refused, reset, or the name is unknown"
    return "the answer broke off"


def within(seconds: float, host: str, call: Callable[[], T]) -> T:
    """Return `call()`, given up after `seconds`, or soon after a signal that ends us is pending.

    The timeout of a connection is one for each piece: a server that drips its header would hold
    us, and with us the revocation of every other lease, for as long as it likes.

    Raises:
        TimeoutError: it was given up.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(call())
        except BaseException as error:  # noqa: BLE001  # carried over to who asked
            failed.append(error)

    thread = threading.Thread(target=run, name=f"request to {host}", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more may be started: what is to be revoked is revoked all the same
        return call()
    deadline = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(0.1)
        if signal.sigpending() & _ENDING:
            deadline = min(deadline, time.monotonic() + WHEN_CANCELLED)
            thread.join(max(deadline - time.monotonic(), 0.0))
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError
    return done[0]

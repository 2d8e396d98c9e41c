"""All HTTP that we speak ourselves: bounded, verified, without redirects, netrc or cookies.

What is said, to whom and for how long; how it is written is in `_wire`. SDKs that have a transport
of their own use theirs.
"""

import json
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Self, TypeVar, cast
from urllib.parse import unquote, urlencode, urlsplit

from ci_identity._network import HTTPS_PORT, Network
from ci_identity._record import Record, field
from ci_identity._wire import (
    Connection,
    NotHttpError,
    Proxy,
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
TOTAL_TIMEOUT = 15.0
"""Seconds. Short, because a cancelled GitHub step has 7.5 s and a token of 5 minutes is running."""

WHEN_CANCELLED = 2.0
"""Seconds that an answer is still waited for when a signal that ends us is pending."""

_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})

TRANSIENT_STATUS = frozenset({408, 412, 425, 429, 500, 502, 503, 504})
"""Worth another try. 412 is Vault's answer while a token replicates (vault-action #332)."""

_LOST_STATUS = frozenset({502, 504})
"""Of a gateway without an answer: nobody knows whether what is behind it did what was asked."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK = 200
_HTTP_PORT = 80

T = TypeVar("T")


class Answer:
    """A JSON answer, read by path and type so that nothing unexpected travels on.

    A field that is missing or of another type raises `ProviderAnswerError`, naming the field only.
    """

    def __init__(self, body: object, host: str) -> None:
        self._body = body
        self._host = host

    @classmethod
    def from_json(cls, body: bytes, host: str) -> Self:
        """Return the answer that `body` is; one without any field if it is not JSON."""
        try:
            return cls(cast("object", json.loads(body)), host)
        except (ValueError, RecursionError):
            return cls(None, host)

    @property
    def is_object(self) -> bool:
        """True if it is an object at all."""
        return isinstance(self._body, dict)

    def text(self, *path: str) -> str:
        """Return the text at `path`."""
        return self._typed(str, path)

    def integer(self, *path: str) -> int:
        """Return the whole number at `path`."""
        return self._typed(int, path)

    def mapping(self, *path: str) -> Mapping[str, object]:
        """Return the object at `path`."""
        return cast("Mapping[str, object]", self._typed(dict, path))

    def texts(self, *path: str) -> list[str]:
        """Return the texts of the list at `path`; none if nothing is there."""
        found = cast("list[object]", self._typed(list, path) if self.get(*path) else [])
        texts = [one for one in found if isinstance(one, str)]
        if len(texts) == len(found):
            return texts
        message = f"{self._host}: the answer has something else than texts in {'.'.join(path)}"
        raise ProviderAnswerError(message)

    def get(self, *path: str) -> object:
        """Return whatever is at `path`, or `None`."""
        found = self._body
        for name in path:
            if not isinstance(found, dict):
                return None
            found = cast("dict[str, object]", found).get(name)
        return found

    def _typed(self, kind: type[T], path: tuple[str, ...]) -> T:
        found = self.get(*path)
        if isinstance(found, kind) and not (kind is int and isinstance(found, bool)):
            return found
        message = f"{self._host}: the answer has no {'.'.join(path)} of type {kind.__name__}"
        raise ProviderAnswerError(message)


class Response(Record):
    """What a server answered. The body is not shown: it may hold a credential.

    Attributes:
        host: who answered, with the port, for messages.
        status: the HTTP status code.
        headers: by lower-case name.
        body: the content.
    """

    host: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def is_ok(self) -> bool:
        """True for 200 OK."""
        return self.status == _OK

    def json(self) -> Answer:
        """Return the answer in it."""
        return Answer.from_json(self.body, self.host)


class HttpSession:
    """Connections that cannot be steered by files, cookies, redirects or endless answers.

    Attributes:
        deadline: the time (`time.monotonic()`) at which its requests are broken off, if any.
    """

    def __init__(self, network: Network) -> None:
        self.deadline: float | None = None
        self._network = network
        self._connections: dict[tuple[str, str], Connection] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection. What is asked later opens a new one."""
        while self._connections:
            self._connections.popitem()[1].close()

    def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> Response:
        """See `send`."""
        return self.send("GET", url, headers=headers)

    def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        json_body: object = None,
    ) -> Response:
        """POST a form, or JSON; see `send`."""
        if form is not None:
            kind, body = "application/x-www-form-urlencoded", urlencode(form)
        else:
            kind, body = "application/json", json.dumps(json_body)
        headers = {"Content-Type": kind, **(headers or {})}
        return self.send("POST", url, headers=headers, body=body.encode("ascii"))

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """Send one request under our limits, and give back its answer unless it says "later".

        Args:
            method: the HTTP method.
            url: an address that `check_address` took.
            headers: further header fields.
            body: the content.

        Raises:
            ProviderUnavailableError: no answer in time, or one of `TRANSIENT_STATUS`.
            TlsError: the certificate does not verify.
            ProviderAnswerError: the answer is larger than `MAX_BODY`, or sends us elsewhere.
            UnsendableError: what was given makes no request.
        """
        parts = urlsplit(url)
        left = TOTAL_TIMEOUT
        if self.deadline is not None:
            left = max(min(left, self.deadline - time.monotonic()), 0.1)
        connection = self._connection(parts.scheme, parts.netloc)
        path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        request = (method, path, headers or {}, body)
        call = _Call(connection, request, host=parts.netloc, left=left)
        try:
            response = _within(left, parts.netloc, call.made)
        except BaseException as error:  # Ctrl-C as well: its answer is not for the next
            self._connections.pop((parts.scheme, parts.netloc), None)
            call.give_up()
            if isinstance(error, TimeoutError):
                raise call.unanswered(error) from None
            raise
        _check_status(response)
        return response

    def _connection(self, scheme: str, netloc: str) -> Connection:
        found = self._connections.get((scheme, netloc))
        if found is None:
            found = _open(scheme, netloc, self._network)
            self._connections[scheme, netloc] = found
        elif found.sock is not None and _is_dropped(found.sock):
            found.close()  # it opens itself again
        return found


def _open(scheme: str, netloc: str, network: Network) -> Connection:
    parts = urlsplit(f"{scheme}://{netloc}")
    host, port = parts.hostname or "", parts.port
    if scheme == "http":
        return Connection((host, port or _HTTP_PORT), netloc)
    from ci_identity import _tls  # noqa: PLC0415  # 8 ms, and a server on this machine needs none

    secured = partial(_tls.secured, host=host, context=_tls.context(network.ca_file))
    proxy = _proxy(network.proxy) if network.proxy else None
    return Connection((host, port or HTTPS_PORT), netloc, secured=secured, proxy=proxy)


def _proxy(url: str) -> Proxy:
    parts = urlsplit(url)
    headers: dict[str, str] = {}
    if parts.username:
        from base64 import b64encode  # noqa: PLC0415  # for this alone

        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
    return Proxy(address=(parts.hostname or "", parts.port or _HTTP_PORT), headers=headers)


def _is_dropped(connection: socket.socket) -> bool:
    """True if the server has closed a connection that nobody uses, or talks out of turn."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


class _Call:
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
        """Make the call."""
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


def _within(seconds: float, host: str, call: Callable[[], T]) -> T:
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


def _check_status(response: Response) -> None:
    if response.status in TRANSIENT_STATUS:
        header = response.headers.get("retry-after", "")
        wait = float(header) if header.isdecimal() else 0.0
        message = f"{response.host} answered {response.status}"
        kind = UnansweredError if response.status in _LOST_STATUS else ProviderUnavailableError
        raise kind(message, retry_after=wait)
    if response.status in _REDIRECTS and "location" in response.headers:
        message = f"{response.host} sends us to another address; a token is not carried there"
        raise ProviderAnswerError(message, hint="use the address of the server itself")


def retry(call: Callable[[], T], *, budget: float, pause: Callable[[float], None]) -> T:
    """Return `call()`, trying again with full jitter while its errors say that they may pass.

    Args:
        call: raises a `CiIdentityError`; one whose `retry_after` is `None` ends it at once.
        budget: seconds in all, pauses included.
        pause: sleeps that many seconds.
    """
    deadline = time.monotonic() + budget
    for attempt in count():
        try:
            return call()
        except CiIdentityError as error:
            if error.retry_after is None:
                raise
            from random import uniform  # noqa: PLC0415  # where something failed: nobody waits for it

            jitter = uniform(0.0, min(0.1 * 2**attempt, 2.0))  # noqa: S311  # not a secret
            wait = max(error.retry_after, jitter)
            if time.monotonic() + wait > deadline:
                raise
        pause(wait)
    raise AssertionError  # pragma: no cover  # count() never ends

"""All HTTP that we speak ourselves: bounded, verified, without redirects, netrc or cookies.

What is said, to whom and for how long; how it is written is in `_wire`. SDKs that have a transport
of their own use theirs.
"""

import json
import select
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Self, TypeVar
from urllib.parse import unquote, urlencode, urlsplit

from ci_identity._answer import Response
from ci_identity._call import Call, within
from ci_identity._network import HTTPS_PORT, Network
from ci_identity._wire import Connection, Proxy
from ci_identity.errors import (
    CiIdentityError,
    ProviderAnswerError,
    ProviderUnavailableError,
    UnansweredError,
)

TRANSIENT_STATUS = frozenset({408, 412, 425, 429, 500, 502, 503, 504})
"""Worth another try. 412 is Vault's answer while a token replicates (vault-action #332)."""

_LOST_STATUS = frozenset({502, 504})
"""Of a gateway without an answer: nobody knows whether what is behind it did what was asked."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HTTP_PORT = 80

TOTAL_TIMEOUT = 15.0
"""Seconds, of one request."""

T = TypeVar("T")


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
        call = Call(connection, request, host=parts.netloc, left=left)
        try:
            response = within(left, parts.netloc, call.made)
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

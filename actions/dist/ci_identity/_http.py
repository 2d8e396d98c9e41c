"""All HTTP that we speak ourselves: bounded, verified, without redirects, netrc or cookies.

SDKs get our session where they take one, so the same rules hold for them.
"""

import ipaddress
import os
import random
import signal
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from itertools import count
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3.util.ssl_ import create_urllib3_context

from ci_identity._address import is_loopback
from ci_identity.errors import (
    CiIdentityError,
    ProviderAnswerError,
    ProviderUnavailableError,
    SettingError,
    TlsError,
    UnansweredError,
)

HTTPS_PORT = 443
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

T = TypeVar("T")
_NO_VARIABLES: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How one server is reached, and which environment variables had a say in it.

    Attributes:
        ca_file: the CA bundle to verify with, or `None` for the one that comes with requests.
        proxy: the proxy's address, or `None`.
        variables: the names of the variables that decided the two.
    """

    ca_file: str | None = None
    proxy: str | None = None
    variables: tuple[str, ...] = ()

    @classmethod
    def from_environ(
        cls, url: str, environ: Mapping[str, str], *, ca_variables: tuple[str, ...] = ()
    ) -> "Network":
        """Read CA and proxy for `url` from `environ`, the provider's own CA variables first.

        Raises:
            SettingError: a CA variable names a file that is not there.
        """
        parts = urlsplit(url)
        if parts.scheme == "http":  # to this very machine, by `check_address`: nobody to ask
            return cls()
        is_here = is_loopback(parts.hostname or "")
        proxy, variables = (None, _NO_VARIABLES) if is_here else _proxy(url, environ)
        for name in (*ca_variables, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            if ca_file := environ.get(name):
                _check_ca_file(name, ca_file)
                return cls(ca_file=ca_file, proxy=proxy, variables=(*variables, name))
        return cls(proxy=proxy, variables=variables)


def _proxy(url: str, environ: Mapping[str, str]) -> tuple[str | None, tuple[str, ...]]:
    for name in ("no_proxy", "NO_PROXY"):
        entries = environ.get(name, "").lower().split(",")
        if any(_is_covered(url, entry.strip()) for entry in entries):
            return None, ()
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        if proxy := environ.get(name):
            return proxy, (name,)
    return None, ()


def _is_covered(url: str, entry: str) -> bool:
    """True if an entry of `NO_PROXY` covers `url`: a domain, a network or `*`, perhaps a port.

    What Go's and Python's own clients take too (https://pkg.go.dev/golang.org/x/net/http/httpproxy).
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    name, _, port = entry.partition(":")
    domain = name.removeprefix("*").lstrip(".")
    is_within = entry == "*" or (domain != "" and f".{host}".endswith(f".{domain}"))
    return is_within and port in {"", str(parts.port or HTTPS_PORT)}


def _check_ca_file(name: str, path: str) -> None:
    if not os.path.isfile(path) or not os.access(path, os.R_OK):  # noqa: PTH113  # a text of theirs
        message = f"{name} names a CA file that cannot be read: {path}"
        raise SettingError(message)


class HttpSession(requests.Session):
    """A requests session that cannot be steered by files, cookies, redirects or endless answers.

    Attributes:
        deadline: the time (`time.monotonic()`) at which its requests are broken off, if any.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.deadline: float | None = None
        self.trust_env = False  # no ~/.netrc: requests lets it override Authorization (#3929)
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.mount("https://", _Adapter())
        self.verify = network.ca_file or True
        if network.proxy:
            self.proxies = {"https": network.proxy}

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send one request under our limits, and give back its answer unless it says "later".

        Raises:
            ProviderUnavailableError: no answer in time, or one of `TRANSIENT_STATUS`.
            TlsError: the certificate does not verify.
            ProviderAnswerError: the answer is larger than `MAX_BODY`, or sends us elsewhere.
        """
        host = urlsplit(request.url or "").netloc
        left = TOTAL_TIMEOUT
        if self.deadline is not None:
            left = max(min(left, self.deadline - time.monotonic()), 0.1)
        kwargs |= {
            "stream": True,
            "allow_redirects": False,
            "timeout": (min(CONNECT_TIMEOUT, left), min(READ_TIMEOUT, left)),
        }
        deadline = time.monotonic() + left
        response = _within(left, host, lambda: self._send(request, host, deadline, kwargs))
        _check_status(response, host)
        return response

    def _send(
        self, request: requests.PreparedRequest, host: str, deadline: float, kwargs: dict[str, Any]
    ) -> requests.Response:
        try:
            response = super().send(request, **kwargs)
            _read_body(response, host, deadline)
        except requests.exceptions.SSLError:
            message = f"{host}: the server's certificate could not be verified"
            raise TlsError(message) from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            message = f"{host}: no answer ({_short_reason(error)})"
            kind = ProviderUnavailableError if _was_never_sent(error) else UnansweredError
            raise kind(message, retry_after=0.0) from None
        return response


class _Adapter(HTTPAdapter):
    """Opens connections whose keys nobody is told: SSLKEYLOGFILE would have them in a file."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=_tls())

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **kwargs, ssl_context=_tls())


def _tls() -> ssl.SSLContext:
    context = create_urllib3_context()
    context.keylog_filename = None  # type: ignore[assignment]  # typeshed does not know of None
    return context


def _within(seconds: float, host: str, call: Callable[[], T]) -> T:
    """Return `call()`, given up after `seconds`, or soon after a signal that ends us is pending.

    A timeout of requests is one for each piece: a server that drips its header would hold us, and
    with us the revocation of every other lease, for as long as it likes.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(call())
        except BaseException as error:  # noqa: BLE001  # carried over to who asked
            failed.append(error)

    thread = threading.Thread(target=run, name=f"request to {host}", daemon=True)
    thread.start()
    deadline = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(0.1)
        if signal.sigpending() & _ENDING:
            deadline = min(deadline, time.monotonic() + WHEN_CANCELLED)
            thread.join(max(deadline - time.monotonic(), 0.0))
    if failed:
        raise failed[0]
    if not done:
        message = f"{host}: no answer (timed out)"
        raise UnansweredError(message, retry_after=0.0)
    return done[0]


def _check_status(response: requests.Response, host: str) -> None:
    if response.status_code in TRANSIENT_STATUS:
        header = response.headers.get("Retry-After", "")
        wait = float(header) if header.isdecimal() else 0.0
        message = f"{host} answered {response.status_code}"
        raise ProviderUnavailableError(message, retry_after=wait)
    if response.is_redirect:
        message = f"{host} sends us to another address; a token is not carried there"
        raise ProviderAnswerError(message, hint="use the address of the server itself")


def _read_body(response: requests.Response, host: str, deadline: float) -> None:
    body = bytearray()
    # Not `iter_content`, which comes back only when a piece is whole, however slowly it drips in.
    while piece := response.raw.read1(1 << 16, decode_content=True):
        body += piece
        if len(body) > MAX_BODY:
            response.close()
            message = f"{host}: the answer is larger than {MAX_BODY} bytes"
            raise ProviderAnswerError(message)
        if time.monotonic() > deadline:
            response.close()
            message = f"{host}: the answer took too long"
            raise UnansweredError(message, retry_after=0.0)
    response._content = bytes(body)  # noqa: SLF001  # the only way to hand a body read in pieces back


def _was_never_sent(error: Exception) -> bool:
    """True if there was no connection, so that nobody can have carried out the request."""
    if isinstance(error, (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError)):
        return True
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _short_reason(error: Exception) -> str:
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refused or is out of reach"
    if isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.TimeoutError):
        return "timed out"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "connection refused, reset, or the name is unknown"
    return "the answer broke off"


class Answer:
    """A JSON answer, read by path and type so that nothing unexpected travels on.

    A field that is missing or of another type raises `ProviderAnswerError`, naming the field only.
    """

    def __init__(self, body: object, host: str) -> None:
        self._body = body
        self._host = host

    def text(self, *path: str) -> str:
        """Return the text at `path`."""
        return self._typed(str, path)

    def integer(self, *path: str) -> int:
        """Return the whole number at `path`."""
        return self._typed(int, path)

    def mapping(self, *path: str) -> Mapping[str, object]:
        """Return the object at `path`."""
        return cast("Mapping[str, object]", self._typed(dict, path))

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
            jitter = random.uniform(0.0, min(0.1 * 2**attempt, 2.0))  # noqa: S311  # not a secret
            wait = max(error.retry_after, jitter)
            if time.monotonic() + wait > deadline:
                raise
        pause(wait)
    raise AssertionError  # pragma: no cover  # count() never ends

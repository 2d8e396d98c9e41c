"""HTTP/1.1 on one connection: how a request is written, and where an answer ends.

Ours, and not Python's `http.client`, whose import takes as long as an exchange
(docs/adr/0022-http-of-our-own.md). As little of RFC 9112 as a client needs that wants one small
answer, and strict: whoever answers may be anyone, so that what is unclear is no answer.
"""

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import cast

from ci_identity._record import Record, field

_PIECE = 1 << 16
_MAX_LINE = 1 << 16
_MAX_FIELDS = 100
"""As `http.client` and most servers have it."""

_MAX_DIGITS = 15
_INTERIM, _SWITCHING, _OK = 100, 101, 200
_BODILESS = frozenset({204, 304})
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HEXADECIMAL = b"0123456789abcdefABCDEF"

Secured = Callable[[socket.socket], socket.socket]
"""Speaks TLS on an open connection, and returns it once the server has proved who it is."""


class NotHttpError(Exception):
    """What came is no answer, breaks off, or leaves it unclear where it ends."""


class ProxyRefusalError(Exception):
    """The proxy does not let us through."""


class UntrustedError(Exception):
    """The server has not proved who it is."""


class Proxy(Record):
    """Who connects us to a server (RFC 9110, section 9.3.6).

    Attributes:
        address: host and port.
        headers: what it is told besides, such as who we are.
    """

    address: tuple[str, int]
    headers: Mapping[str, str] = field(repr=False)


class Received(Record):
    """An answer.

    Attributes:
        status: its status code.
        headers: by lower-case name; the values of one that comes twice, with a comma between.
        body: its content, or one byte more than the limit of it.
        is_last: whether nothing more can be asked on this connection.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    is_last: bool


class Connection:
    """One connection to a server, which is opened again after it was closed.

    Attributes:
        sock: the open connection, if it is open. Another thread may shut it down.

    Args:
        address: the server's host and port.
        name: what it is called in requests: host, and port if it is not the usual one.
        secured: makes it speak TLS; `None` for plain text.
        proxy: through whom.
    """

    def __init__(
        self,
        address: tuple[str, int],
        name: str,
        *,
        secured: Secured | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._address = address
        self._name = name
        self._secured = secured
        self._proxy = proxy
        self.sock: socket.socket | None = None

    @property
    def is_by_proxy(self) -> bool:
        """Whether it goes through a proxy."""
        return self._proxy is not None

    @property
    def _open(self) -> socket.socket:
        if self.sock is None:  # by another thread, which has given up
            raise ConnectionAbortedError
        return self.sock

    def connect(self, timeout: float) -> None:
        """Open it; each step of that within `timeout` seconds.

        Raises:
            OSError: nobody answers there.
            UntrustedError: somebody does who is not the server.
            ProxyRefusalError: the proxy says no, or what no proxy says.
            ValueError: that is no name of a host.
        """
        host, port = self._proxy.address if self._proxy else self._address
        # in bytes, for which Python need not load its tables of international names
        address = cast("tuple[str, int]", (host.encode("ascii"), port))
        self.sock = opened = socket.create_connection(address, timeout)
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._proxy:
                self._pass(self._proxy, opened)
            if self._secured:
                self.sock = self._secured(opened)
        except BaseException:  # Ctrl-C too leaves nothing half open, to be taken for a connection
            self.close()
            raise

    def _pass(self, proxy: Proxy, opened: socket.socket) -> None:
        host, port = self._address
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        opened.sendall(_head("CONNECT", target, {"Host": target, **proxy.headers}))
        incoming = _Incoming(opened)
        try:
            status, _, _ = incoming.head()
        except NotHttpError:
            raise ProxyRefusalError from None
        if status != _OK or incoming.has_more:  # before we have said a word
            raise ProxyRefusalError

    def ask(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> None:
        """Send a request.

        Raises:
            OSError: it did not get out.
            ValueError: something of it would end its line, or is no ASCII.
        """
        fields = {"Host": self._name, "Accept-Encoding": "identity", **headers}
        if body is not None or method != "GET":
            fields["Content-Length"] = str(len(body or b""))
        request = _head(method, target, fields) + (body or b"")
        self._open.sendall(request)

    def answer(self, limit: int) -> Received:
        """Return what is answered.

        Args:
            limit: bytes of the content; of more, only the first that is too much is read.

        Raises:
            OSError: nothing comes, or no more of it.
            NotHttpError: it is no answer.
        """
        incoming = _Incoming(self._open)
        is_kept, status = False, _INTERIM
        headers: dict[str, str] = {}
        while _INTERIM <= status < _OK:
            status, headers, is_kept = incoming.head()
            if status == _SWITCHING:
                raise NotHttpError
        body = incoming.body(status, headers, limit)
        is_framed = status in _BODILESS or not {"content-length", "transfer-encoding"}.isdisjoint(
            headers
        )
        is_kept = is_kept and is_framed and len(body) <= limit and not incoming.has_more
        return Received(status=status, headers=headers, body=body, is_last=not is_kept)

    def shut_down(self) -> None:
        """Close it under the thread that may still use it."""
        if (opened := self.sock) is not None:
            with suppress(OSError):  # it was closed already
                opened.shutdown(socket.SHUT_RDWR)
        self.close()

    def close(self) -> None:
        """Close it, if it is open."""
        opened, self.sock = self.sock, None
        if opened is not None:
            opened.close()


def _head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return a request's head, of which nothing can be read as more than it was given as."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
    is_clear = " " not in target and not any(":" in name or " " in name for name in headers)
    if not is_clear or not all(line.isascii() and line.isprintable() for line in lines):
        raise ValueError
    return "\r\n".join([*lines, "", ""]).encode("ascii")


class _Incoming:
    """What a server sends, read as far as it is asked for."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()

    @property
    def has_more(self) -> bool:
        """Whether more has come than was asked for."""
        return bool(self._buffer)

    def head(self) -> tuple[int, dict[str, str], bool]:
        """Return status, header fields, and whether the connection may stay open (9112, 9.3)."""
        version, _, rest = self._line().partition(b" ")
        status = rest.partition(b" ")[0]
        is_one = version in {b"HTTP/1.1", b"HTTP/1.0"} and len(status) == len(b"200")
        if not (is_one and status.isdigit() and b"100" <= status <= b"599"):
            raise NotHttpError
        headers = self._fields()
        is_kept = version == b"HTTP/1.1" and "close" not in headers.get("connection", "").lower()
        return int(status), headers, is_kept

    def _fields(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for _ in range(_MAX_FIELDS):
            line = self._line()
            if not line:
                return found
            raw, colon, rest = line.partition(b":")
            if not (raw and colon) or raw.translate(None, _TOKEN) or b"\r" in rest or b"\0" in rest:
                raise NotHttpError
            name, value = raw.decode("ascii").lower(), rest.strip(b" \t").decode("latin-1")
            if name not in found:
                found[name] = value
            elif name != "content-length" or found[name] != value:  # the same twice is clear enough
                found[name] += f", {value}"
        raise NotHttpError

    def body(self, status: int, headers: Mapping[str, str], limit: int) -> bytes:
        """Return the content, or a little more than `limit` of it (RFC 9112, section 6.3)."""
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if status in _BODILESS:
            return b""
        if coding is not None:
            if length is not None or coding.lower() != "chunked":
                raise NotHttpError
            return self._chunks(limit)
        if length is None:
            return self._to_the_end(limit)
        if not (length.isascii() and length.isdecimal() and len(length) <= _MAX_DIGITS):
            raise NotHttpError
        return self._exactly(min(int(length), limit + 1))

    def _chunks(self, limit: int) -> bytes:
        body = bytearray()
        while len(body) <= limit:
            size = self._line().partition(b";")[0].rstrip(b" \t")
            if not 0 < len(size) <= _MAX_DIGITS or size.translate(None, _HEXADECIMAL):
                raise NotHttpError
            if not int(size, 16):
                self._fields()  # a trailer, of which nothing is believed
                break
            body += self._exactly(min(int(size, 16), limit + 1 - len(body)))
            if len(body) <= limit and self._exactly(2) != b"\r\n":
                raise NotHttpError
        return bytes(body)

    def _to_the_end(self, limit: int) -> bytes:
        while len(self._buffer) <= limit and self._has_read():
            pass
        if not self._buffer:  # broken off, rather than empty: nobody ends an answer like this
            raise NotHttpError
        return self._taken(min(len(self._buffer), limit + 1))

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._read()
        return self._taken(size)

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n", 0, _MAX_LINE)) < 0:
            if len(self._buffer) >= _MAX_LINE:
                raise NotHttpError
            self._read()
        return self._taken(end + 1)[:-1].removesuffix(b"\r")

    def _taken(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _read(self) -> None:
        if not self._has_read():
            raise NotHttpError

    def _has_read(self) -> bool:
        piece = self._connection.recv(_PIECE)
        self._buffer += piece
        return bool(piece)

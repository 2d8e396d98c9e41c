"""What stands between a job and a server, and fails: a proxy of bytes, on loopback."""

import re
import socket
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from typing import Self, TypeAlias
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class Between:
    """Passes requests on to the server at `address`, but for those that meet a fault.

    Each connection is for one request. An answer is passed on byte by byte as it came.

    Attributes:
        address: where it listens.
        asked: the request lines that it was sent, in order.
        requests: all that they said, to the byte.
        passed: those that reached the server.
        fault: what happens, instead of being passed on, to a request whose line has `where` in it.
        where: a piece of a request line.
        spared: how many of them are passed on all the same, before.
        times: to how many of them it happens then; by default to all.
        is_over: set at the end, for faults that wait.
    """

    def __init__(self, address: str) -> None:
        self.asked: list[str] = []
        self.requests: list[bytes] = []
        self.passed: list[str] = []
        self.fault: Fault = pass_on
        self.where = ""
        self.spared = 0
        self.times = float("inf")
        self.is_over = Event()
        self._server = (urlsplit(address).hostname or "", urlsplit(address).port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self.go_away()
        self._thread.join()

    def go_away(self) -> None:
        """Listen no more: from now on, connections are refused. May be called twice."""
        with suppress(OSError):  # was away
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):  # whoever breaks off is what is tested
            request = _request(client)
            line = request.partition(b"\r\n")[0].decode("latin-1")
            if not line:
                return
            self.asked.append(line)
            self.requests.append(request)
            if self._is_met_by(line):
                self.fault(self, client, request)
            else:
                pass_on(self, client, request)

    def _is_met_by(self, line: str) -> bool:
        if self.where not in line or self.times <= 0:
            return False
        if self.spared > 0:
            self.spared -= 1
            return False
        self.times -= 1
        return True

    def answer_of(self, request: bytes) -> bytes:
        """Return what the server answers."""
        self.passed.append(request.partition(b"\r\n")[0].decode("latin-1"))
        head, _, body = request.partition(b"\r\n\r\n")
        kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        with socket.create_connection(self._server) as server:
            server.sendall(b"\r\n".join([*kept, b"Connection: close", b"", body]))
            return b"".join(iter(lambda: server.recv(1 << 16), b""))


def _request(client: socket.socket) -> bytes:
    request = b""
    while True:
        head, found, body = request.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if found and len(body) >= int(length[1] if length else 0):
            return request
        if not (piece := client.recv(1 << 16)):
            return b""
        request += piece


# ── faults ───────────────────────────────────────────────────────────────────────────────────

Fault: TypeAlias = Callable[[Between, socket.socket, bytes], None]


def pass_on(between: Between, client: socket.socket, request: bytes) -> None:
    """No fault at all."""
    client.sendall(between.answer_of(request))


def latency(between: Between, client: socket.socket, request: bytes) -> None:
    """A long way: still an answer in time."""
    between.is_over.wait(0.3)
    pass_on(between, client, request)


def reset(_: Between, client: socket.socket, __: bytes) -> None:
    """A server that dies with the request in its hands."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def closed(_: Between, __: socket.socket, ___: bytes) -> None:
    """A server that ends the connection without a word."""


def silent(between: Between, _: socket.socket, __: bytes) -> None:
    """A server that never answers."""
    between.is_over.wait(60)


def half_header(between: Between, client: socket.socket, request: bytes) -> None:
    """The server has done it, and its answer is lost."""
    client.sendall(between.answer_of(request)[:24])


def half_body(between: Between, client: socket.socket, request: bytes) -> None:
    """The server has done it, and half of its answer is lost; all of it, if it has no content."""
    head, end, body = between.answer_of(request).partition(b"\r\n\r\n")
    client.sendall(head + end + body[: len(body) // 2] if body else head)


def drip(between: Between, client: socket.socket, request: bytes) -> None:
    """Each byte is in time, the whole never is."""
    for byte in between.answer_of(request):
        client.sendall(bytes([byte]))
        if between.is_over.wait(0.1):
            return


def endless_header(between: Between, client: socket.socket, _: bytes) -> None:
    """A header that goes on as long as somebody listens."""
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while not between.is_over.wait(0.01):
        client.sendall(b"X-More: more\r\n")


def endless_interim(between: Between, client: socket.socket, _: bytes) -> None:
    """`100 Continue`, for ever (RFC 9110, section 15.2)."""
    while not between.is_over.wait(0.01):
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def endless_body(_: Between, client: socket.socket, __: bytes) -> None:
    """A body without an end, as fast as it is taken."""
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
    while True:
        client.sendall(b"0," * (1 << 15))


def endless_chunk(_: Between, client: socket.socket, __: bytes) -> None:
    """A chunk of less than nothing, which some readers take for all that comes."""
    client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
    while True:
        client.sendall(b"0," * (1 << 15))


def sends(answer: bytes) -> Fault:
    """Return the fault of answering this, to the byte."""
    return lambda _, client, __: client.sendall(answer)


def says(status: str, body: bytes = b"{}", *headers: str) -> Fault:
    """Return the fault of answering so, in good HTTP."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return sends("\r\n".join([*lines, "", ""]).encode() + body)


def _bomb() -> bytes:
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()


BROKEN: dict[str, Fault] = {
    "reset": reset,
    "closed": closed,
    "silent": silent,
    "half a header": half_header,
    "half a body": half_body,
    "drip": drip,
    "endless header": endless_header,
    "endless interim answers": endless_interim,
    "endless body": endless_body,
    "negative chunk": endless_chunk,
    "429": says("429 Too Many Requests", b"{}", "Retry-After: 0"),
    "429 for an hour": says("429 Too Many Requests", b"{}", "Retry-After: 3600"),
    "429 for ever": says("429 Too Many Requests", b"{}", f"Retry-After: {'9' * 5000}"),
    "500": says("500 Internal Server Error", b'{"errors": ["hvs.SECRET"]}'),
    "502": says("502 Bad Gateway", b"<html>hvs.SECRET"),
    "503": says("503 Service Unavailable"),
    "400": says("400 Bad Request", b'{"errors": ["hvs.SECRET"], "message": "hvs.SECRET"}'),
    "403": says("403 Forbidden", b'{"errors": ["hvs.SECRET"]}'),
    "404": says("404 Not Found", b""),
    "103": sends(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "redirect": says("307 Temporary Redirect", b"", "Location: http://127.0.0.1:1/hvs.SECRET"),
    "page": says("200 OK", b"<html>Sign in: hvs.SECRET</html>", "Content-Type: text/html"),
    "nothing": says("200 OK", b""),
    "no content": says("204 No Content", b""),
    "list": says("200 OK", b"[]"),
    "deep": says("200 OK", b"[" * 500_000),
    "huge number": says("200 OK", b'{"value": ' + b"9" * 5000 + b"}"),
    "not UTF-8": says("200 OK", b'{"value": "\xff\xfe"}'),
    "large": says("200 OK", b'{"value": "' + b"A" * (2 << 20) + b'"}'),
    "bomb": says("200 OK", _bomb(), "Content-Encoding: gzip"),
    "packed": says("200 OK", b"\x1f\x8b nonsense", "Content-Encoding: gzip"),
    "other protocol": sends(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "TLS": sends(b"\x15\x03\x01\x00\x02\x02\x46"),
    "no status": sends(b"HTTP/1.1 OK\r\n\r\n"),
    "two lengths": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}"),
    "negative length": sends(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
    "length is no number": sends(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"),
    "length too large": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n{}"),
    "chunk without a size": sends(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"
    ),
    "chunks break off": sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"),
}
"""What may come in the place of an answer, none of which is one."""

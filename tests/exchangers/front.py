"""A server in front of the real one that fails on demand: what a proxy, a restart or a lie does."""

import json
import socket
import struct
from collections import defaultdict
from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

_HOP_BY_HOP = {"content-length", "transfer-encoding", "connection", "date"}


class Front:
    """Forwards every request to the server at `address`, but for the faults it is told of.

    Attributes:
        address: where it listens.
        asked: the API paths of every request it was sent, in order.
        faults: API path to what happens to the next requests there, instead of being forwarded.
        is_down: whether every connection is reset.
        is_over: is set at the end, for those who wait.
    """

    def __init__(self, address: str) -> None:
        self.behind = urlsplit(address).netloc
        self.asked: list[str] = []
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.is_down = False
        self.is_over = Event()
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.front = self
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    front: Front


class _Request(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the one we start

    def _answer(self) -> None:
        front = self.server.front
        path = self.path.removeprefix("/v1/")
        front.asked.append(path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if front.is_down:
            reset(self)
        elif front.faults[path]:
            front.faults[path].pop(0)(self)
        else:
            forward(self)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  # names that http.server looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
        """Stay silent."""


Fault: TypeAlias = Callable[[_Request], None]


def forward(request: _Request, amend: Callable[[Any], Any] = lambda answer: answer) -> None:
    """Have the real server answer; `amend` may change what it says."""
    connection = HTTPConnection(request.server.front.behind, timeout=10)
    connection.request(request.command, request.path, request.body, dict(request.headers))
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if body:
        body = json.dumps(amend(json.loads(body))).encode()
    send(request, answer.status, body, dict(answer.getheaders()))


def send(request: _Request, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Send this answer."""
    request.send_response(status)
    for name, value in headers.items():
        if name.lower() not in _HOP_BY_HOP:
            request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def reset(request: _Request) -> None:
    """Break the connection off, as a server does that dies."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.close_connection = True
    request.connection.close()


def lose(request: _Request) -> None:
    """Have the real server answer, and lose what it says."""
    connection = HTTPConnection(request.server.front.behind, timeout=10)
    connection.request(request.command, request.path, request.body, dict(request.headers))
    connection.getresponse().read()
    connection.close()
    reset(request)


def hang(request: _Request) -> None:
    """Take the request, and never answer."""
    request.server.front.is_over.wait(60)


def answers(status: int, body: str = '{"errors": []}', **headers: str) -> Fault:
    """Return the fault of answering so; `_` in a header's name stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    kind = {"Content-Type": "application/json"}
    return lambda request: send(request, status, body.encode(), kind | named)


def without(*path: str) -> Fault:
    """Return the fault of leaving out what is at `path` of the real server's answer."""

    def amend(answer: Any) -> Any:
        found = answer
        for name in path[:-1]:
            found = found[name]
        del found[path[-1]]
        return answer

    return lambda request: forward(request, amend)


def with_(*, value: object, path: tuple[str, ...]) -> Fault:
    """Return the fault of saying `value` at `path` of the real server's answer."""

    def amend(answer: Any) -> Any:
        found = answer
        for name in path[:-1]:
            found = found[name]
        found[path[-1]] = value
        return answer

    return lambda request: forward(request, amend)

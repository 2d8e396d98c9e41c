"""An endpoint to ask, and ways to ask it with exactly the bytes that a test names."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ci_identity.delivery.endpoint import Asked, Endpoint, Reply, Route
from ci_identity.delivery.peer import Peer, Peers, Tree
from ci_identity.delivery.refusal import Refused

PATH = "/aws/deploy-web"
KEYS = b'{"SecretAccessKey": "wJalrXUtnFEMI"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A running endpoint with one route, and what it has reported."""

    endpoint: Endpoint
    accesses: list[tuple[str, Peer]] = field(default_factory=list)
    refusals: list[tuple[str | None, Refused]] = field(default_factory=list)

    @property
    def server(self) -> tuple[str, int]:
        host, _, port = self.endpoint.address.removeprefix("http://").partition(":")
        return host, int(port)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server[1]}"

    def request(self, line: str = f"GET {PATH} HTTP/1.1", *more: str, **headers: str) -> bytes:
        """Return a request that is right but for what is given; an empty header is left out."""
        defaults = {"Host": self.host, "Authorization": self.endpoint.bearer.reveal()}
        given = {name.replace("_", "-"): value for name, value in (defaults | headers).items()}
        lines = [f"{name}: {value}" for name, value in given.items() if value]
        return "\r\n".join((line, *lines, *more, "", "")).encode("latin-1")

    def connect(self) -> socket.socket:
        return socket.create_connection(self.server)

    def ask(self, data: bytes) -> "Answer":
        """Send this on a connection of its own and return the first answer."""
        with self.connect() as connection:
            connection.sendall(data)
            return receive(connection)

    def client(
        self, code: str, *arguments: str, prefix: Sequence[str] = (), pass_fds: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a Python process that knows `server`, `request` and `receive`."""
        known = f"server, request = {self.server!r}, {self.request()!r}\n"
        words = (*prefix, sys.executable, "-I", "-S", "-c", _CLIENT + known + code, *arguments)
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=pass_fds,
            cwd="/",  # where another user may be too
        )

    def reports(self) -> tuple[list[tuple[str, Peer]], list[tuple[str | None, Refused]]]:
        """End the endpoint, and return all that it has reported."""
        self.endpoint.close()
        return self.accesses, self.refusals

    def reasons(self) -> list[str]:
        """End the endpoint, and return why it has refused."""
        return [str(refused.reason) for _, refused in self.reports()[1]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    head: str
    body: bytes


_CLIENT = """
import os, socket, sys, time

def receive(connection):
    answer = b""
    while b"\\r\\n\\r\\n" not in answer:
        data = connection.recv(65536)
        if not data:
            return "nothing"
        answer += data
    return answer.split()[1].decode()

"""


def receive(connection: socket.socket) -> Answer:
    """Return the next answer of this connection, and take nothing of what follows it."""
    raw_head = bytearray()
    while not raw_head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            message = f"the connection was closed after {len(raw_head)} bytes"
            raise EOFError(message)
        raw_head += byte
    head = raw_head.decode("latin-1")
    length = int(head.lower().partition("content-length:")[2].split()[0])
    body = bytearray()
    while len(body) < length:
        body += connection.recv(min(65536, length - len(body)))
    return Answer(status=int(head.split()[1]), head=head, body=bytes(body))


def give(_: Asked) -> Reply:
    """Answer as a grant does."""
    return Reply(status=200, body=KEYS)


@contextmanager
def served(peers: Peers | None) -> Iterator[Stage]:
    """Run an endpoint for these processes."""
    accesses: list[tuple[str, Peer]] = []
    refusals: list[tuple[str | None, Refused]] = []
    endpoint = Endpoint(
        peers=peers,
        accessed=lambda path, peer: accesses.append((path, peer)),
        refused=lambda path, refused: refusals.append((path, refused)),
    )
    endpoint.open()
    endpoint.add(PATH, Route(answer=give))
    try:
        yield Stage(endpoint=endpoint, accesses=accesses, refusals=refusals)
    finally:
        endpoint.close()


@contextmanager
def served_to_another() -> Iterator[Stage]:
    """Run an endpoint for a process that only sleeps, so that this one is a stranger."""
    with subprocess.Popen(["sleep", "300"]) as step:
        try:
            with served(Tree(step.pid)) as stage:
                yield stage
        finally:
            step.kill()


@contextmanager
def served_to_us() -> Iterator[Stage]:
    """Run an endpoint for this process and what it starts."""
    with served(Tree(os.getpid())) as stage:
        yield stage

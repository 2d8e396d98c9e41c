"""How fast the loopback endpoint answers: one process after another, and 64 of them at once.

    python benchmarks/endpoint.py                       # 64 processes, 20 rounds
    python benchmarks/endpoint.py --clients 16 --rounds 5 --json endpoint.json

Beside it a bare `http.server` (one thread a connection) gives the same bytes to anybody. Clients
are real processes that are started first and wait; a round lets all of them ask at once, each on a
new connection. The clock runs in the client, from before the connection to the last byte.
"""
# ruff: noqa: INP001, S603, T201
# a script that prints a table, and runs nothing but Python and itself

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from ci_identity.delivery.endpoint import Asked, Endpoint, Reply, Route
from ci_identity.delivery.peer import Tree, is_available

PATH = "/aws/deploy-web"
BODY = json.dumps(
    {
        "AccessKeyId": "ASIAEXAMPLE000000000",
        "SecretAccessKey": "x" * 40,
        "Token": "x" * 1000,
        "Expiration": "2026-01-01T00:00:00Z",
    }
).encode()

CLIENT = """
import socket, sys, time

def ask(connection):
    connection.sendall(request)
    answer = b""
    while b"\\r\\n\\r\\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\\r\\n\\r\\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65536)
    assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")), head

host, port, path, bearer, is_kept = sys.argv[1:]
server = (host, int(port))
lines = (f"GET {path} HTTP/1.1", f"Host: {host}:{port}", f"Authorization: {bearer}", "", "")
request = "\\r\\n".join(lines).encode()
print("ready", flush=True)
kept = None
for line in sys.stdin:
    for _ in range(int(line)):
        started = time.perf_counter_ns()
        connection = kept or socket.create_connection(server)
        ask(connection)
        took = time.perf_counter_ns() - started
        if is_kept == "kept":
            kept = connection
        else:
            connection.close()
        print(took)
    print("done", flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Something that answers."""

    name: str
    port: int
    bearer: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one way to ask went."""

    server: str
    how: str
    requests: int
    p50_ms: float
    p99_ms: float
    per_second: float


# ── servers ──────────────────────────────────────────────────────────────────────────────────


@contextmanager
def endpoint() -> Iterator[Server]:
    """Run ours, with every check."""
    tree = Tree(os.getpid()) if is_available() else None
    ours = Endpoint(peers=tree, accessed=lambda *_: None, refused=print)
    ours.open()
    ours.add(PATH, Route(answer=answer))
    port = int(ours.address.rpartition(":")[2])
    try:
        yield Server(name="endpoint", port=port, bearer=ours.bearer.reveal())
    finally:
        ours.close()


def answer(_: Asked) -> Reply:
    """Answer from memory, as grants are answered."""
    return Reply(status=200, body=BODY)


class Bare(BaseHTTPRequestHandler):
    """The least that http.server can do."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # or it would send the header and the body apart
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Give it to anybody."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base has it
        """Stay silent."""


@contextmanager
def bare() -> Iterator[Server]:
    """Run http.server, with a queue that holds all clients: by default it holds five."""
    ThreadingHTTPServer.request_queue_size = 1024
    with ThreadingHTTPServer(("127.0.0.1", 0), Bare) as server:
        thread = Thread(target=partial(server.serve_forever, 0.05))
        thread.start()
        try:
            yield Server(name="http.server", port=server.server_port, bearer="anything")
        finally:
            server.shutdown()
            thread.join()


# ── clients ──────────────────────────────────────────────────────────────────────────────────


class Client:
    """A process that waits to be told how often to ask."""

    def __init__(self, server: Server, *, is_kept: bool = False) -> None:
        arguments = ("127.0.0.1", str(server.port), PATH, server.bearer)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", CLIENT, *arguments, "kept" if is_kept else "new"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line()

    def tell(self, times: int) -> None:
        """Let it ask."""
        assert self._process.stdin  # noqa: S101  # for the type checker: it is a pipe
        self._process.stdin.write(f"{times}\n")
        self._process.stdin.flush()

    def took(self) -> list[float]:
        """Return how many milliseconds each request took."""
        return [int(line) / 1e6 for line in iter(self._line, "done")]

    def _line(self) -> str:
        assert self._process.stdout  # noqa: S101
        line = self._process.stdout.readline().strip()
        if not line:
            message = "a client has failed: see above"
            raise SystemExit(message)
        return line

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def measure(server: Server, how: str, clients: list[Client], rounds: int, times: int) -> Result:
    """Have all of them ask `times` in each of `rounds`."""
    took: list[float] = []
    seconds = 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        for client in clients:
            client.tell(times)
        for client in clients:
            took += client.took()
        seconds += time.perf_counter() - started
    return Result(
        server=server.name,
        how=how,
        requests=len(took),
        p50_ms=round(statistics.median(took), 2),
        p99_ms=round(statistics.quantiles(took, n=100)[98], 2),
        per_second=round(len(took) / seconds),
    )


def compare(clients: int, rounds: int, times: int) -> Iterator[Result]:
    """Measure both servers, each way."""
    for serve in (endpoint, bare):
        with serve() as server, ExitStack() as stack:
            new, kept = Client(server), Client(server, is_kept=True)
            stack.callback(new.close)
            stack.callback(kept.close)
            yield measure(server, "one by one", [new], 1, times)
            yield measure(server, "one by one, kept", [kept], 1, times)
            crowd = [Client(server) for _ in range(clients)]
            for client in crowd:
                stack.callback(client.close)
            measure(server, "warm-up", crowd, 1, 1)
            yield measure(server, f"{clients} at once", crowd, rounds, 1)
            yield measure(server, f"{clients} without pause", crowd, 1, rounds)


def main() -> None:
    """Measure, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=500, help="one by one (default 500)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    results = list(compare(options.clients, options.rounds, options.requests))
    half = len(results) // 2
    print(f"{'':24}{'':12}{'p50 ms':>10}{'p99 ms':>10}{'req/s':>10}")
    for ours, theirs in zip(results[:half], results[half:], strict=True):
        for one in (ours, theirs):
            numbers = f"{one.p50_ms:10.2f}{one.p99_ms:10.2f}{one.per_second:10.0f}"
            print(f"{one.how:24}{one.server:12}{numbers}")
        ratio = f"{ours.p50_ms / theirs.p50_ms:10.2f}{ours.p99_ms / theirs.p99_ms:10.2f}"
        print(f"{'':24}{'ratio':12}{ratio}{ours.per_second / theirs.per_second:10.2f}")
    if options.json:
        machine = {"cores": os.cpu_count(), "python": sys.version.split()[0]}
        found = {"machine": machine, "results": [asdict(result) for result in results]}
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

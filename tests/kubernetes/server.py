"""A cluster on loopback: HTTPS with a CA of its own, and a record of what reached it."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self
from urllib.parse import urlsplit

import trustme

from tests.kubernetes.cluster import Cluster, Refusal

NAMES = ("127.0.0.1", "k8s.acme.example")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that reached the cluster."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    status: int

    @property
    def bearer(self) -> str:
        """The token that came with it."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is answered instead of the next answer to a method at a path's end.

    Attributes:
        is_late: whether what was asked is done all the same, and the answer lost.
        status: 0 breaks the connection off.
    """

    method: str
    end: str
    status: int = 0
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    is_late: bool = False


class KubernetesWorld:
    """A running cluster; leaving the `with` block, or `close()`, ends it.

    Attributes:
        cluster: what it decides.
        calls: every request that reached it.
        faults: what is answered instead, once each.
        server: its address.
        tunnels: the names that it was asked to be a proxy for.
    """

    def __init__(self, issuer: str, folder: Path) -> None:
        self.cluster = Cluster(issuer=issuer)
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.tunnels: list[str] = []
        authority = trustme.CA()
        self.ca_file = folder / "cluster-ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*NAMES).configure_cert(self.tls)
        self._servers = [_Server(("127.0.0.1", 0), kind) for kind in (_Request, _Tunnel)]
        for server in self._servers:
            server.world = self
        self.server = f"https://127.0.0.1:{self._servers[0].server_port}"
        self.proxy = f"http://127.0.0.1:{self._servers[1].server_port}"
        self._threads = [
            Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            for server in self._servers
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it. May be called twice."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    def fail(self, method: str, end: str, status: int = 0, **more: Any) -> None:
        """Answer the next such request so."""
        self.faults.append(Fault(method=method, end=end, status=status, **more))

    def of(self, method: str, end: str = "") -> list[Call]:
        """Return the calls with a method to paths that end so, or are an object there."""
        return [
            call
            for call in self.calls
            if call.method == method and (call.path.endswith(end) or f"{end}/" in call.path)
        ]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    world: KubernetesWorld

    def handle_error(self, *_: object) -> None:
        """Stay silent: clients that break off are what is tested."""


class _Request(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the one we start
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self.request = self.server.world.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def _serve(self) -> None:
        world, path = self.server.world, urlsplit(self.path).path
        body = json.loads(self._body() or b"{}")
        fault = next(
            (one for one in world.faults if one.method == self.command and one.end in path), None
        )
        status, answer, headers = 0, b"", dict[str, str]()
        if fault is None or fault.is_late:
            status, answer = self._decide(path, body)
        if fault:
            world.faults.remove(fault)
            status, answer, headers = fault.status, fault.body, dict(fault.headers)
        world.calls.append(
            Call(
                method=self.command,
                path=path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=body,
                status=status,
            )
        )
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _decide(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            status, found = self.server.world.cluster.answer(self.command, path, bearer, body)
        except Refusal as refusal:
            status, found = refusal.status, dict(refusal.body)
        return status, json.dumps(found).encode()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_DELETE = do_GET = do_POST = _serve  # noqa: N815  # the base's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
        """Stay silent."""


class _Tunnel(BaseHTTPRequestHandler):
    """A proxy of the internet, in which there is this cluster alone."""

    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the one we start

    def do_CONNECT(self) -> None:
        self.server.world.tunnels.append(self.path)
        self.send_response_only(200)
        self.end_headers()
        _Request(self.connection, self.client_address, self.server)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
        """Stay silent."""

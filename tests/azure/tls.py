"""A proxy that stands in for the internet: public names, with certificates, led to loopback."""

import selectors
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

import trustme


class Internet:
    """A running proxy; leaving the `with` block ends it.

    Attributes:
        address: what `HTTPS_PROXY` is to be.
        ca_file: the CA of all its certificates.
        asked: the names that it was asked for, in order.

    Args:
        servers: where a public name leads to: `HOST:PORT` on loopback, without TLS.
        folder: where the CA is put.
    """

    def __init__(self, servers: Mapping[str, str], folder: Path) -> None:
        self._servers = servers
        self._ca = trustme.CA()
        self.ca_file = folder / "internet-ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))
        self._contexts: dict[str, ssl.SSLContext] = {}
        self.asked: list[str] = []
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.internet = self
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def environ(self) -> dict[str, str]:
        """The variables by which a job has this internet, and no other."""
        ca_variables = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
        return {"HTTPS_PROXY": self.address} | dict.fromkeys(ca_variables, str(self.ca_file))

    def connect(self, name: str) -> socket.socket | None:
        """Return a connection to the server that has this name, if there is one."""
        self.asked.append(name)
        if name not in self._servers:
            return None
        host, _, port = self._servers[name].partition(":")
        return socket.create_connection((host, int(port)), timeout=10)

    def context(self, name: str) -> ssl.SSLContext:
        """Return what speaks TLS under this name."""
        if name not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._ca.issue_cert(name).configure_cert(context)
            self._contexts[name] = context
        return self._contexts[name]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    internet: Internet

    def handle_error(self, *_: object) -> None:
        """Stay silent: clients that break off are their own matter."""


class _Request(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the one we start

    def do_CONNECT(self) -> None:
        internet, name = self.server.internet, self.path.rpartition(":")[0]
        server = internet.connect(name)
        if server is None:
            self.send_error(502)
            return
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with (
            server,
            internet.context(name).wrap_socket(self.connection, server_side=True) as client,
        ):
            _carry(client, server)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
        """Stay silent."""


def _carry(client: ssl.SSLSocket, server: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    to: dict[Any, socket.socket] = {client: server, server: client}
    with selectors.DefaultSelector() as selector, suppress(OSError):
        for side in to:
            selector.register(side, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                source: Any = key.fileobj
                data = source.recv(1 << 16)
                while source is client and client.pending():  # TLS has read more than it gave
                    data += client.recv(1 << 16)
                if not data:
                    return
                to[source].sendall(data)

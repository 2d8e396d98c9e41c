"""A server between a job and OpenBao that can be slow, refuse, or go away."""

import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

from ci_identity.sandbox.world import World

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "host"}


class Proxy:
    """Passes requests on to the world's OpenBao.

    Attributes:
        held: the end of the path whose answers are kept until `release` is set.
        arrived: set when such an answer is there.
        refused: the end of the path that gets a 403 instead of being passed on.
    """

    def __init__(self, world: World) -> None:
        self.held = self.refused = "/none"
        self.arrived, self.release = threading.Event(), threading.Event()
        self.upstream = urlsplit(world.openbao.address).netloc
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        own = world.grants_path.read_text()
        audience = f"    audience: {world.openbao.address}\n    vault:\n"
        direct = f"address: {world.openbao.address}"
        self.grants = own.replace(direct, f"address: {self.address}").replace(
            "    vault:\n", audience
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; from then on connections are refused. May be called twice."""
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: Proxy


class _Request(BaseHTTPRequestHandler):
    server: _Server

    def _pass_on(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path.endswith(proxy.refused):
            self._answer(403, b'{"errors":["permission denied"]}')
            return
        upstream = HTTPConnection(proxy.upstream, timeout=10)
        kept = {n: v for n, v in self.headers.items() if n.lower() not in _HOP_BY_HOP}
        upstream.request(self.command, self.path, body, kept)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        if self.path.endswith(proxy.held):
            proxy.arrived.set()
            proxy.release.wait(20)
        self._answer(answer.status, data)

    do_GET = do_POST = do_PUT = do_LIST = _pass_on  # noqa: N815  # the base's names

    def _answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
        """Stay silent."""

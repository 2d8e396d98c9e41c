"""As much of Azure's Blob Storage on loopback as Terraform's state needs, for bearers of tokens."""

from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import MappingProxyType
from typing import Any, Self

_XML = '<?xml version="1.0" encoding="utf-8"?>'
_EMPTY = f"{_XML}<EnumerationResults><Blobs></Blobs><NextMarker/></EnumerationResults>"
_METADATA = "x-ms-meta-"


class Storage:
    """A running storage account; leaving the `with` block ends it.

    Attributes:
        netloc: where it listens, without TLS.
        blobs: the content of each blob, by its path.
        metadata: the metadata of each, as headers.

    Args:
        accepts: whether a token opens it.
    """

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        self.accepts = accepts
        self.blobs: dict[str, bytes] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.storage = self
        self.netloc = f"127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    storage: Storage


class _Request(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the one we start
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        storage = self.server.storage
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        if not storage.accepts(self.headers.get("Authorization", "").removeprefix("Bearer ")):
            self._say(401, _error("NoAuthenticationInformation"))
        elif "comp=list" in query:
            self._say(200, _EMPTY.encode())
        elif self.command == "PUT":
            self._put(path, query, body)
        elif path in storage.blobs:
            headers = {"x-ms-lease-state": "available", "x-ms-blob-type": "BlockBlob"}
            self._say(200, storage.blobs[path], headers | storage.metadata.get(path, {}))
        else:
            self._say(404, _error("BlobNotFound"))

    do_GET = do_HEAD = do_PUT = _answer  # noqa: N815  # the base's names

    def _put(self, path: str, query: str, body: bytes) -> None:
        storage = self.server.storage
        if "comp=lease" in query:
            is_new = self.headers["x-ms-lease-action"] == "acquire"
            lease_id = self.headers.get("x-ms-proposed-lease-id", "")
            self._say(201 if is_new else 200, headers={"x-ms-lease-id": lease_id})
            return
        given = {name.lower(): value for name, value in self.headers.items()}
        kept = {name: value for name, value in given.items() if name.startswith(_METADATA)}
        storage.metadata[path] = kept
        if "comp=metadata" not in query:
            storage.blobs[path] = body
        self._say(200 if "comp=metadata" in query else 201)

    def _say(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/xml", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as the base
        """Stay silent."""


def _error(code: str) -> bytes:
    return f"{_XML}<Error><Code>{code}</Code><Message>no</Message></Error>".encode()

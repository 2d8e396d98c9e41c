"""Google Cloud at its public addresses: behind a proxy on loopback that ends TLS itself."""

import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self, cast
from urllib.parse import parse_qs, unquote, urlsplit

import trustme

from tests.gcp.google import ACCOUNT, BUCKET, Google, Refusal, refuse_call

HOSTS = ("sts", "iamcredentials", "storage", "oauth2", "cloudresourcemanager")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that reached Google."""

    host: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: str
    status: int

    @property
    def form(self) -> dict[str, str]:
        """The body's fields."""
        return {name: value for name, (value,) in parse_qs(self.body).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is answered instead of the next answer of a host."""

    host: str
    status: int
    body: bytes


class GcpWorld:
    """A running Google Cloud; leaving the `with` block, or `close()`, ends it.

    Attributes:
        google: what it decides.
        calls: every request that reached it.
        faults: what is answered instead, once each.
        connections: how many there were.
    """

    def __init__(self, issuer: str, folder: Path, universe: str = "googleapis.com") -> None:
        self.google = Google(issuer=issuer)
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.connections: list[str] = []
        authority = trustme.CA()
        self.ca_file = folder / "google-ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        names = [f"{host}.{universe}" for host in HOSTS]
        authority.issue_cert(*names).configure_cert(self.tls)
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.world = self
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it. May be called twice."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def environ(self) -> dict[str, str]:
        """The variables with which a job reaches it; nothing secret."""
        proxy = f"http://127.0.0.1:{self._server.server_port}"
        return {"HTTPS_PROXY": proxy, "REQUESTS_CA_BUNDLE": str(self.ca_file)}

    def trust(self, subject: str) -> None:
        """Let the job with this subject impersonate the account, and both use the bucket."""
        self.google.users[ACCOUNT] = {self.google.principal(subject)}
        self.google.readers |= {ACCOUNT, self.google.principal(subject)}

    def fail(self, service: str, status: int, body: bytes, *, times: int = 1) -> None:
        """Answer a service's next request so, instead of deciding."""
        self.faults += [Fault(host=f"{service}.", status=status, body=body)] * times

    def of(self, host: str) -> list[Call]:
        """Return the calls to one host."""
        return [call for call in self.calls if call.host.startswith(f"{host}.")]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    world: GcpWorld

    def handle_error(self, *_: object) -> None:
        """Stay silent: clients that break off are what is tested."""


class _Request(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the one we start
    protocol_version = "HTTP/1.1"
    host = ""

    def do_CONNECT(self) -> None:
        self.host = self.path.partition(":")[0]
        self.server.world.connections.append(self.host)
        self.send_response_only(200)
        self.end_headers()
        self.connection = self.server.world.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def _serve(self) -> None:
        world = self.server.world
        body = self._body()
        fault = next((fault for fault in world.faults if self.host.startswith(fault.host)), None)
        if fault:
            world.faults.remove(fault)
            status, answer = fault.status, fault.body
        else:
            try:
                status, answer = 200, self._answer(body)
            except Refusal as refusal:
                status, answer = refusal.status, json.dumps(refusal.body).encode()
        world.calls.append(
            Call(
                host=self.host,
                method=self.command,
                path=self.path,
                headers=dict(self.headers),
                body=body.decode("latin-1"),
                status=status,
            )
        )
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_DELETE = do_GET = do_POST = do_PUT = _serve  # noqa: N815  # the base's names

    def _answer(self, body: bytes) -> bytes:
        google = self.server.world.google
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        match self.host.partition(".")[0], urlsplit(self.path).path:
            case "sts", "/v1/token":
                form = {name: value for name, (value,) in parse_qs(body.decode()).items()}
                return _json(google.exchange(form))
            case "iamcredentials", path if path.endswith(":generateAccessToken"):
                account = path.rpartition("/")[2].partition(":")[0]
                return _json(google.impersonate(bearer, account, json.loads(body)))
            case "storage", path if path == f"/upload/storage/v1/b/{BUCKET}/o":
                name, content = _uploaded(self.headers["Content-Type"], body)
                google.check_object(bearer, "storage.objects.create", name)
                google.objects[name] = content
                return _json(_about(name, content))
            case "storage", path if (
                path.startswith(f"/storage/v1/b/{BUCKET}") and "/o/" not in path
            ):
                google.caller(bearer)
                return _json({"kind": "storage#bucket", "name": BUCKET, "location": "EU"})
            case "storage", path:
                name = unquote(re.sub(rf".*/o/|^/{BUCKET}/", "", path))
                google.check_object(bearer, "storage.objects.get", name)
                if name not in google.objects:
                    refuse_call(404, "NOT_FOUND", f"No such object: {BUCKET}/{name}")
                content = (
                    google.objects.pop(name) if self.command == "DELETE" else google.objects[name]
                )
                if "alt=media" in self.path or "/o/" not in self.path:
                    return content
                about = {
                    "kind": "storage#object",
                    "name": name,
                    "bucket": BUCKET,
                    "generation": "1",
                }
                return _json({**about, "metageneration": "1", "size": str(len(content))})
            case _:
                raise Refusal(404, {"error": {"code": 404, "message": "?", "status": "NOT_FOUND"}})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
        """Stay silent."""


def _about(name: str, content: bytes) -> Mapping[str, Any]:
    found = {"kind": "storage#object", "name": name, "bucket": BUCKET, "size": str(len(content))}
    return {**found, "generation": "1", "metageneration": "1"}


def _json(answer: Mapping[str, Any]) -> bytes:
    return json.dumps({name: value for name, value in answer.items() if value is not None}).encode()


def _uploaded(content_type: str, body: bytes) -> tuple[str, bytes]:
    """Return the name and the content of a multipart upload."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    about, content = (cast("bytes", part.get_payload(decode=True)) for part in message.iter_parts())
    return json.loads(about)["name"], content

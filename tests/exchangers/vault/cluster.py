"""As much of a Kubernetes API server as OpenBao's engine asks of one, over TLS."""

import json
import re
import secrets
import ssl
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self

import jwt
import trustme
from cryptography.hazmat.primitives.asymmetric import ec

BEARER = "the-engine"
"""The token that the engine has of the cluster."""

_OBJECTS = r"/apis?/.+/namespaces/(?P<namespace>[^/]+)/(?P<kind>[a-z]+)(?:/(?P<name>[^/]+))?"
_RBAC = "rbac.authorization.k8s.io/v1"
_KINDS = {
    "token": {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"},
    "serviceaccounts": {"kind": "ServiceAccount", "apiVersion": "v1"},
    "roles": {"kind": "Role", "apiVersion": _RBAC},
    "rolebindings": {"kind": "RoleBinding", "apiVersion": _RBAC},
}


class Cluster:
    """A running API server of one namespace's accounts; leaving the `with` block ends it.

    Attributes:
        address, ca: where it is, and the CA of its certificate in PEM.
        accounts: the service accounts there are, as `NAMESPACE/NAME`, with their uid.
        asked: method and kind of each request.
        least: the shortest life, in seconds, that it gives a token.
    """

    def __init__(self) -> None:
        authority = trustme.CA()
        self.ca = authority.cert_pem.bytes().decode()
        self.accounts: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.least = 1
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.cluster = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"https://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, account: str) -> str:
        """Make an account, `NAMESPACE/NAME`, and return its uid."""
        self.accounts[account] = secrets.token_hex(8)
        return self.accounts[account]

    def token(self, account: str, seconds: int) -> str:
        """Return what the TokenRequest API answers with for an account."""
        now = int(time.time())
        life = max(seconds, self.least)
        claims = {"sub": account, "uid": self.accounts[account], "iat": now, "exp": now + life}
        return jwt.encode(claims, self._key, algorithm="ES256")

    def admits(self, token: str) -> bool:
        """True if the API server takes this token now: its account is there, and the same one."""
        try:
            claims = jwt.decode(token, self._key.public_key(), algorithms=["ES256"])
        except jwt.InvalidTokenError:
            return False
        return str(claims["uid"]) == self.accounts.get(str(claims["sub"]))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    cluster: Cluster


class _Request(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the one we start

    def _answer(self) -> None:
        cluster, path = self.server.cluster, self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = re.match(_OBJECTS, path)
        if self.headers["Authorization"] != f"Bearer {BEARER}" or not found:
            self._send(403, {"kind": "Status", "apiVersion": "v1", "status": "Failure"})
            return
        kind = "token" if path.endswith("/token") else found["kind"]
        cluster.asked.append((self.command, kind))
        if self.command == "DELETE":
            if kind == "serviceaccounts":
                del cluster.accounts[f"{found['namespace']}/{found['name']}"]
            self._send(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
        elif kind == "token":
            asked = read(read(sent(body))[2])
            token = cluster.token(f"{found['namespace']}/{found['name']}", asked[4])
            self._send(201, _KINDS[kind] | {"status": {"token": token}})
        else:
            name = read(read(sent(body))[1])[1].decode()
            made = kind == "serviceaccounts"
            uid = cluster.add(f"{found['namespace']}/{name}") if made else "uid"
            self._send(201, _KINDS[kind] | {"metadata": {"name": name, "uid": uid}})

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815  # names that http.server looks for

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
        """Stay silent."""


def sent(body: bytes) -> bytes:
    """Return the object that a client of Go's sends: in protobuf, in an envelope of Kubernetes'."""
    assert body.startswith(b"k8s\0")
    return bytes(read(body[4:])[2])


def read(message: bytes) -> dict[int, Any]:
    """Return the fields of a protobuf message by number: numbers, and the bytes of all else."""
    found: dict[int, Any] = {}
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        size, at = _varint(message, at)
        if key & 7 == 0:
            found[key >> 3] = size
        else:
            found[key >> 3], at = message[at : at + size], at + size
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 0x80:
            return value, at

"""Tokens signed with a real key, and a loopback server that plays GitHub's token endpoint."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
Sign = Callable[..., str]


@pytest.fixture(scope="session")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def now() -> datetime:
    """The time at which the tokens of `sign` are new."""
    return NOW


@pytest.fixture(scope="session")
def sign(key: rsa.RSAPrivateKey) -> Sign:
    """Give RS256 tokens: `sign(aud="x")`; a claim of `None` is left out."""

    def sign(**claims: object) -> str:
        base: dict[str, object] = {
            "iss": GITHUB_ISSUER,
            "sub": "repo:acme/shop:ref:refs/heads/main",
            "aud": "vault",
            "exp": int((NOW + timedelta(minutes=5)).timestamp()),
            "nbf": int((NOW - timedelta(minutes=5)).timestamp()),
        }
        payload = {name: value for name, value in (base | claims).items() if value is not None}
        return jwt.api_jws.encode(json.dumps(payload).encode(), key, algorithm="RS256")

    return sign


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the endpoint sends: a body as it is, so that it can be wrong in every way."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What the endpoint was asked."""

    path: str
    query: dict[str, list[str]]
    authorization: str | None


@dataclass(slots=True)
class Endpoint:
    """GitHub's token endpoint: it sends `replies` in order, the last one for ever."""

    address: str = ""
    replies: list[Reply] = field(default_factory=list[Reply])
    received: list[Received] = field(default_factory=list[Received])

    def gives(self, *tokens: str) -> None:
        """Send these tokens as GitHub does."""
        self.replies = [Reply(body=json.dumps({"value": token}).encode()) for token in tokens]

    def environ(self, **others: str) -> dict[str, str]:
        """Return the variables of a GitHub job that may ask this endpoint."""
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.address}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner-bearer-0123456789",
            **others,
        }


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            endpoint.received.append(
                Received(
                    path=parts.path,
                    query=parse_qs(parts.query, strict_parsing=True),
                    authorization=self.headers["Authorization"],
                )
            )
            replies = endpoint.replies
            reply = replies.pop(0) if len(replies) > 1 else replies[0]
            self.send_response(reply.status)
            for name, value in ({"Content-Length": str(len(reply.body))} | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        endpoint.address = f"http://127.0.0.1:{server.server_port}"
        yield endpoint
        server.shutdown()


@pytest.fixture
def reply() -> type[Reply]:
    """Make a `Reply`."""
    return Reply


@pytest.fixture
def tool(tmp_path: Path) -> Callable[..., Path]:
    """Put a program into a folder of its own: `tool(name, lines of sh)`; returns its path."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def tool(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\nPATH={os.defpath}\n{script}\n")
        path.chmod(0o700)
        return path

    return tool

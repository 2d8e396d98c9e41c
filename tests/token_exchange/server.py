"""An authorization server on loopback that exchanges a job's token (RFC 8693) and ends its own.

It verifies what the subject token must be: signature, by the keys that the issuer publishes;
issuer, subject, audience, time. What it says no with are the codes of RFC 8693, section 2.2.2, RFC
6749, section 5.2, and RFC 7009, section 2.2.1. `accepts` is a service that asks it about a token.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Never, Self
from urllib.parse import parse_qs

import jwt
import requests

API = "https://api.partner.example"
TYPES = "urn:ietf:params:oauth:token-type:"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"


class Denied(Exception):  # noqa: N818  # an answer, not an error of ours
    """The server says no, by a code of OAuth."""

    def __init__(self, error: str, text: str, *, status: int = 400) -> None:
        super().__init__(text)
        self.error, self.text, self.status = error, text, status


def deny(error: str, text: str, *, status: int = 400) -> Never:
    """Say no."""
    raise Denied(error, text, status=status) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request.

    Attributes:
        path, headers, form: what was asked, with lower-case names of headers.
        status: how it was answered; 0 if a fault did that.
    """

    path: str
    headers: Mapping[str, str]
    form: Mapping[str, str] = field(repr=False)
    status: int = 0


class AuthorizationServer:
    """A running server; leaving the `with` block ends it.

    Attributes:
        address, netloc: where it listens, without TLS.
        issuer, subject, audience: whose tokens it takes, made for whom.
        targets: what it issues tokens for.
        scopes: what they may be for.
        client_id: the one client it has; none is asked for if `None`.
        subject_token_type: the type that it wants.
        token_error: what it calls a subject token that it does not take.
        life: seconds that its tokens live.
        is_jwt: whether its tokens are JWTs, which services can check alone.
        has_refresh_tokens: whether a refresh token comes along.
        ends_tokens: whether it can end them.
        changes: fields that its answers get over the right ones; `None` drops one.
        faults: what the next requests are answered with instead.
        calls: every request, in order.
        is_over: is set at the end, for those who wait.
    """

    def __init__(self, issuer: str, subject: str) -> None:
        self.issuer, self.subject, self.audience = issuer, subject, API
        self.targets, self.scopes = {API}, {"upload", "download"}
        self.client_id: str | None = None
        self.subject_token_type = f"{TYPES}jwt"
        self.token_error = "invalid_request"
        self.life = 900
        self.is_jwt = self.has_refresh_tokens = False
        self.ends_tokens = True
        self.changes: dict[str, Any] = {}
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.is_over = Event()
        self._key = secrets.token_bytes(32)
        self._live: set[str] = set()
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.authorization_server = self
        self.netloc = f"127.0.0.1:{self._server.server_port}"
        self.address = f"http://{self.netloc}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def of(self, path: str) -> list[Call]:
        """Return the calls of one endpoint: `/token`, `/revoke`."""
        return [call for call in self.calls if call.path == path]

    def accepts(self, token: str) -> bool:
        """Return whether a service that asks about the token takes it."""
        return token in self._live

    def accepts_offline(self, token: str) -> bool:
        """Return whether a service takes it that looks at its signature and its end alone."""
        try:
            jwt.decode(token, self._key, algorithms=["HS256"], audience=API)
        except jwt.InvalidTokenError:
            return False
        return True

    @property
    def live(self) -> int:
        """How many of its tokens live."""
        return len(self._live)

    # ── what it decides ──────────────────────────────────────────────────────────────────────

    def answer(self, path: str, form: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the answer to a request, or raise `Denied`."""
        if self.client_id and form.get("client_id") != self.client_id:
            deny("invalid_client", "who are you?", status=401)
        if path == "/token":
            return self._exchange(form)
        self._revoke(form)
        return None

    def _exchange(self, form: Mapping[str, str]) -> dict[str, Any]:
        if form.get("grant_type") != GRANT_TYPE:
            deny("unsupported_grant_type", "only token exchange")
        if form.get("subject_token_type") != self.subject_token_type:
            deny("invalid_request", f"subject_token_type must be {self.subject_token_type}")
        self._verify(form.get("subject_token", ""))
        if form.get("audience") not in self.targets:
            deny("invalid_target", f"{form.get('audience')} is not known here")
        scopes = set(form.get("scope", "download").split())
        if not scopes <= self.scopes:
            deny("invalid_scope", f"not all of {scopes}")
        token = self._issue()
        answer = {
            "access_token": token,
            "issued_token_type": f"{TYPES}access_token",
            "token_type": "Bearer",
            "expires_in": self.life,
        }
        if "scope" not in form:  # RFC 6749, section 5.1: needed where it is not what was asked
            answer["scope"] = " ".join(sorted(scopes))
        if self.has_refresh_tokens:
            answer["refresh_token"] = self._remember(f"refresh-{secrets.token_urlsafe(24)}")
        changed = answer | self.changes
        return {name: value for name, value in changed.items() if value is not None}

    def _issue(self) -> str:
        if not self.is_jwt:
            return self._remember(f"opaque-{secrets.token_urlsafe(24)}")
        claims = {"aud": API, "jti": secrets.token_hex(8), "exp": int(time.time()) + self.life}
        return self._remember(jwt.encode(claims, self._key, algorithm="HS256"))

    def _remember(self, token: str) -> str:
        self._live.add(token)
        return token

    def _revoke(self, form: Mapping[str, str]) -> None:
        """End the token; one that is not known is none that could live on."""
        if "token" not in form:
            deny("invalid_request", "there is no token")
        if not self.ends_tokens:
            deny("unsupported_token_type", "these end by themselves")
        self._live.discard(form["token"])

    def _verify(self, token: str) -> None:
        try:
            keys = requests.get(f"{self.issuer}/.well-known/jwks.json", timeout=5).json()
            key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]].key
            claims = jwt.decode(
                token, key, algorithms=["RS256"], audience=self.audience, issuer=self.issuer
            )
        except (jwt.PyJWTError, KeyError) as error:
            deny(self.token_error, f"the subject token: {error} {token}")
        if claims["sub"] != self.subject:
            deny(self.token_error, f"the subject {claims['sub']} is nobody here: {token}")


# ── the server ───────────────────────────────────────────────────────────────────────────────


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    authorization_server: AuthorizationServer

    def handle_error(self, *_: object) -> None:
        """Stay silent: clients that break off are what is tested."""


class _Request(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the one we start
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server.authorization_server
        body = self.rfile.read(int(self.headers["Content-Length"])).decode("ascii")
        fields = parse_qs(body, keep_blank_values=True, strict_parsing=True)
        form = {name: value for name, (value,) in fields.items()}  # once each: RFC 6749, 3.2
        headers = {name.lower(): value for name, value in self.headers.items()}
        call: dict[str, Any] = {"path": self.path, "headers": headers, "form": form}
        if server.faults:
            server.calls.append(Call(**call))
            server.faults.pop(0)(self)
            return
        try:
            answer = server.answer(self.path, form)
        except Denied as denied:
            server.calls.append(Call(**call, status=denied.status))
            said = {"error": denied.error, "error_description": f"WORDS: {denied.text}"}
            say(self, denied.status, json.dumps(said))
        else:
            server.calls.append(Call(**call, status=200))
            say(self, 200, "" if answer is None else json.dumps(answer))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
        """Stay silent."""


Fault = Callable[[BaseHTTPRequestHandler], None]


def say(request: BaseHTTPRequestHandler, status: int, body: str, **headers: str) -> None:
    """Send this answer."""
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Cache-Control", "no-store")
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(body.encode())))
    request.end_headers()
    request.wfile.write(body.encode())


def says(status: int, body: str = "WORDS", **headers: str) -> Fault:
    """Return the fault of answering so."""
    return lambda request: say(request, status, body, **headers)


def denies(error: str, *, status: int = 400) -> Fault:
    """Return the fault of saying no with this code."""
    return says(status, json.dumps({"error": error, "error_description": "WORDS"}))


def reset(request: BaseHTTPRequestHandler) -> None:
    """Break the connection off."""
    request.close_connection = True
    request.connection.close()

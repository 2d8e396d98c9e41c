"""An Entra on loopback: one tenant, one application, and the codes that the real one answers with.

It verifies what a federated credential binds: signature, by the keys that the issuer publishes;
issuer, audience and subject, to the letter; the time. In the order in which Entra does, as far as
its answers tell.
"""

import json
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import jwt
import requests

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
AUDIENCE = "api://AzureADTokenExchange"
VAULT, STORAGE = "https://vault.azure.net", "https://storage.azure.com"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
DISCOVERY = f"/{TENANT}/v2.0/.well-known/openid-configuration"


class Denied(Exception):  # noqa: N818  # an answer, not an error of ours
    """Entra says no, by the number of its AADSTS code."""

    def __init__(self, number: int, text: str, *, error: str = "invalid_request") -> None:
        super().__init__(text)
        self.number, self.text, self.error = number, text, error


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request for a token.

    Attributes:
        path, headers, form: what was asked, with lower-case names of headers.
        number: the AADSTS code it was refused with; 0 if it was not.
    """

    path: str
    headers: Mapping[str, str]
    form: Mapping[str, str] = field(repr=False)
    number: int = 0


class Entra:
    """A running Entra; leaving the `with` block ends it.

    Attributes:
        address: where it listens, without TLS.
        issuer, subject, audience: the application's one federated credential.
        resources: what the tenant has service principals of.
        life: seconds that its tokens live.
        claims: claims that its tokens get over the defaults.
        changes: fields that its answers get over the defaults.
        ahead: seconds that its clock is ahead.
        faults: what the next requests are answered with instead.
        calls: every request for a token, in order.
        reads: what was read with its tokens of the Key Vault that it plays as well.
        connections: how many there were.
        is_over: is set at the end, for those who wait.
    """

    def __init__(self, issuer: str, subject: str) -> None:
        self.issuer, self.subject, self.audience = issuer, subject, AUDIENCE
        self.resources = {VAULT, STORAGE}
        self.life = 3599
        self.claims: dict[str, Any] = {}
        self.changes: dict[str, Any] = {}
        self.ahead = 0.0
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.reads: list[str] = []
        self.connections = 0
        self.is_over = Event()
        self._key = secrets.token_bytes(32)
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.entra = self
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

    @property
    def numbers(self) -> list[int]:
        """How each request for a token was answered: 0, or the AADSTS code."""
        return [call.number for call in self.calls]

    def token(self, path: str, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the answer to a request for a token, or raise `Denied`."""
        tenant = path.split("/")[1]
        if tenant != TENANT:
            text = f"Tenant '{tenant}' not found."
            raise Denied(90002, text)
        if form.get("client_id") != CLIENT:
            text = f"Application with identifier '{form.get('client_id')}' was not found"
            raise Denied(700016, text, error="unauthorized_client")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            text = "The request body must contain: 'client_assertion' or 'client_secret'."
            raise Denied(7000218, text, error="invalid_client")
        if form.get("grant_type") != "client_credentials":
            raise Denied(70003, "The app requested an unsupported grant type")
        self._verify(form["client_assertion"])
        resource, dot, _ = form.get("scope", "").rpartition("/.default")
        if not dot:
            text = f"The provided value for scope {form.get('scope')} is not valid."
            raise Denied(1002012, text, error="invalid_scope")
        if resource not in self.resources:
            text = f"The resource principal named {resource} was not found in the tenant"
            raise Denied(500011, text, error="invalid_resource")
        answer = {"token_type": "Bearer", "expires_in": self.life, "ext_expires_in": self.life}
        return answer | {"access_token": self.access_token(resource)} | self.changes

    def access_token(self, resource: str) -> str:
        """Return a token for a resource."""
        now = int(self._now())
        claims = {
            "aud": resource,
            "iss": f"https://sts.windows.net/{TENANT}/",
            "iat": now,
            "nbf": now,
            "exp": now + self.life,
            "appid": CLIENT,
            "tid": TENANT,
            "uti": secrets.token_urlsafe(16),
        }
        return jwt.encode(claims | self.claims, self._key, algorithm="HS256")

    def accepts(self, token: str, resource: str) -> bool:
        """Return whether a service of Azure would take this token for `resource`."""
        try:
            jwt.decode(token, self._key, algorithms=["HS256"], audience=resource)
        except jwt.InvalidTokenError:
            return False
        return True

    def _now(self) -> float:
        return time.time() + self.ahead

    def _verify(self, assertion: str) -> None:
        """Refuse an assertion that the federated credential is not for."""
        try:
            found = jwt.decode(assertion, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            raise Denied(50027, "JWT token is invalid or malformed.") from None
        subject = found.get("sub", "")
        wanted = (
            (700211, "issuer", found.get("iss"), self.issuer),
            (700212, "audience", found.get("aud"), self.audience),
            (7002138 if subject.lower() == self.subject.lower() else 700213, "subject", subject,
             self.subject),
        )  # fmt: skip
        for number, name, got, bound in wanted:
            if got != bound:
                text = "No matching federated identity record found for presented assertion"
                raise Denied(number, f"{text} {name} '{got}'.")
        _check_signature(assertion, self.issuer)
        if not found["iat"] - 300 <= self._now() < found["exp"]:
            text = "Client assertion is not within its valid time range."
            raise Denied(700024, text, error="invalid_client")


def _check_signature(assertion: str, issuer: str) -> None:
    try:
        keys = requests.get(f"{issuer}/.well-known/jwks.json", timeout=5).json()
    except requests.RequestException:
        raise Denied(501661, "Request to External OIDC endpoint failed.") from None
    try:
        key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(assertion)["kid"]].key
        unlooked_at: Any = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud")}
        jwt.decode(assertion, key, algorithms=["RS256"], options=unlooked_at)
    except (jwt.PyJWTError, KeyError):
        text = "Client assertion failed signature validation."
        raise Denied(700027, text, error="invalid_client") from None


# ── the server ───────────────────────────────────────────────────────────────────────────────


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    entra: Entra

    def process_request(self, request: Any, client_address: Any) -> None:
        self.entra.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, *_: object) -> None:
        """Stay silent: clients that break off are what is tested."""


class _Request(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the one we start
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        entra = self.server.entra
        body = self.rfile.read(int(self.headers["Content-Length"])).decode("ascii")
        form = {name: values[0] for name, values in parse_qs(body).items()}
        asked: dict[str, Any] = {
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "form": form,
        }
        if entra.faults:
            entra.calls.append(Call(**asked, number=-1))
            entra.faults.pop(0)(self)
            return
        try:
            answer = entra.token(self.path, form)
        except Denied as denied:
            entra.calls.append(Call(**asked, number=denied.number))
            correlation_id = self.headers.get("client-request-id", "")
            say(self, 401 if denied.error == "invalid_client" else 400, error(
                denied.number, denied.text, error=denied.error, correlation_id=correlation_id
            ))  # fmt: skip
        else:
            entra.calls.append(Call(**asked))
            say(self, 200, json.dumps(answer))

    def do_GET(self) -> None:
        """Be a Key Vault; or say where everything is, which Microsoft's own clients ask."""
        path = urlsplit(self.path).path
        if path.startswith("/secrets/"):
            self._give_secret()
            return
        if path != DISCOVERY:
            say(self, 404, "{}")
            return
        base = f"https://{self.headers['Host']}/{TENANT}"
        found = {
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
        }
        say(self, 200, json.dumps(found))

    def _give_secret(self) -> None:
        _, _, token = self.headers.get("Authorization", "").partition(" ")
        if self.server.entra.accepts(token, VAULT):
            self.server.entra.reads.append(self.path)
            say(self, 200, '{"value": "of-the-key-vault"}')
        else:
            say(self, 401, '{"error": {"code": "Unauthorized"}}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
        """Stay silent."""


Fault = Callable[[BaseHTTPRequestHandler], None]


def error(
    number: int, text: str, *, error: str = "invalid_request", correlation_id: str = ""
) -> str:
    """Return an error as Entra writes it."""
    trace_id, at = str(uuid.uuid4()), time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    said = f"AADSTS{number}: {text} Trace ID: {trace_id} Correlation ID: {correlation_id}"
    return json.dumps(
        {
            "error": error,
            "error_description": f"{said} Timestamp: {at}",
            "error_codes": [number],
            "timestamp": at,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": f"https://login.microsoftonline.com/error?code={number}",
        }
    )


def say(request: BaseHTTPRequestHandler, status: int, body: str, **headers: str) -> None:
    """Send this answer; a cookie comes with it, as from Entra."""
    request.send_response(status)
    request.send_header("Content-Type", "application/json; charset=utf-8")
    request.send_header("Set-Cookie", "fpc=sticky; path=/; secure; HttpOnly")
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(body.encode())))
    request.end_headers()
    request.wfile.write(body.encode())


def says(status: int, body: str, **headers: str) -> Fault:
    """Return the fault of answering so."""
    return lambda request: say(request, status, body, **headers)


def reset(request: BaseHTTPRequestHandler) -> None:
    """Break the connection off."""
    request.close_connection = True
    request.connection.close()


def hang(request: BaseHTTPRequestHandler) -> None:
    """Take the request, and never answer."""
    server: Any = request.server
    server.entra.is_over.wait(60)

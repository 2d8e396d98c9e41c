"""An OIDC issuer on loopback whose tokens look like those of GitHub Actions and GitLab CI."""

import json
import secrets
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qs, urlsplit

import jwt

from ci_identity.errors import MissingDependencyError
from ci_identity.sandbox.claims import (
    Claims,
    github_claims,
    github_subject,
    github_variables,
    gitlab_claims,
    gitlab_variables,
)
from ci_identity.secret import Secret

Answer: TypeAlias = tuple[HTTPStatus, Mapping[str, Any]]

DISCOVERY_PATH = "/.well-known/openid-configuration"  # OpenID Connect Discovery 1.0, section 4
JWKS_PATH = "/.well-known/jwks.json"
GITHUB_PATH = "/github/token"
_KEY_ID = "sandbox"


class Issuer:
    """A running issuer; leaving the `with` block, or `close()`, stops it.

    Attributes:
        address: the issuer's URL, `http://127.0.0.1:PORT`: `iss` of every token.
        claims: claims that every token gets from now on, over the defaults; `None` removes one.
    """

    def __init__(self) -> None:
        """Make a key and start serving.

        Raises:
            MissingDependencyError: the `sandbox` extra is not installed.
        """
        self._key, public_key = _new_key()
        self._jwks = {"keys": [public_key | {"kid": _KEY_ID, "use": "sig", "alg": "RS256"}]}
        self.claims: dict[str, Any] = {}
        self._asked: list[str] = []
        self._jobs: list[tuple[Secret, Claims]] = []
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.issuer = self
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving. May be called twice."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def requests(self) -> Counter[str]:
        """How often each path was asked, refusals included."""
        return Counter(self._asked)

    @property
    def token_requests(self) -> int:
        """How often a GitHub-shaped job asked for a token, refusals included."""
        return self.requests[GITHUB_PATH]

    # ── tokens ───────────────────────────────────────────────────────────────────────────────

    def sign(self, claims: Claims) -> Secret:
        """Return a token with exactly these claims, signed with the issuer's key (RS256)."""
        headers = {"kid": _KEY_ID}
        return Secret(jwt.encode(dict(claims), self._key, algorithm="RS256", headers=headers))

    def github_token(
        self, audience: str | None = None, *, legacy_subject: bool = False, **claims: Any
    ) -> Secret:
        """Return a token as GitHub would give it to a job of acme/shop with these claims.

        Args:
            audience: `aud`; GitHub's own default if `None`.
            legacy_subject: whether `sub` has the old format, without ids.
            claims: claims that differ from the default; `None` removes one.
        """
        made = github_claims(self.address, audience, self.claims | claims)
        if legacy_subject:
            made["sub"] = github_subject(made, is_legacy=True)
        return self.sign(made)

    def gitlab_token(self, audience: str, **claims: Any) -> Secret:
        """Return a token as GitLab would give it to a job of acme/shop with these claims."""
        return self.sign(gitlab_claims(self.address, audience, self.claims | claims))

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────

    def github_environ(self, **claims: Any) -> dict[str, str]:
        """Return the variables of a new GitHub job with these claims, and let it ask for tokens.

        Each job has a bearer of its own, as at GitHub, so that several can be played at once.
        """
        bearer = Secret(secrets.token_urlsafe(32))
        self._jobs.append((bearer, claims))
        return github_variables(github_claims(self.address, None, self.claims | claims)) | {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.address}{GITHUB_PATH}?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": bearer.reveal(),
        }

    def gitlab_environ(self, audience: str, **claims: Any) -> dict[str, str]:
        """Return the variables of a new GitLab job with these claims.

        The job is one that declares `id_tokens: {CI_IDENTITY_TOKEN: {aud: AUDIENCE}}`.
        """
        made = gitlab_claims(self.address, audience, self.claims | claims)
        return gitlab_variables(made) | {"CI_IDENTITY_TOKEN": self.sign(made).reveal()}

    # ── what is served ───────────────────────────────────────────────────────────────────────

    def answer(self, url: str, authorization: str) -> Answer:
        """Return what the issuer answers to a GET of `url` with that Authorization header."""
        path = urlsplit(url).path
        self._asked.append(path)
        if path == DISCOVERY_PATH:
            return HTTPStatus.OK, self._discovery()
        if path == JWKS_PATH:
            return HTTPStatus.OK, self._jwks
        if path == GITHUB_PATH:
            return self._github_answer(url, authorization)
        return HTTPStatus.NOT_FOUND, {"message": "not found"}

    def _discovery(self) -> Mapping[str, Any]:
        return {
            "issuer": self.address,
            "jwks_uri": f"{self.address}{JWKS_PATH}",
            "subject_types_supported": ["public"],
            "response_types_supported": ["id_token"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def _github_answer(self, url: str, authorization: str) -> Answer:
        kind, _, given = authorization.partition(" ")
        claims = self._claims_of(Secret(given)) if kind.lower() == "bearer" else None
        if claims is None:
            return HTTPStatus.UNAUTHORIZED, {"message": "not the bearer of a running job"}
        audience = parse_qs(urlsplit(url).query).get("audience", [None])[0]
        return HTTPStatus.OK, {"value": self.github_token(audience, **claims).reveal()}

    def _claims_of(self, bearer: Secret) -> Claims | None:
        # Every job is compared, in constant time: how long it takes tells nothing of a bearer.
        found = [claims for known, claims in self._jobs if known == bearer]
        return found[0] if found else None


def _new_key() -> tuple[Any, dict[str, Any]]:
    """Return an RSA key for PyJWT, and its public half as a JSON Web Key."""
    try:
        from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415  # optional
        from jwt.algorithms import RSAAlgorithm  # noqa: PLC0415  # only there with the former
    except ImportError:
        message = "a sandbox signs tokens, and the library for that is not installed"
        hint = "install it, in a checkout of ci-identity: pip install '.[sandbox]'"
        raise MissingDependencyError(message, hint=hint) from None
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key, RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    issuer: Issuer


class _Request(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the one we start

    def do_GET(self) -> None:
        status, answer = self.server.issuer.answer(self.path, self.headers.get("Authorization", ""))
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
        """Stay silent: a sandbox shares its terminal with the job that runs in it."""

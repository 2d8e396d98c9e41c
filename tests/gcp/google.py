"""A Google Cloud that decides as Google does, and says no in Google's own words.

It verifies what Google verifies: the token's signature by the issuer's keys, issuer, audience and
life; the provider's condition and mapping; who may impersonate whom, and for how long; what a
token may do with a bucket. Codes, texts and limits are those that the real services were seen to
have.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Never
from urllib.parse import unquote

import jwt
import requests

from ci_identity.sandbox.issuer import JWKS_PATH

NUMBER = "957865594838"
POOL = f"projects/{NUMBER}/locations/global/workloadIdentityPools/ci"
PROVIDER = f"{POOL}/providers/github"
DEFAULT_AUDIENCE = f"https://iam.googleapis.com/{PROVIDER}"
ACCOUNT = "push@acme-shop.iam.gserviceaccount.com"
BUCKET = "acme-images"

_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS = "urn:ietf:params:oauth:token-type:access_token"
_JWT = "urn:ietf:params:oauth:token-type:jwt"
_AUTH = "https://www.googleapis.com/auth/"
_SKEW = 60
"""Seconds that Google allows clocks to differ."""

_OBJECT_ROLES = {
    "storage.objects.create": {"roles/storage.objectCreator", "roles/storage.objectUser"},
    "storage.objects.get": {"roles/storage.objectViewer", "roles/storage.objectUser"},
}


class Refusal(Exception):  # noqa: N818  # an answer
    """What Google answers instead."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def refuse_exchange(error: str, text: str, status: int = 400) -> Never:
    """Refuse as the token endpoint does."""
    raise Refusal(status, {"error": error, "error_description": text})


def refuse_call(status: int, name: str, text: str) -> Never:
    """Refuse as every other API does."""
    raise Refusal(status, {"error": {"code": status, "message": text, "status": name}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An access token that was given out."""

    principal: str
    scopes: frozenset[str]
    ends: float
    rules: tuple[Mapping[str, Any], ...] | None = None


@dataclass
class Google:
    """One project: a provider, a service account, a bucket.

    Attributes:
        issuer: the issuer that the provider trusts.
        audiences: the provider's allowed audiences; by default its own address.
        condition: the provider's attribute condition.
        subject: what the provider maps to google.subject.
        is_disabled: whether the provider is.
        users: for each service account, who may impersonate it.
        readers: who may do everything with the bucket's objects.
        is_extended: whether the organisation lets tokens live for more than an hour.
        is_enabled: whether the project has the API that impersonates.
        objects: what is in the bucket.
    """

    issuer: str
    audiences: tuple[str, ...] = (DEFAULT_AUDIENCE,)
    condition: Callable[[Mapping[str, Any]], bool] = lambda claims: (
        claims.get("repository") == "acme/shop"
    )
    subject: Callable[[Mapping[str, Any]], str | None] = lambda claims: claims.get("sub")
    is_disabled: bool = False
    users: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    readers: set[str] = field(default_factory=set[str])
    is_extended: bool = False
    is_enabled: bool = True
    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])
    tokens: dict[str, Token] = field(default_factory=dict[str, Token])

    def principal(self, subject: str) -> str:
        """Return a job as IAM names it."""
        return f"principal://iam.googleapis.com/{POOL}/subject/{subject}"

    def live(self) -> list[Token]:
        """Return the tokens that have not ended."""
        return [token for token in self.tokens.values() if token.ends > time.time()]

    # ── sts.googleapis.com ───────────────────────────────────────────────────────────────────

    def exchange(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        """Answer POST /v1/token."""
        if form.get("grant_type") != _EXCHANGE or form.get("requested_token_type") != _ACCESS:
            refuse_exchange("invalid_request", "Invalid grant or requested token type.")
        if form.get("subject_token_type") == _ACCESS:
            return self._narrow(form)
        if form.get("subject_token_type") != _JWT:
            refuse_exchange("invalid_request", "Invalid value for subject_token_type.")
        claims = self._verify(form.get("audience", ""), form.get("subject_token", ""))
        subject = self.subject(claims)
        if not self.condition(claims):
            text = "The given credential is rejected by the attribute condition."
            refuse_exchange("unauthorized_client", text)
        if subject is None:
            text = "Could not obtain a value for google.subject from the given credential."
            refuse_exchange("unauthorized_client", text)
        if len(subject.encode()) > 127:
            text = "The size of mapped attribute google.subject exceeds the 127 bytes limit. Either"
            refuse_exchange("invalid_request", text)
        ends = min(claims["exp"], time.time() + 3600)
        scopes = frozenset(form.get("scope", "").split())
        return self._issue(Token(principal=self.principal(subject), scopes=scopes, ends=ends))

    def _verify(self, audience: str, token: str) -> Mapping[str, Any]:
        if audience != f"//iam.googleapis.com/{PROVIDER}" or self.is_disabled:
            text = 'The target service indicated by the "audience" parameters is invalid. This'
            refuse_exchange("invalid_target", f"{text} might either be because the pool or ...")
        try:
            claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            refuse_exchange("invalid_grant", "Unable to parse the ID Token.")
        if claims.get("iss") != self.issuer:
            text = f"The issuer in ID Token {claims.get('iss')} does not match the expected ones"
            refuse_exchange("invalid_grant", text)
        self._verify_signature(token)
        if claims.get("aud") not in self.audiences:
            text = f"The audience in ID Token [{claims.get('aud')}] does not match the expected"
            refuse_exchange("invalid_grant", f"{text} audience.")
        issued, ends, now = claims.get("iat", 0), claims.get("exp", 0), time.time()
        if issued > now + _SKEW or ends < now - _SKEW:
            refuse_exchange("invalid_grant", f"ID Token issued at {issued} is stale to sign-in.")
        return claims

    def _verify_signature(self, token: str) -> None:
        with requests.Session() as http:
            http.trust_env = False
            keys = jwt.PyJWKSet.from_dict(http.get(self.issuer + JWKS_PATH, timeout=5).json())
        try:
            key = keys[jwt.get_unverified_header(token)["kid"]]
        except KeyError:
            text = "Error connecting to the given credential's issuer."
            refuse_exchange("invalid_grant", text)
        try:
            jwt.decode(
                token, key, algorithms=["RS256"], options={"verify_aud": False, "verify_exp": False}
            )
        except jwt.InvalidSignatureError:
            refuse_exchange("invalid_grant", "Unable to verify the ID Token signature.")

    def _narrow(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        source = self.tokens.get(form.get("subject_token", ""))
        if source is None or source.ends < time.time():
            refuse_exchange("invalid_grant", "The subject token is expired or invalid.")
        rules = json.loads(unquote(form["options"]))["accessBoundary"]["accessBoundaryRules"]
        for rule in rules:
            if not rule["availableResource"].startswith("//storage.googleapis.com/projects/_/"):
                refuse_exchange("invalid_request", "Invalid value for accessBoundary.")
        token = Token(
            principal=source.principal, scopes=source.scopes, ends=source.ends, rules=tuple(rules)
        )
        return {**self._issue(token), "expires_in": None}  # this call may leave it out

    def _issue(self, token: Token) -> Mapping[str, Any]:
        value = f"ya29.d.{secrets.token_urlsafe(48)}"
        self.tokens[value] = token
        return {
            "access_token": value,
            "issued_token_type": _ACCESS,
            "token_type": "Bearer",
            "expires_in": int(token.ends - time.time()),
        }

    # ── iamcredentials.googleapis.com ────────────────────────────────────────────────────────

    def impersonate(self, bearer: str, account: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer POST /v1/projects/-/serviceAccounts/ACCOUNT:generateAccessToken."""
        caller = self.caller(bearer)
        if not {f"{_AUTH}iam", f"{_AUTH}cloud-platform"} & caller.scopes:
            text = "Request had insufficient authentication scopes."
            refuse_call(403, "PERMISSION_DENIED", text)
        if not self.is_enabled:
            text = "IAM Service Account Credentials API has not been used in project 1 before or it"
            refuse_call(403, "PERMISSION_DENIED", f"{text} is disabled.")
        if account not in self.users:
            text = f"Not found; Gaia id not found for email {account}"
            refuse_call(404, "NOT_FOUND", text)
        chain = [name.rpartition("/")[2] for name in body.get("delegates", [])]
        users = [caller.principal, *chain]
        for user, used in zip(users, [*chain, account], strict=True):
            if user not in self.users.get(used, set()):
                text = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it"
                refuse_call(403, "PERMISSION_DENIED", f"{text} may not exist).")
        seconds = int(body["lifetime"].removesuffix("s"))
        if seconds > (43200 if self.is_extended else 3600):
            text = "can not have lifetimes of more than 1 hour. Use the Org Policy Constraint"
            refuse_call(400, "INVALID_ARGUMENT", text)
        if not all(scope.startswith(_AUTH) for scope in body["scope"]):
            refuse_call(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
        token = Token(
            principal=account, scopes=frozenset(body["scope"]), ends=time.time() + seconds
        )
        ends = datetime.fromtimestamp(token.ends, UTC)
        return {
            "accessToken": self._issue(token)["access_token"],
            "expireTime": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
        }

    def caller(self, bearer: str) -> Token:
        """Return whose token it is, or refuse it."""
        token = self.tokens.get(bearer)
        if token is None or token.ends < time.time():
            text = "Request had invalid authentication credentials. Expected OAuth 2 access token"
            refuse_call(401, "UNAUTHENTICATED", text)
        return token

    # ── storage.googleapis.com ───────────────────────────────────────────────────────────────

    def check_object(self, bearer: str, permission: str, name: str) -> None:
        """Refuse unless the token may do this with an object of the bucket."""
        caller = self.caller(bearer)
        is_scoped = f"{_AUTH}cloud-platform" in caller.scopes
        if (
            not is_scoped
            or caller.principal not in self.readers
            or not self._is_within(caller, permission, name)
        ):
            text = f"{caller.principal} does not have {permission} access to the object."
            refuse_call(HTTPStatus.FORBIDDEN, "PERMISSION_DENIED", text)

    def _is_within(self, token: Token, permission: str, name: str) -> bool:
        if token.rules is None:
            return True
        bucket = f"//storage.googleapis.com/projects/_/buckets/{BUCKET}"
        for rule in token.rules:
            roles = {role.removeprefix("inRole:") for role in rule["availablePermissions"]}
            expression = rule.get("availabilityCondition", {}).get("expression", "")
            prefix = expression.partition("objects/")[2].rstrip("')")
            if rule["availableResource"] == bucket and roles & _OBJECT_ROLES[permission]:
                return name.startswith(prefix)
        return False

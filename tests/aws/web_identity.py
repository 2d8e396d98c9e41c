"""Who a web identity token says it is, once its signature, its life and its audience hold."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
import requests
from moto.iam.models import IAMBackend, OpenIDConnectProvider

from tests.aws.account import refuse

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")

CONDITION_KEYS = (
    *("amr", "sub"),
    *("actor", "actor_id", "environment", "enterprise_id", "job_workflow_ref", "ref"),
    *("repository", "repository_id", "workflow"),
)
"""The claims beside `aud` that a trust policy can test: of any provider, then of GitHub's."""

_INVALID = "InvalidIdentityToken"
_NO_KEY = (
    "Couldn't retrieve verification key from your identity provider,  "
    "please reference AssumeRoleWithWebIdentity documentation for requirements"
)
_NO_JWT = (
    "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebIdentity:
    """Who a token says it is, verified.

    Attributes:
        provider: the account's identity provider that made it.
        audience: the provider's client id that it is for.
        claims: all of it.
    """

    provider: OpenIDConnectProvider
    audience: str
    claims: Mapping[str, Any]

    @property
    def condition_keys(self) -> dict[str, str]:
        """What a trust policy sees of it, by the names after `<issuer>:`."""
        values = {key: self.claims[key] for key in CONDITION_KEYS if key in self.claims}
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}
        return texts | {"aud": self.audience}


def verify(token: str, iam: IAMBackend, now: datetime) -> WebIdentity:
    """Return who a token is, or refuse it as AWS does.

    Args:
        token: the JWT.
        iam: the account whose identity providers count.
        now: what time it is.
    """
    issuer = _unverified_issuer(token)
    providers = {provider.url: provider for provider in iam.open_id_providers.values()}
    provider = providers.get(issuer.partition("://")[2].rstrip("/"))
    if provider is None:
        refuse(_INVALID, f"No OpenIDConnect provider found in your account for {issuer}")
    claims = _signed_claims(token, _fetch_key(issuer, token))
    current, expires_at = int(now.timestamp()), int(claims["exp"])
    if current >= expires_at:
        expired = f"Token expired: current date/time {current} must be before"
        refuse("ExpiredTokenException", f"{expired} the expiration date/time {expires_at}")
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    known = [audience for audience in audiences if audience in provider.client_id_list]
    if not known:
        refuse(_INVALID, "Incorrect token audience")
    return WebIdentity(provider=provider, audience=known[0], claims=claims)


def _unverified_issuer(token: str) -> str:
    try:
        return str(jwt.decode(token, options={"verify_signature": False})["iss"])
    except (jwt.InvalidTokenError, KeyError):
        refuse(_INVALID, _NO_JWT)


def _fetch_key(issuer: str, token: str) -> Any:
    """Return the key with which the issuer says it signed the token (OpenID Connect Discovery)."""
    try:
        discovery = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=5)
        discovery.raise_for_status()
        jwks = requests.get(discovery.json()["jwks_uri"], timeout=5)
        jwks.raise_for_status()
        keys = jwt.PyJWKSet.from_dict(jwks.json())
        return keys[jwt.get_unverified_header(token)["kid"]].key
    except (requests.RequestException, jwt.PyJWTError, KeyError):
        refuse(_INVALID, _NO_KEY)


def _signed_claims(token: str, key: Any) -> Mapping[str, Any]:
    # Life and audience are looked at afterwards: by AWS's clock, with AWS's words.
    unlooked_at = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud")}
    options: Any = {**unlooked_at, "require": ["iss", "sub", "aud", "exp", "iat"]}
    try:
        claims: Mapping[str, Any] = jwt.decode(token, key, algorithms=ALGORITHMS, options=options)
    except jwt.InvalidTokenError:
        refuse(_INVALID, "Token signature invalid")
    return claims

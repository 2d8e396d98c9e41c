"""What Vault and OpenBao mean by what they say: their error strings, mapped to causes.

The strings are those of vault-plugin-auth-jwt `path_login.go`, `token_store.go` and cap/jwt, as
the real servers print them. None of their text is passed on, but the name of a claim is.
"""

import re
from collections.abc import Iterable, Mapping

from ci_identity._text import shortened
from ci_identity.errors import (
    ExchangeError,
    VaultAudienceError,
    VaultClaimsError,
    VaultIssuerError,
    VaultMountError,
    VaultPolicyError,
    VaultRoleError,
    VaultSecretError,
    VaultSignatureError,
    VaultTokenKindError,
    VaultTokenTimeError,
)
from ci_identity.model import JobIdentity

# The first row whose text is in the answer decides: `error validating token:` precedes most.
_KNOWN: tuple[tuple[str, type[ExchangeError], str], ...] = (
    ("no audiences bound to the role", VaultAudienceError, "the role binds no audience"),
    ("audience (aud) claim", VaultAudienceError, "the role binds another audience"),
    ("does not match any bound audience", VaultAudienceError, "the role binds another audience"),
    ("issuer (iss) claim", VaultIssuerError, "it trusts another issuer"),
    ("expiration time (exp) claim", VaultTokenTimeError, "the token is expired by its clock"),
    ("token is expired", VaultTokenTimeError, "the token is expired by its clock"),
    ("not before (nbf) claim", VaultTokenTimeError, "the token is not valid yet by its clock"),
    ("issued at (iat) claim", VaultTokenTimeError, "the token is not valid yet by its clock"),
    ("verifying token signature", VaultSignatureError, "it could not verify the signature"),
    ("failed to verify id token signature", VaultSignatureError, "it could not verify the token"),
    ("fetching keys", VaultSignatureError, "it could not fetch the issuer's keys"),
    ("subject (sub) claim", VaultClaimsError, "the role binds another subject"),
    ("bound claim", VaultClaimsError, "the role binds a claim to another value"),
    ("error validating claims", VaultClaimsError, "the role binds a claim to another value"),
    ("not found in token", VaultClaimsError, "the role needs a claim that the token has not"),
    ("could not be found", VaultRoleError, "it has no such role"),
    ("namespace not found", VaultMountError, "it has no such namespace"),
    ("no handler for route", VaultMountError, "nothing is mounted there"),
    ("unsupported path", VaultMountError, "nothing of that kind is mounted there"),
    ("must be subset of parent", VaultPolicyError, "the login has not all of the policies asked"),
    ("restricted use token", VaultTokenKindError, "the login token has limited uses"),
    ("batch tokens cannot", VaultTokenKindError, "the login token is a batch token"),
    ("permission denied", VaultMountError, "it gave no reason"),
)

_CAUSES = {
    "not found in token": "`user_claim` or `groups_claim` of the role names a claim that this"
    " job's tokens do not have"
}

# What an engine says; else only it knows why.
_ENGINE: tuple[tuple[str, str, str], ...] = (
    (
        "unsupported operation",
        "this path only issues when it is written to, or only when it is read",
        "give it `with: {...}` in the grant if it has none, and none if it has",
    ),
    (
        "larger than maximum allowed",
        "the `max_ttl` of its role is shorter than the ttl that was asked for",
        "give it a shorter `ttl` in `with`, or raise `max_ttl` of the role",
    ),
)

_CLAIM = r'claim "([A-Za-z0-9_./:-]{1,64})"'


def refusal(what: str, errors: Iterable[str], job: JobIdentity) -> ExchangeError:
    """Return the error to raise for `errors`, the texts of Vault's answer.

    Args:
        what: what was asked and where, to begin the message with.
        errors: the texts in Vault's answer. They are looked at, never passed on.
        job: who asked: of its claims those are repeated that the server names, and its audience.
    """
    text = " ".join(errors)
    for known, kind, meaning in _KNOWN:
        if known not in text:
            continue
        message = f"{what} was refused: {meaning}{_named_claim(text, job.claims)}"
        if kind is VaultAudienceError:
            message += f"; the token is for {', '.join(job.audience)}"
        return kind(message, cause=_CAUSES.get(known))
    return ExchangeError(
        f"{what} was refused for a reason that ci-identity does not know",
        cause="the role has a condition of a kind of its own, or this is not Vault or OpenBao",
    )


def engine_refusal(path: str, errors: Iterable[str], *, is_written: bool) -> VaultSecretError:
    """Return the error to raise for what a secrets engine, not a policy, said no to.

    Args:
        path: what was asked for.
        errors: the texts in its answer. They are looked at, never passed on.
        is_written: whether it was written to, by a `with`.
    """
    text = " ".join(errors)
    what = "writing to" if is_written else "reading"
    message = f"{what} {path} was refused by the secrets engine that is mounted there"
    for known, cause, hint in _ENGINE:
        if known in text:
            return VaultSecretError(message, cause=cause, hint=hint)
    if not is_written:
        return VaultSecretError(message)
    return VaultSecretError(
        message,
        cause="a parameter in `with` is missing or misspelt, or the engine's role, the last part of"
        " the path, is, or does not allow it",
        hint=f"compare `with` with the engine's documentation; `bao write {path} ...` by hand shows"
        " its own words, which may hold values and are not repeated",
    )


def _named_claim(text: str, claims: Mapping[str, object]) -> str:
    found = re.search(_CLAIM, text)
    if not found:
        return ""
    name = found[1]
    if name not in claims:
        return f" ({name}, which the token does not have)"
    return f" ({name}; the token has {shortened(str(claims[name]))})"

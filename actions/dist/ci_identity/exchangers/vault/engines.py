"""What an answer of a secrets engine is, and what ends what it gave. Pure.

Vault says "revoked" of every lease, also where its engine does nothing then. The engines' own pages
tell which those are; an answer tells by its fields which engine it is from. Sources:
https://openbao.org/docs/api/secret/, https://developer.hashicorp.com/vault/api-docs/secret.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, cast

from ci_identity._answer import Answer
from ci_identity._jws import take_apart
from ci_identity.exchangers.vault.issued import Certificate, Issued, pki_mount
from ci_identity.exchangers.vault.ssh import valid_before
from ci_identity.secret import Secret

Fields = Mapping[str, object]

STORING = frozenset({"kv", "generic", "cubbyhole", "transit", "totp"})
"""Kinds of engine that issue nothing which somebody would have to end."""

_AT_LATEST = datetime.max.replace(tzinfo=UTC)


def is_version_2(answer: Answer) -> bool:
    """True if it is from KV version 2, which has the fields one level deeper, beside metadata."""
    data = answer.get("data")
    if not isinstance(data, dict) or set(cast("Fields", data)) != {"data", "metadata"}:
        return False
    return answer.get("data", "metadata", "created_time") is not None


def issued(path: str, answer: Answer, asked_at: datetime, *, is_written: bool) -> Issued | None:
    """Return what an answer is, or `None` if only the kind of the engine can tell.

    Args:
        path: what was asked for.
        answer: what came.
        asked_at: when (UTC).
        is_written: whether it was written to; what was read without a lease has been there before.
    """
    lease = answer.get("lease_id")
    lease = lease if isinstance(lease, str) else ""
    data = answer.get("data")
    fields: Fields = cast("Fields", data) if isinstance(data, dict) else {}
    # KV version 1 alone gives a lease's duration and no lease; its fields are anybody's.
    if not lease and answer.get("lease_duration"):
        return Issued(path=path)
    if certificate := _certificate(path, fields):
        ends_at = _time(fields.get("expiration"))
        return Issued(path=path, lease=lease, certificate=certificate, ends_at=ends_at)
    life = answer.get("lease_duration") or fields.get("ttl")
    for read in _READERS:
        if found := read(fields, life, asked_at):
            return Issued(
                path=path,
                lease=lease,
                remains=found.what,
                name=found.name if re.fullmatch(_NAME, found.name) else "",
                ends_at=found.ends_at,
            )
    if lease or not is_written or is_version_2(answer):
        return Issued(path=path, lease=lease)
    return None


def issued_by(path: str, kind: object) -> Issued:
    """Return what an answer is that has no lease, of an engine of this kind."""
    return Issued(path=path, remains="" if kind in STORING else "what was issued")


# ── the engines ──────────────────────────────────────────────────────────────────────────────

_PEM = r"(?s)-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----"


def _certificate(path: str, fields: Fields) -> Certificate | None:
    serial, text = fields.get("serial_number"), fields.get("certificate")
    mount = pki_mount(path)
    if not mount or not isinstance(serial, str) or not isinstance(text, str):
        return None
    if not re.fullmatch(_NAME, serial):
        return None
    own, key = re.search(_PEM, text), fields.get("private_key")  # neither is PEM with `format: der`
    return Certificate(
        mount=mount,
        serial=serial,
        text=own[0] if own else "",
        key=Secret(key) if own and isinstance(key, str) else None,
    )


class _Remaining(NamedTuple):
    """What is not ended by a revocation: what it is, until when, and its name at its provider."""

    what: str
    ends_at: datetime | None
    name: str = ""


_NAME = r"[A-Za-z0-9_.:/-]{1,253}"
"""Of what is shown and recorded of an answer."""


def _ssh(fields: Fields, _life: object, _asked_at: datetime) -> _Remaining | None:
    signed = fields.get("signed_key")
    if not isinstance(signed, str):
        return None
    serial = str(fields.get("serial_number", ""))
    return _Remaining("an SSH certificate", _time(valid_before(signed)), serial)


# The engine's default name for an account that it makes: v-TOKEN-ROLE-UNIXTIME-RANDOM.
_MADE_ACCOUNT = r"v-.*-([0-9]{10})-[a-z0-9]+"
_MINUTE = timedelta(minutes=1)


def _kubernetes(fields: Fields, _life: object, asked_at: datetime) -> _Remaining | None:
    token, account = fields.get("service_account_token"), fields.get("service_account_name")
    if not isinstance(token, str):
        return None
    made = re.fullmatch(_MADE_ACCOUNT, str(account))
    made_at = _time(int(made[1])) if made else None
    if made_at and abs(made_at - asked_at) < _MINUTE:
        return None  # made for this, and deleted with the lease
    try:
        _, claims = take_apart(token)
    except ValueError:
        claims = {}
    name = f"{fields.get('service_account_namespace')}/{account}"
    return _Remaining("a token of an account that stays", _time(claims.get("exp")), name)


def _aws(fields: Fields, life: object, asked_at: datetime) -> _Remaining | None:
    key, session = fields.get("access_key"), fields.get("security_token")
    if not key or not (session or fields.get("session_token")):
        return None
    return _Remaining("a session of AWS STS", _after(asked_at, life), str(key))


def _token(fields: Fields, life: object, asked_at: datetime) -> _Remaining | None:
    """Read Google's access tokens, and the tokens of the server's own identities."""
    if not isinstance(fields.get("token"), str):
        return None
    if ends_at := _time(fields.get("expires_at_seconds")):
        return _Remaining("an access token of Google Cloud", ends_at)
    if "client_id" in fields:
        return _Remaining("a signed token", _after(asked_at, life))
    return None


_READERS: tuple[Callable[[Fields, object, datetime], _Remaining | None], ...] = (
    _ssh,
    _kubernetes,
    _aws,
    _token,
)


def _time(seconds: object) -> datetime | None:
    """Return the time that so many seconds after 1970 is."""
    if not isinstance(seconds, int) or seconds <= 0:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return _AT_LATEST


def _after(start: datetime, seconds: object) -> datetime | None:
    if not isinstance(seconds, int) or seconds <= 0:
        return None
    try:
        return start + timedelta(seconds=seconds)
    except OverflowError:
        return _AT_LATEST

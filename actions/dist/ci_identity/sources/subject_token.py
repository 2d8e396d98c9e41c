"""What an id token must be before anything rests on it; its signature is the provider's matter."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeGuard, cast

from ci_identity._jws import COMPACT, take_apart
from ci_identity._text import shortened
from ci_identity.errors import AudienceError, ExpiredTokenError, MalformedTokenError
from ci_identity.model import UnverifiedClaims
from ci_identity.secret import Secret

MAX_TOKEN = 20_000
"""Characters. AWS STS takes no more (`WebIdentityToken`), and no CI's token comes near it."""

LEEWAY = timedelta(seconds=30)
"""How far the clocks of issuer and runner may differ. The provider has its own, stricter or not."""

Clock = Callable[[], datetime]
"""Gives the time now, in UTC. Handed to the sources, so that they can be asked at any time."""

_CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"


def utc_now() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


def read(token: Secret, *, origin: str, audience: str | None, now: datetime) -> UnverifiedClaims:
    """Return the claims of an id token that is whole, in time, and made for `audience`.

    Args:
        token: the JWT.
        origin: where it was found, to begin a message with: a variable's name, a file.
        audience: what its `aud` must contain; `None` to take any.
        now: the time, in UTC.

    Raises:
        MalformedTokenError: it is not a JWT with the claims of an id token.
        AudienceError: it is made for somebody else.
        ExpiredTokenError: it has ended or not begun, by more than `LEEWAY`.
    """
    claims = parse(token, origin=origin)
    if audience is not None:
        check_audience(claims, audience, origin=origin)
    _check_time(claims, origin=origin, now=now)
    return claims


def parse(token: Secret, *, origin: str) -> UnverifiedClaims:
    """Return the claims of an id token, whoever and whenever it is for.

    It must have what OpenID Connect Core, section 2, requires: `iss`, `sub`, `aud` and `exp`.

    Raises:
        MalformedTokenError: it has not; the message holds no part of it.
    """
    text = token.reveal()
    if len(text) > MAX_TOKEN:
        raise _malformed(origin, f"it is longer than {MAX_TOKEN} characters")
    if not COMPACT.fullmatch(text):
        raise _malformed(origin, "it is not three base64url parts with dots between them")
    try:
        header, payload = take_apart(text)
    except ValueError:
        raise _malformed(origin, "its parts are not base64url of JSON objects") from None
    if str(header.get("alg") or "none").lower() == "none":
        raise _malformed(origin, "it is not signed")
    claims = UnverifiedClaims(payload)
    issuer(claims, origin=origin)
    subject(claims, origin=origin)
    audiences(claims, origin=origin)
    expires_at(claims, origin=origin)
    return claims


def issuer(claims: UnverifiedClaims, *, origin: str) -> str:
    """Return `iss`, or raise `MalformedTokenError`."""
    return _text(claims, "iss", origin)


def subject(claims: UnverifiedClaims, *, origin: str) -> str:
    """Return `sub`, or raise `MalformedTokenError`."""
    return _text(claims, "sub", origin)


def audiences(claims: UnverifiedClaims, *, origin: str) -> tuple[str, ...]:
    """Return `aud`, one text or several (RFC 7519, 4.1.3), or raise `MalformedTokenError`."""
    value = claims.get("aud")
    several = cast("list[object]", value) if isinstance(value, list) else [value]
    found = tuple(one for one in several if _is_text(one))
    if not found or len(found) != len(several):
        raise _malformed(origin, "its `aud` is neither a text nor a list of texts")
    return found


def expires_at(claims: UnverifiedClaims, *, origin: str) -> datetime:
    """Return `exp` in UTC, or raise `MalformedTokenError`."""
    if (time := _time(claims, "exp", origin)) is None:
        raise _malformed(origin, "it has no `exp`")
    return time


def check_audience(claims: UnverifiedClaims, audience: str, *, origin: str) -> None:
    """Pass if the token is made for `audience`, else raise `AudienceError` with both."""
    found = audiences(claims, origin=origin)
    if audience not in found:
        message = f"{origin} is made for {quoted(*found)}; {quoted(audience)} was asked for"
        raise AudienceError(message)


def quoted(*texts: str) -> str:
    """Return texts of others fit for a message: printable, cut short, with commas between."""
    return ", ".join(map(shortened, texts))


def _check_time(claims: UnverifiedClaims, *, origin: str, now: datetime) -> None:
    ends = expires_at(claims, origin=origin)
    if ends < now - LEEWAY:
        message = f"{origin} ended at {_stamp(ends)}; it is now {_stamp(now)}"
        raise ExpiredTokenError(message)
    begins = _time(claims, "nbf", origin)
    if begins is not None and begins > now + LEEWAY:
        message = f"{origin} is not valid before {_stamp(begins)}; it is now {_stamp(now)}"
        raise ExpiredTokenError(message)


def _time(claims: UnverifiedClaims, name: str, origin: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    # JSON's true and false are numbers to Python, but not to RFC 7519 (NumericDate, section 2).
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (ValueError, OverflowError, OSError):
            pass
    raise _malformed(origin, f"its `{name}` is not a time")


def _text(claims: UnverifiedClaims, name: str, origin: str) -> str:
    value = claims.get(name)
    if _is_text(value):
        return value
    raise _malformed(origin, f"its `{name}` is missing, empty, or has control characters")


def _is_text(value: object) -> TypeGuard[str]:
    if not isinstance(value, str) or not value:
        return False
    return value.isprintable() or not re.search(_CONTROL, value)  # the first costs nothing


def _stamp(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _malformed(origin: str, reason: str) -> MalformedTokenError:
    return MalformedTokenError(f"{origin} is not an OIDC id token: {reason}")

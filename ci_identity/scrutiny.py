"""What an issued credential must be before it is delivered."""

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from ci_identity.errors import DeliveryError, ShortSecretError, TokenLifeError
from ci_identity.model import Delivered
from ci_identity.redaction.needles import MIN_SECRET, encode
from ci_identity.secret import Secret

_SECOND = timedelta(seconds=1)
"""Providers count in whole seconds, rounded down."""

_SKEW = timedelta(minutes=1)
"""How far the provider's clock may be from ours."""


def check_life(
    name: str, expires_at: datetime, *, asked_at: datetime, ttl: timedelta
) -> str | None:
    """Return a remark if the credential lives much shorter than was asked.

    Raises:
        TokenLifeError: it lives longer, or not at all.
    """
    if expires_at <= datetime.now(UTC):
        message = f"{name}: the credential has ended already; is this machine's clock right?"
        raise TokenLifeError(message)
    if expires_at > asked_at + ttl + _SKEW:
        message = f"{name}: the credential lives longer than was asked"
        raise TokenLifeError(message)
    if expires_at >= asked_at + ttl * 0.9 - _SECOND:
        return None
    life = (expires_at - asked_at).total_seconds()
    return f"asked for {ttl.total_seconds():.0f} s, the server gives {life:.0f} s"


def check_values(variables: Mapping[str, Delivered], served: Iterable[Secret] = ()) -> None:
    """Raise unless each value can be delivered, and masked in a log.

    Args:
        variables: what goes into variables.
        served: the secrets of what is asked for at the endpoint.

    Raises:
        DeliveryError: no environment variable can hold it.
        ShortSecretError: it is too short to be masked.
    """
    for name, given in variables.items():
        text = given.value.reveal()
        if "\0" in text:
            message = f"{name}: the value has a NUL byte, which no environment variable can hold"
            raise DeliveryError(message, hint="store it as base64, and decode it in the step")
        if not _is_encodable(text):
            message = f"{name}: the value has half a character, which has no encoding"
            raise DeliveryError(message, hint="store it as base64, and decode it in the step")
        if not given.is_public and len(encode(text).strip()) < MIN_SECRET:
            message = f"{name}: the value is shorter than {MIN_SECRET} bytes"
            raise ShortSecretError(message)
    if any(len(encode(secret.reveal()).strip()) < MIN_SECRET for secret in served):
        message = f"the provider gave a secret of under {MIN_SECRET} bytes"
        raise ShortSecretError(message)


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True

"""Takes a JSON Web Signature apart without checking it: that is the provider's matter (RFC 7515).

Not PyJWT: on the way to a credential its algorithms, which nobody here uses, cost 30 ms of import.
"""

import base64
import json
import re
from typing import cast

COMPACT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
"""RFC 7515, section 7.1."""


def take_apart(token: str) -> tuple[dict[str, object], dict[str, object]]:
    """Return header and payload of a compact JWS.

    Raises:
        ValueError: it is none.
    """
    header, payload, signature = token.split(".")
    base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    return decode(header), decode(payload)


def decode(part: str) -> dict[str, object]:
    """Return the JSON object that one part of a compact JWS is.

    Raises:
        ValueError: it is not base64url of one.
    """
    try:
        found: object = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except RecursionError:
        found = None
    if not isinstance(found, dict):
        message = "not base64url of a JSON object"
        raise ValueError(message)  # noqa: TRY004  # one error for all that is wrong with the text
    return cast("dict[str, object]", found)

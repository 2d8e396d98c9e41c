"""The one inline policy that denies one session: its name, and what it says."""

import hashlib
import json
import re
from datetime import UTC, datetime

from ci_identity.reaping.aws import LiveSession

_NAME = re.compile(r"ci-identity-cut-(?P<until>[0-9]{8}T[0-9]{6}Z)-[0-9a-f]{16}-[0-9a-f]{16}")
_TIME = "%Y%m%dT%H%M%SZ"


def name(lease: LiveSession) -> str:
    """Return the policy's name. It tells who made it, until when it is needed, and for what."""
    return f"ci-identity-cut-{lease.until:{_TIME}}-{_whose(lease)}"


def covers(name: str, lease: LiveSession) -> bool:
    """Return whether the policy called `name` denies this very session, and for long enough."""
    ends = until(name)
    is_its = name.endswith(f"Z-{_whose(lease)}")
    return is_its and ends is not None and ends >= lease.until.replace(microsecond=0)


def _whose(lease: LiveSession) -> str:
    # By the document too: two ledgers may tell of one lease, and one of them a session that is
    # none. Its denial must not pass for that of the other.
    return f"{lease.id}-{hashlib.sha256(document(lease).encode()).hexdigest()[:16]}"


def document(lease: LiveSession) -> str:
    """Return the policy's document: everything is denied to the one session, and to no other.

    Where the session's `aws:userid` is not on record, it is known by its name's end: a session
    name ends with the id of its lease.
    """
    if lease.user:
        condition = {"StringEquals": {"aws:userid": lease.user}}
    else:
        condition = {"StringLike": {"aws:userid": f"*:*-{lease.id}"}}
    denial = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}
    return json.dumps({"Version": "2012-10-17", "Statement": [denial]}, separators=(",", ":"))


def until(name: str) -> datetime | None:
    """Return until when the policy called `name` is needed (UTC); `None` if it is not ours."""
    found = _NAME.fullmatch(name)
    try:
        return datetime.strptime(found["until"], _TIME).replace(tzinfo=UTC) if found else None
    except ValueError:  # digits that are no time
        return None

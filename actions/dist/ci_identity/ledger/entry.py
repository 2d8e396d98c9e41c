"""What one entry of the ledger says, and the hash that ties it to the one before."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from ci_identity._record import Record, field, replace

VERSION = 1
FIRST_PREV = "0" * 64
"""`prev` of the first entry: there is nothing before it."""

MAX_TEXT = 1024
"""Characters of one field. Claims are written by strangers; a ledger is not their notebook."""


class Event(StrEnum):
    """What happened to a lease."""

    REQUESTED = "requested"
    DENIED = "denied"
    ISSUED = "issued"
    DELIVERED = "delivered"
    ACCESSED = "accessed"
    REFUSED = "refused"
    REFRESHED = "refreshed"
    REVOKED = "revoked"
    EXPIRES = "expires"
    FAILED = "failed"
    REAPED = "reaped"
    CUT = "cut"
    ALIVE = "alive"


class Entry(Record):
    """One line of the ledger. It has no field that a secret would fit in.

    Attributes:
        event: what happened.
        lease: our id of the lease that it happened to.
        grant, step, target: which grant, which step (if known), which role or account.
        at: when (UTC).
        expires_at: when what was issued ends by itself (UTC).
        identity: `issuer`, `subject`, `repository`, `run`, `job` of the job, as claimed.
        fingerprint: SHA-256 of an issued token, in hex; never of a stored value.
        handle: what a reaper needs to end it: `accessor:…`, `lease:…`. Never a secret.
        outcome: how the lease ended.
        reason: an error code.
        peer: which process was served or refused: its pid, uid and name.
        packed_policy: how much of AWS's limit for session policies is used, in percent.
        steered_by: names of the environment variables that chose a proxy, a CA or an endpoint.
        prev, hash: the chain: SHA-256, in hex, of the entry before and of this one.
    """

    event: Event
    lease: str
    grant: str
    step: str | None = None
    target: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    expires_at: datetime | None = None
    identity: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    fingerprint: str | None = None
    handle: str | None = None
    outcome: str | None = None
    reason: str | None = None
    peer: str | None = None
    packed_policy: int | None = None
    steered_by: tuple[str, ...] = ()
    prev: str = FIRST_PREV
    hash: str = ""

    def chained(self, prev: str) -> "Entry":
        """Return the entry as it stands after the one whose hash is `prev`."""
        linked = replace(self, prev=prev)
        return replace(linked, hash=digest(linked.unhashed()))

    def to_object(self) -> dict[str, object]:
        """Return the entry as JSON's types, in the order people read it."""
        return {
            "v": VERSION,
            "at": _time(self.at),
            "event": str(self.event),
            "grant": _text(self.grant),
            "step": _text(self.step),
            "target": _text(self.target),
            "lease": _text(self.lease),
            "expires_at": _time(self.expires_at),
            "identity": {name: _text(value) for name, value in self.identity.items()},
            "fingerprint": _text(self.fingerprint),
            "handle": _text(self.handle),
            "outcome": _text(self.outcome),
            "reason": _text(self.reason),
            "peer": _text(self.peer),
            "packed_policy": self.packed_policy,
            "steered_by": [_text(name) for name in self.steered_by],
            "prev": self.prev,
            "hash": self.hash,
        }

    def to_line(self) -> bytes:
        """Return the entry as one line of the file."""
        return self.unhashed() + seal(self.hash)

    def unhashed(self) -> bytes:
        """Return the line up to its hash, which is over these bytes."""
        body = {name: value for name, value in self.to_object().items() if name != "hash"}
        return json.dumps(body, separators=(",", ":")).encode()[:-1]


def digest(unhashed: bytes) -> str:
    """Return the SHA-256, in hex, of an entry's line as it is written, up to its `hash`.

    To check one by hand: `sed 's/,"hash":.*//' | head -c -1 | sha256sum`, for one line.
    """
    return hashlib.sha256(unhashed).hexdigest()


def seal(hash_: str) -> bytes:
    """Return what an entry's line ends with: its hash."""
    return b',"hash":"%s"}\n' % hash_.encode()


SEAL = len(seal(FIRST_PREV))
"""Bytes of the end of a line that has the hash."""


def _time(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="milliseconds") if at else None


def _text(value: str | None) -> str | None:
    return value[:MAX_TEXT] if value else value

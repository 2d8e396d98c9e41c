"""What the paths of a grant gave, what ends it, and what is to be said of that. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime

from ci_identity._record import Record, field
from ci_identity.secret import Secret

Request = tuple[str, Mapping[str, str]]
"""The path and the body of a POST."""


class Certificate(Record):
    """A certificate of the PKI engine, and what it can be revoked by.

    Attributes:
        mount: where the engine is.
        serial: its serial number, as the engine writes it.
        text: itself in PEM, where it was asked for in that.
        key: its private key in PEM, where the engine made it.
    """

    mount: str
    serial: str
    text: str = ""
    key: Secret | None = None

    @property
    def handle(self) -> str:
        """The API path that shows it."""
        return f"{self.mount}/cert/{self.serial}"

    def revocation(self, may_update: frozenset[str]) -> Request | None:
        """Return path and body of the request that revokes it, if one is allowed.

        The certificate itself is sent, not its serial number: a role may store none (`no_store`).
        """
        body = {"certificate": self.text} if self.text else {"serial_number": self.serial}
        with_key, any_ = revocation_paths(self.mount)
        if with_key in may_update and self.text and self.key:
            return with_key, body | {"private_key": self.key.reveal()}
        return (any_, body) if any_ in may_update else None


class Issued(Record):
    """What one path gave.

    Attributes:
        path: the path.
        lease: the id of its lease, if it has one.
        certificate: the certificate, if it is one of the PKI engine.
        remains: what a revocation at the server does not end, in words; empty where nothing is.
        name: what its provider knows that by; no secret.
        ends_at: when that, or the certificate, ends by itself (UTC); `None` if that is not told.
    """

    path: str
    lease: str = ""
    certificate: Certificate | None = field(default=None, repr=False)
    remains: str = ""
    name: str = ""
    ends_at: datetime | None = None

    @property
    def handle(self) -> str:
        """What to call that which remains in a ledger."""
        return f"{self.path}#{self.name}" if self.name else self.path

    def is_over(self, now: datetime) -> bool:
        """True if it has ended by itself."""
        return self.ends_at is not None and now >= self.ends_at


def revocation_paths(mount: str) -> tuple[str, str]:
    """Return where a PKI engine revokes: who shows the private key, and who need not."""
    return f"{mount}/revoke-with-key", f"{mount}/revoke"


def pki_mount(path: str) -> str | None:
    """Return the mount of `path`, where it is one that issues or signs certificates."""
    if "/issue" not in path and "/sign" not in path:  # most paths
        return None
    issues = r"(.+?)/(?:issuer/[^/]+/|cel/)?(?:issue|sign|sign-verbatim)(?:/[^/]+)?"
    found = re.fullmatch(issues, path)
    return found[1] if found else None


def lasting(one: Issued, may_update: frozenset[str]) -> str:
    """Say what of `one` is alive when all is revoked that can be; nothing if that is nothing.

    Args:
        one: what was issued, and has not ended by itself.
        may_update: the paths at which certificates can be revoked.
    """
    if one.remains:
        return f"{one.handle}: {one.remains}, which ends {_at(one)}"
    if one.certificate and not _is_listed(one, may_update):
        with_key, any_ = revocation_paths(one.certificate.mount)
        path = with_key if one.certificate.key else any_
        what = f"{one.path}: the certificate {one.certificate.serial}"
        return f"{what} ends {_at(one)} (to revoke it the role must have update on {path})"
    return ""


def listed(one: Issued, may_update: frozenset[str]) -> str:
    """Say what it means that `one` is revoked, where it is a certificate."""
    if one.certificate is None or not _is_listed(one, may_update):
        return ""
    what = f"{one.path}: the certificate {one.certificate.serial} is listed as revoked"
    return f"{what}; who asks neither CRL nor OCSP takes it until it ends {_at(one)}"


def _is_listed(one: Issued, may_update: frozenset[str]) -> bool:
    """True if revoking its lease, or it, puts it on the revocation list."""
    return bool(one.lease or (one.certificate and one.certificate.revocation(may_update)))


def _at(one: Issued) -> str:
    return f"at {one.ends_at:%H:%M:%S} UTC" if one.ends_at else "at a time that is not told"

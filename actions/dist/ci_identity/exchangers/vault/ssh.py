"""Reads until when an OpenSSH certificate is valid: the SSH engine's answer does not say it."""

import base64

_KEY_PARTS = {
    "ssh-rsa": 2,
    "ssh-dss": 4,
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ssh-ed25519": 2,
    "sk-ecdsa-sha2-nistp256": 3,
}
"""How many strings a public key of this type has in a certificate (PROTOCOL.certkeys)."""


def valid_before(certificate: str) -> int | None:
    """Return when `certificate` ends, in seconds after 1970; `None` if it cannot be read.

    2^64-1 stands for never.

    Source: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.certkeys.
    """
    try:
        blob = base64.b64decode(certificate.split()[1])
        kind, at = _string(blob, 0)
        _nonce, at = _string(blob, at)
        for _ in range(_KEY_PARTS[kind.decode().partition("-cert-v01@")[0]]):
            _part, at = _string(blob, at)
        at += 8 + 4  # serial number and type
        for _ in ("key id", "principals"):
            _part, at = _string(blob, at)
        at += 8  # valid after
        if len(blob) < at + 8:
            return None
        return int.from_bytes(blob[at : at + 8])
    except (ValueError, KeyError, IndexError):
        return None


def _string(blob: bytes, at: int) -> tuple[bytes, int]:
    """Return the string at `at` and where the next field is (RFC 4251, section 5)."""
    begin = at + 4
    end = begin + int.from_bytes(blob[at:begin])
    if end > len(blob):
        raise IndexError
    return blob[begin:end], end

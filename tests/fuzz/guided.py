"""Coverage-guided fuzzing of what reads strangers' bytes: never anything but an error of ours.

    make fuzz                                     # each reader for a minute, where atheris installs
    python tests/fuzz/guided.py grants -max_total_time=3600

What follows the reader's name goes to libFuzzer. It ends with the first input that breaks a rule.
"""

import socket
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import cast

import atheris

with atheris.instrument_imports(include=["ci_identity", "yaml", "json", "http"]):
    from ci_identity import _wire
    from ci_identity.delivery import message
    from ci_identity.errors import CiIdentityError
    from ci_identity.exchangers.aws import sts
    from ci_identity.exchangers.vault import ssh
    from ci_identity.grants import load
    from ci_identity.grants.compose import compose
    from ci_identity.redaction import stream
    from ci_identity.secret import Secret
    from ci_identity.sources import subject_token

SECRET = "correct-horse-battery"
stream.SOON = 0  # bytes: an index for any text


def _grants(data: bytes) -> None:
    load.parse(data.decode("utf-8", "surrogatepass"), "grants.yml")


def _yaml(data: bytes) -> None:
    compose(data.decode("utf-8", "surrogatepass"), "grants.yml")


def _token(data: bytes) -> None:
    payload = urlsafe_b64encode(data).decode().rstrip("=")
    subject_token.parse(Secret(f"eyJhbGciOiJSUzI1NiJ9.{payload}.x"), origin="the token")


def _sts(data: bytes) -> None:
    sts.parse(data, "sts.example", status=200)


def _request(data: bytes) -> None:
    with suppress(ValueError):  # what it says of a request that is none
        message.parse(data)


class _Answering:
    def __init__(self, data: bytes) -> None:
        self._pieces = [data]

    def recv(self, _: int) -> bytes:
        return self._pieces.pop() if self._pieces else b""


def _answer(data: bytes) -> None:
    connection = _wire.Connection(("", 0), "x")
    connection.sock = cast("socket.socket", _Answering(data))
    with suppress(_wire.NotHttpError):
        assert len(connection.answer(1000).body) <= 1001


def _certificate(data: bytes) -> None:
    kind = b"\0\0\0\x1cssh-rsa-cert-v01@openssh.com"
    ssh.valid_before(f"ssh-rsa-cert-v01@openssh.com {b64encode(kind + data).decode()}")


def _redaction(data: bytes) -> None:
    redactor = stream.Redactor([Secret(SECRET)])
    cut = data[0] if data else 0
    out = redactor.feed(data[:cut]) + redactor.feed(data[cut:]) + redactor.finish()
    assert SECRET.encode() not in out  # what is looked for


READERS: Mapping[str, Callable[[bytes], None]] = MappingProxyType(
    {
        "grants": _grants,
        "yaml": _yaml,
        "token": _token,
        "sts": _sts,
        "request": _request,
        "answer": _answer,
        "certificate": _certificate,
        "redaction": _redaction,
    }
)


def main() -> None:
    """Fuzz the reader that the first argument names."""
    name, *options = sys.argv[1:] or [""]
    if name not in READERS:
        sys.exit(f"name one of: {', '.join(READERS)}")

    def one(data: bytes) -> None:
        with suppress(CiIdentityError, UnicodeDecodeError):
            READERS[name](data)

    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

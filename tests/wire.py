"""A server for tables of faults: connections that answer from a list, without a socket."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

from ci_identity import _http
from ci_identity._network import Network
from ci_identity._wire import Connection, NotHttpError, Received, UntrustedError

LOST: dict[str, Exception] = {
    "read timeout": TimeoutError("SECRET"),
    "reset": ConnectionResetError("SECRET"),
    "cut": NotHttpError("SECRET"),
}
"""What goes wrong when the request is out."""

NEVER_SENT: dict[str, Exception] = {
    "connect timeout": TimeoutError("SECRET"),
    "refused": ConnectionRefusedError("SECRET"),
    "certificate": UntrustedError("SECRET"),
}
"""What goes wrong before."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is answered, or goes wrong instead."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    fault: Exception | None = None
    is_sent: bool = True


@dataclass
class Wire:
    """The answers to come, each of which must be fetched, and what was asked for them.

    Attributes:
        calls: address and body of each request.
    """

    answers: list[tuple[str, Answer]] = field(default_factory=list[tuple[str, Answer]])
    calls: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])

    def says(self, url: str, body: str = "", *, status: int = 200, **headers: str) -> None:
        """Answer the next request at `url`; `_` in a header's name stands for `-`."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((url, Answer(status=status, body=body, headers=names)))

    def fails(self, url: str, fault: Exception, *, is_sent: bool = True) -> None:
        """Have the next request at `url` fail."""
        self.answers.append((url, Answer(fault=fault, is_sent=is_sent)))


@contextmanager
def wired() -> Iterator[Wire]:
    """Have every connection of ours lead to what is given here."""
    wire = Wire()

    def open_(scheme: str, netloc: str, _: Network) -> _Connection:
        return _Connection(wire, f"{scheme}://{netloc}")

    with patch.object(_http, "_open", open_):
        yield wire
    assert not wire.answers, f"{len(wire.answers)} answers were not asked for"


class _Connection(Connection):
    """As much of a connection as is used."""

    def __init__(self, wire: Wire, origin: str) -> None:
        super().__init__(("", 0), "")
        self._wire = wire
        self._origin = origin

    def connect(self, timeout: float) -> None:
        assert timeout > 0
        if not self._wire.answers:
            message = f"nothing was to be asked of {self._origin}"
            raise AssertionError(message)
        _, answer = self._wire.answers[0]
        if answer.fault and not answer.is_sent:
            del self._wire.answers[0]
            self._wire.calls.append((self._origin, b""))
            raise answer.fault
        self.sock = socket.socket()

    def ask(self, _: str, target: str, __: Mapping[str, str], body: bytes | None) -> None:
        url, self._answer = self._wire.answers.pop(0)
        assert f"{self._origin}{target}".rstrip("/") == url.rstrip("/")
        self._wire.calls.append((url, body or b""))

    def answer(self, _: int) -> Received:
        if self._answer.fault:
            raise self._answer.fault
        status, headers, body = self._answer.status, self._answer.headers, self._answer.body
        headers = {name.lower(): value for name, value in headers.items()}
        return Received(status=status, headers=headers, body=body.encode(), is_last=True)

"""One client of the endpoint: what it has sent, what it is sent, and how long it may take."""

import selectors
import socket
import time
from contextlib import suppress
from enum import Enum, auto

from ci_identity.delivery.message import Reply, Request, parse

REQUEST_TIMEOUT = 10.0
"""Seconds from the first byte to the last of a request; and of a reply."""

IDLE_TIMEOUT = 60.0
"""Seconds that a connection is kept open for another request."""

LINGER_TIMEOUT = 1.0
"""Seconds that are left to a refused client to read why."""

CHUNK = 1 << 16
"""Bytes that are received at once."""


class Phase(Enum):
    """What a connection is doing."""

    READING = auto()
    DEFERRED = auto()
    WRITING = auto()
    LINGERING = auto()
    OVER = auto()


class Connection:
    """One client's connection.

    Attributes:
        client: its address and port.
        request: what it asks, once that is complete.
        problem: why what it sent is no request, if it is none.
        deadline: when it is cut off, by the monotonic clock.
        watched: the events that the listener waits for.
    """

    def __init__(self, accepted: socket.socket, client: tuple[str, int]) -> None:
        accepted.settimeout(0)
        self.socket = accepted
        self.client = client
        self.request: Request | None = None
        self.problem = ""
        self.watched = 0
        self._received = bytearray()
        self._unsent = memoryview(b"")
        self._is_last = False
        self._enter(Phase.READING, REQUEST_TIMEOUT)

    def _enter(self, phase: Phase, patience: float) -> None:
        self._phase, self.deadline = phase, time.monotonic() + patience

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come of it."""
        return self._phase is Phase.OVER

    @property
    def events(self) -> int:
        """What it waits for; nothing while it is deferred."""
        match self._phase:
            case Phase.READING | Phase.LINGERING:
                return selectors.EVENT_READ
            case Phase.WRITING:
                return selectors.EVENT_WRITE
            case Phase.DEFERRED | Phase.OVER:
                return 0

    def defer(self) -> None:
        """Wait for a reply that is not there yet; whoever makes it keeps the time."""
        self._enter(Phase.DEFERRED, float("inf"))

    def reply(self, reply: Reply, *, is_last: bool) -> None:
        """Answer; then read the next request, or close if this `is_last` or the client says so."""
        wish = self.request.headers.get("connection", "") if self.request else ""
        self._is_last = is_last or "close" in wish.lower()
        self._unsent = memoryview(reply.encode(is_last=self._is_last))
        self.request, self.problem = None, ""
        self._received.clear()
        self._enter(Phase.WRITING, REQUEST_TIMEOUT)
        self.advance()

    def cut(self) -> None:
        """End it at once; nothing is sent or received from now on. From any thread."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """Let it be closed at the end of this turn, without an answer."""
        self._enter(Phase.OVER, 0.0)

    def close(self) -> None:
        """Close it, whoever still waits."""
        self.abandon()
        self.socket.close()

    def advance(self) -> bool:
        """Send or receive what can be; True if what was received is now complete."""
        try:
            if self._phase is Phase.WRITING:
                self._write()
            elif data := self.socket.recv(CHUNK):
                return self._phase is Phase.READING and self._read(data)
            else:
                self.abandon()
        except BlockingIOError:
            pass
        except OSError:
            self.abandon()
        return False

    def _read(self, data: bytes) -> bool:
        if not self._received:
            self._enter(Phase.READING, REQUEST_TIMEOUT)
        self._received += data
        try:
            self.request = parse(bytes(self._received))
        except ValueError as error:
            self.problem = str(error)
        return bool(self.request or self.problem)

    def _write(self) -> None:
        self._unsent = self._unsent[self.socket.send(self._unsent) :]
        if self._unsent:
            return
        if self._is_last:
            # What the client still sends is taken for a while. The kernel would answer bytes that
            # nobody reads with a reset, which can overtake the reply (RFC 9112, section 9.6).
            self.socket.shutdown(socket.SHUT_WR)
            self._enter(Phase.LINGERING, LINGER_TIMEOUT)
        else:
            self._enter(Phase.READING, IDLE_TIMEOUT)

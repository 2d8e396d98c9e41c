"""Carries requests and replies over loopback, in one thread, and waits for nobody for long.

One thread, because then all that has arrived in one turn is looked at together: who asks is found
out once for all of them. And because a client that dribbles costs a descriptor, not a thread.
"""

import selectors
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from ci_identity import _log
from ci_identity.delivery.connection import CHUNK, IDLE_TIMEOUT, Connection
from ci_identity.errors import DeliveryError

LOOPBACK = "127.0.0.1"

MAX_CONNECTIONS = 256
"""At once. At the limit the one that would be cut off next makes room."""

_CLOSE_TIMEOUT = 2.0
_PAUSE = 0.01
_BACKLOG = 1024


class Listener:
    """A socket on 127.0.0.1 and the thread that serves it.

    Args:
        take: called in that thread with the connections that are new, or have sent something
            complete: at least one. For each it calls `reply`, now or later (by `soon`, after
            `defer`), or leaves it to go on sending.

    Raises:
        OSError: there is no port or no descriptor left.
    """

    def __init__(self, take: Callable[[Sequence[Connection]], None]) -> None:
        self._take = take
        self._connections: set[Connection] = set()
        self._done: deque[tuple[Connection, Callable[[], None]]] = deque()
        self._is_closed = False
        self._socket = socket.create_server((LOOPBACK, 0), backlog=_BACKLOG)
        self._socket.settimeout(0)
        self.port: int = self._socket.getsockname()[1]
        self._woken, self._waker = socket.socketpair()
        self._waker.settimeout(0)
        self._selector = selectors.DefaultSelector()
        for ours in (self._socket, self._woken):
            self._selector.register(ours, selectors.EVENT_READ)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to serve."""
        self._thread = start_thread(self._serve, "endpoint")

    def soon(self, connection: Connection, done: Callable[[], None]) -> None:
        """Have `done`, which replies to `connection`, called in the serving thread."""
        self._done.append((connection, done))
        self._wake()

    def _wake(self) -> None:
        with suppress(OSError):  # full: it is awake; closed: nobody is left to answer to
            self._waker.send(b"\0")

    def close(self) -> None:
        """Accept nothing more, cut every connection, end the thread. May be called twice."""
        self._is_closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for connection in tuple(self._connections):
            connection.cut()
        self._wake()
        if self._thread:
            self._thread.join(_CLOSE_TIMEOUT)
        else:
            self._release()

    # ── the serving thread ───────────────────────────────────────────────────────────────────

    def _serve(self) -> None:
        try:
            while not self._is_closed:
                self._turn()
        finally:
            self._release()

    def _release(self) -> None:
        for connection in self._connections:
            connection.close()
        self._selector.close()
        for ours in (self._socket, self._woken, self._waker):
            ours.close()

    def _turn(self) -> None:
        arrived = self._receive()
        while self._done:
            connection, done = self._done.popleft()
            _survive(done, [connection])
        if arrived:
            _survive(lambda: self._take(arrived), arrived)
        now = time.monotonic()
        for connection in tuple(self._connections):
            if connection.deadline <= now:
                self._drop(connection)
            else:
                self._watch(connection)

    def _receive(self) -> list[Connection]:
        """Wait until something happens, and return who is new or has sent something complete."""
        arrived: list[Connection] = []
        for key, _ in self._selector.select(self._patience()):
            if key.fileobj is self._socket:
                arrived += self._accept()
            elif key.fileobj is self._woken:
                self._woken.recv(CHUNK)
            elif key.data.advance():
                arrived.append(key.data)
        return arrived

    def _patience(self) -> float:
        now = time.monotonic()
        first = min((one.deadline for one in self._connections), default=now + IDLE_TIMEOUT)
        return max(min(first - now, IDLE_TIMEOUT), 0.0)

    def _accept(self) -> Iterator[Connection]:
        for _ in range(MAX_CONNECTIONS // 4):  # who has come is served before who may come yet
            try:
                accepted, client = self._socket.accept()
            except BlockingIOError:
                return
            except OSError:  # out of descriptors, most likely
                self._make_room()
                time.sleep(_PAUSE)
                return
            if len(self._connections) >= MAX_CONNECTIONS:
                self._make_room()
            connection = Connection(accepted, client)
            self._connections.add(connection)
            if self._is_closed:  # `close` may have missed it
                connection.cut()
            connection.advance()
            if not connection.is_over:
                yield connection

    def _make_room(self) -> None:
        """Close the connection that would be cut off next."""
        if self._connections:
            self._drop(min(self._connections, key=lambda one: one.deadline))

    def _watch(self, connection: Connection) -> None:
        if connection.events == connection.watched:
            return
        if connection.watched:
            self._selector.unregister(connection.socket)
        if connection.events:
            self._selector.register(connection.socket, connection.events, connection)
        connection.watched = connection.events

    def _drop(self, connection: Connection) -> None:
        if connection.watched:
            self._selector.unregister(connection.socket)
            connection.watched = 0
        self._connections.discard(connection)
        connection.close()


def _survive(call: Callable[[], None], connections: Sequence[Connection]) -> None:
    """Call what others have written; if it fails, its clients get nothing and we go on."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  # its text may be secret
        _log.error("a request could not be answered: %s", type(error).__name__)
        for connection in connections:
            connection.abandon()


def start_thread(run: Callable[[], None], name: str) -> threading.Thread:
    """Start a thread that takes no signals: those are for the thread that waits for them.

    Raises:
        DeliveryError: no more may be started.
    """
    thread = threading.Thread(target=run, name=name, daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    except RuntimeError:
        message = "there can be no endpoint: no more threads may be started"
        hint = "raise the limit on processes: `ulimit -u`, or that of the container"
        raise DeliveryError(message, hint=hint) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread

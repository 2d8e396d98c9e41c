"""Carries the child's output to ours through a redactor, and never keeps the rest waiting."""

import errno
import fcntl
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ci_identity.errors import DeliveryError
from ci_identity.redaction.stream import Redactor

_CHUNK = 1 << 16
_PIPE = 1 << 20
"""Bytes. Larger pipes are worth as much as the choice of engine (docs/redaction.md)."""

_TICK = 0.1
"""Seconds between two looks at whether to stop, where nothing comes or goes."""


class Relay:
    """A thread that reads what the child writes, redacts it, and writes it to `sink`.

    It is a thread of its own because our stdout may block for as long as its reader likes, and
    signals and revocation must not wait for that.

    Args:
        redactor: what it goes through.
        source: our end of what the child writes to: a pipe, or a terminal. Closed at the end.
        sink: where it goes.
        done: called when nothing more comes.

    Attributes:
        problem: why writing ended early, if not for want of a reader.
    """

    def __init__(
        self, redactor: Redactor, source: int, sink: int, *, done: Callable[[], None]
    ) -> None:
        self._redactor = redactor
        self._source = source
        self._sink = sink
        self._done = done
        self._stop = threading.Event()
        self._last = time.monotonic()
        self._is_writing = False
        self.problem: str | None = None
        self._thread = threading.Thread(target=self.run, name=f"relay-{sink}", daemon=True)
        for pipe in (source, sink):
            with suppress(OSError):  # not a pipe, or over this user's limit: slower, that is all
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)

    def start(self) -> None:
        """Begin. The end is seen when the child's end has been closed here too.

        Raises:
            DeliveryError: no more threads may be started.
        """
        try:
            self._thread.start()
        except RuntimeError:
            message = "nobody could read the command's output: no more threads may be started"
            hint = "raise the limit on processes: `ulimit -u`, or that of the container"
            raise DeliveryError(message, hint=hint) from None

    def abort(self) -> None:
        """Close our end if it has not begun."""
        if self._thread.ident is None:
            os.close(self._source)

    @property
    def is_running(self) -> bool:
        """True until every writer has closed its end, or our reader has gone."""
        return self._thread.is_alive()

    @property
    def silence(self) -> float:
        """Seconds since the last byte; none pass while our reader lets us wait."""
        return 0.0 if self._is_writing else time.monotonic() - self._last

    def stop(self, timeout: float) -> None:
        """Write out what was read, and end within `timeout` seconds if our reader lets us."""
        is_stuck = self._is_writing
        self._stop.set()
        self._thread.join(timeout)
        if is_stuck and self.is_running:
            self.problem = "whoever reads it took nothing for too long"

    def run(self) -> None:
        """Do it all in the calling thread, until the end."""
        try:
            self._copy()
        except BrokenPipeError:
            pass  # our reader has what it wanted
        except OSError as error:
            self.problem = error.strerror
        except Exception as error:  # noqa: BLE001  # untold, lost output would pass for none
            self.problem = f"the redactor failed ({type(error).__name__})"
        finally:
            os.close(self._source)  # whoever still writes learns it by SIGPIPE
            self._done()

    def _copy(self) -> None:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        while not self._stop.is_set():
            if not poll.poll(_TICK * 1000):
                continue
            data = self._read()
            if not data:
                break
            self._is_writing = True
            self._write(self._redactor.feed(data))
            self._last = time.monotonic()
            self._is_writing = False
        self._write(self._redactor.finish())

    def _read(self) -> bytes:
        try:
            return os.read(self._source, _CHUNK)
        except OSError as error:
            if error.errno == errno.EIO:  # how Linux says that nobody has a terminal open any more
                return b""
            raise

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._sink, view) :]
            except BlockingIOError:  # inherited as non-blocking: ours to wait, not to change
                poll = select.poll()
                poll.register(self._sink, select.POLLOUT)
                poll.poll(_TICK * 1000)

"""Tells who was served and who was refused, beside the serving, and does not repeat itself."""

import threading
from collections.abc import Callable, Hashable
from queue import SimpleQueue

from ci_identity import _log
from ci_identity._record import replace
from ci_identity.delivery.listener import start_thread
from ci_identity.delivery.peer import Peer
from ci_identity.delivery.refusal import Refused
from ci_identity.errors import CiIdentityError

MAX_REMEMBERED = 1024
"""Of processes that were served, and of kinds of refusal; beyond it the oldest is forgotten."""

MAX_WAITING = 4096
"""Reports. What more of refusals comes meanwhile shows in `times` of a later one."""

_CLOSE_TIMEOUT = 5.0


class Tally:
    """How often something happened, for the latest 1024 things."""

    def __init__(self) -> None:
        self._times: dict[Hashable, int] = {}

    def count(self, key: Hashable) -> int:
        """Count once more, and return how often that was in all."""
        times = self._times.pop(key, 0) + 1
        self._times[key] = times  # at the end: the first is the one not seen for longest
        if len(self._times) > MAX_REMEMBERED:
            del self._times[next(iter(self._times))]
        return times


class Reports:
    """Calls `accessed` and `refused` in a thread of its own; see `Endpoint` for what they are."""

    def __init__(
        self,
        accessed: Callable[[str, Peer], None],
        refused: Callable[[str | None, Refused], None],
    ) -> None:
        self._accessed = accessed
        self._refused = refused
        self._accesses, self._refusals = Tally(), Tally()
        self._waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to call."""
        self._thread = start_thread(self._run, "endpoint-reports")

    def close(self) -> None:
        """Make the calls that wait, and end."""
        self._waiting.put(None)
        if self._thread:
            self._thread.join(_CLOSE_TIMEOUT)

    def access(self, path: str, peer: Peer) -> None:
        """Report it, the first time that this process was served this path."""
        if self._accesses.count((path, peer.pid, peer.started)) == 1:
            self._waiting.put(lambda: self._accessed(path, peer))

    def refuse(self, path: str | None, refused: Refused) -> None:
        """Report it, with how often it has happened by now."""
        peer = refused.peer
        times = self._refusals.count((path, refused.reason, peer.pid, peer.uid, peer.started))
        if self._waiting.qsize() < MAX_WAITING:
            self._waiting.put(lambda: self._refused(path, replace(refused, times=times)))

    def _run(self) -> None:
        while report := self._waiting.get():
            try:
                report()
            except CiIdentityError as error:
                _log.error("error[%s]: %s", error.code, error)
            except Exception as error:  # noqa: BLE001  # the next report is still to be made
                _log.error("a report failed: %s", type(error).__name__)

"""One child process from start to end: its output, its signals, its descendants, its exit code."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from ci_identity import _log
from ci_identity._record import Record
from ci_identity.delivery.process import (
    Streams,
    adopt_orphans,
    children,
    descendants,
    end_tree,
    spawn,
)
from ci_identity.delivery.terminal import Terminal
from ci_identity.redaction.relay import Relay
from ci_identity.redaction.stream import Redactor
from ci_identity.secret import Secret
from ci_identity.signals import ENDING, Received, Signals

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes, as env(1) has them."""

_SENT_BY_TERMINAL = 128
"""`si_code` SI_KERNEL (sigaction(2)): the terminal has signalled the whole group already."""

_UNKNOWN = 125 << 8
"""A wait status (waitpid(2)) for a child whose own is lost: never a success."""

_TICK = 0.5
_TICK_WHEN_ENDING = 0.02


class Patience(Record):
    """How long each part of an ending may take, in seconds (DESIGN 2.7).

    Attributes:
        signalled: from a forwarded signal to the revocation, even if the child lives.
        draining: from the start of the revocation to the end of what still writes.
        silence: how long a stray may keep the output open without using it.
    """

    signalled: float = 5.0
    draining: float = 10.0
    silence: float = 2.0


class Finished(Record):
    """How a run went.

    Attributes:
        code: the child's exit code; 128 + N if it died by signal N.
        signal: that signal, else `None`.
    """

    code: int
    signal: int | None = None


class Supervision:
    """One child process, from start to end.

    Args:
        signals: entered, so that none is lost between the start and the first look.
        end: ends what the child was given; called once, in a thread of its own, with whether a
            signal is pressing.
        patience: how long each part of an ending may take.
        owns_process: this process is there for nothing else, so it may adopt and reap orphans.
        is_terminal: the child gets a terminal of its own instead of pipes.
    """

    def __init__(  # all but one are keyword-only
        self,
        signals: Signals,
        *,
        end: Callable[[bool], None],
        patience: Patience,
        owns_process: bool,
        is_terminal: bool,
    ) -> None:
        self._secrets: list[Secret] = []
        self._redacting = threading.Lock()
        self._redactors: list[Redactor] = []
        self._end = end
        self._signals = signals
        self._patience = patience
        self._owns_process = owns_process and adopt_orphans()
        self._is_terminal = is_terminal
        self._terminal: Terminal | None = None
        self._relays: list[Relay] = []
        self._pid = 0
        self._status: int | None = None
        self._is_cancelled = False
        self._revoke_at = float("inf")

    def run(self, path: str, command: Sequence[str], environ: Mapping[str, str]) -> Finished:
        """Start the child, and forward signals until it ends; then revoke, and drain its output."""
        with ExitStack() as typing:
            try:
                with ExitStack() as childs_ends:
                    streams = self._open(childs_ends)
                    for relay in self._relays:  # before there is anybody whom nobody would hear
                        relay.start()
                    if self._terminal:
                        typing.enter_context(self._terminal.typing())
                    self._pid = spawn(path, command, environ, streams, self._signals.before)
            except OSError as error:
                return not_started(command[0], error, was_found=True)
            finally:
                for relay in self._relays:
                    relay.abort()
            return self._supervise()

    def _open(self, childs_ends: ExitStack) -> Streams:
        """Make what the child writes to and who reads that; `childs_ends` closes its ends here."""
        if self._is_terminal:
            self._terminal = terminal = Terminal()
            childs_ends.callback(os.close, terminal.slave)
            self._relays.append(Relay(self._redactor(), terminal.master, 1, done=_wake))
            return Streams(terminal=terminal.name, is_typed=terminal.has_input)
        ends: list[int] = []
        for sink in (1,) if os.path.sameopenfile(1, 2) else (1, 2):  # one keeps their order
            source, end = os.pipe()
            childs_ends.callback(os.close, end)
            self._relays.append(Relay(self._redactor(), source, sink, done=_wake))
            ends.append(end)
        return Streams(stdout=ends[0], stderr=ends[-1])

    def _redactor(self) -> Redactor:
        with self._redacting:
            self._redactors.append(Redactor(self._secrets))
        return self._redactors[-1]

    def _supervise(self) -> Finished:
        revocation: threading.Thread | None = None
        ended_at = float("inf")
        while True:
            self._reap()
            now = time.monotonic()
            if revocation is None and (self._status is not None or now >= self._revoke_at):
                ended_at, revocation = now, self._start_revocation()
            if self._is_drained(now - ended_at):
                break
            found = self._signals.wait(_TICK if revocation is None else _TICK_WHEN_ENDING)
            if found and found.si_signo != signal.SIGCHLD:
                self._forward(found)
        self._end_rest()
        if revocation is not None and revocation.is_alive():
            revocation.join()
        for problem in self.lost:
            _log.error("the command's output was cut off: %s", problem)
        return self._finished()

    def _start_revocation(self) -> threading.Thread:
        if self._status is None:
            _log.warning("revoking while the command still runs")
        thread = threading.Thread(target=self._revoke, name="revocation")
        try:
            thread.start()
        except RuntimeError:  # no more may be started; nobody is heard meanwhile, but it ends
            self._revoke()
        return thread

    def _end_rest(self) -> None:
        if left := len(self._tree()):
            _log.info("ending what is left of the command: %d process(es)", left)
        if not end_tree(self._tree, self._is_over):
            _log.error(
                "something of the command could not be ended: another user's, by way of sudo?"
            )
        for relay in self._relays:
            relay.stop(timeout=1.0)

    def redact(self, secret: Secret) -> None:
        """Redact this one too, from here on; any thread may call it."""
        with self._redacting:
            self._secrets.append(secret)
            for redactor in self._redactors:
                redactor.add(secret)

    @property
    def lost(self) -> list[str]:
        """Why output was lost, other than for want of a reader."""
        return [relay.problem for relay in self._relays if relay.problem]

    def _forward(self, found: Received) -> None:
        if found.si_signo == signal.SIGWINCH:
            if self._terminal:
                self._terminal.resize()
            return
        is_theirs_too = found.si_code == _SENT_BY_TERMINAL and self._terminal is None
        if self._status is None and not is_theirs_too:
            os.kill(self._pid, found.si_signo)
        if found.si_signo in ENDING:
            if not self._is_cancelled:
                name, wait = signal.Signals(found.si_signo).name, self._patience.signalled
                _log.info("%s: the command has %.0f s before its credential is revoked", name, wait)
            self._is_cancelled = True
            self._revoke_at = min(self._revoke_at, time.monotonic() + self._patience.signalled)

    def _revoke(self) -> None:
        self._end(self._is_cancelled)
        _wake()

    def _is_drained(self, since_end: float) -> bool:
        """True once nothing more is to be waited for. `since_end` is negative while it runs."""
        running = [relay for relay in self._relays if relay.is_running]
        if since_end >= self._patience.draining:
            return True
        if self._status is None:
            return False
        return all(min(relay.silence, since_end) >= self._patience.silence for relay in running)

    def _reap(self) -> bool:
        """Take the status of the child, and of adopted orphans; False if none is left to take."""
        wanted = -1 if self._owns_process else self._pid
        while wanted == -1 or self._status is None:
            try:
                pid, status = os.waitpid(wanted, os.WNOHANG)
            except ChildProcessError:  # the child too, if somebody else has waited for it
                self._status = _UNKNOWN if self._status is None else self._status
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self._status = status
        return False

    def _is_over(self) -> bool:
        return not self._reap()

    def _tree(self) -> list[int]:
        self._reap()
        if self._owns_process:
            return descendants(children(os.getpid()))
        return descendants([self._pid]) if self._status is None else []

    def _finished(self) -> Finished:
        status = self._status
        if status is None:
            return Finished(code=128 + signal.SIGKILL)
        code = os.waitstatus_to_exitcode(status)
        return Finished(code=code) if code >= 0 else Finished(code=128 - code, signal=-code)


def not_started(program: str, error: OSError, *, was_found: bool = False) -> Finished:
    """Say why `program` cannot be run, and return what env(1) would exit with."""
    is_missing = isinstance(error, FileNotFoundError)
    _log.error("cannot run %s: %s", program, "not found" if is_missing else error.strerror)
    if is_missing and was_found:
        _log.error("it is there, but what its #! line names (is that CRLF?), or its loader, is not")
    elif is_missing and " " in program:
        _log.error("this is one word; a line of shell needs: sh -c '...'")
    return Finished(code=NOT_FOUND if is_missing else NOT_EXECUTABLE)


def _wake() -> None:
    """End the wait of `Signals.wait`; SIGCHLD does no harm where nobody waits."""
    os.kill(os.getpid(), signal.SIGCHLD)

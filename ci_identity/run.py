"""A session around one child process: its environment, its output, its signals, its exit code."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from ci_identity.delivery.environ import Environment
from ci_identity.delivery.process import (
    Streams,
    adopt_orphans,
    children,
    descendants,
    end_tree,
    locate,
    spawn,
)
from ci_identity.errors import (
    ConfigurationError,
    ConflictingVariableError,
    DeliveryError,
    InterruptedRunError,
    UndeliverableError,
)
from ci_identity.model import VaultTarget
from ci_identity.redaction.relay import Relay
from ci_identity.redaction.stream import Redactor
from ci_identity.revocation import BUDGET, BUDGET_WHEN_CANCELLED
from ci_identity.session import Session, load_grants

_log = logging.getLogger("ci_identity")

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes, as env(1) has them."""

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_FORWARDED = (*_ENDING, signal.SIGUSR1, signal.SIGUSR2)
_SENT_BY_TERMINAL = 128
"""`si_code` SI_KERNEL (sigaction(2)): the terminal has signalled the whole group already."""

_UNKNOWN = 125 << 8
"""A wait status (waitpid(2)) for a child whose own is lost: never a success."""

_TICK = 0.5
_TICK_WHEN_ENDING = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long each part of an ending may take, in seconds (DESIGN 2.7).

    Attributes:
        signalled: from a forwarded signal to the revocation, even if the child lives.
        draining: from the start of the revocation to the end of what still writes.
        silence: how long a stray may keep the output open without using it.
    """

    signalled: float = 5.0
    draining: float = 10.0
    silence: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a run went.

    Attributes:
        code: the child's exit code; 128 + N if it died by signal N.
        signal: that signal, else `None`.
    """

    code: int
    signal: int | None = None


class Signals:
    """The signals of this process, taken one by one instead of interrupting us.

    While it is entered the signals that end or concern the child are blocked in this thread (and
    those it starts), so that nothing is cut short between an effect and its record. What whoever
    started us has ignored (nohup and SIGHUP) stays ignored.
    """

    def __enter__(self) -> Self:
        self._heeded = {s for s in _FORWARDED if signal.getsignal(s) is not signal.SIG_IGN}
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, {*self._heeded, signal.SIGCHLD})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    @property
    def before(self) -> Iterable[int]:
        """The signals that were blocked before."""
        return self._before

    def wait(self, seconds: float) -> signal.struct_siginfo | None:
        """Return the next signal, or `None` after `seconds`."""
        return signal.sigtimedwait({*self._heeded, signal.SIGCHLD}, max(seconds, 0.0))

    def pause(self, seconds: float) -> None:
        """Sleep, unless the job is cancelled.

        Raises:
            InterruptedRunError: a signal that ends us has come. Its `signal` is the number.
        """
        if found := signal.sigtimedwait(self._heeded & set(_ENDING), max(seconds, 0.0)):
            name = signal.Signals(found.si_signo).name
            message = f"{name} came before the command was started"
            raise InterruptedRunError(message, signal=found.si_signo)


def run_sessions(
    command: Sequence[str],
    sessions: Callable[[Callable[[float], None]], Sequence[Session]],
    environ: Mapping[str, str],
    *,
    owns_process: bool = False,
    patience: Patience | None = None,
) -> Finished:
    """Run `command` with what the sessions give, and revoke when it ends.

    Args:
        command: the program and its arguments.
        sessions: makes the sessions, not yet open, given the function that they pause with.
        environ: the job's variables; `PATH` is where the program is looked for.
        owns_process: this process is there for nothing else, so it may adopt and reap orphans.
        patience: how long each part of an ending may take.

    Raises:
        CiIdentityError: nothing was started; what had been issued is revoked.
        RevocationError: the command succeeded, but a lease may still be alive.
        DeliveryError: the command succeeded, but its output could not be written.
    """
    try:
        path = locate(command[0], environ)
    except OSError as error:
        return _not_started(command[0], error)
    with Signals() as signals, ExitStack() as stack:
        opened = sessions(signals.pause)
        _check_variables(opened)
        for session in opened:
            session.open()
            stack.callback(session.close)
        run = _Run(opened, signals, patience or Patience(), owns_process=owns_process)
        try:
            run.start(path, command)
        except OSError as error:
            finished = _not_started(command[0], error)
        else:
            finished = run.supervise()
    _log.info("ledger head: %s", opened[0].head)  # the last to be closed
    if finished.code == 0:
        for session in opened:
            session.close().check()
        run.check_output()
    return finished


def run(  # all but the first are keyword-only
    command: Sequence[str],
    *,
    grants: Sequence[str],
    step: str | None = None,
    ttl: timedelta | None = None,
    grants_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Run `command` with one or more grants, as `ci-identity exec` does, and return its exit code.

    From the main thread it forwards SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 to the
    command. Processes that the command leaves behind stay behind: only `exec`, whose process is
    there for nothing else, adopts and ends them.

    Args:
        command: the program, found on `PATH`, and its arguments.
        grants: names of grants in the grants file.
        step: the step's id, or a label where the CI has none.
        ttl: the life of each credential, at most the grant's own.
        grants_file: the grants file, if it is not where it is looked for.
        environ: the job's variables; by default those of this process.

    Returns:
        The exit code of the command, 128 + N if it died by signal N; 127 or 126 if it could not
        be started.

    Raises:
        CiIdentityError: nothing was started; what had been issued is revoked.
        RevocationError: the command succeeded, but a lease may still be alive.
    """
    return run_command(
        command,
        grants=grants,
        step=step,
        ttl=ttl,
        grants_file=grants_file,
        environ=os.environ if environ is None else environ,
    ).code


def run_command(  # noqa: PLR0913  # what `run` takes, and one more
    command: Sequence[str],
    *,
    grants: Sequence[str],
    step: str | None,
    ttl: timedelta | None,
    grants_file: Path | None,
    environ: Mapping[str, str],
    owns_process: bool = False,
) -> Finished:
    """Do what `run` says, for a process that may be there for nothing else; see `run_sessions`."""

    def sessions(pause: Callable[[float], None]) -> list[Session]:
        file = load_grants(grants_file, environ)
        return [
            Session(file.grant(name), environ, step=step, ttl=ttl, pause=pause)
            for name in dict.fromkeys(grants)
        ]

    return run_sessions(command, sessions, environ, owns_process=owns_process)


class _Run:
    """One child process, from start to end."""

    def __init__(
        self,
        sessions: Sequence[Session],
        signals: Signals,
        patience: Patience,
        *,
        owns_process: bool,
    ) -> None:
        self._sessions = sessions
        self._signals = signals
        self._patience = patience
        self._owns_process = owns_process and adopt_orphans()
        self._relays: list[Relay] = []
        self._pid = 0
        self._status: int | None = None
        self._is_cancelled = False
        self._revoke_at = float("inf")

    def start(self, path: str, command: Sequence[str]) -> None:
        """Start the child with its output going through redactors.

        Raises:
            OSError: it cannot be started.
        """
        one_stream = os.path.sameopenfile(1, 2)  # then one pipe, so that the order is kept
        self._relays = [self._relay(sink) for sink in ((1,) if one_stream else (1, 2))]
        streams = Streams(stdout=self._relays[0].child_end, stderr=self._relays[-1].child_end)
        try:
            environ, blocked = _environ(self._sessions), self._signals.before
            self._pid = spawn(path, command, environ, streams, blocked)
        except BaseException:
            for relay in self._relays:
                relay.abort()
            raise
        for relay in self._relays:
            relay.start()

    def _relay(self, sink: int) -> Relay:
        secrets = [secret for session in self._sessions for secret in session.secrets]
        return Relay(Redactor(secrets), sink, done=_wake)

    def supervise(self) -> Finished:
        """Forward signals until the child ends; then revoke, while its output is drained."""
        revocation: threading.Thread | None = None
        ended_at = float("inf")
        while True:
            self._reap()
            now = time.monotonic()
            if revocation is None and (self._status is not None or now >= self._revoke_at):
                ended_at = now
                revocation = threading.Thread(target=self._revoke, name="revocation")
                revocation.start()
            if self._is_drained(now - ended_at):
                break
            found = self._signals.wait(_TICK if revocation is None else _TICK_WHEN_ENDING)
            if found and found.si_signo != signal.SIGCHLD:
                self._forward(found)
        end_tree(self._tree)
        for relay in self._relays:
            relay.stop(timeout=1.0)
        if revocation is not None:
            revocation.join()
        for problem in self._lost():
            _log.error("the command's output was cut off: %s", problem)
        return self._finished()

    def check_output(self) -> None:
        """Raise `DeliveryError` if output was lost, other than for want of a reader."""
        for problem in self._lost():
            message = f"the command succeeded, but its output could not be written: {problem}"
            raise DeliveryError(
                message,
                cause="the file or device that our output goes to takes no more",
                hint="make room there, and run the command again; its credential was revoked",
            )

    def _lost(self) -> list[str]:
        return [relay.problem for relay in self._relays if relay.problem]

    def _forward(self, found: signal.struct_siginfo) -> None:
        if self._status is None and found.si_code != _SENT_BY_TERMINAL:
            os.kill(self._pid, found.si_signo)
        if found.si_signo in _ENDING:
            self._is_cancelled = True
            self._revoke_at = min(self._revoke_at, time.monotonic() + self._patience.signalled)

    def _revoke(self) -> None:
        budget = BUDGET_WHEN_CANCELLED if self._is_cancelled else BUDGET
        deadline = time.monotonic() + budget
        for session in reversed(self._sessions):
            session.close(budget=max(deadline - time.monotonic(), 0.5))
        _wake()

    def _is_drained(self, since_end: float) -> bool:
        """True once nothing more is to be waited for. `since_end` is negative while it runs."""
        running = [relay for relay in self._relays if relay.is_running]
        if since_end >= self._patience.draining:
            return True
        if self._status is None:
            return False
        return all(min(relay.silence, since_end) >= self._patience.silence for relay in running)

    def _reap(self) -> None:
        """Take the status of the child, and of adopted orphans, as far as they have ended."""
        wanted = -1 if self._owns_process else self._pid
        while wanted == -1 or self._status is None:
            try:
                pid, status = os.waitpid(wanted, os.WNOHANG)
            except ChildProcessError:  # the child too, if somebody else has waited for it
                self._status = _UNKNOWN if self._status is None else self._status
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._status = status

    def _tree(self) -> list[int]:
        self._reap()
        if self._owns_process:
            return descendants(children(os.getpid()))
        return descendants([self._pid]) if self._status is None else []

    def _finished(self) -> Finished:
        status = self._status
        if status is None:  # it outlived SIGKILL: another user's, by way of sudo
            _log.error("the command (pid %d) could not be ended", self._pid)
            return Finished(code=128 + signal.SIGKILL)
        code = os.waitstatus_to_exitcode(status)
        return Finished(code=code) if code >= 0 else Finished(code=128 - code, signal=-code)


def _environ(sessions: Sequence[Session]) -> Environment:
    merged: dict[str, str] = {}
    for session in reversed(sessions):  # the first one's private folder is the one that counts
        merged |= session.environ
    for session in sessions:
        merged |= {name: given.value.reveal() for name, given in session.variables.items()}
    return Environment(merged)


def _check_variables(sessions: Sequence[Session]) -> None:
    """Refuse, before anything is issued, what could not be delivered."""
    if not sessions:
        message = "there is no grant to run the command with"
        raise ConfigurationError(message, hint="name one")
    seen: dict[str, str] = {}
    for grant in (session.grant for session in sessions):
        names = tuple(grant.target.secrets) if isinstance(grant.target, VaultTarget) else ()
        if not names:
            message = f"the grant {grant.name} gives a command nothing"
            raise UndeliverableError(message)
        for name in names:
            if name in seen:
                message = f"the grants {seen[name]} and {grant.name} both deliver {name}"
                raise ConflictingVariableError(message)
            seen[name] = grant.name


def _not_started(program: str, error: OSError) -> Finished:
    is_missing = isinstance(error, FileNotFoundError)
    _log.error("cannot run %s: %s", program, "not found" if is_missing else error.strerror)
    return Finished(code=NOT_FOUND if is_missing else NOT_EXECUTABLE)


def _wake() -> None:
    """End the wait of `Signals.wait`; SIGCHLD does no harm where nobody waits."""
    os.kill(os.getpid(), signal.SIGCHLD)

"""The signals of this process, taken when it suits us."""

import ctypes
import signal
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from ci_identity.errors import InterruptedRunError

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
FORWARDED = (*ENDING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)


class Received(ctypes.Structure):
    """The beginning of a `siginfo_t`, in its whole size (sigaction(2))."""

    _fields_ = (
        ("si_signo", ctypes.c_int),
        ("si_errno", ctypes.c_int),
        ("si_code", ctypes.c_int),
        ("_rest", ctypes.c_int * 29),
    )
    si_signo: int
    si_code: int


class Signals:
    """The signals of this process, taken one by one instead of interrupting us.

    While it is entered the signals that end or concern the child are blocked in this thread (and
    those it starts), so that nothing is cut short between an effect and its record. What whoever
    started us has ignored (nohup and SIGHUP) stays ignored.
    """

    def __enter__(self) -> Self:
        self._heeded = {s for s in FORWARDED if signal.getsignal(s) is not signal.SIG_IGN}
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

    def wait(self, seconds: float) -> Received | None:
        """Return the next signal, or `None` after `seconds`."""
        return _received({*self._heeded, signal.SIGCHLD}, seconds)

    def pause(self, seconds: float) -> None:
        """Sleep, unless the job is cancelled.

        Raises:
            InterruptedRunError: a signal that ends us has come. Its `signal` is the number.
        """
        if found := _received(self._heeded & set(ENDING), seconds):
            name = signal.Signals(found.si_signo).name
            message = f"{name} came before the command was started"
            raise InterruptedRunError(message, signal=found.si_signo)


def _received(signos: Iterable[int], seconds: float) -> Received | None:
    """Return the next of these signals, or `None` after `seconds`, or if we were stopped meanwhile.

    Python's own `sigtimedwait` returns what was never received if a stop (Ctrl-Z and `fg`, a paused
    container) outlasts the time: the memory that the system would have filled in.
    """
    libc = ctypes.CDLL(None)
    wanted = (ctypes.c_ulong * 32)()  # an empty sigset_t, or more than one
    for signo in signos:
        libc.sigaddset(wanted, signo)
    whole, rest = divmod(max(seconds, 0.0), 1)
    timeout = (ctypes.c_long * 2)(int(whole), int(rest * 1e9))  # a struct timespec
    found = Received()
    return found if libc.sigtimedwait(wanted, ctypes.byref(found), timeout) > 0 else None

"""The signals of this process, taken when it suits us."""

import signal
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from ci_identity.errors import InterruptedRunError

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
FORWARDED = (*ENDING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)


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

    def wait(self, seconds: float) -> signal.struct_siginfo | None:
        """Return the next signal, or `None` after `seconds`."""
        return signal.sigtimedwait({*self._heeded, signal.SIGCHLD}, max(seconds, 0.0))

    def pause(self, seconds: float) -> None:
        """Sleep, unless the job is cancelled.

        Raises:
            InterruptedRunError: a signal that ends us has come. Its `signal` is the number.
        """
        if found := signal.sigtimedwait(self._heeded & set(ENDING), max(seconds, 0.0)):
            name = signal.Signals(found.si_signo).name
            message = f"{name} came before the command was started"
            raise InterruptedRunError(message, signal=found.si_signo)

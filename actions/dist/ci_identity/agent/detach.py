"""Leaves the step: a process that goes on when the command that started it has ended."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import ci_identity
from ci_identity.errors import DeliveryError

_READY = b"."
_PASSED_ON = (signal.SIGINT, signal.SIGTERM)


def detach() -> Callable[[Path], None] | int:
    """Fork. The child goes on; the parent waits for it and gets the exit code that is its own.

    The child still speaks to the step's log. Until it calls what it gets here the parent passes
    SIGINT and SIGTERM on to it, and takes over its exit code if it ends. In the child both stay
    blocked, for whoever takes them one by one (`signals.Signals`): none comes too early.

    Returns:
        In the child what it calls when it is ready: with the file that takes the place of its
        output. In the parent the exit code: 0 if the child is ready.

    Raises:
        DeliveryError: there can be no further process; or the child was killed, and said nothing.
    """
    try:
        waiting, ready = os.pipe()
    except OSError as error:
        raise _cannot_start(error) from None
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    try:
        child = os.fork()
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise _cannot_start(error) from None
    if child:
        os.close(ready)
        for signo in _PASSED_ON:
            signal.signal(signo, lambda number, _: os.kill(child, number))
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # none is lost on the way
        return _wait(child, waiting)
    os.close(waiting)
    os.setsid()
    import resource  # noqa: PLC0415  # the parent only waits

    from ci_identity.delivery.process import hide_memory  # noqa: PLC0415

    hide_memory()  # kept by nobody who would be started from here: exec makes it readable again
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return lambda log: _leave(ready, log)


def _cannot_start(error: OSError) -> DeliveryError:
    message = f"the agent's process cannot be started: {error.strerror}"
    return DeliveryError(message, hint="check the limits on open files and processes")


def _wait(child: int, waiting: int) -> int:
    with _ahead():
        is_ready = os.read(waiting, 1) == _READY
    if is_ready:
        return 0
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        raise _killed(-code)
    return code or 1  # it was not ready, whatever it says


def _killed(signo: int) -> DeliveryError:
    message = f"the agent was ended by signal {signo} ({signal.strsignal(signo)}) while it started"
    return DeliveryError(
        message,
        cause="the runner is short of memory, or another process of this user sent the signal",
        hint="look at the runner's memory and log; `post` of the action, or "
        "ci-identity agent stop, ends what the agent had been given, or says what it could not",
    )


def _ahead() -> AbstractContextManager[object]:
    """Return what compiles meanwhile what the child has yet to import, if nobody has done that."""
    if os.path.exists(str(ci_identity.__cached__).replace("__init__", "session")):  # noqa: PTH110
        return nullcontext()
    from ci_identity.agent.ahead import Ahead  # noqa: PLC0415  # seldom needed

    return Ahead()


def _leave(ready: int, log: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    ours = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    for descriptor, number in ((nothing, 0), (ours, 1), (ours, 2)):
        os.dup2(descriptor, number)
    os.close(nothing)
    os.close(ours)
    os.chdir("/")  # no folder of the job is kept in use
    with suppress(BrokenPipeError):  # who started us was killed; whoever stops us will come
        os.write(ready, _READY)
    os.close(ready)

"""The agent itself, from the first request to the last revocation; read this one first.

say who we are -> open the sessions -> serve them -> point the later steps to us -> let go of the
step -> (steps ask, sessions are renewed) -> serve no more -> revoke all -> write down how it ended
"""

import ctypes
import gc
import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ci_identity import _log
from ci_identity._record import asdict, replace
from ci_identity.agent.asked_for import find_grants
from ci_identity.agent.instance import Instance, Running
from ci_identity.agent.order import Order
from ci_identity.agent.runner import Runner
from ci_identity.settings import Settings
from ci_identity.signals import Signals

if TYPE_CHECKING:
    from ci_identity.agent.holding import Holding

_TICK = 1.0
"""Seconds between two looks at the runner and the clock."""

_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGQUIT})

_PATHS = (
    "CI_IDENTITY_STATE_DIR",
    "CI_IDENTITY_LEDGER",
    "CI_IDENTITY_TOKEN_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "VAULT_CACERT",
)
"""Variables with paths that we still need when we have left the working folder."""


def serve(
    order: Order,
    instance: Instance,
    runner: Runner,
    environ: Mapping[str, str],
    ready: Callable[[Path], None],
) -> int:
    """Be the agent, until it is stopped or the job is gone, and return the exit code.

    Args:
        order: what is asked of it.
        instance: its folder, already made.
        runner: whose job it serves.
        environ: the variables of the step that started it.
        ready: called with the log file when the step may end.

    Raises:
        CiIdentityError: it could not get ready; what had been issued is revoked.
    """
    job = _job(environ)
    record = Running.of_this_process(ledger=Settings.from_environ(job).ledger)
    instance.write_record(record)  # before anything else: whoever stops us must find us
    with Signals() as signals, ExitStack() as stack:
        stack.callback(instance.remove, but_report=True)
        asked_for = find_grants(order, job, signals.pause)
        from ci_identity.agent import pointers  # noqa: PLC0415  # while the job's token came
        from ci_identity.agent.holding import Holding  # noqa: PLC0415
        from ci_identity.ending import say_head  # noqa: PLC0415
        from ci_identity.ledger.writer import Ledger  # noqa: PLC0415

        holding = Holding(order, instance, runner, job)
        stack.callback(_finish, holding, instance)
        stack.callback(holding.close, is_pressing=True)  # what an error leaves open
        holding.prepare(asked_for, signals.pause)
        pointers.check_names(holding.sessions, order.delivery)
        file = instance.write_grants(asked_for.text) if asked_for.text else asked_for.file
        Ledger(Path(record.ledger)).make()  # whoever misses it knows that it was removed
        instance.write_record(replace(record, grants=file, held=holding.held))
        holding.open()
        pointers.write(holding, instance, order, job)
        ready(instance.log_file)
        is_pressing = _wait(signals, runner, holding)
        holding.close(is_pressing=is_pressing)
        say_head(holding.sessions)
        return _finish(holding, instance)


def _job(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the job's variables, for a process that is of none of its steps, and moves away."""
    job = {name: value for name, value in environ.items() if name != "GITHUB_ACTION"}
    job |= {name: str(Path(job[name]).absolute()) for name in _PATHS if job.get(name)}
    return job


def _save_memory() -> None:
    """Give back what only the start needed; we are there for hours."""
    gc.enable()
    gc.collect()
    gc.freeze()
    with suppress(OSError, AttributeError):  # not every C library has it
        ctypes.CDLL(None).malloc_trim(0)


def _wait(signals: Signals, runner: Runner, holding: "Holding") -> bool:
    """Wait for the end, and return whether it is pressing."""
    last = datetime.now(UTC) + max(session.grant.max for session in holding.sessions)
    is_first = True
    while datetime.now(UTC) < last:
        found = signals.wait(_TICK)
        if found and found.si_signo in _ENDING:
            return found.si_signo != signal.SIGTERM
        if is_first:  # not before: the step that started us ends just now
            is_first = False
            _save_memory()
        if runner.is_gone:
            _log.warning("the job's runner is gone")
            return True
    _log.warning("the longest that a grant may be renewed is over")
    return False


def _finish(holding: "Holding", instance: Instance) -> int:
    """Write down how it ended, and return the exit code for it."""
    from ci_identity.agent.report import Report  # noqa: PLC0415  # with the session's own
    from ci_identity.agent.story import wrong  # noqa: PLC0415

    errors = wrong(session.check for session in holding.sessions if session.revocation)
    ended = Report.of(holding.stories, errors, log=instance.log())
    instance.write_report(asdict(ended))
    return ended.exit_code

"""Sessions around one child process: what it is given, and what is said of its end."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from ci_identity.delivery.handover import Handover
from ci_identity.delivery.process import locate
from ci_identity.ending import close_all, say_head
from ci_identity.errors import (
    ConfigurationError,
    ConflictingVariableError,
    OutputLostError,
    UndeliverableError,
)
from ci_identity.model import Delivered, DeliveryMode, VaultTarget
from ci_identity.scrutiny import check_values
from ci_identity.session import Session, delivery_mode, load_grants
from ci_identity.settings import Settings
from ci_identity.signals import Signals
from ci_identity.supervision import Finished, Patience, Supervision, not_started


def run_sessions(  # noqa: PLR0913  # all but three are keyword-only
    command: Sequence[str],
    sessions: Callable[[Callable[[float], None], Handover], Sequence[Session]],
    environ: Mapping[str, str],
    *,
    owns_process: bool = False,
    is_terminal: bool | None = None,
    patience: Patience | None = None,
    held: Mapping[str, Delivered] = MappingProxyType({}),
) -> Finished:
    """Run `command` with what the sessions give, and revoke when it ends.

    Args:
        command: the program and its arguments.
        sessions: makes the sessions, not yet open, given the function that they pause with and
            the hand-over that they share.
        environ: the job's variables; `PATH` is where the program is looked for.
        owns_process: this process is there for nothing else, so it may adopt and reap orphans.
        is_terminal: whether the child gets a terminal; by default if our stdout is one.
        patience: how long each part of an ending may take.
        held: variables that somebody else gives, and takes back: the job's agent. They are
            redacted like the others.

    Raises:
        CiIdentityError: nothing was started; what had been issued is revoked.
        RevocationError: the command succeeded, but a lease may still be alive.
        OutputLostError: the command succeeded, but its output could not be written.
    """
    try:
        path = locate(command[0], environ)
    except OSError as error:
        return not_started(command[0], error)
    with Signals() as signals, ExitStack() as stack:
        handover = Handover(Settings.from_environ(environ).state_dir)
        opened = sessions(signals.pause, handover)
        _check_variables(opened, held)
        stack.callback(say_head, opened)
        stack.callback(handover.close)
        stack.callback(close_all, opened, is_pressing=True)  # what an error leaves open
        for session in opened:
            session.open()
        supervision = Supervision(
            signals,
            end=lambda is_pressing: close_all(opened, is_pressing=is_pressing),
            patience=patience or Patience(),
            owns_process=owns_process,
            is_terminal=os.isatty(1) if is_terminal is None else is_terminal,
        )
        for session in opened:
            session.redact_with(supervision.redact)
        for value in (one.value for one in held.values() if not one.is_public):
            supervision.redact(value)
        given = {**held, **_given(opened)}
        finished = supervision.run(path, command, handover.environ(environ, given))
    if finished.code == 0:
        for session in opened:
            session.check()
        _check_output(supervision.lost)
    return finished


def run(  # noqa: PLR0913  # all but the first are keyword-only
    command: Sequence[str],
    *,
    grants: Sequence[str],
    step: str | None = None,
    ttl: timedelta | None = None,
    grants_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    delivery: str = "endpoint",
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
        delivery: how a cloud's credential reaches the command: `endpoint`, `credential-process`
            or `env`; see `DeliveryMode`.

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
        delivery=delivery_mode(delivery),
    ).code


def run_command(  # noqa: PLR0913  # what `run` takes, and one more
    command: Sequence[str],
    *,
    grants: Sequence[str],
    step: str | None,
    ttl: timedelta | None,
    grants_file: Path | None,
    environ: Mapping[str, str],
    delivery: DeliveryMode,
    owns_process: bool = False,
    is_terminal: bool | None = None,
    held: Mapping[str, Delivered] = MappingProxyType({}),
) -> Finished:
    """Do what `run` says, for a process that may be there for nothing else; see `run_sessions`."""
    if isinstance(command, str) or isinstance(grants, str):
        message = "the command, and the grants, must each be a list of texts"
        raise ConfigurationError(message, hint='as in: run(["ls", "-la"], grants=["migrate-db"])')

    def sessions(pause: Callable[[float], None], handover: Handover) -> list[Session]:
        if not grants and held:
            return []
        file = load_grants(grants_file, environ)
        return [
            Session(
                file.grant(name),
                environ,
                step=step,
                ttl=ttl,
                pause=pause,
                delivery=delivery,
                handover=handover,
            )
            for name in dict.fromkeys(grants)
        ]

    return run_sessions(
        command,
        sessions,
        environ,
        owns_process=owns_process,
        is_terminal=is_terminal,
        held=held,
    )


def _given(sessions: Sequence[Session]) -> Mapping[str, Delivered]:
    return {name: given for session in sessions for name, given in session.variables.items()}


def _check_output(lost: Sequence[str]) -> None:
    for problem in lost:
        message = f"the command succeeded, but its output could not be written: {problem}"
        raise OutputLostError(message)


def _check_variables(sessions: Sequence[Session], held: Mapping[str, Delivered]) -> None:
    """Refuse, before anything is issued, what could not be delivered."""
    if not sessions and not held:
        message = "there is no grant to run the command with"
        raise ConfigurationError(message, hint="name one")
    check_values(held)
    seen = dict.fromkeys(held, "of the job's agent")
    for session in sessions:
        grant = session.grant
        if isinstance(grant.target, VaultTarget) and not grant.target.secrets:
            message = f"the grant {grant.name} gives a command nothing"
            raise UndeliverableError(message)
        for name in session.promises:
            if name in seen:
                message = f"the grants {seen[name]} and {grant.name} both deliver {name}"
                raise ConflictingVariableError(message)
            seen[name] = grant.name

"""A token that a command prints: run without a shell, by its absolute path, with a time limit.

No variable names the command: whoever sets a variable of the job would choose what we run, with
everything in reach that we have in reach.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from ci_identity._record import Record, field
from ci_identity.errors import TokenCommandError
from ci_identity.model import SubjectToken
from ci_identity.secret import Secret
from ci_identity.sources.subject_token import Clock, read, utc_now

PATIENCE = 20.0
"""Seconds. Buildkite's agent tries five times, 2 s and more apart; a job's token lives minutes."""

AUDIENCE = "{audience}"
"""In a word of a command, what stands for the audience that is asked for."""

_TRACES = {"BUILDKITE_AGENT_DEBUG_HTTP", "BUILDKITE_AGENT_DEBUG"}
"""Variables that have a command write its answers, and so the token, where others read it."""


class TokenCommandSource(Record):
    """The token that a command of the caller's own prints, such as `["mint", "{audience}"]`."""

    command: Sequence[str] = field(kw_only=False)
    environ: Mapping[str, str] = field(
        default_factory=lambda: dict(os.environ), repr=False, kw_only=False
    )
    now: Clock = field(default=utc_now, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return "token-command"

    def fetch(self, audience: str | None) -> SubjectToken:
        """Run the command and return the token that it prints.

        Raises:
            TokenCommandError: it is not found, fails, takes too long or prints nothing.
            MalformedTokenError, AudienceError, ExpiredTokenError: what it prints cannot be used.
        """
        command = [word.replace(AUDIENCE, audience or "") for word in self.command]
        token = run(command, self.environ)
        origin = f"what {command[0]} prints"
        claims = read(token, origin=origin, audience=audience, now=self.now())
        return SubjectToken(token=token, claims=claims, source=self.name)


def run(command: Sequence[str], environ: Mapping[str, str]) -> Secret:
    """Return what a command prints, without the white space around it.

    Raises:
        TokenCommandError: it is not found, fails, takes too long or prints nothing. What it wrote
            is not in the message: it may be the token.
    """
    name = command[0]
    path = find(name, environ)
    if path is None:
        message = f"{name} is not on the PATH"
        raise TokenCommandError(message, cause="the tool is not installed where the job runs")
    inherited = {name: value for name, value in environ.items() if name not in _TRACES}
    try:
        code, output = _run([path, *command[1:]], inherited)
    except (OSError, ValueError):
        message = f"{path} cannot be started"
        raise TokenCommandError(message) from None
    if code != 0:
        message = f"{path} ended with {code}" if code > 0 else f"{path} was ended by signal {-code}"
        raise TokenCommandError(message)
    if not output.strip():
        message = f"{path} printed nothing"
        raise TokenCommandError(message)
    return Secret(output.decode("ascii", errors="replace").strip())


def find(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the absolute path of a command, as the absolute folders of `PATH` have it.

    A relative folder, an empty one included, is the working folder's: what the job has checked
    out would be run.
    """
    if name.startswith(os.sep):
        return shutil.which(name)
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    absolute = os.pathsep.join(filter(os.path.isabs, folders))
    return shutil.which(name, path=absolute) if absolute and os.sep not in name else None


def _run(command: Sequence[str], environ: Mapping[str, str]) -> tuple[int, bytes]:
    process = subprocess.Popen(  # noqa: S603  # a fixed command by its absolute path, no shell
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that what it has started can be ended with it
    )
    with process:
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except BaseException as error:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                message = f"{command[0]} gave no token within {PATIENCE:.0f} s"
                raise TokenCommandError(message) from None
            raise
    return process.returncode, output

"""The command: one file per subcommand, each of them parse, one call, exit code."""

import atexit
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from ci_identity.agent import AGENT
from ci_identity.cli import terminal
from ci_identity.errors import CiIdentityError, MissingDependencyError, PlatformError

TYPE_CHECKING = False  # as in ci_identity/__init__.py
if TYPE_CHECKING:
    from typing import Never

COMMANDS = {
    "exec": "run one command with one or more grants; revoked when it ends",
    "credential": "print one grant's credential, for SDKs that run a command to get it",
    "agent": "hold grants for the steps of a GitHub job: what the action runs",
    "whoami": "who this job is: its identity and claims, never its token",
    "explain": "would this grant be given to this job, and which claim says no",
    "check": "validate and lint the grants file",
    "audit": "show the ledger, or verify that nobody changed it",
    "revoke": "end what a killed command of this job was given and could not end",
    "reap": "from outside the job: end what killed jobs left alive",
    "doctor": "what in this job is already a usable secret",
    "redact": "a plain filter: mask the values of variables in what passes through",
    "sandbox": "start a local world to try things in: an OIDC issuer and a real OpenBao",
    "demo": "see the whole path once, in that local world",
}
"""Name to one line of help. The module of the same name is imported only when it is asked for."""

_INTERNAL = frozenset({"action"})
"""Commands that only other parts of ci-identity run."""

_LINUX_ONLY = frozenset({"action", "agent", "exec", "audit", "reap", "revoke", "sandbox", "demo"})

_HOLDS_SECRETS = frozenset({"exec", "credential", "reap", "revoke"})

_EXTRAS = {"sandbox": "sandbox", "demo": "sandbox", "reap": "aws"}
"""By command, the extra with what it alone needs."""

EXEC_FAILED = 125
"""What `exec` exits with for every failure of our own, as env(1) and timeout(1) do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code (the design's section 6)."""
    words = list(sys.argv[1:] if argv is None else argv)
    terminal.open_streams()
    if not _HOLDS_SECRETS.isdisjoint(words[:1]):
        if os.environ.get(AGENT):  # it tells our step by our environment, which is hidden next
            import_module("ci_identity.agent.client").introduce(os.environ)
        # Not with the other imports: ctypes is for these commands alone.
        from ci_identity.delivery.process import hide_memory  # noqa: PLC0415

        hide_memory()  # before there is anything in it: what was opened by then stays open
    try:
        code = _main(words)
    except SystemExit as done:  # argparse, which has printed a command's help
        code = int(done.code or 0)
    except OSError as error:  # of the help; the commands' own end in `_run`
        code = terminal.failed(error)
    lost = terminal.flush()
    return code or lost


def whole_process() -> "Never":
    """Be the whole process: what `ci-identity` and `python -m ci_identity` start."""
    code = main()
    # Taking every module down by hand takes as long as an exchange; the system does it at once.
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001  # what others registered, such as coverage, is theirs
    os._exit(code)


def _main(words: Sequence[str]) -> int:
    name = words[0] if words else "--help"
    if name in COMMANDS or name in _INTERNAL:
        return _run(name, words[1:])
    from ci_identity.cli.parser import HELP, USAGE, version  # noqa: PLC0415  # argparse, on demand

    if name in {"-h", "--help", "help"}:
        print(HELP.format(commands="\n".join(f"  {n:<10}  {h}" for n, h in COMMANDS.items())))
        return 0
    if name in {"-V", "--version"}:
        print(f"ci-identity {version()}")
        return 0
    terminal.print_error(USAGE.unknown(name, COMMANDS))
    return USAGE.exit_code


def _run(name: str, words: Sequence[str]) -> int:
    try:
        if name in _LINUX_ONLY and sys.platform != "linux":
            message = f"ci-identity {name} does not work on {sys.platform}"
            raise PlatformError(message)  # noqa: TRY301  # to be printed like the others
        return int(import_module(f"ci_identity.cli.{name}").main(words))
    except CiIdentityError as error:
        terminal.print_error(error)
        code = error.exit_code
    except ModuleNotFoundError as error:
        terminal.print_error(_missing(name, error))
        code = MissingDependencyError.exit_code
    except KeyboardInterrupt:
        code = 130
    except Exception as error:  # noqa: BLE001  # the last line: no traceback, no secret in it
        code = terminal.failed(error)
    return EXEC_FAILED if name == "exec" else code


def _missing(command: str, error: ModuleNotFoundError) -> CiIdentityError:
    """Return the error for a library of an extra; for one of our own, that it is a defect."""
    library = (error.name or "").partition(".")[0]
    if command not in _EXTRAS or library == "ci_identity":
        return terminal.defect(error)
    message = f"ci-identity {command} needs {library}, which is not installed"
    return MissingDependencyError(message, hint=f"pip install 'ci-identity[{_EXTRAS[command]}]'")

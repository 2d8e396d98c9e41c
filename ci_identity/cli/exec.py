"""`ci-identity exec`: run one command with one or more grants, and revoke when it ends."""

import argparse
import os
import resource
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ci_identity import _log
from ci_identity.agent import AGENT
from ci_identity.cli import terminal
from ci_identity.cli.parser import Parser, UsageError, ttl
from ci_identity.delivery.process import children
from ci_identity.doctor.injection import OTHERS_WRITE, find_code_injection
from ci_identity.errors import AwsAccessDeniedError, InterruptedRunError
from ci_identity.model import Delivered, DeliveryMode
from ci_identity.run import run_command

_EXAMPLE = """\
  ci-identity exec --grant migrate-db -- make migrate
  ci-identity exec --grant deploy-web --grant migrate-db --ttl 10m -- ./release.sh

As the shell of a GitHub step, so that the script of this step holds the
credential and no other step does:

  shell: ci-identity exec --grant deploy-web -- bash -eo pipefail {0}

Exit code: the command's own; 125 for our own failures, 126 and 127 as env has them."""


def main(words: Sequence[str]) -> int:
    """Run the command; see the example."""
    parser = _parser()
    options, command = _split(words)
    args = parser.parse_args(options)
    _check(options, args, command)
    # Were SIGCHLD ignored, as we may have been started, the command's exit code would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # outside the run it ends us as any other does
    terminal.say_aloud(quiet=args.quiet)
    _warn_of_plants()
    policy = _read_policy(args.trust_policy)
    held, variables = _held(args)
    try:
        finished = run_command(
            command,
            grants=[name for name in args.grant if name not in held],
            step=args.step,
            ttl=args.ttl,
            grants_file=args.grants,
            environ=os.environ,
            delivery=DeliveryMode(args.delivery),
            owns_process=True,
            is_terminal=args.tty,
            held=variables,
        )
    except AwsAccessDeniedError as error:
        error.add_note(_explain_refusal(error, policy))
        raise
    except InterruptedRunError as error:
        terminal.print_error(error)
        _die_by(error.signal)
        raise
    if finished.signal:
        _die_by(finished.signal)
    return finished.code


def _parser() -> Parser:
    parser = Parser(
        "exec",
        "Run one command with one or more grants. The command and its descendants get the\n"
        "grants' variables, their output is redacted, and everything is revoked when it ends.",
        example=_EXAMPLE,
    )
    parser.usage = "%(prog)s --grant NAME [options] -- COMMAND [ARGUMENT ...]"
    parser.add_argument(
        "--grant", action="append", default=[], metavar="NAME", help="a grant; may be repeated"
    )
    parser.add_argument(
        "--step", help="the step's id; where the CI has step ids it must be the CI's own"
    )
    parser.add_argument(
        "--ttl", type=ttl, metavar="TIME", help="life of each credential, at most the grant's own"
    )
    parser.add_argument(
        "--delivery",
        choices=[str(mode) for mode in DeliveryMode],
        default=str(DeliveryMode.ENDPOINT),
        help="how a cloud's credential reaches the command (default: endpoint, which renews it)",
    )
    parser.add_grants()
    parser.add_trust_policy("if AWS refuses, say by this trust policy of the role which condition")
    parser.add_argument("-q", "--quiet", action="store_true", help="say only warnings and errors")
    parser.add_argument(
        "--tty",
        action=argparse.BooleanOptionalAction,
        help="give the command a terminal (default: if our stdout is one)",
    )
    parser.add_argument("stray", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _split(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    if "--" not in words:
        return words, ()
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _check(options: Sequence[str], args: argparse.Namespace, command: Sequence[str]) -> None:
    """Refuse a line without a grant, a command or the `--` between them, and show it corrected."""
    if not args.grant:
        message, hint = "no grant is named", "ci-identity exec --grant NAME -- COMMAND"
    elif args.stray and command:
        message = f"{shlex.join(args.stray)}: this is no option, and stands before the `--`"
        hint = "see: ci-identity exec --help"
    elif args.stray:
        ours = options[: len(options) - len(args.stray)]
        line = shlex.join(["ci-identity", "exec", *ours, "--", *args.stray])
        message, hint = "there is no `--` before the command", f"put the command after --: {line}"
    elif not command:
        message = "there is no command to run"
        hint = "put it after --: ci-identity exec --grant NAME -- COMMAND"
    else:
        return
    raise UsageError(message, hint=hint)


def _held(args: argparse.Namespace) -> tuple[Sequence[str], Mapping[str, Delivered]]:
    """Return which grants an agent of the job holds for this step, and what they give; say so.

    Who asks for a life or a delivery of its own gets a session of its own.
    """
    is_own = args.ttl or args.delivery != DeliveryMode.ENDPOINT
    if is_own or not os.environ.get(AGENT):
        return (), {}
    from ci_identity.agent.client import merged, take  # noqa: PLC0415  # in a job with an agent

    held = take(args.grant, os.environ, step=args.step)
    for name, given in held.items():
        _log.info("%s: steered by %s", name, AGENT)
        gives = [f"{n} (public)" if v.is_public else n for n, v in given.variables.items()]
        _log.info("%s: held by the job's agent until the job ends: %s", name, ", ".join(gives))
    return tuple(held), merged(held.values())


def _read_policy(path: Path | None) -> Mapping[str, object] | None:
    """Read the trust policy before anything else: a wrong file is not for later."""
    if path is None:
        return None
    if str(path) == "-":
        message = "exec reads no trust policy from stdin, which is the command's"
        raise UsageError(message, hint="name a file")
    from ci_identity.cli.verdict import read_policy  # noqa: PLC0415  # seldom needed

    return read_policy(path)


def _explain_refusal(error: AwsAccessDeniedError, policy: Mapping[str, object] | None) -> str:
    from ci_identity.cli.verdict import refusal  # noqa: PLC0415  # seldom needed

    return refusal(error, policy, os.environ)


def _warn_of_plants() -> None:
    """Say what an earlier step may have left in the environment to run inside this one."""
    ours = {f"PATH {Path(program).parent}" for program in (sys.argv[0], sys.executable)}
    if places := [
        found.place
        for found in find_code_injection(os.environ, Path.cwd())
        if found.place not in ours and found.detail != OTHERS_WRITE
    ]:
        _log.warning("an earlier step could run code in this one by %s", ", ".join(places))
    if before := children(os.getpid()):
        pids = ", ".join(map(str, before))
        _log.warning("in this step's process tree before the command: pid %s", pids)


def _die_by(signo: int) -> None:
    """End as the command ended, so that whoever waits for us sees the same signal."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its death may be worth a core, ours is not
    if signo != signal.SIGKILL:  # which nobody can catch or block
        signal.signal(signo, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signo})
    os.kill(os.getpid(), signo)

"""`ci-identity sandbox`: a local world to try things in."""

import os
import shlex
import signal
import sys
from collections.abc import Sequence

from ci_identity.cli.parser import Parser, UsageError
from ci_identity.cli.terminal import paint, print_json
from ci_identity.errors import ProviderUnavailableError
from ci_identity.sandbox.openbao import OpenBao
from ci_identity.sandbox.world import GRANT, World

_EXAMPLE = """\
  ci-identity sandbox                                  # then, in another terminal,
                                                       # paste the export lines and:
  ci-identity exec --grant migrate-db -- sh -c 'echo $DB_USER $DB_PASSWORD'

  ci-identity sandbox --claim repository=mallory/shop --claim repository_id=666
  ci-identity sandbox --ci gitlab --json"""


def main(words: Sequence[str]) -> int:
    """Start the world, print the environment to use, and wait for Ctrl-C."""
    parser = Parser(
        "sandbox",
        "Start an OIDC issuer and a real OpenBao on loopback, with JWT auth, one role, one\n"
        "policy, one secret and a grant for it, and print the environment of a job there.\n"
        "For trying and testing: it trusts its own issuer, and forgets everything at the end.",
        example=_EXAMPLE,
    )
    parser.add_argument("--ci", choices=("github", "gitlab"), default="github", help="whose job")
    parser.add_argument(
        "--claim",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a claim of the job's token; an empty value leaves it out",
    )
    parser.add_json()
    args = parser.parse_args(words)
    claims = dict(_claim(text) for text in args.claim)
    # SIGTERM as Ctrl-C, so that the servers are stopped on the way out; and Ctrl-C also where a
    # script started us in the background, which has it ignored. A terminal that is closed sends
    # SIGHUP; under nohup that stays ignored.
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signo != signal.SIGHUP or signal.getsignal(signo) != signal.SIG_IGN:
            signal.signal(signo, signal.default_int_handler)
    try:
        with World() as world:
            environ, server = world.environ(args.ci, claims), _server(world.openbao)
            if args.json:
                pid = os.getpid()
                print_json({"environ": environ, "grant": GRANT, "server": server, "pid": pid})
            else:
                _print(environ, server)
            sys.stdout.flush()
            code = world.openbao.wait()
    except KeyboardInterrupt:
        print("stopped; everything it made is gone", file=sys.stderr)
        return 0
    message = f"the OpenBao server of the sandbox has ended (exit code {code})"
    hint = "start the sandbox again: everything that it had made is gone"
    raise ProviderUnavailableError(
        message, cause="something ended it, or the machine ran out of memory", hint=hint
    )


def _claim(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        message = f"--claim {text}: this is not NAME=VALUE"
        raise UsageError(message, hint="see: ci-identity sandbox --help")
    return name, value or None


def _server(openbao: OpenBao) -> dict[str, str]:
    """Return how its administrator reaches the server; the only root token that we ever show."""
    return {
        "address": openbao.address,
        "token": openbao.root_token.reveal(),
        "binary": openbao.binary,
    }


def _print(environ: dict[str, str], server: dict[str, str]) -> None:
    print(
        paint("# The environment of a job in the sandbox. Nothing in it is worth anything", "dim")
    )
    print(paint("# outside. Paste it into another terminal; Ctrl-C here ends it all.", "dim"))
    for name, value in environ.items():
        print(f"export {name}={shlex.quote(value)}")
    print(paint(f"# ci-identity explain {GRANT}", "dim"))
    print(paint(f"# ci-identity exec --grant {GRANT} -- sh -c 'echo $DB_USER $DB_PASSWORD'", "dim"))
    print(
        paint("# The server, for its administrator; worth nothing outside of this sandbox:", "dim")
    )
    print(paint(f"# export BAO_ADDR={server['address']} BAO_TOKEN={server['token']}", "dim"))
    print(paint(f"# alias bao={shlex.quote(server['binary'])}", "dim"))
    pid = os.getpid()
    print(paint(f"# this process: {pid} (Ctrl-C, or kill {pid}, ends it)", "dim"))

"""`ci-identity agent`: what the GitHub action starts in a job, and stops at its end."""

import argparse
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ci_identity._text import shown
from ci_identity.agent import AGENT
from ci_identity.cli import terminal
from ci_identity.cli.parser import Parser, UsageError, ttl

if TYPE_CHECKING:
    from ci_identity.agent.order import Order

_EXAMPLE = """\
  ci-identity agent start --grant deploy-web --steps deploy --instance "$RUNNER_TEMP/agent"
  ci-identity agent status
  ci-identity agent stop --instance "$RUNNER_TEMP/agent"

The GitHub action OWNER/ci-identity/actions/credentials runs the first and the last."""

_ACTIONS = ("start", "status", "stop")


def main(words: Sequence[str]) -> int:
    """Start, describe or stop an agent."""
    actions: Mapping[str, Callable[[Sequence[str]], int]] = {
        "start": _start,
        "status": _status,
        "stop": _stop,
    }
    if words and words[0] in actions:
        return actions[words[0]](words[1:])
    parser = Parser(
        "agent",
        "A process that lives as long as the job, holds grants in memory, serves them to the\n"
        "steps that are named, and has everything revoked at the end. For GitHub Actions, whose\n"
        "steps are processes of one runner; elsewhere use exec.",
        example=_EXAMPLE,
    )
    parser.add_choice("action", *_ACTIONS, help="each of them has a --help of its own")
    parser.parse_args(words[:1])
    return 0


# ── start ────────────────────────────────────────────────────────────────────────────────────


def _start(words: Sequence[str]) -> int:
    args = _start_parser().parse_args(words)
    if not args.steps:
        message = "--steps is missing: the ids of the steps that may use the grants"
        raise UsageError(message, hint="name them, or say --steps all")
    from ci_identity.agent.start import start  # noqa: PLC0415  # on demand

    terminal.say_aloud(quiet=False)
    return start(args.instance, args.runner, partial(_order, args))


def _start_parser() -> Parser:
    parser = Parser(
        "agent start",
        "Start an agent, and return when later steps can use it: they are told by GITHUB_ENV.",
        example='  ci-identity agent start --grant deploy-web --steps deploy --instance "$DIR"',
    )
    parser.add_argument(
        "--grant", action="append", required=True, metavar="NAME", help="a grant; may be repeated"
    )
    parser.add_argument(
        "--steps",
        nargs="+",
        default=[],
        metavar="ID",
        help="the ids of the steps that may use them; `all` for every later step",
    )
    parser.add_argument(
        "--instance",
        required=True,
        type=Path,
        metavar="DIR",
        help="the agent's folder, which it makes: one for each agent",
    )
    parser.add_argument(
        "--runner", type=int, metavar="PID", help="the runner's process (default: looked for)"
    )
    parser.add_argument(
        "--delivery",
        choices=("endpoint", "env"),
        help="endpoint (the default), or env: the values themselves, for every later step",
    )
    parser.add_argument(
        "--ttl", type=ttl, metavar="TIME", help="life of each credential, at most the grant's own"
    )
    parser.add_grants()
    return parser


def _order(args: argparse.Namespace) -> "Order":
    from ci_identity.agent.order import Order  # noqa: PLC0415  # after the fork
    from ci_identity.model import DeliveryMode  # noqa: PLC0415

    return Order(
        grants=tuple(args.grant),
        grants_file=args.grants,
        steps=tuple(dict.fromkeys(args.steps)),
        delivery=DeliveryMode(args.delivery or DeliveryMode.ENDPOINT),
        ttl=args.ttl,
    )


# ── status, stop ─────────────────────────────────────────────────────────────────────────────


def _status(words: Sequence[str]) -> int:
    parser = Parser(
        "agent status",
        "Tell whether an agent is alive, what it holds, and who was served and refused.",
        example="  ci-identity agent status --json",
    )
    _add_instance(parser)
    parser.add_json()
    args = parser.parse_args(words)
    from ci_identity.agent.instance import Instance  # noqa: PLC0415  # on demand
    from ci_identity.agent.report import lines  # noqa: PLC0415
    from ci_identity.agent.stop import status  # noqa: PLC0415

    all_found = [status(Instance(path)) for path in _instances(args.instance)]
    if args.json:
        terminal.print_json(all_found)
        return 0
    for found in all_found:
        state = "alive" if found["alive"] else "not alive"
        print(shown(f"{found['instance']}: {state}"))
        for line in (*lines(found["grants"]), *filter(None, [found.get("problem")])):
            print(shown(f"  {line}"))
    return 0


def _add_instance(parser: Parser) -> None:
    parser.add_argument(
        "--instance", type=Path, metavar="DIR", help="its folder (default: $CI_IDENTITY_AGENT)"
    )


def _instances(named: Path | None) -> list[Path]:
    if named:
        return [named]
    found = [Path(path) for path in os.environ.get(AGENT, "").split(os.pathsep) if path]
    if not found:
        message = f"no agent is named: {AGENT} is not set"
        raise UsageError(message, hint="name its folder: --instance DIR")
    return found


def _stop(words: Sequence[str]) -> int:
    parser = Parser(
        "agent stop",
        "End an agent: everything it holds is revoked, and the job's summary is written.\n"
        "If it was killed, what it left is ended from here. Twice does no harm.",
        example='  ci-identity agent stop --instance "$DIR"',
    )
    parser.add_argument("--instance", required=True, type=Path, metavar="DIR", help="its folder")
    args = parser.parse_args(words)
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signo, signal.SIG_IGN)  # who cancels a job wants this done all the more
    terminal.say_aloud(quiet=False)
    from ci_identity.agent.instance import Instance  # noqa: PLC0415  # on demand
    from ci_identity.agent.runner_files import SUMMARY, append  # noqa: PLC0415
    from ci_identity.agent.stop import stop  # noqa: PLC0415

    instance = Instance(args.instance)
    if not instance.is_there:
        print("no agent to stop: its folder is not there")
        return 0
    ended = stop(instance, os.environ)
    for line in ended.said:
        terminal.tell(line)
    if ended.summary:
        append(SUMMARY, ended.summary, os.environ)
    instance.remove()
    return ended.exit_code

"""`ci-identity credential`: one grant to stdout, for SDKs that run a command to get credentials."""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from ci_identity._address import check_address
from ci_identity._http import HttpSession
from ci_identity._network import Network
from ci_identity.agent import AGENT
from ci_identity.cli import terminal
from ci_identity.cli.parser import Parser, UsageError, ttl
from ci_identity.delivery.aws import PROCESS_FORMAT, process_answer
from ci_identity.delivery.handover import ADDRESS, BEARER
from ci_identity.errors import DeliveryError
from ci_identity.model import AwsKeys, AwsTarget
from ci_identity.secret import Secret

if TYPE_CHECKING:
    from ci_identity.agent.client import Agent

_EXAMPLE = """\
  ci-identity credential --grant deploy-web --format aws-credential-process

which is the line for `credential_process =` of a profile in an AWS config file.

Under `ci-identity exec` such a profile is there already for each AWS grant of the
step: AWS_PROFILE=deploy-web chooses it, and this command asks the step's endpoint.
Elsewhere each run has a new session issued, which AWS cannot end before its time."""


def main(words: Sequence[str]) -> int:
    """Print the credential; see the example."""
    parser = Parser(
        "credential",
        "Print one grant's credential in a named format, for programs that run a command to\n"
        "get theirs. It is a secret: a terminal is refused it without --reveal.",
        example=_EXAMPLE,
    )
    parser.add_argument("--grant", required=True, metavar="NAME", help="the grant")
    parser.add_argument("--format", required=True, choices=[PROCESS_FORMAT], help="the format")
    parser.add_argument(
        "--step", help="the step's id; where the CI has step ids it must be the CI's own"
    )
    parser.add_argument("--ttl", type=ttl, metavar="TIME", help="its life, at most the grant's own")
    parser.add_argument("--reveal", action="store_true", help="print it on a terminal too")
    parser.add_grants()
    args = parser.parse_args(words)
    if not args.reveal:
        _check_stdout()
    terminal.say_aloud(quiet=True)
    if address := os.environ.get(ADDRESS):
        terminal.warn(f"{args.grant}: from the endpoint that {ADDRESS} names, {address}")
        answer = process_answer(_ask(address, args.grant, Secret(os.environ.get(BEARER, ""))))
    elif agent := _agent(args):
        answer = process_answer(_ask(agent.address, args.grant, agent.bearer))
    else:
        # Not with the other imports: what asks the endpoint is run by SDKs, again and again.
        from ci_identity.session import session  # noqa: PLC0415

        opened = session(
            args.grant, step=args.step, ttl=args.ttl, grants_file=args.grants, delivery="env"
        )
        if not isinstance(opened.grant.target, AwsTarget):
            message = f"{args.grant} is no aws grant, and {PROCESS_FORMAT} is for those"
            raise UsageError(message, hint="see: ci-identity credential --help")
        with opened:
            answer = process_answer(opened.aws_keys())
    sys.stdout.write(answer + "\n")
    return 0


def _agent(args: argparse.Namespace) -> "Agent | None":
    """Return the agent of the job that holds the grant for this step, if any."""
    if args.ttl or not os.environ.get(AGENT):
        return None
    from ci_identity.agent.client import holder  # noqa: PLC0415  # in a job with an agent

    return holder(args.grant, os.environ)


def _check_stdout() -> None:
    """Refuse to write where people read."""
    from ci_identity.redaction.mask import is_step_log  # noqa: PLC0415  # not for the endpoint's sake

    place = "a terminal" if os.isatty(1) else None
    if place is None and is_step_log(1, os.environ):
        place = "the log of the step"
    if place:
        message = f"stdout is {place}, which would show the credential"
        raise UsageError(message, hint="pass --reveal if that is what you want")


def _ask(address: str, grant: str, bearer: Secret) -> AwsKeys:
    """Return what the endpoint of the running `exec` hands out.

    Raises:
        DeliveryError: it hands out nothing, and why.
        InsecureAddressError: it is not on this machine.
    """
    parts = urlsplit(check_address(address, what=ADDRESS))
    if parts.scheme != "http":  # which leaves loopback alone
        message = f"{ADDRESS} is not the address of a loopback endpoint"
        raise DeliveryError(message)
    headers = {"Authorization": bearer.reveal()}
    with HttpSession(Network()) as http:
        response = http.get(f"{address}/aws/{quote(grant, safe='')}", headers=headers)
    answer = response.json()
    if not response.is_ok:
        reason = answer.get("message")
        message = f"{grant}: the step's endpoint refused"
        raise DeliveryError(f"{message}: {reason}" if isinstance(reason, str) else message)
    return AwsKeys(
        access_key_id=answer.text("AccessKeyId"),
        secret_access_key=Secret(answer.text("SecretAccessKey")),
        session_token=Secret(answer.text("Token")),
        expires_at=datetime.fromisoformat(answer.text("Expiration")).astimezone(UTC),
    )

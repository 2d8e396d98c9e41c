"""`ci-identity credential`: one grant to stdout, for SDKs that run a command to get credentials."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from ci_identity._address import check_address
from ci_identity._answer import Answer
from ci_identity._http import HttpSession
from ci_identity._network import Network
from ci_identity.agent import AGENT
from ci_identity.cli import terminal
from ci_identity.cli.parser import Parser, UsageError, ttl
from ci_identity.delivery.aws import PROCESS_FORMAT, process_answer
from ci_identity.delivery.handover import ADDRESS, BEARER
from ci_identity.delivery.kubernetes import EXEC_FORMAT
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
Elsewhere each run has a new session issued, which AWS cannot end before its time.

kubernetes-exec is for the exec plugin of a kubeconfig (ExecCredential). Such a file
is there, too, under `ci-identity exec`; elsewhere the format has nothing to print:
a token of Kubernetes ends with the command that had it issued."""


def main(words: Sequence[str]) -> int:
    """Print the credential; see the example."""
    parser = Parser(
        "credential",
        "Print one grant's credential in a named format, for programs that run a command to\n"
        "get theirs. It is a secret: a terminal is refused it without --reveal.",
        example=_EXAMPLE,
    )
    parser.add_argument("--grant", required=True, metavar="NAME", help="the grant")
    parser.add_argument("--format", required=True, choices=list(_FORMATS), help="the format")
    parser.add_argument(
        "--endpoint",
        type=Path,
        metavar="FOLDER",
        help="the folder that leads to the endpoint to ask, as the files of a step name it",
    )
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
    sys.stdout.write(_answer(args) + "\n")
    return 0


def _answer(args: argparse.Namespace) -> str:
    """Return the credential, from the endpoint of the step or the job if there is one."""
    service, read = _FORMATS[args.format]
    if args.endpoint:
        named = _named(args.endpoint)
        return read(_ask(named.address, service, args.grant, named.bearer))
    if address := os.environ.get(ADDRESS):
        terminal.warn(f"{args.grant}: from the endpoint that {ADDRESS} names, {address}")
        bearer = Secret(os.environ.get(BEARER, ""))
        return read(_ask(address, service, args.grant, bearer))
    if agent := _agent(args):
        return read(_ask(agent.address, service, args.grant, agent.bearer))
    if args.format != PROCESS_FORMAT:
        message = f"there is no endpoint to ask for {args.grant}"
        raise UsageError(message, hint=f"run it under: ci-identity exec --grant {args.grant}")
    return _issued(args)


def _issued(args: argparse.Namespace) -> str:
    """Return an AWS session that is issued for nobody else."""
    # Not with the other imports: what asks the endpoint is run by SDKs, again and again.
    from ci_identity.session import session  # noqa: PLC0415

    opened = session(
        args.grant, step=args.step, ttl=args.ttl, grants_file=args.grants, delivery="env"
    )
    if not isinstance(opened.grant.target, AwsTarget):
        message = f"{args.grant} is no aws grant, and {PROCESS_FORMAT} is for those"
        raise UsageError(message, hint="see: ci-identity credential --help")
    with opened:
        return process_answer(opened.aws_keys())


def _named(folder: Path) -> "Agent":
    """Return what a folder leads to.

    Raises:
        DeliveryError: nothing, since the step is over.
    """
    from ci_identity.agent.client import agent_of  # noqa: PLC0415  # not where a variable leads
    from ci_identity.agent.instance import Instance  # noqa: PLC0415  # as above

    found = agent_of(Instance(folder))
    if found is None:
        message = f"{folder} leads to no endpoint: the step that it is of is over"
        raise DeliveryError(message)
    return found


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


def _ask(address: str, service: str, grant: str, bearer: Secret) -> Answer:
    """Return what the endpoint of the running `exec` or agent hands out.

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
        response = http.get(f"{address}/{service}/{quote(grant, safe='')}", headers=headers)
    answer = response.json()
    if not response.is_ok:
        reason = answer.get("message")
        message = f"{grant}: the step's endpoint refused"
        raise DeliveryError(f"{message}: {reason}" if isinstance(reason, str) else message)
    return answer


def _process(answer: Answer) -> str:
    """Return the keys of a container-credentials answer as a `credential_process` prints them."""
    return process_answer(
        AwsKeys(
            access_key_id=answer.text("AccessKeyId"),
            secret_access_key=Secret(answer.text("SecretAccessKey")),
            session_token=Secret(answer.text("Token")),
            expires_at=datetime.fromisoformat(answer.text("Expiration")).astimezone(UTC),
        )
    )


def _exec(answer: Answer) -> str:
    """Return an ExecCredential, which is what the endpoint answers."""
    answer.text("status", "token")
    return json.dumps(answer.mapping())


_FORMATS: Mapping[str, tuple[str, Callable[[Answer], str]]] = {
    PROCESS_FORMAT: ("aws", _process),
    EXEC_FORMAT: ("kubernetes", _exec),
}
"""Each format: where the endpoint serves it, and what is printed of the answer."""

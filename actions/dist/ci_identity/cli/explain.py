"""`ci-identity explain`: would this grant be given to this job, and which claim says no."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ci_identity._record import asdict
from ci_identity._text import shown
from ci_identity.cli.parser import Parser, UsageError
from ci_identity.cli.terminal import paint, print_json, print_table
from ci_identity.cli.verdict import lines, read_policy
from ci_identity.errors import DeniedError, ExchangeError
from ci_identity.exchangers import exchanger_for
from ci_identity.grants.decide import decide
from ci_identity.model import AwsTarget, Decision, Grant, JobIdentity
from ci_identity.session import load_grants
from ci_identity.sources import fetch, sources
from ci_identity.sources.claims import identify
from ci_identity.trust.aws import evaluate
from ci_identity.trust.finding import Result

_EXAMPLE = """\
  ci-identity explain migrate-db
  ci-identity explain deploy-web --step deploy --json

What would AWS say? With the role's trust policy it is said condition by condition:

  aws iam get-role --role-name deploy-web > role.json
  ci-identity explain deploy-web --trust-policy role.json"""


def main(words: Sequence[str]) -> int:
    """Print the decision, claim by claim; 0 if the grant would be given, 4 if not.

    With `--trust-policy`, 5 if it would be given, but the trust policy is not seen to let it in.
    """
    parser = Parser(
        "explain",
        "Show whether a grant would be given to this job, claim by claim: wanted and got.\n"
        "Nothing is sent to the grant's provider, whose own trust settings decide in the end.",
        example=_EXAMPLE,
    )
    parser.add_argument("grant", metavar="GRANT", help="the grant's name")
    parser.add_argument("--step", help="the step's id, as exec would be given it")
    parser.add_grants()
    parser.add_trust_policy(
        "the trust policy of the grant's role, as JSON or as `aws iam get-role` has it; - for stdin"
    )
    parser.add_json()
    args = parser.parse_args(words)
    grant = load_grants(args.grants, os.environ).grant(args.grant)
    policy = args.trust_policy and (_role(grant), read_policy(args.trust_policy))
    audience = grant.audience or exchanger_for(grant, os.environ).audience
    job = identify(fetch(sources(os.environ, grant.source), audience))
    decision = decide(grant, job, step=args.step)
    verdict = policy and evaluate(policy[1], job.claims, role=policy[0])
    if args.json:
        claims = [line._asdict() for line in _compare(grant, job, decision)]
        told = {"allowed": decision.is_allowed, "claims": claims}
        trust = {"trust": asdict(verdict)} if verdict else {}
        print_json(asdict(decision) | {"audience": audience} | told | trust)
    else:
        _print(grant, job, decision)
        print(f"  the token that is asked for it is for the audience {shown(audience)}")
        if verdict:
            print("\n".join(lines(verdict)))
    if not decision.is_allowed:
        return DeniedError.exit_code
    return ExchangeError.exit_code if verdict and verdict.result is not Result.PASS else 0


def _role(grant: Grant) -> str:
    if isinstance(grant.target, AwsTarget):
        return grant.target.role
    message = f"--trust-policy is for grants of AWS; {grant.name} is none"
    raise UsageError(message, hint="see: ci-identity explain --help")


def _print(grant: Grant, job: JobIdentity, decision: Decision) -> None:
    verdict = paint("given", "green") if decision.is_allowed else paint("denied", "red", "bold")
    print(f"{paint(grant.name, 'bold')}: {verdict} to this job, before the provider is asked")
    rows = [("", "claim", "wanted", "got")]
    rows += [
        ("yes" if line.is_match else "NO", line.claim, line.wanted, line.got or "(absent)")
        for line in _compare(grant, job, decision)
    ]
    print_table(rows, colours={"yes": "green", "NO": "red"})
    for mismatch in decision.mismatches:
        if mismatch.remark:
            print(f"  {mismatch.claim}: {mismatch.remark}")


class _Line(NamedTuple):
    claim: str
    wanted: str
    got: str | None
    is_match: bool


def _compare(grant: Grant, job: JobIdentity, decision: Decision) -> Iterator[_Line]:
    """Yield every condition of the grant that holds, then all that speaks against it."""
    denied = {mismatch.claim for mismatch in decision.mismatches}
    for claim, wanted in grant.conditions.items():
        if claim not in denied:
            yield _Line(claim, " or ".join(map(str, wanted)), _got(job, claim), is_match=True)
    if job.step in grant.steps:
        yield _Line("step", " or ".join(grant.steps), job.step, is_match=True)
    for mismatch in decision.mismatches:
        yield _Line(mismatch.claim, mismatch.wanted, mismatch.got, is_match=False)


def _got(job: JobIdentity, claim: str) -> str:
    name = {"issuer": "iss", "subject": "sub", "audience": "aud"}.get(claim, claim)
    value = job.claims.get(name)
    return value if isinstance(value, str) else json.dumps(value)

"""`ci-identity whoami`: who this job is, never its token."""

import os
from collections.abc import Sequence

from ci_identity._record import asdict, replace
from ci_identity._text import shown
from ci_identity.cli.parser import Parser
from ci_identity.cli.terminal import paint, plain, print_json, print_table
from ci_identity.grants.decide import unaccounted
from ci_identity.model import JobIdentity, UnverifiedClaims
from ci_identity.sources import fetch, sources
from ci_identity.sources.claims import identify

_EXAMPLE = """\
  ci-identity whoami
  ci-identity whoami --audience https://vault.acme.example --json"""

_FORK = {True: "yes", False: "no", None: "the claims do not say, so it counts as one"}


def main(words: Sequence[str]) -> int:
    """Print the job's identity and claims."""
    parser = Parser(
        "whoami",
        "Show who this job is: the identity that grants are matched against, and every claim\n"
        "of the token. The claims are as the CI wrote them; nobody has verified them here.",
        example=_EXAMPLE,
    )
    parser.add_argument(
        "--audience",
        help="whom to ask the token for (default: nobody whom it would open anything at)",
    )
    parser.add_json()
    args = parser.parse_args(words)
    job = identify(fetch(sources(os.environ), args.audience))
    if args.json:
        print_json(asdict(job))
    else:
        _print(job)
    return 0


def _print(job: JobIdentity) -> None:
    fields = asdict(replace(job, claims=UnverifiedClaims({})))
    fields |= {"fork": _FORK[job.fork], "audience": ", ".join(job.audience)}
    fields["debug"] = "yes" if job.debug else "no"
    del fields["claims"]
    print(paint("identity", "bold"))
    print_table((name, "-" if value is None else plain(value)) for name, value in fields.items())
    print(paint("claims, unverified", "bold"))
    print_table((name, str(value)) for name, value in sorted(job.claims.items()))
    if unknown := unaccounted(job.claims):
        print(f"claims that ci-identity does not know: {shown(', '.join(unknown))}")

"""`ci-identity doctor`: what in this job is already a usable secret."""

import os
from collections.abc import Sequence
from pathlib import Path

from ci_identity._record import asdict
from ci_identity.cli.parser import Parser
from ci_identity.cli.terminal import paint, print_json, print_table
from ci_identity.doctor.environment import NOT_LOOKED_AT, find
from ci_identity.doctor.finding import Finding

_EXAMPLE = """\
  ci-identity doctor env
  ci-identity doctor env --json"""


def main(words: Sequence[str]) -> int:
    """Print the findings. They are facts of the job, not failures: the exit code is 0."""
    parser = Parser(
        "doctor",
        "List what in this job's environment and well-known files is already a usable secret,\n"
        "by kind and place, never the value. Any step of the job can use what is listed here.",
        example=_EXAMPLE,
    )
    parser.add_choice("room", "env", help="env: environment and well-known files")
    parser.add_json()
    args = parser.parse_args(words)
    findings = find(os.environ, Path.home(), Path.cwd())
    if args.json:
        print_json([asdict(finding) for finding in findings])
    elif not findings:
        print(paint("nothing found", "green") + ": no known kind of secret is in reach here")
    else:
        _print(findings)
    return 0


def _print(findings: Sequence[Finding]) -> None:
    for kind in dict.fromkeys(finding.kind for finding in findings):
        print(paint(str(kind), "bold"))
        print_table(
            (f.place, f.detail, "hidden by exec" if f.is_removed_by_exec else "")
            for f in findings
            if f.kind == kind
        )
    print(NOT_LOOKED_AT)

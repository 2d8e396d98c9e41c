"""`ci-identity check`: validate and lint the grants file."""

import os
from collections.abc import Sequence

from ci_identity._record import asdict
from ci_identity._text import shown
from ci_identity.cli.parser import Parser
from ci_identity.cli.terminal import paint, print_json
from ci_identity.errors import GrantsFileError
from ci_identity.grants.lint import lint
from ci_identity.session import load_grants

_EXAMPLE = """\
  ci-identity check
  ci-identity check --grants deploy/.ci-identity.yml --json"""


def main(words: Sequence[str]) -> int:
    """Print what is wrong or unwise in the grants file; 0 if nothing is wrong, else 2."""
    parser = Parser(
        "check",
        "Validate the grants file, strictly, and lint it: what is valid but unwise.\n"
        "It needs no CI and no network: run it on every change of the file.",
        example=_EXAMPLE,
    )
    parser.add_grants()
    parser.add_json()
    args = parser.parse_args(words)
    grants = load_grants(args.grants, os.environ)
    findings = lint(grants)
    errors = sum(finding.is_error for finding in findings)
    if args.json:
        found = [asdict(finding) for finding in findings]
        print_json({"file": grants.name, "findings": found})
    else:
        for finding in findings:
            word = paint("error", "red") if finding.is_error else paint("warning", "yellow")
            place = f"{grants.name}:{finding.line}"
            print(shown(f"{place}: {finding.grant}: ") + f"{word}[{finding.code}]: ", end="")
            print(shown(f"{finding.message}\n  fix: {finding.hint}"))
        names = ", ".join(grants.grants)
        print(
            f"{grants.name}: {_count(len(grants.grants), 'grant')} ({names}), "
            f"{_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}"
        )
    return GrantsFileError.exit_code if errors else 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

"""`ci-identity check`: validate and lint the grants file."""

import os
from collections.abc import Sequence
from dataclasses import asdict

from ci_identity.cli.parser import Parser
from ci_identity.cli.terminal import paint, print_json, shown
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
        print_json({"file": grants.name, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            word = paint("error", "red") if finding.is_error else paint("warning", "yellow")
            place = f"{grants.name}:{finding.line}"
            print(shown(f"{place}: {finding.grant}: ") + f"{word}[{finding.code}]: ", end="")
            print(shown(f"{finding.message}\n  fix: {finding.hint}"))
        names = ", ".join(grants.grants)
        print(
            f"{grants.name}: {len(grants.grants)} grants ({names}), {errors} errors, "
            f"{len(findings) - errors} warnings"
        )
    return GrantsFileError.exit_code if errors else 0

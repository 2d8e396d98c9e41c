"""`ci-identity audit`: show the ledger, or verify that nobody changed it."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ci_identity.cli.parser import Parser, UsageError
from ci_identity.cli.terminal import paint, print_json, print_table
from ci_identity.ledger.verify import read, verify
from ci_identity.settings import Settings

_EXAMPLE = """\
  ci-identity audit show
  ci-identity audit verify --head 3f1c...     # the head that a run printed in its log"""

_COLUMNS = ("at", "event", "grant", "step", "lease", "handle", "reason")


def main(words: Sequence[str]) -> int:
    """Print the entries, or verify the chain."""
    parser = Parser(
        "audit",
        "Show the ledger: what was asked, issued, delivered and ended, and nothing secret.\n"
        "Or verify it: each entry holds the hash of the one before. Entries cut off at the\n"
        "end are noticed only with --head.",
        example=_EXAMPLE,
    )
    parser.add_argument("action", choices=("show", "verify"))
    parser.add_argument("--head", metavar="HASH", help="verify: the hash that must be in it")
    parser.add_ledger()
    parser.add_json()
    args = parser.parse_args(words)
    if args.head and args.action == "show":
        message = "--head goes with verify"
        raise UsageError(message)
    ledger = args.ledger or Settings.from_environ(os.environ).ledger
    if args.action == "show":
        _show(ledger, as_json=args.json)
    else:
        _verify(ledger, args.head, as_json=args.json)
    return 0


def _show(ledger: Path, *, as_json: bool) -> None:
    entries = list(read(ledger))
    if as_json:
        print_json(entries)
        return
    rows = [tuple(str(entry.get(name) or "-") for name in _COLUMNS) for entry in entries]
    print_table([_COLUMNS, *rows], indent="")


def _verify(ledger: Path, head: str | None, *, as_json: bool) -> None:
    found = verify(ledger, head=head)
    if as_json:
        print_json(asdict(found))
        return
    print(f"{paint('intact', 'green')}: {found.entries} entries, head {found.head}")
    if found.is_torn:
        print("the last line is unfinished: a writer was killed; the next entry repairs it")
    if head is None:
        print("without --head, entries cut off at the end cannot be noticed")

"""`ci-identity audit`: show the ledger, or verify that nobody changed it."""

import argparse
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from ci_identity._record import asdict
from ci_identity.cli.parser import Parser, UsageError
from ci_identity.cli.terminal import paint, print_json, print_table, warn
from ci_identity.errors import LedgerTamperedError
from ci_identity.ledger.live import FOREVER, LiveLease, leases
from ci_identity.ledger.verify import read, verify
from ci_identity.settings import Settings

_EXAMPLE = """\
  ci-identity audit show
  ci-identity audit show --open               # what may still be alive, and how to end it
  ci-identity audit verify --head 3f1c...     # the head that a run printed in its log"""

_COLUMNS = ("at", "event", "grant", "step", "lease", "expires_at", "handle", "reason")
_OPEN_COLUMNS = ("lease", "grant", "last", "expires_at", "handles", "target")


def main(words: Sequence[str]) -> int:
    """Print the entries, or verify the chain."""
    parser = Parser(
        "audit",
        "Show the ledger: what was asked, issued, delivered and ended, and nothing secret.\n"
        "Or verify it: each entry holds the hash of the one before. Entries cut off at the\n"
        "end are noticed only with --head.",
        example=_EXAMPLE,
    )
    parser.add_choice("action", "show", "verify", help="show: list it; verify: check its chain")
    parser.add_argument(
        "--open",
        action="store_true",
        help="show: only the leases that may be alive: not revoked, and their time not over",
    )
    parser.add_argument(
        "--head", type=_head, metavar="HASH", help="verify: the hash that must be in it"
    )
    parser.add_ledger()
    parser.add_json()
    args = parser.parse_args(words)
    if args.head and args.action == "show":
        message = "--head goes with verify"
        raise UsageError(message)
    if args.open and args.action == "verify":
        message = "--open goes with show"
        raise UsageError(message)
    ledger = args.ledger or Settings.from_environ(os.environ).ledger
    if args.action == "show":
        _show(ledger, as_json=args.json, is_open=args.open)
    else:
        _verify(ledger, args.head, as_json=args.json)
    return 0


def _head(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        message = "a head is 64 hex digits, as a run prints it at its end"
        raise argparse.ArgumentTypeError(message)
    return text.lower()


def _show(ledger: Path, *, as_json: bool, is_open: bool) -> None:
    entries = list(read(ledger))
    try:
        verify(ledger)
    except LedgerTamperedError as error:
        warn(f"{error}; do not rely on what follows")
    shown, columns = (_open(entries), _OPEN_COLUMNS) if is_open else (entries, _COLUMNS)
    if as_json:
        print_json(shown)
        return
    rows = [tuple(_cell(entry.get(name)) for name in columns) for entry in shown]
    print_table([[name.removesuffix("_at") for name in columns], *rows], indent="")


def _open(entries: Iterable[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """Return the leases that may be alive."""
    now = datetime.now(UTC)
    return [_row(one) for one in leases(entries) if one.may_live(now)]


def _row(one: LiveLease) -> Mapping[str, object]:
    until = one.lease.expires_at
    return {
        "lease": one.lease.id,
        "grant": one.lease.grant,
        "last": one.last,
        "expires_at": None if until == FOREVER else until.isoformat(timespec="milliseconds"),
        "handles": list(map(str, one.handles)),
        "target": one.lease.target,
    }


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, cast("list[object]", value)))
    return str(value or "-")


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

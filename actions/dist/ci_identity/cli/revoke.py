"""`ci-identity revoke`: end what a killed command was given, as far as the ledger knows."""

import os
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ci_identity.cli import terminal
from ci_identity.cli.parser import Parser, UsageError
from ci_identity.errors import IdentityError, RevocationError
from ci_identity.ledger.live import LiveLease, live, lost
from ci_identity.ledger.verify import is_there, read, verify
from ci_identity.model import Outcome
from ci_identity.settings import Settings

_EXAMPLE = """\
  ci-identity revoke                          # at the end of a job, whatever became of it
  ci-identity revoke 3f1c0f2f5e0a4b8d         # one lease; audit show --open lists them

Exit code: 0 if nothing is left alive that could be ended; 9 if something may be."""


def main(words: Sequence[str]) -> int:
    """End the leases and say how each of them ended."""
    parser = Parser(
        "revoke",
        "End what an earlier command of this job was given and, killed, could not end itself:\n"
        "what the ledger has an issue of, but no end. It logs in once more by the same grant,\n"
        "with the job's id token. `exec` needs no such help, unless it is killed.",
        example=_EXAMPLE,
    )
    parser.add_argument(
        "lease", nargs="*", help="the leases to end (default: those of this job that are live)"
    )
    parser.add_argument(
        "--all", action="store_true", help="those of other jobs too that the ledger shows as live"
    )
    parser.add_grants()
    parser.add_ledger()
    args = parser.parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a login of ours is ended then too
    if args.all and args.lease:
        message = "--all goes without the name of a lease"
        raise UsageError(message)
    path = args.ledger or Settings.from_environ(os.environ).ledger
    if not (is_there(path) or args.ledger or args.lease):
        print(f"nothing to revoke: nothing was recorded in {path}")
        return 0
    verify(path)
    left = live(read(path))
    chosen = _choose(left, args.lease, path) if args.lease or args.all else _of_this_job(left)
    terminal.say_aloud(quiet=False)
    _revoke(chosen, path, args.grants)
    if not chosen:
        others = f"; live ones of other jobs, left alone: {len(left)}" if left else ""
        if names := ", ".join(one.lease.id for one in lost(read(path), datetime.now(UTC))):
            others += f"; asked for, and whether it was given is not on record: {names}"
        print(f"nothing to revoke: {path} has no live lease of this job{others}")
    return 0


def _choose(left: list[LiveLease], names: Sequence[str], path: Path) -> list[LiveLease]:
    by_name = {one.lease.id: one for one in left}
    if unknown := [name for name in names if name not in by_name]:
        message = f"{path} has no live lease {', '.join(unknown)}"
        raise UsageError(message, hint="see: ci-identity audit show --open")
    return [by_name[name] for name in dict.fromkeys(names)] or left


def _of_this_job(left: list[LiveLease]) -> list[LiveLease]:
    if not left:  # the usual case, which is to take no time and no token
        return []
    from ci_identity.reclaim import is_of  # noqa: PLC0415  # on demand
    from ci_identity.sources import fetch, sources  # noqa: PLC0415  # on demand
    from ci_identity.sources.claims import identify  # noqa: PLC0415  # on demand

    try:
        job = identify(fetch(sources(os.environ), None))
    except IdentityError as error:
        for one in left:
            handles = ", ".join(map(str, one.handles)) or "no handle"
            error.add_note(f"may live until {one.lease.expires_at}: {one.lease.grant}, {handles}")
        raise
    return [one for one in left if is_of(job, one)]


def _revoke(chosen: Sequence[LiveLease], path: Path, grants: Path | None) -> None:
    """End the leases one after the other; raise if one of them may be alive afterwards."""
    if not chosen:
        return
    from ci_identity.reclaim import reclaim  # noqa: PLC0415  # on demand

    environ = os.environ | {"CI_IDENTITY_LEDGER": str(path)}
    failed = [
        revocation.lease.id
        for one in chosen
        for revocation in reclaim(one, environ, grants_file=grants)
        if revocation.outcome is Outcome.FAILED
    ]
    if failed:
        message = f"not everything could be revoked; what may still be alive: {', '.join(failed)}"
        raise RevocationError(message)

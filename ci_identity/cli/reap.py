"""`ci-identity reap`: from outside the jobs, end what they left alive, as far as ledgers tell."""

import argparse
import os
import signal
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ci_identity.cli.parser import Parser, UsageError, ttl
from ci_identity.cli.terminal import print_json, print_table, say_aloud, warn
from ci_identity.errors import CiIdentityError, ConfigurationError, LedgerTamperedError, NotCutError
from ci_identity.grants.load import GrantsFile
from ci_identity.ledger.live import FOREVER
from ci_identity.model import AwsTarget
from ci_identity.reaping.aws import AwsReaper
from ci_identity.reaping.kinds import reaper_for, unreached
from ci_identity.reaping.ledgers import Records, Told, find, listen
from ci_identity.reaping.plan import (
    DEAD_AFTER,
    Asked,
    Planned,
    Reaper,
    Result,
    Verdict,
    plan,
)
from ci_identity.recording import BEAT
from ci_identity.session import Session, load_grants
from ci_identity.settings import Settings

_EXAMPLE = """\
  ci-identity reap --grant reap-vault ledgers/                # jobs that are over, or dead
  ci-identity reap --grant reap-vault --all ledgers/          # no job of them runs
  ci-identity reap --deny --grant cut-sessions --grant reap-vault --dry-run ledgers/
  ci-identity reap --grant reap-vault --lease 3f1c2a... job.jsonl

Who may be this job, and with which rights: docs/how-to/reap.md"""

Results = list[Result | None]
"""What came of each lease that is planned; `None` where nothing was done."""

Rows = Sequence[tuple[Planned, Result | None]]

_COLUMNS = ("lease", "grant", "target", "until", "done", "why")
_MINIMUM = timedelta(seconds=2 * BEAT)
_NOT_ASKED = "unless it has ended already, which its provider was not asked"


def main(words: Sequence[str]) -> int:
    """End what is to be ended, and print it; 9 if any of it was not ended."""
    args = _parse(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # our own login is ended then too
    say_aloud(quiet=False)
    file = load_grants(args.grants, os.environ)
    grants = [file.grant(name) for name in dict.fromkeys(args.grant)]
    if not args.deny and any(isinstance(one.target, AwsTarget) for one in grants):
        message = "to cut an AWS session is to put a Deny on its role: say --deny"
        raise UsageError(message, hint="see: ci-identity reap --help")
    told = listen(find(args.ledgers))
    for wrong in told.wrong.values():
        is_torn = isinstance(wrong, LedgerTamperedError)
        warn(f"{wrong}; what was taken out of it, nobody sees" if is_torn else str(wrong))
    reapers = [reaper_for(grant, os.environ, told.cut_targets) for grant in grants]
    asked = Asked(named=frozenset(args.lease), is_all=args.all, dead_after=args.dead_after)
    planned = plan(told.leases, reapers, asked, datetime.now(UTC), otherwise=unreached)
    _check_named(args.lease, planned)
    results: Results = [None] * len(planned)
    errors: list[CiIdentityError] = []
    if not args.dry_run:
        errors = _reap(reapers, planned, told, file, results)
    rows = list(zip(planned, results, strict=True))
    if rows or args.json or not told.wrong:
        _print(rows, args)
    if errors:
        raise errors[0]
    _check([] if args.dry_run else rows, told)
    return 0


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "reap",
        "From outside the jobs, end what they left alive, as far as their ledgers tell, by\n"
        "identities of the reaper's own: what Vault and Kubernetes issued is revoked. AWS cannot\n"
        "end a session, but a Deny on its role leaves it without rights; it is removed by a later\n"
        "run. Elsewhere nothing can be ended before its time.\n"
        "By default that of jobs that are done with it, and of jobs that are dead: their ledgers\n"
        "have told nothing for a while. Those of jobs that may run are left alone.",
        example=_EXAMPLE,
    )
    parser.add_argument(
        "--grant",
        required=True,
        action="append",
        metavar="NAME",
        help="the vault grant whose role may revoke by handle, the kubernetes grant whose account "
        "may delete Secrets, or the aws grant whose role may write the policies of the roles to be "
        "cut; may be repeated",
    )
    parser.add_argument(
        "--deny", action="store_true", help="aws: deny everything to each session that is to end"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="also those of jobs that may still run")
    which.add_argument(
        "--lease", action="append", default=[], metavar="ID", help="this one; may be repeated"
    )
    parser.add_argument(
        "--dead-after",
        type=_silence,
        default=DEAD_AFTER,
        metavar="TIME",
        help="a job is dead when its ledger tells nothing for so long (default: "
        f"{DEAD_AFTER // timedelta(minutes=1)}m, {_MINIMUM // timedelta(minutes=1)}m at least)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be ended, ask nobody, and stop"
    )
    parser.add_argument(
        "ledgers", nargs="+", type=Path, metavar="LEDGER", help="a ledger, or a folder of *.jsonl"
    )
    parser.add_grants()
    parser.add_json()
    return parser.parse_args(words)


def _silence(text: str) -> timedelta:
    time = ttl(text)
    if time < _MINIMUM:
        message = f"{text!r} is too short: a job that runs says so every {BEAT:.0f} s"
        raise argparse.ArgumentTypeError(message)
    return time


def _check_named(named: Sequence[str], planned: Iterable[Planned]) -> None:
    if unknown := sorted(set(named) - {one.left.id for one in planned}):
        message = f"no ledger given tells of a live lease {', '.join(unknown)}"
        raise ConfigurationError(
            message, hint="it may be over, or be in another ledger: ci-identity audit show"
        )
    for one in planned:
        if named and one.verdict is Verdict.LEAVE:
            message = f"{one.left.id} cannot be ended: {one.why}"
            raise ConfigurationError(message, hint="end it by another grant, or wait for its end")


def _reap(
    reapers: Iterable[Reaper],
    planned: Sequence[Planned],
    told: Told,
    file: GrantsFile,
    results: Results,
) -> list[CiIdentityError]:
    """End what each reaper is to end; one whose own credential cannot be had stops no other.

    What comes of each is put into `results`, where `planned` has it. Returns what went wrong.
    """
    errors: list[CiIdentityError] = []
    for reaper in reapers:
        mine = [
            at
            for at, one in enumerate(planned)
            if one.reaper is reaper and one.verdict is Verdict.END
        ]
        if not (mine or (isinstance(reaper, AwsReaper) and reaper.to_prune)):
            continue
        try:
            with Session(file.grant(reaper.grant), os.environ) as session:
                own = Settings.from_environ(os.environ).ledger
                records = Records(own=own, by=session.identity, evidence=told.wrong)
                lefts = [planned[at].left for at in mine]
                found = reaper.reap(lefts, session, records.record)
                for at, result in zip(mine, found, strict=True):
                    results[at] = result
        except CiIdentityError as error:
            errors.append(error)
            reason = f"the grant {reaper.grant} could not be used: {error.code}"
            for at in mine:
                results[at] = results[at] or Result(reason=reason)
    return errors


def _print(rows: Rows, args: argparse.Namespace) -> None:
    if args.json:
        print_json([_object(*row) for row in rows])
        return
    if not rows:
        print("nothing is alive, as far as these ledgers tell")
        return
    cells = [tuple(str(value) for value in _row(*row)) for row in rows]
    print_table([_COLUMNS, *cells], indent="", colours={})
    if any(isinstance(one.reaper, AwsReaper) and _is_new(result) for one, result in rows):
        print("a cut may take a few minutes to reach every service of AWS")


def _is_new(result: Result | None) -> bool:
    return bool(result and result.is_done and not result.was_done)


def _row(one: Planned, result: Result | None) -> tuple[object, ...]:
    left = one.left
    until = "unknown" if left.until == FOREVER else left.until.isoformat(timespec="seconds")
    return (
        left.id,
        left.lease.lease.grant,
        left.target.rpartition("/")[2],
        until,
        *_said(one, result),
    )


def _object(one: Planned, result: Result | None) -> dict[str, object]:
    row = dict(zip(_COLUMNS, _row(one, result), strict=True))
    handles = list(map(str, one.left.lease.handles))
    return row | {"target": one.left.target, "handles": handles, "ledger": one.left.ledger}


def _said(one: Planned, result: Result | None) -> tuple[str, str]:
    done = one.reaper.done if one.reaper else ""
    if result is None:
        if one.verdict is Verdict.END:
            return f"would be {done}", _NOT_ASKED
        return "failed" if one.verdict is Verdict.FAIL else "left", one.why
    if result.unrecorded:
        return done, f"not on record: {result.unrecorded}"
    if result.is_done:
        return done, "it had ended already" if result.was_done else ""
    return "failed", result.reason


def _check(rows: Rows, told: Told) -> None:
    """Raise if what was to be ended was not, an end is on no record, or a ledger is bad."""
    said = [(one.left, *_said(one, result)) for one, result in rows]
    failed = [(left, why) for left, done, why in said if done == "failed"]
    if failed:
        which = "; ".join(
            f"{left.id}, alive until {left.until:%H:%M:%S} UTC: {why}" for left, why in failed
        )
        message = f"leases that are not ended: {len(failed)}: {which}"
        raise NotCutError(message)
    unrecorded = (result.unrecorded for _, result in rows if result)
    for error in (*unrecorded, *told.wrong.values()):
        if error:
            raise error

"""`ci-identity reap`: from outside the job, cut the AWS sessions that jobs left alive."""

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ci_identity.cli.parser import Parser
from ci_identity.cli.terminal import print_json, print_table, say_aloud, warn
from ci_identity.errors import ConfigurationError, MissingDependencyError, NotCutError
from ci_identity.model import AwsTarget, Grant
from ci_identity.reaping.ledgers import Records, Told, find, listen
from ci_identity.reaping.plan import Planned, Result, Role, Verdict, plan
from ci_identity.session import Session, load_grants
from ci_identity.settings import Settings

_EXAMPLE = """\
  ci-identity reap --deny --grant cut-sessions --dry-run ledgers/
  ci-identity reap --deny --grant cut-sessions ledgers/               # steps that are over
  ci-identity reap --deny --grant cut-sessions --all ledgers/         # no job of them runs
  ci-identity reap --deny --grant cut-sessions --lease 3f1c2a... job.jsonl

Who may be this job, and with which rights: docs/how-to/reap.md"""

_LEFT: Mapping[Verdict, str] = {
    Verdict.NO_END: "its job was killed, or runs: --all or --lease cuts it",
    Verdict.OWN_ROLE: "it is a session of the role that cuts",
}
_IN_PLACE = "it is in place already"
_NOT_ASKED = "unless it is in place already, which AWS was not asked"
_ELSEWHERE = "its role is in another account than the role that cuts"
_COLUMNS = ("lease", "grant", "role", "until", "done", "why")


def main(words: Sequence[str]) -> int:
    """Cut what is to be cut, and print it; 9 if any of it was not cut."""
    parser = Parser(
        "reap",
        "From outside the job, cut the AWS sessions that jobs left alive, as far as their ledgers\n"
        "tell: AWS cannot end a session, but a Deny on its role leaves it without rights. It is\n"
        "for exactly one session, and is removed by a later run when the session is over.\n"
        "By default the sessions of steps that are over are cut; those whose end is not on\n"
        "record, since their job was killed or still runs, only with --all or --lease.",
        example=_EXAMPLE,
    )
    parser.add_argument(
        "--deny", action="store_true", required=True, help="deny everything to each session"
    )
    parser.add_argument(
        "--grant",
        required=True,
        metavar="CUTTER",
        help="the aws grant whose role may write the policies of the roles to be cut",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--all", action="store_true", help="also the sessions whose end is not on record"
    )
    which.add_argument(
        "--lease", action="append", default=[], metavar="ID", help="this one; may be repeated"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be cut, without asking AWS, and stop"
    )
    parser.add_argument(
        "ledgers", nargs="+", type=Path, metavar="LEDGER", help="a ledger, or a folder of *.jsonl"
    )
    parser.add_grants()
    parser.add_json()
    args = parser.parse_args(words)
    say_aloud(quiet=False)
    grant = load_grants(args.grants, os.environ).grant(args.grant)
    cutter = _role(grant)
    told = listen(find(args.ledgers), datetime.now(UTC))
    for error in told.wrong.values():
        warn(f"{error}; what was taken out of it, nobody sees")
    planned = plan(told.leases, cutter, named=args.lease, is_all=args.all)
    _check_named(args.lease, planned)
    if args.dry_run:
        results = tuple(Result(planned=one) for one in planned)
    else:
        results = _reap(grant, cutter, planned, told)
    _print(results, args)
    if not args.dry_run:
        _check(results, told)
    return 0


def _role(grant: Grant) -> Role:
    role = Role.from_arn(grant.target.role) if isinstance(grant.target, AwsTarget) else None
    if role is None:
        message = f"the grant {grant.name} is not for a role of AWS, so it cannot cut sessions"
        raise ConfigurationError(message, hint="name the grant of the role that cuts")
    return role


def _check_named(named: Sequence[str], planned: Iterable[Planned]) -> None:
    if unknown := sorted(set(named) - {one.lease.id for one in planned}):
        message = f"no ledger given tells of a live AWS session of the lease {', '.join(unknown)}"
        raise ConfigurationError(
            message, hint="it may be over, or be in another ledger: ci-identity audit show"
        )
    for one in planned:
        if named and one.verdict is Verdict.OWN_ROLE:
            message = f"{one.lease.id} cannot be cut: {_LEFT[one.verdict]}"
            raise ConfigurationError(message, hint="cut it by the grant of another role")


def _reap(grant: Grant, cutter: Role, planned: Sequence[Planned], told: Told) -> tuple[Result, ...]:
    to_cut = [one.lease.role for one in planned if one.verdict is Verdict.CUT]
    to_prune = [role for role in told.cut_roles if role.account == cutter.account]
    roles = dict.fromkeys([*to_cut, *to_prune])
    if not roles:
        return tuple(Result(planned=one) for one in planned)
    try:
        from ci_identity.reaping import aws  # noqa: PLC0415  # botocore is an extra
    except ImportError:
        message = "ci-identity reap needs boto3, which is not installed"
        raise MissingDependencyError(message, hint="pip install 'ci-identity[aws]'") from None
    with Session(grant, os.environ) as session:
        own = Settings.from_environ(os.environ).ledger
        records = Records(own=own, by=session.identity, evidence=told.wrong)
        iam = aws.Cutter.from_session(session.boto3())
        aws.prune(roles, iam)
        return tuple(aws.cut(planned, iam, records.record_cut))


def _print(results: Sequence[Result], args: argparse.Namespace) -> None:
    if args.json:
        print_json([_object(result) for result in results])
        return
    if not results:
        print("no AWS session is alive, as far as these ledgers tell")
        return
    rows = [tuple(str(value) for value in _row(result)) for result in results]
    print_table([_COLUMNS, *rows], indent="", colours={})
    if any(result.is_cut and not result.was_cut for result in results):
        print("a cut may take a few minutes to reach every service of AWS")


def _row(result: Result) -> tuple[object, ...]:
    lease = result.planned.lease
    until = lease.until.isoformat(timespec="seconds")
    return lease.id, lease.grant, lease.role.name, until, *_said(result)


def _object(result: Result) -> dict[str, object]:
    lease = result.planned.lease
    row = dict(zip(_COLUMNS, _row(result), strict=True))
    return row | {"role": lease.role.arn, "userid": lease.user, "ledger": lease.ledger}


def _said(result: Result) -> tuple[str, str]:
    if result.unrecorded:
        return "cut", f"not on record: {result.unrecorded}"
    if result.is_cut:
        return "cut", _IN_PLACE if result.was_cut else ""
    if result.reason or result.planned.verdict is Verdict.OTHER_ACCOUNT:
        return "failed", result.reason or _ELSEWHERE
    if result.planned.verdict is Verdict.CUT:
        return "would be cut", _NOT_ASKED
    return "left", _LEFT[result.planned.verdict]


def _check(results: Sequence[Result], told: Told) -> None:
    """Raise if a session that was to be cut was not, a cut is on no record, or a ledger is bad."""
    failed = [result for result in results if _said(result)[0] == "failed"]
    if failed:
        which = "; ".join(
            f"{r.planned.lease.id}, alive until {r.planned.lease.until:%H:%M:%S} UTC: {_said(r)[1]}"
            for r in failed
        )
        message = f"sessions that are not cut: {len(failed)}: {which}"
        raise NotCutError(message)
    for error in (*(r.unrecorded for r in results), *told.wrong.values()):
        if error:
            raise error

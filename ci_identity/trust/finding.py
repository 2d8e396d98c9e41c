"""What reading a trust policy found: statement by statement, and condition by condition."""

from enum import StrEnum

from ci_identity._record import Record


class Result(StrEnum):
    """What became of a check. What only AWS can know, or we do not, is never a pass."""

    PASS = "pass"  # noqa: S105  # a result, not a password
    FAIL = "fail"
    UNKNOWN = "cannot tell"


class Check(Record):
    """One line of a statement, held against the token. Texts are as written, not yet printable.

    Attributes:
        part: what is checked: `Principal`, `Action`, or a condition's operator and key.
        wanted: the values in the policy.
        got: what the token has, or AWS is asked for; `None` if AWS has no such key for the token.
        result: whether it holds.
        remark: what is likely behind it, if we can tell; else empty.
        replacement: what to write instead, as JSON, so that this check passes; else empty.
    """

    part: str
    wanted: tuple[str, ...]
    got: str | None
    result: Result
    remark: str = ""
    replacement: str = ""


class StatementFinding(Record):
    """One statement.

    Attributes:
        name: its place, from 1, and its Sid if it has one.
        effect: `Allow` or `Deny`.
        applies: whether it is for this job: every check holds.
        checks: what it asks for, in order.
        dangers: what it lets in beside this job, in a sentence each.
    """

    name: str
    effect: str
    applies: Result
    checks: tuple[Check, ...]
    dangers: tuple[str, ...] = ()


class Verdict(Record):
    """What the whole trust policy says of the job.

    Attributes:
        role: the role's ARN.
        result: `PASS` if AWS would let the job in, as far as the trust policy goes.
        statements: each of them.
        remarks: what is to be said of the policy as a whole.
    """

    role: str
    result: Result
    statements: tuple[StatementFinding, ...]
    remarks: tuple[str, ...] = ()


def together(results: "list[Result]") -> Result:
    """Return what all of them come to: one that fails is enough, then one that cannot be told."""
    for worst in (Result.FAIL, Result.UNKNOWN):
        if worst in results:
            return worst
    return Result.PASS

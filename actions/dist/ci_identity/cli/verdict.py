"""What a role's trust policy says of this job, as it is shown: condition by condition."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ci_identity._text import shown
from ci_identity.cli.terminal import paint
from ci_identity.errors import AwsAccessDeniedError, TrustPolicyError
from ci_identity.model import UnverifiedClaims
from ci_identity.trust import role
from ci_identity.trust.aws import evaluate
from ci_identity.trust.document import MAX_POLICY, parse
from ci_identity.trust.finding import Check, Result, StatementFinding, Verdict

Paint = Callable[..., str]

_MARKS = {
    Result.PASS: ("yes", "green"),
    Result.FAIL: ("NO ", "red"),
    Result.UNKNOWN: ("?  ", "yellow"),
}
_VERDICTS = {
    Result.PASS: ("lets this job in", "green"),
    Result.FAIL: ("refuses this job", "red"),
    Result.UNKNOWN: ("may refuse this job, it cannot be told here", "yellow"),
}

Policy = Mapping[str, object]


def read_policy(path: Path) -> Policy:
    """Return the trust policy in a file, or on stdin for `-`.

    Raises:
        TrustPolicyError: it cannot be read, or is none.
    """
    try:
        with sys.stdin if str(path) == "-" else path.open(encoding="utf-8") as stream:
            text = stream.read(MAX_POLICY + 1)
    except OSError as error:
        message = f"cannot read the trust policy {path}: {error.strerror}"
        raise TrustPolicyError(message) from None
    except UnicodeDecodeError:
        message = f"cannot read the trust policy {path}: it is not text"
        raise TrustPolicyError(message) from None
    return parse(text)


def _plain(text: str, *_: str) -> str:
    return text


def lines(verdict: Verdict, *, paint: Paint = paint) -> Iterator[str]:
    """Yield what is to be said, fit for a terminal; `paint` gives its colours."""
    words, colour = _VERDICTS[verdict.result]
    yield f"{_line(verdict.role)}: its trust policy {paint(words, colour)}"
    for statement in verdict.statements:
        yield from _statement(statement, paint)
    for remark in verdict.remarks:
        yield f"  {_line(remark)}"
    if verdict.result is Result.PASS:
        yield "  AWS also asks whether the account has the provider, with the token's audience"


def refusal(error: AwsAccessDeniedError, policy: Policy | None, environ: Mapping[str, str]) -> str:
    """Return what the trust policy of the role that refused a job says of it, or how to be told.

    Args:
        error: the refusal.
        policy: the trust policy, where it was given; else AWS is asked, if `environ` has keys.
        environ: the job's variables.
    """
    found = policy or role.fetch(error.role, environ)
    if found is None:
        return "with the trust policy as --trust-policy FILE it is said which condition fails"
    try:
        verdict = evaluate(found, UnverifiedClaims(error.claims), role=error.role)
    except TrustPolicyError as unread:
        return str(unread)
    return "\n".join(lines(verdict, paint=_plain))


def _statement(statement: StatementFinding, paint: Paint) -> Iterator[str]:
    verb = {Result.PASS: "applies", Result.FAIL: "does not apply"}.get(
        statement.applies, "may apply"
    )
    yield f"  statement {_line(statement.name)}, {statement.effect}: {verb}"
    for check in statement.checks:
        yield from _check(check, paint)
    for danger in statement.dangers:
        yield f"    {paint('danger', 'yellow')}: {_line(danger)}"


def _check(check: Check, paint: Paint) -> Iterator[str]:
    mark, colour = _MARKS[check.result]
    yield f"    {paint(mark, colour)}  {_line(check.part)}"
    wanted, got = " or ".join(check.wanted), check.got
    if got is None and check.result is not Result.UNKNOWN:
        got = "(absent)"
    told = [("value", got)] if wanted == got else [("wanted", wanted), ("got", got)]
    told += [("likely", check.remark), ("write", check.replacement)]
    for name, text in told:
        if text:
            yield f"           {name:<6}  {_line(text)}"


def _line(text: str) -> str:
    return shown(text).replace("\n", "\\n")

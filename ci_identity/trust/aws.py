"""Reads an IAM role's trust policy as AWS does for a job's token, and says what it finds."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from ci_identity._record import Record
from ci_identity.model import UnverifiedClaims
from ci_identity.trust import causes
from ci_identity.trust.causes import is_like
from ci_identity.trust.conditions import Find, Operator, apply
from ci_identity.trust.dangers import dangers
from ci_identity.trust.document import Condition, Statement, statements
from ci_identity.trust.finding import Check, Result, StatementFinding, Verdict, together
from ci_identity.trust.keys import TAGS, Provider, read_keys

ACTION = "sts:AssumeRoleWithWebIdentity"


class _Reading(Record):
    """What a statement is held against."""

    claims: UnverifiedClaims
    provider: Provider
    find: Find
    has_variables: bool


def evaluate(
    policy: Mapping[str, object],
    claims: UnverifiedClaims,
    *,
    role: str,
    now: datetime | None = None,
) -> Verdict:
    """Return what the trust policy of a role says of a token, with every check that was made.

    It is no more than that: whether the role exists, and whether its account has the provider and
    the audience, does not stand in the policy.

    Args:
        policy: the document, as `document.parse` gives it.
        claims: the token's.
        role: the role's ARN.
        now: the time for `aws:CurrentTime` (UTC); by default this machine's.

    Raises:
        TrustPolicyError: AWS would not take it as a trust policy.
    """
    provider = Provider.of(str(claims.get("iss", "")), role)
    reading = _Reading(
        claims=claims,
        provider=provider,
        find=read_keys(claims, provider, now or datetime.now(UTC)),
        has_variables=policy.get("Version") == "2012-10-17",
    )
    found = list(statements(policy))
    findings = tuple(_statement(one, reading) for one in found)
    return Verdict(
        role=role,
        result=_result(findings),
        statements=findings,
        remarks=tuple(_remarks(findings, reading)),
    )


def _result(findings: Iterable[StatementFinding]) -> Result:
    """One Deny is enough, and else one Allow (IAM, "Policy evaluation logic")."""
    applying = {(one.effect, one.applies) for one in findings}
    if ("Deny", Result.PASS) in applying:
        return Result.FAIL
    if ("Allow", Result.PASS) in applying:
        return Result.UNKNOWN if ("Deny", Result.UNKNOWN) in applying else Result.PASS
    return Result.UNKNOWN if ("Allow", Result.UNKNOWN) in applying else Result.FAIL


def _remarks(findings: Iterable[StatementFinding], reading: _Reading) -> Iterator[str]:
    principals = [one.checks[0].result for one in findings if one.effect == "Allow"]
    if all(result is Result.FAIL for result in principals):
        principal = json.dumps({"Federated": reading.provider.arn})
        yield f'no Allow is for the provider of this token\'s issuer: "Principal": {principal}'
    if TAGS in reading.claims:
        yield "the token brings session tags: the policy must allow sts:TagSession as well"


def _statement(statement: Statement, reading: _Reading) -> StatementFinding:
    checks = (
        _principal(statement, reading.provider),
        _action(statement),
        *(_condition(one, statement.effect, reading) for one in statement.conditions),
    )
    is_ours = together([one.result for one in checks[:2]]) is not Result.FAIL
    return StatementFinding(
        name=statement.name,
        effect=statement.effect,
        applies=together([one.result for one in checks]),
        checks=checks,
        dangers=tuple(dangers(statement, reading.provider)) if is_ours else (),
    )


# ── who and what ─────────────────────────────────────────────────────────────────────────────


def _principal(statement: Statement, provider: Provider) -> Check:
    result, remark, replacement = Result.FAIL, "", ""
    names = [value for kind, value in statement.principals if kind == "Federated"]
    if statement.is_not_principal:
        result, remark = Result.UNKNOWN, "NotPrincipal is for Deny, and not judged here"
    elif provider.arn in names:
        result = Result.PASS
    elif ("*", "*") in statement.principals:
        is_deny = statement.effect == "Deny"
        result = Result.PASS if is_deny else Result.UNKNOWN
        remark = "" if is_deny else "everybody: name the provider instead"
    else:
        remark = next(filter(None, (_principal_remark(one, provider) for one in names)), "")
        replacement = f'"Principal": {json.dumps({"Federated": provider.arn})}' if remark else ""
    return Check(
        part="NotPrincipal" if statement.is_not_principal else "Principal",
        wanted=tuple(
            value if kind in {"*", "Federated"} else f"{kind} {value}"
            for kind, value in statement.principals
        ),
        got=provider.arn,
        result=result,
        remark=remark,
        replacement=replacement,
    )


def _principal_remark(wanted: str, provider: Provider) -> str:
    ours, _, name = wanted.partition(":oidc-provider/")
    account = provider.arn.split(":")[4]
    if name == provider.name:
        return f"the provider must be in the role's own account, {account}, and partition"
    if wanted.rstrip("/") == f"https://{provider.name}" or "://" in name:
        return "a provider is written without https://"
    if name.rstrip("/").casefold() == provider.name.rstrip("/").casefold():
        return "the provider's name must be the issuer's, to the last letter and slash"
    if not ours.startswith("arn:") and wanted == provider.name:
        return "an OIDC provider is named by its ARN"
    return ""


def _action(statement: Statement) -> Check:
    is_named = any(is_like(one.casefold(), ACTION.casefold()) for one in statement.actions)
    is_covered = is_named != statement.is_not_action
    slip = "sts:assumerole" in {one.casefold() for one in statement.actions}
    remark = "sts:AssumeRole is another call, for principals of AWS" if slip else ""
    return Check(
        part="NotAction" if statement.is_not_action else "Action",
        wanted=statement.actions,
        got=ACTION,
        result=Result.PASS if is_covered else Result.FAIL,
        remark="" if is_covered else remark,
        replacement=f'"Action": "{ACTION}"' if remark and not is_covered else "",
    )


# ── conditions ───────────────────────────────────────────────────────────────────────────────


def _condition(condition: Condition, effect: str, reading: _Reading) -> Check:
    values = reading.find(condition.key)
    result = apply(
        condition.operator,
        condition.values,
        values,
        reading.find,
        has_variables=reading.has_variables,
    )
    remark, replacement = "", ""
    if result is Result.UNKNOWN:
        remark = _unknown(condition, values is None)
    elif result is Result.FAIL and effect == "Allow":
        remark, replacement = _cause(condition, values or (), reading)
    return Check(
        part=f"{condition.operator} {condition.key}",
        wanted=condition.values,
        got=", ".join(values) if values else None,
        result=result,
        remark=remark,
        replacement=replacement,
    )


def _unknown(condition: Condition, is_for_aws: bool) -> str:  # noqa: FBT001  # of two, named above
    if is_for_aws:
        return "only AWS knows this key's value"
    if not Operator.of(condition.operator).is_known:
        return "this operator is not one that is judged here"
    if any(re.search(r"\$\{", one) for one in condition.values):
        return "a policy variable in it has no value that is known here"
    return "the token has several values; which of them AWS takes is not documented"


def _cause(condition: Condition, values: tuple[str, ...], reading: _Reading) -> tuple[str, str]:
    """Return what is likely behind a condition of an Allow that fails, and what to write."""
    if not Operator.of(condition.operator).binds:
        return "", ""
    if not values:
        cause = causes.missing_key(condition, reading.provider, reading.claims)
        instead = cause.value and causes.line(
            condition.operator, cause.value, list(condition.values)
        )
        return cause.sentence, instead or ""
    return causes.wrong_value(condition, values[0])

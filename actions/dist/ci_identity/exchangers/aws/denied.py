"""What it most likely means that a trust policy says no, from the job's claims alone. Pure.

AWS gives no reason. What it can compare is known, and so are the ways in which that goes wrong.
"""

import json
import re
from collections.abc import Iterator, Mapping

from ci_identity._text import shortened
from ci_identity.errors import AwsAccessDeniedError
from ci_identity.exchangers.aws.names import AUDIENCE
from ci_identity.exchangers.aws.visible import own_claims
from ci_identity.model import JobIdentity

_GITHUB_SUBJECT = re.compile(
    r"repo:(?P<owner>[^/@:]+)(?P<owner_id>@[0-9]+)?/(?P<name>[^/@:]+)(?P<id>@[0-9]+)?"
    r":(?P<rest>.+)",
    re.DOTALL,
)


def access_denied(role: str, identity: JobIdentity) -> AwsAccessDeniedError:
    """Return the error for "Not authorized to perform sts:AssumeRoleWithWebIdentity".

    Args:
        role: the ARN of the role that was asked for.
        identity: who asked. Its claims are made printable and cut short.
    """
    facts = [f"{name} = {shortened(value)}" for name, value in comparable(role, identity)]
    causes = [f"- {shortened(cause)}" for cause in likely(identity)]
    return AwsAccessDeniedError(
        f"AWS does not let this job have {role}; it gives no reason",
        role=role,
        claims=identity.claims,
        cause="\n".join(
            ["a condition of the role's trust policy is not true of this job:", *causes]
        ),
        hint="\n".join(["compare the trust policy with what AWS can see:", *facts, _show(role)]),
    )


def comparable(role: str, identity: JobIdentity) -> Iterator[tuple[str, str]]:
    """Yield what a trust policy for `role` can compare, by its condition keys, and the values."""
    _, partition, _, _, account, _ = role.split(":", 5)
    provider = _provider(identity)
    yield "Principal Federated", f"arn:{partition}:iam::{account}:oidc-provider/{provider}"
    yield f"{provider}:aud", ", ".join(identity.audience)
    yield f"{provider}:sub", identity.subject
    for name in own_claims(provider):
        if name in identity.claims:
            yield f"{provider}:{name}", _text(identity.claims[name])


def likely(identity: JobIdentity) -> Iterator[str]:
    """Yield what often is behind it, with the exact text that a trust policy may have to have."""
    if AUDIENCE not in identity.audience:
        yield f"the audience is not {AUDIENCE}, which most trust policies ask for"
    if found := _GITHUB_SUBJECT.fullmatch(identity.subject):
        yield from _github(found, identity.claims)
    where = identity.repository or ""
    if where != where.lower():
        yield f"AWS tells upper case from lower: it must say {where}, exactly so"
    if not own_claims(_provider(identity)):
        yield "of this issuer AWS sees aud and sub only; a condition on another claim never holds"
    yield "there is no such role in the account: AWS says the same then"


def _github(found: re.Match[str], claims: Mapping[str, object]) -> Iterator[str]:
    owner, name, rest = found["owner"], found["name"], found["rest"]
    owner_id, repository_id = claims.get("repository_owner_id"), claims.get("repository_id")
    if found["owner_id"] and found["id"]:
        yield (
            f"it is written for the older subject, repo:{owner}/{name}:{rest}; repositories made,"
            " renamed or moved since 2026-07-15 have ids in theirs"
        )
    elif owner_id and repository_id:
        yield (
            "it is written for the newer subject,"
            f" repo:{owner}@{_text(owner_id)}/{name}@{_text(repository_id)}:{rest}; this"
            " repository still has the one without ids"
        )
    repository = found[0].removesuffix(f":{rest}")
    if rest.startswith("environment:"):
        ref = _text(claims.get("ref", "REF"))
        yield (
            f"it is written for the branch or tag, {repository}:ref:{ref}; the job has an"
            " environment, which stands there instead"
        )
    elif rest.startswith("ref:"):
        yield (f"it is written for an environment, {repository}:environment:NAME; the job has none")
    elif rest == "pull_request":
        yield "it is written for a branch or an environment; the subject of a pull request has none"


def _provider(identity: JobIdentity) -> str:
    """Return the issuer as AWS writes it in ARNs and condition keys."""
    return identity.issuer.partition("://")[2]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _show(role: str) -> str:
    name = role.rpartition("/")[2]
    return f"to see it: aws iam get-role --role-name {name} --query Role.AssumeRolePolicyDocument"

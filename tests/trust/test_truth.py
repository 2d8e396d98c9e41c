"""Our verdict and that of a program that decides as IAM does are the same."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ci_identity.model import UnverifiedClaims
from ci_identity.trust.aws import evaluate
from ci_identity.trust.finding import Result
from tests.aws import npm
from tests.aws.simulator import Simulator
from tests.trust.policies import (
    ACCOUNT,
    ACTION,
    AUD,
    ISSUER,
    PROVIDER,
    ROLE,
    SUB,
    policy,
    statement,
    token,
    trust,
)

JOBS = {
    "legacy": token(),
    "immutable": token(sub="repo:acme@7/shop@42:ref:refs/heads/main"),
    "environment": token(sub="repo:acme/shop:environment:production", environment="production"),
    "pull request": token(sub="repo:acme/shop:pull_request", ref="refs/pull/1/merge"),
    "another owner": token(
        sub="repo:acme-evil/shop:ref:refs/heads/main", repository="acme-evil/shop"
    ),
    "another audience": token(aud="https://github.com/acme"),
}
CONDITIONS: list[Mapping[str, Any]] = [
    {},
    {"StringEquals": {AUD: "sts.amazonaws.com", SUB: "repo:acme/shop:ref:refs/heads/main"}},
    {"StringEquals": {AUD: "sts.amazonaws.com"}, "StringLike": {SUB: "repo:acme/shop:*"}},
    {"StringLike": {SUB: ["repo:acme/shop:*", "repo:acme@7/shop@42:*"]}},
    {"StringLike": {SUB: "repo:acme*/shop*:*"}},
    {"StringLike": {SUB: "repo:Acme/shop:*"}},
    {"StringLike": {SUB: "repo:acme/????:*"}},
    {"StringEquals": {SUB: "repo:acme/shop:*"}},
    {"StringEquals": {SUB: " repo:acme/shop:pull_request"}},
    {"StringEqualsIgnoreCase": {SUB: "REPO:acme/shop:pull_request"}},
    {"StringNotEquals": {SUB: "repo:acme/shop:pull_request"}},
    {"StringNotLike": {SUB: ["repo:acme/shop:environment:*", "*:pull_request"]}},
    {"StringEquals": {f"{ISSUER}:environment": "production"}},
    {"StringEqualsIfExists": {f"{ISSUER}:environment": "production"}},
    {"StringNotEquals": {f"{ISSUER}:environment": "production"}},
    {"ForAllValues:StringEquals": {f"{ISSUER}:environment": "staging"}},
    {"ForAnyValue:StringEquals": {f"{ISSUER}:environment": ["staging", "production"]}},
    {"ForAnyValue:StringNotEquals": {f"{ISSUER}:environment": "staging"}},
    {"Null": {f"{ISSUER}:environment": "true"}},
    {"Null": {f"{ISSUER}:environment": "false"}},
    {"StringEquals": {f"{ISSUER}:repository_id": "42"}},
    {"NumericEquals": {f"{ISSUER}:repository_id": 42}},
    {"NumericLessThanEquals": {f"{ISSUER}:repository_id": "41"}},
    {"StringEquals": {f"{ISSUER}:REPOSITORY": "acme/shop"}},
    {"StringEquals": {f"{ISSUER}:run_id": "1234"}},
    {"StringNotEquals": {f"{ISSUER}:run_id": "1234"}},
    {"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}},
    {"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}},
    {"Bool": {"aws:SecureTransport": "true"}},
    {"Bool": {"aws:SecureTransport": "false"}},
    {"ArnLike": {"aws:FederatedProvider": "arn:aws:iam::*:oidc-provider/token.*"}},
    {"ArnEquals": {"aws:FederatedProvider": "arn:aws:iam::*:saml-provider/x"}},
    {"StringLike": {SUB: "repo:${aws:SecureTransport, 'x'}/shop:*"}},
    {"StringLike": {SUB: "repo:acme/shop${*}*"}},
]
POLICIES = [trust(one) for one in CONDITIONS] + [
    trust(Principal={"Federated": f"arn:aws:iam::999999999999:oidc-provider/{ISSUER}"}),
    trust(Principal={"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/gitlab.com"}),
    trust(Principal={"Federated": [f"arn:aws:iam::{ACCOUNT}:oidc-provider/gitlab.com", PROVIDER]}),
    trust(Principal={"Service": "ec2.amazonaws.com"}),
    trust(Action="sts:AssumeRole"),
    trust(Action="sts:AssumeRole*"),
    trust(Action=["sts:TagSession", "STS:assumerolewithwebidentity"]),
    trust(Action=None, NotAction="sts:AssumeRole"),
    trust(Action=None, NotAction="sts:*"),
    policy(statement(), statement(Effect="Deny", Principal="*")),
    policy(statement(), statement(Effect="Deny", Principal={"AWS": "*"}, Action="*")),
    policy(
        statement(),
        statement({"StringLike": {SUB: "*:pull_request"}}, Effect="Deny", Principal="*"),
    ),
    policy(
        statement({"StringEquals": {f"{ISSUER}:environment": "production"}}),
        statement({"StringLike": {SUB: "repo:acme/shop:ref:*"}}),
    ),
]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(npm.install(npm.IAM_SIMULATE)) as simulator:
        yield simulator


def permits(simulator: Simulator, document: Mapping[str, Any], claims: UnverifiedClaims) -> bool:
    """Ask iam-simulate, which has the claims as tags of the request: it knows no `ISSUER:sub`."""
    shown = set(claims) - {"iss", "run_id"}
    request = {
        "principal": PROVIDER,
        "action": ACTION,
        "resource": ROLE,
        "account": ACCOUNT,
        "context": {f"aws:RequestTag/{name}": claims[name] for name in shown}
        | {"aws:CurrentTime": "2026-06-01T00:00:00Z", "aws:SecureTransport": "true"}
        | {"aws:FederatedProvider": PROVIDER},
    }
    renamed = json.loads(json.dumps(document).replace(f'"{ISSUER}:', '"aws:RequestTag/'))
    return simulator.refusal(request, resource=renamed) is None


@pytest.mark.parametrize("job", JOBS)
def test_the_verdict_is_iam_s(simulator: Simulator, job: str) -> None:
    """For each trust policy, a pass here is an Allowed there and the other way round."""
    for document in POLICIES:
        ours = evaluate(document, JOBS[job], role=ROLE).result
        theirs = permits(simulator, document, JOBS[job])
        assert ours is (Result.PASS if theirs else Result.FAIL), document

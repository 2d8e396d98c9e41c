"""The action's inputs become what the grants file would have said, or an error that names them."""

from datetime import timedelta
from pathlib import Path

import pytest

from ci_identity.agent.inputs import for_this_job, read_inputs
from ci_identity.errors import IdentityError, InputError
from ci_identity.grants.load import parse
from ci_identity.model import (
    AwsTarget,
    AzureTarget,
    DeliveryMode,
    GcpTarget,
    PolicyStatement,
    SecretReference,
    SubjectToken,
    UnverifiedClaims,
    VaultTarget,
    Wanted,
)
from ci_identity.secret import Secret

ROLE = "arn:aws:iam::123456789012:role/deploy-web"
AWS = {"steps": "deploy", "aws-role": ROLE}
VAULT = {"steps": "deploy", "vault-role": "shop"}
CLAIMS = {
    "iss": "https://token.actions.githubusercontent.com",
    "repository_id": "42",
    "ref": "refs/heads/main",
}


def variables(**inputs: str) -> dict[str, str]:
    """The inputs as the runner hands them over: all of them, most of them empty."""
    empty = {"INPUT_GRANTS": "", "INPUT_AWS-REGION": "", "INPUT_TTL": " ", "PATH": "/bin"}
    return empty | {f"INPUT_{name.upper()}": value for name, value in inputs.items()}


def token(**claims: str) -> SubjectToken:
    return SubjectToken(
        token=Secret("x.y.z"), claims=UnverifiedClaims(CLAIMS | claims), source="github"
    )


def refusal(**inputs: str) -> str:
    with pytest.raises(InputError) as caught:
        read_inputs(variables(**inputs))
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_grants_of_a_file() -> None:
    """Names, one a line, each once; and the file that has them."""
    order = read_inputs(
        variables(
            grants="deploy-web\n migrate-db\ndeploy-web\n",
            steps="deploy, migrate\n",
            ttl="10m",
            delivery="env",
            **{"grants-file": "ops/grants.yml"},
        )
    )
    assert order.grants == ("deploy-web", "migrate-db")
    assert order.inline is None
    assert order.grants_file == Path("ops/grants.yml")
    assert order.steps == ("deploy", "migrate")
    assert order.ttl == timedelta(minutes=10)
    assert order.delivery is DeliveryMode.ENV


def test_an_inline_aws_grant() -> None:
    """What is not said is as in a grants file."""
    order = read_inputs(
        variables(
            **AWS,
            **{"aws-region": "eu-west-1", "audience": "acme", "ttl": "30m"},
            **{"aws-policy": '- allow: ["s3:PutObject"]\n  on: ["arn:aws:s3:::shop/*"]'},
        )
    )
    assert order.inline is not None
    grant = order.inline.grant
    assert grant.name == "aws"
    assert grant.target == AwsTarget(
        role=ROLE,
        region="eu-west-1",
        policy=(PolicyStatement(allow=("s3:PutObject",), on=("arn:aws:s3:::shop/*",)),),
    )
    assert (grant.audience, grant.ttl, order.ttl) == ("acme", *[timedelta(minutes=30)] * 2)
    assert order.delivery is DeliveryMode.ENDPOINT


def test_a_policy_in_json() -> None:
    """A whole policy document stays the text that it is."""
    policy = '{"Version": "2012-10-17", "Statement": []}'
    inline = read_inputs(variables(**AWS, **{"aws-policy": policy})).inline
    assert inline is not None
    assert isinstance(inline.grant.target, AwsTarget)
    assert inline.grant.target.policy == policy


def test_an_inline_vault_grant() -> None:
    """Secrets are `NAME: path#field`, one a line; policies are separated by commas or lines."""
    inputs = {
        "vault-address": "https://vault.acme.example",
        "vault-mount": "ci/jwt",
        "vault-namespace": "team-shop",
        "vault-policies": "shop-db, shop-kv\nshop-pki",
        "vault-secrets": "DB_USER: database/creds/shop#username\n\n  DB_PASSWORD :database/x#p\n",
    }
    inline = read_inputs(variables(**VAULT, **inputs)).inline
    assert inline is not None
    assert inline.grant.target == VaultTarget(
        role="shop",
        address="https://vault.acme.example",
        mount="ci/jwt",
        namespace="team-shop",
        policies=("shop-db", "shop-kv", "shop-pki"),
        secrets={
            "DB_USER": SecretReference(path="database/creds/shop", field="username"),
            "DB_PASSWORD": SecretReference(path="database/x", field="p"),
        },
    )


def test_the_other_clouds() -> None:
    """GCP and Azure are understood as a grants file would have them."""
    provider = "projects/1/locations/global/workloadIdentityPools/ci/providers/github"
    uuid = "00000000-0000-0000-0000-000000000000"
    gcp = read_inputs(
        variables(steps="all", **{"gcp-provider": provider, "gcp-project": "acme-prod"})
    )
    azure = read_inputs(variables(steps="all", **{"azure-tenant": uuid, "azure-client": uuid}))
    assert gcp.inline
    assert azure.inline
    assert gcp.inline.grant.target == GcpTarget(provider=provider, project="acme-prod")
    assert isinstance(azure.inline.grant.target, AzureTarget)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"steps": "x"}, "no input says which grant"),
        (AWS | {"grants": "a"}, "name `grants` and `aws-...`"),
        (AWS | VAULT, "name `aws-...` and `vault-...`"),
        (AWS | {"steps": ""}, "the input `steps` is missing"),
        (AWS | {"delivery": "file"}, "`delivery` must be endpoint or env"),
        (AWS | {"ttl": "soon"}, "the input `ttl` must be a number and one unit"),
        (AWS | {"ttl": "99h"}, "the input `ttl` is longer than 24h"),
        (AWS | {"aws-role": "deploy"}, "the input `aws-role` must be the ARN of a role"),
        (AWS | {"aws-region": "Ireland"}, "the input `aws-region` must be a region"),
        (AWS | {"aws-policy": "{}"}, "the input `aws-policy` must be a list of {allow, on}"),
        ({"steps": "x", "aws-region": "eu-west-1"}, "the input `aws-...` lacks `role`"),
        (VAULT | {"vault-address": "http://vault"}, "the input `vault-address` must be an address"),
        (
            VAULT | {"vault-secrets": "A: x/y#z\nPATH: x/y#z"},
            "`vault-secrets`, line 2, is not a name",
        ),
        (
            VAULT | {"vault-secrets": "A: x/y"},
            "the input `vault-secrets`, line 1, must be path#field",
        ),
        (VAULT | {"vault-secrets": "A: x/y#z\nA: x/y#w"}, "line 2, names a variable twice"),
        (VAULT | {"vault-secrets": "A x/y#z"}, "line 1, must be NAME: path#field"),
        ({"grants": "a", "steps": "x", "audience": "y"}, "`audience` is for an inline grant"),
    ],
)
def test_a_mistake_names_the_input(inputs: dict[str, str], message: str) -> None:
    """The message says which input, and what it must be."""
    assert message in refusal(**inputs)


def test_a_mistake_in_a_policy_names_its_line() -> None:
    """A list is YAML, which has lines of its own."""
    for policy in ("- allow: ['s3:Get*']\n  if: [x]\n", "- allow: ['s3:Get*']\n  on: [x\n"):
        with pytest.raises(InputError, match="the input `aws-policy`:2: ") as caught:
            read_inputs(variables(**AWS, **{"aws-policy": policy}))
        assert "check" not in caught.value.hint  # which is for the grants file


def test_an_inline_grant_is_for_this_very_job() -> None:
    """Issuer, repository and ref are the token's own; the file that is kept says the same."""
    inputs = {
        "vault-address": "https://vault.acme.example",
        "vault-policies": "shop",
        "vault-secrets": "DB: x/y#é",
        "ttl": "2m",
    }
    inline = read_inputs(variables(**VAULT, **inputs)).inline
    assert inline
    grant, file = for_this_job(inline, token(ref="refs/heads/“quoted”: #1"))
    assert grant.conditions == {
        "issuer": (Wanted(text="https://token.actions.githubusercontent.com"),),
        "repository_id": (Wanted(text="42"),),
        "ref": (Wanted(text="refs/heads/“quoted”: #1"),),
    }
    kept = parse(file, "kept").grant("vault")
    assert kept.conditions == grant.conditions
    assert (kept.target, kept.ttl) == (grant.target, grant.ttl)


@pytest.mark.parametrize("claim", ["iss", "repository_id", "ref"])
def test_a_token_that_does_not_say_which_job(claim: str) -> None:
    """Nothing is bound to a claim that is not there."""
    inline = read_inputs(variables(**AWS)).inline
    assert inline
    with pytest.raises(IdentityError):
        for_this_job(inline, token(**{claim: ""}))

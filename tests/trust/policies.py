"""A role, a token and trust policies to hold against each other."""

from collections.abc import Mapping
from typing import Any

from ci_identity.model import UnverifiedClaims

ISSUER = "token.actions.githubusercontent.com"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/ci/deploy-web"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
SUB, AUD = f"{ISSUER}:sub", f"{ISSUER}:aud"
ACTION = "sts:AssumeRoleWithWebIdentity"

CLAIMS = {
    "iss": f"https://{ISSUER}",
    "aud": "sts.amazonaws.com",
    "sub": "repo:acme/shop:ref:refs/heads/main",
    "repository": "acme/shop",
    "repository_id": "42",
    "repository_owner_id": "7",
    "ref": "refs/heads/main",
    "actor": "octocat",
    "workflow": "deploy",
    "run_id": "1234",
}


def token(**claims: Any) -> UnverifiedClaims:
    """Return a job's claims, with these instead of the usual ones; `None` removes one."""
    made = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return UnverifiedClaims(made)


def statement(condition: Mapping[str, Any] | None = None, **elements: Any) -> dict[str, Any]:
    """Return an Allow for GitHub's provider; `None` removes an element."""
    made = {
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": ACTION,
        "Condition": condition or {},
        **elements,
    }
    return {name: value for name, value in made.items() if value is not None}


def policy(*statements: Mapping[str, Any], version: str = "2012-10-17") -> dict[str, Any]:
    return {"Version": version, "Statement": list(statements)}


def trust(condition: Mapping[str, Any] | None = None, **elements: Any) -> dict[str, Any]:
    """Return a trust policy of one statement."""
    return policy(statement(condition, **elements))

"""Policies as tests write them, and the identity provider's names in them."""

from collections.abc import Mapping
from typing import Any

ACCOUNT = "123456789012"
AUDIENCE = "sts.amazonaws.com"
SUBJECTS = ("repo:acme/shop:*", "repo:acme@7/shop@42:*")
"""The sandbox's repository, in GitHub's old format and in the immutable one."""

Document = Mapping[str, Any]


def policy(*statements: Document) -> Document:
    """Return a policy of these statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(*actions: str, on: str | list[str] = "*") -> Document:
    """Return a policy that allows these actions on this, and nothing else."""
    return policy({"Effect": "Allow", "Action": list(actions), "Resource": on})


def deny(condition: Document | None = None, *actions: str, on: str | list[str] = "*") -> Document:
    """Return a policy that denies these actions on this, everything by default, under a condition.

    Args:
        condition: the `Condition` block.
        actions: what is denied.
        on: of which resources.
    """
    denied = {"Effect": "Deny", "Action": list(actions) or "*", "Resource": on}
    return policy(denied | ({"Condition": condition} if condition else {}))


def trust(issuer_url: str, conditions: Document | None = None) -> Document:
    """Return a trust policy for the tokens of an issuer.

    Args:
        issuer_url: whose.
        conditions: the `Condition` block; by default it wants the audience `AUDIENCE` and the
            sandbox's repository, on any ref or environment.
    """
    host = host_of(issuer_url)
    usual = {
        "StringEquals": {f"{host}:aud": AUDIENCE},
        "StringLike": {f"{host}:sub": list(SUBJECTS)},
    }
    return policy(
        {
            "Effect": "Allow",
            "Principal": {"Federated": provider_arn(issuer_url)},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": conditions or usual,
        }
    )


def provider_arn(issuer_url: str) -> str:
    """Return an issuer's ARN as an identity provider of the account."""
    return f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host_of(issuer_url)}"


def host_of(issuer_url: str) -> str:
    """Return an issuer as AWS names it: without its scheme."""
    return issuer_url.partition("://")[2]

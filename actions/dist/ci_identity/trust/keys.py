"""What AWS knows of a token when it reads a trust policy: its condition keys, and their values."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import cast

from ci_identity._record import Record
from ci_identity.exchangers.aws.visible import own_claims
from ci_identity.model import UnverifiedClaims

Values = tuple[str, ...] | None
"""A key's values; empty if AWS has no such key for the token; `None` if only AWS can know."""

EVERY_ISSUER = ("aud", "sub", "amr", "email")
"""Claims that AWS has keys for whoever the issuer is (IAM, "Keys for AWS OIDC federation")."""

TAGS = "https://aws.amazon.com/tags"
SOURCE_IDENTITY = "https://aws.amazon.com/source_identity"
"""Claims by which an issuer sets session tags and a source identity (STS, session tags)."""

_FROM_TOKEN = {
    "aws:requesttag/": TAGS,
    "aws:tagkeys": TAGS,
    "sts:transitivetagkeys": TAGS,
    "sts:sourceidentity": SOURCE_IDENTITY,
}


class Provider(Record):
    """The IAM OIDC provider that a token's issuer must be in the role's account.

    Attributes:
        name: the issuer without its `https://`, as ARN and condition keys have it.
        arn: its ARN in the role's account.
    """

    name: str
    arn: str

    @classmethod
    def of(cls, issuer: str, role: str) -> "Provider":
        """Return the provider for `issuer` that a role with the ARN `role` can trust."""
        _, partition, _, _, account, _ = (role.split(":", 5) + [""] * 6)[:6]
        name = issuer.partition("://")[2] or issuer
        return cls(name=name, arn=f"arn:{partition}:iam::{account}:oidc-provider/{name}")

    def visible(self) -> tuple[str, ...]:
        """Return the names of the claims that AWS has keys for."""
        return (*EVERY_ISSUER[:2], *own_claims(self.name), *EVERY_ISSUER[2:])


def read_keys(
    claims: UnverifiedClaims, provider: Provider, now: datetime
) -> Callable[[str], Values]:
    """Return what gives a condition key's values for this token. Names of keys have no case."""
    known: Mapping[str, Values] = {
        "aws:currenttime": (now.isoformat(),),
        "aws:epochtime": (str(int(now.timestamp())),),
        "aws:securetransport": ("true",),
        "aws:federatedprovider": (provider.arn,),
        "sts:externalid": (),  # no parameter of AssumeRoleWithWebIdentity
    }
    visible = {name.casefold(): name for name in provider.visible()}

    def find(key: str) -> Values:
        folded = key.casefold()
        if folded in known:
            return known[folded]
        for start, claim in _FROM_TOKEN.items():
            if folded.startswith(start) and claim not in claims:
                return ()
        if folded.startswith(("aws:", "sts:")):
            return None
        owner, _, name = folded.rpartition(":")
        if owner != provider.name.casefold() or name not in visible:
            return ()
        # AWS takes `azp` for the audience where a token has one.
        claim = "azp" if name == "aud" and "azp" in claims else visible[name]
        return _texts(claims.get(claim))

    return find


def _texts(value: object) -> tuple[str, ...]:
    several = cast("list[object]", value) if isinstance(value, list) else [value]
    return tuple(
        one if isinstance(one, str) else json.dumps(one)
        for one in several
        if isinstance(one, str | bool | int | float)
    )

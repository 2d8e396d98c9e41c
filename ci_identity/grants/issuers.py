"""Which CI a grant is for, as far as its issuers or its claims tell."""

import re

from ci_identity.grants.claims import CLAIMS, KNOWN
from ci_identity.model import Grant, Wanted

GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
SHARED_ISSUERS = frozenset(
    {
        GITHUB_ISSUER,
        "https://gitlab.com",
        "https://agent.buildkite.com",
        "https://accounts.google.com",
    }
)
"""Issuers whose tokens anybody can have who opens an account."""

ISSUERS = {
    "github": re.compile(
        r"(?:https?://)?(?:"
        r"token\.actions\.(?:githubusercontent\.com|[^/@]+\.ghe\.com)(?:/[^/]+)?"
        r"|[^/@]+/_services/token"  # GitHub Enterprise Server
        r"|[^/@]+/api/actions"  # Forgejo
        r")"
    ),
    "gitlab": re.compile(r"(?:https?://)?[^/@]*gitlab[^/@]*(?:/.*)?"),
    "buildkite": re.compile(r"(?:https?://)?agent\.buildkite\.com"),
    "circleci": re.compile(r"(?:https?://)?oidc\.circleci\.com(?:/.*)?"),
    "bitbucket": re.compile(r"(?:https?://)?api\.bitbucket\.org/2\.0/workspaces/.*"),
    "azure-devops": re.compile(r"(?:https?://)?vstoken\.dev\.azure\.com(?:/.*)?"),
    "semaphore": re.compile(r"(?:https?://)?[^/@]+\.semaphoreci\.com"),
}
"""By CI, what its issuers look like, also when slightly misspelt. In lower case."""


def _own_claims(ci: str) -> frozenset[str]:
    others = " ".join(names for other, names in CLAIMS.items() if other != ci).split()
    return frozenset(CLAIMS[ci].split()) - frozenset(others)


OWN_CLAIMS = {ci: _own_claims(ci) for ci in ISSUERS}
"""By CI, the claims that no other has."""


def issuers(grant: Grant) -> tuple[Wanted, ...]:
    """Return whose tokens the grant is for."""
    return grant.conditions.get("issuer", ())


def ci_of_issuer(issuer: str) -> str | None:
    """Return the CI that `issuer` is of, as `CLAIMS` calls it; `None` if it does not tell."""
    plain = issuer.casefold().rstrip("/")
    return next((ci for ci, pattern in ISSUERS.items() if pattern.fullmatch(plain)), None)


def foreign_claims(issuer: str) -> frozenset[str]:
    """Return the known claims that no token of `issuer` has, as far as its CI can be told."""
    if ci := ci_of_issuer(issuer):
        return KNOWN - frozenset(f"{CLAIMS[ci]} {CLAIMS['registered']}".split())
    return frozenset()


def ci_of(grant: Grant) -> str | None:
    """Return the CI that the grant is for, by its issuers or else its claims, if these tell."""
    cis = {ci_of_issuer(issuer.text) for issuer in issuers(grant)}
    if None in cis or len(cis) > 1:
        cis = {ci for ci, own in OWN_CLAIMS.items() if not own.isdisjoint(grant.conditions)}
    return cis.pop() if len(cis) == 1 else None

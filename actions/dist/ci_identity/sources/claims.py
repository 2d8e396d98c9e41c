"""From each CI's claims to one `JobIdentity`: told by their shape, not by the source."""

from ci_identity.model import JobIdentity, SourceName, SubjectToken
from ci_identity.sources import (
    azure_devops,
    bitbucket,
    buildkite,
    circleci,
    forgejo,
    github,
    gitlab,
    jenkins,
    kubernetes,
    machine,
    semaphore,
    spiffe,
    subject_token,
)
from ci_identity.sources.dialect import Dialect

DIALECTS: tuple[Dialect, ...] = (
    kubernetes.DIALECT,
    spiffe.DIALECT,
    forgejo.DIALECT,
    github.DIALECT,
    gitlab.DIALECT,
    buildkite.DIALECT,
    circleci.DIALECT,
    bitbucket.DIALECT,
    azure_devops.DIALECT,
    semaphore.DIALECT,
    jenkins.DIALECT,
    machine.DIALECT,
)
"""In the order they are tried: the first that recognises its own mark reads the token."""

_UNKNOWN = Dialect(ci=SourceName.TOKEN_FILE, mark="", is_spoken=lambda _: True)


def identify(token: SubjectToken) -> JobIdentity:
    """Return who the job is, by the claims of its token.

    The CI is told by the shape of the claims, so that a token handed over by hand says as much. A
    token of no CI we know gives issuer, subject and audience, and `fork` unknown. `run` is
    `RUN_ID/ATTEMPT` on GitHub and the pipeline's or build's id elsewhere. Texts are made printable;
    `claims` are as in the token.

    Raises:
        MalformedTokenError: a claim that every id token has is missing.
    """
    claims, origin = token.claims, f"the token from {token.source}"
    dialect = next((one for one in DIALECTS if one.is_spoken(claims)), _UNKNOWN)
    return JobIdentity(
        source=token.source,
        issuer=subject_token.issuer(claims, origin=origin),
        subject=subject_token.subject(claims, origin=origin),
        audience=subject_token.audiences(claims, origin=origin),
        **dialect.read(claims),
        step=token.step,
        fork=_either(dialect.fork(claims), token.fork),
        debug=token.debug or dialect.debug(claims),
        workload=dialect.ci if dialect.is_workload else None,
        expires_at=subject_token.expires_at(claims, origin=origin),
        claims=claims,
    )


def _either(claims: bool | None, variables: bool | None) -> bool | None:  # noqa: FBT001  # two of a kind
    """Return what the two tell of forks: yes before no, and no before nothing."""
    told = {claims, variables}
    return True if True in told else (False if False in told else None)

"""From each CI's claims to one `JobIdentity`: told by their shape, not by the source."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import cast

from ci_identity.model import JobIdentity, SourceName, SubjectToken, UnverifiedClaims
from ci_identity.sources import subject_token
from ci_identity.sources.dialect import Dialect, has, text

_GOOGLE = "https://accounts.google.com"
"""GCE's instance identity, and service accounts."""

_AZURE = ("https://sts.windows.net/", "https://login.microsoftonline.com/")
"""Azure's managed identities."""

_AWS = ".tokens.sts.global.api.aws"
"""AWS: GetWebIdentityToken."""


def _is_kubernetes(claims: UnverifiedClaims) -> bool:
    return isinstance(claims.get("kubernetes.io"), dict)


def _is_spiffe(claims: UnverifiedClaims) -> bool:
    return (text(claims, "sub") or "").startswith("spiffe://")


def _is_forgejo(claims: UnverifiedClaims) -> bool:
    return has("repository")(claims) and (text(claims, "iss") or "").endswith("/api/actions")


def _is_machine(claims: UnverifiedClaims) -> bool:
    """Whether it is one that a cloud gives its machines."""
    issuer = (text(claims, "iss") or "").removesuffix("/")
    return issuer == _GOOGLE or issuer.startswith(_AZURE) or issuer.endswith(_AWS)


_SHAPES: tuple[tuple[SourceName, Callable[[UnverifiedClaims], bool]], ...] = (
    (SourceName.KUBERNETES, _is_kubernetes),
    (SourceName.SPIFFE, _is_spiffe),
    (SourceName.FORGEJO, _is_forgejo),
    (SourceName.GITHUB, has("repository")),
    (SourceName.GITLAB, has("project_path")),
    (SourceName.BUILDKITE, has("organization_slug", "pipeline_slug")),
    (SourceName.CIRCLECI, has("oidc.circleci.com/project-id")),
    (SourceName.BITBUCKET, has("repositoryUuid")),
    (SourceName.AZURE_DEVOPS, has("prj_id", "def_id")),
    (SourceName.SEMAPHORE, has("prj_id", "wf_id")),
    (SourceName.JENKINS, has("build_number")),
    (SourceName.MACHINE, _is_machine),
)
"""In the order they are tried: the first that recognises its own mark reads the token."""

_UNKNOWN = Dialect(ci=SourceName.TOKEN_FILE, mark="")


def dialects() -> Iterator[Dialect]:
    """Yield what is known of each CI's claims, in the order they are tried."""
    for name, _ in _SHAPES:
        yield _dialect(name)


def _dialect(name: SourceName) -> Dialect:
    """Return the dialect of one CI; only its own module is imported for it."""
    module = import_module(f"ci_identity.sources.{name.replace('-', '_')}")
    return cast("Dialect", module.DIALECT)


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
    spoken = next((name for name, is_spoken in _SHAPES if is_spoken(claims)), None)
    dialect = _dialect(spoken) if spoken else _UNKNOWN
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

"""identify: where the job's OIDC token comes from."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ci_identity.errors import NoIdentityError
from ci_identity.model import JobIdentity, SubjectToken
from ci_identity.sources.claims import identify
from ci_identity.sources.github import PROBE_AUDIENCE as PROBE_AUDIENCE
from ci_identity.sources.github import GitHubSource
from ci_identity.sources.gitlab import GitLabSource
from ci_identity.sources.interface import Source
from ci_identity.sources.subject_token import check_audience
from ci_identity.sources.token_file import TokenFileSource, TokenVariableSource


def sources(environ: Mapping[str, str]) -> tuple[Source, ...]:
    """Return every source there is, in the order they are asked: by hand first, then the CI's own.

    GitLab comes before the plain variable, since there `CI_IDENTITY_TOKEN` is one id token of many.
    """
    file = environ.get("CI_IDENTITY_TOKEN_FILE")
    return (
        *((TokenFileSource(Path(file)),) if file else ()),
        GitLabSource(environ),
        TokenVariableSource(environ),
        GitHubSource(environ),
    )


def fetch(candidates: Sequence[Source], audience: str | None) -> SubjectToken:
    """Return the token of the first source that knows this place, made for `audience`.

    Args:
        candidates: the sources, in the order they are asked.
        audience: whom the token is for; `None` for a token that is only looked at.

    Raises:
        NoIdentityError: none of them does.
        IdentityError: one does, but has no usable token; later ones are not asked.
    """
    for source in candidates:
        if (found := source.fetch(audience)) is not None:
            # Asked once more here, for the sources that others write.
            if audience is not None:
                check_audience(found.claims, audience, origin=f"the token from {source.name}")
            return found
    names = ", ".join(source.name for source in candidates) or "none"
    message = f"no identity token was found; asked: {names}"
    raise NoIdentityError(message)


def detect(
    environ: Mapping[str, str] | None = None, *, audience: str | None = None
) -> JobIdentity | None:
    """Return who this job is, or `None` where no source knows the place.

    Args:
        environ: the job's variables; by default those of this process.
        audience: whom the token is asked for; by default it is one that is only looked at.

    Raises:
        IdentityError: this is a CI job, but it has no usable token.
    """
    try:
        return identify(fetch(sources(os.environ if environ is None else environ), audience))
    except NoIdentityError:
        return None

"""identify: where the job's OIDC token comes from."""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

from ci_identity._record import Record, field
from ci_identity.errors import NoIdentityError
from ci_identity.model import JobIdentity, SourceName, SubjectToken
from ci_identity.sources.claims import identify
from ci_identity.sources.interface import Source
from ci_identity.sources.presence import Ambiguity, cis, is_on
from ci_identity.sources.subject_token import check_audience
from ci_identity.sources.token_file import FILE_VARIABLE, TokenFileSource, TokenVariableSource

_NAMING = {SourceName.GITLAB: "GitLabSource", SourceName.JENKINS: "JenkinsSource"}
"""CIs whose jobs name the variable of their token, and name it as we ask."""

_OTHERS = {
    SourceName.GITHUB: "GitHubSource",
    SourceName.FORGEJO: "ForgejoSource",
    SourceName.BUILDKITE: "BuildkiteSource",
    SourceName.CIRCLECI: "CircleCiSource",
    SourceName.BITBUCKET: "BitbucketSource",
    SourceName.AZURE_DEVOPS: "AzureDevOpsSource",
    SourceName.SEMAPHORE: "SemaphoreSource",
}
_WORKLOADS = {
    SourceName.KUBERNETES: "KubernetesSource",
    SourceName.SPIFFE: "SpiffeSource",
    SourceName.MACHINE: "MachineSource",
}
"""What names no CI job: asked only by name."""


class _OnDemand(Record):
    """A source whose module is imported where its CI is, or where it was asked for by name."""

    name: SourceName
    kind: str
    environ: Mapping[str, str] = field(repr=False)

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Return what the source gives; `None` at once where another CI's job runs."""
        if self.name not in _WORKLOADS and not is_on(self.name, self.environ):
            return None
        module = import_module(f"ci_identity.sources.{self.name.replace('-', '_')}")
        source = cast("Source", getattr(module, self.kind)(self.environ))
        return source.fetch(audience)


def sources(environ: Mapping[str, str], named: SourceName | None = None) -> tuple[Source, ...]:
    """Return the sources to ask, in order: what was handed over by hand, then the CI's own.

    GitLab and Jenkins come before what is handed over in `CI_IDENTITY_TOKEN`, since there a job
    names its own token so. Where the variables are of two CIs, none of these is asked.

    Args:
        environ: the job's variables.
        named: the one source to ask, as a grant's `source` names it. What names a workload or a
            machine is asked only so.
    """
    of_cis = _on_demand({**_NAMING, **_OTHERS}, environ)
    by_hand = _by_hand(environ)
    if named is not None:
        every = (*by_hand, *of_cis, *_on_demand(_WORKLOADS, environ))
        return tuple(source for source in every if source.name == named)
    found = cis(environ)
    if len(found) > 1:
        return (*by_hand[:-1], Ambiguity(among=found))
    naming = of_cis[: len(_NAMING)]
    if SourceName.JENKINS in found:
        return naming
    return (*by_hand[:-1], *naming, by_hand[-1], *of_cis[len(_NAMING) :])


def _on_demand(kinds: Mapping[SourceName, str], environ: Mapping[str, str]) -> tuple[Source, ...]:
    return tuple(_OnDemand(name=name, kind=kind, environ=environ) for name, kind in kinds.items())


def _by_hand(environ: Mapping[str, str]) -> tuple[Source, ...]:
    file = environ.get(FILE_VARIABLE)
    return (*((TokenFileSource(Path(file)),) if file else ()), TokenVariableSource(environ))


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

"""Whose job this is, by its variables: so that each source answers for its own CI alone."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ci_identity._record import Record
from ci_identity.errors import TwoCisError
from ci_identity.model import SourceName, SubjectToken

Environ = Mapping[str, str]


def _is(variable: str) -> Callable[[Environ], bool]:
    return lambda environ: environ.get(variable, "").lower() == "true"


def _is_forgejo(environ: Environ) -> bool:
    # Forgejo's runner sets GITHUB_ACTIONS too, for actions that ask for it; and GITEA_ACTIONS.
    return any(_is(name)(environ) for name in ("FORGEJO_ACTIONS", "GITEA_ACTIONS"))


def _is_github(environ: Environ) -> bool:
    asks = any(name.startswith("ACTIONS_ID_TOKEN_REQUEST_") and environ[name] for name in environ)
    return (asks or _is("GITHUB_ACTIONS")(environ)) and not _is_forgejo(environ)


def _is_jenkins(environ: Environ) -> bool:
    # Not JENKINS_URL alone, which jobs of other CIs have who start something on a Jenkins.
    return bool(environ.get("JENKINS_URL")) and environ.get("BUILD_TAG", "").startswith("jenkins-")


MARKS: Mapping[SourceName, Callable[[Environ], bool]] = MappingProxyType(
    {
        SourceName.GITLAB: lambda environ: environ.get("GITLAB_CI") == "true",
        SourceName.JENKINS: _is_jenkins,
        SourceName.GITHUB: _is_github,
        SourceName.FORGEJO: _is_forgejo,
        SourceName.BUILDKITE: _is("BUILDKITE"),
        SourceName.CIRCLECI: _is("CIRCLECI"),
        SourceName.BITBUCKET: lambda environ: bool(environ.get("BITBUCKET_PIPELINE_UUID")),
        SourceName.AZURE_DEVOPS: _is("TF_BUILD"),
        SourceName.SEMAPHORE: _is("SEMAPHORE"),
    }
)
"""By CI, whether the variables are those of its jobs: what its documentation says is always set."""


def cis(environ: Environ) -> tuple[SourceName, ...]:
    """Return the CIs that the variables are of, in the order of `MARKS`; one, as a rule."""
    return tuple(name for name, is_here in MARKS.items() if is_here(environ))


def is_on(ci: SourceName, environ: Environ) -> bool:
    """Return whether the variables are those of a job of `ci`."""
    return MARKS[ci](environ)


class Ambiguity(Record):
    """Takes the place of the CIs' sources where the variables are of more than one CI.

    Which of them comes first would be chance, or the choice of whoever has set the other's.
    """

    among: tuple[SourceName, ...]

    @property
    def name(self) -> str:
        """The names of the CIs."""
        return " or ".join(self.among)

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Raise `TwoCisError`."""
        del audience
        message = f"the variables are those of {' and of '.join(self.among)}"
        raise TwoCisError(message)

"""Jenkins: the plugin oidc-provider binds a token to a variable or a file that the job names.

plugins.jenkins.io/oidc-provider. The names to bind it to are `CI_IDENTITY_TOKEN_FILE` (a credential
of the kind "file") and `CI_IDENTITY_TOKEN` ("text"). Read, not run.
"""

from collections.abc import Mapping
from pathlib import Path

from ci_identity._record import Record, field, replace
from ci_identity.model import SourceName, SubjectToken
from ci_identity.sources.dialect import Dialect
from ci_identity.sources.handed_over import HandOver
from ci_identity.sources.presence import is_on
from ci_identity.sources.subject_token import Clock, utc_now
from ci_identity.sources.token_file import FILE_VARIABLE, VARIABLE, TokenFileSource

DIALECT = Dialect(
    ci=SourceName.JENKINS,
    mark="`build_number`, and no other CI's",
    fields={"run": ("build_number",)},
    forks=(
        "by `CHANGE_FORK`, `CHANGE_ID` and `BRANCH_NAME` of multibranch jobs; what other claims "
        "there are an administrator's template says"
    ),
)
_VARIABLE = HandOver(
    ci=SourceName.JENKINS,
    variables=(VARIABLE,),
    missing="no id token is bound to the variable, or to a file that CI_IDENTITY_TOKEN_FILE names",
    add=(
        "bind a credential of the plugin oidc-provider: "
        f"withCredentials([string(credentialsId: 'ID', variable: '{VARIABLE}')]) {{ ... }}"
    ),
    audience="set the audience of the Jenkins credential to that of the grant",
)


class JenkinsSource(Record):
    """The id token that a Jenkins build has bound."""

    environ: Mapping[str, str] = field(repr=False, kw_only=False)
    now: Clock = field(default=utc_now, repr=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return SourceName.JENKINS

    def fetch(self, audience: str | None) -> SubjectToken | None:
        """Return the build's token, or `None` outside Jenkins.

        Raises:
            IdTokenMissingError: no token is bound.
            TokenFileError: the file that it is bound to cannot be read.
            AudienceError, MalformedTokenError, ExpiredTokenError: it cannot be used.
        """
        if not is_on(SourceName.JENKINS, self.environ):
            return None
        if file := self.environ.get(FILE_VARIABLE):
            found = TokenFileSource(Path(file), now=self.now).fetch(audience)
        else:
            found = _VARIABLE.receive(self.environ, audience, now=self.now)
        return replace(found, source=self.name, fork=_fork(self.environ))


def _fork(environ: Mapping[str, str]) -> bool | None:
    # The branch sources' own variables: CHANGE_FORK is set for a change that comes from a fork.
    if environ.get("CHANGE_FORK"):
        return True
    return False if environ.get("CHANGE_ID") or environ.get("BRANCH_NAME") else None
